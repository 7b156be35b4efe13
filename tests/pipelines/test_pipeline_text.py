"""Texts become condition states whose padding, batch and route make no difference."""

from __future__ import annotations

import logging
from typing import Any

import pytest
import torch

from diffgs_diffusers import DiffGSPipeline
from diffgs_diffusers.models import Condition
from diffgs_diffusers.pipelines.guidance import predict

PROMPTS = ["a red chair", "a blue table"]


def test_states_are_the_text_encoders_last_hidden_states(pipe: DiffGSPipeline) -> None:
    states, mask, _, _ = pipe.encode_prompt("a red chair", do_classifier_free_guidance=False)
    tokens = pipe.tokenizer("a red chair", return_tensors="pt")
    expected = pipe.text_encoder(**tokens).last_hidden_state
    length = tokens.input_ids.shape[1]
    assert mask.sum() == length
    torch.testing.assert_close(states[:, :length], expected)


def test_objects_of_a_prompt_are_neighbours(pipe: DiffGSPipeline) -> None:
    states, mask, negative_states, negative_mask = pipe.encode_prompt(PROMPTS, num_objects_per_prompt=2)
    assert len(states) == len(mask) == len(negative_states) == len(negative_mask) == 4
    assert torch.equal(states[0], states[1])
    assert not torch.equal(states[1], states[2])


def test_without_a_negative_prompt_guidance_leads_away_from_no_condition(pipe: DiffGSPipeline) -> None:
    _, _, states, mask = pipe.encode_prompt(PROMPTS)
    sample, timestep = torch.randn(2, 4, 48), torch.tensor(50)
    masked = pipe.unet(sample, timestep, states, mask).sample
    torch.testing.assert_close(masked, pipe.unet(sample, timestep).sample)


def test_one_negative_prompt_serves_all(pipe: DiffGSPipeline) -> None:
    single = pipe.encode_prompt(PROMPTS, negative_prompt="ugly")
    double = pipe.encode_prompt(PROMPTS, negative_prompt=["ugly", "ugly"])
    assert all(torch.equal(a, b) for a, b in zip(single, double, strict=True))


def test_encoding_beforehand_changes_nothing(pipe: DiffGSPipeline) -> None:
    names = ["prompt_embeds", "prompt_attention_mask", "negative_prompt_embeds", "negative_prompt_attention_mask"]
    arguments: dict[str, Any] = {"num_inference_steps": 2, "output_type": "latent", "guidance_scale": 3.0}
    arguments["latents"] = torch.randn(2, 4, 48)
    direct = pipe(PROMPTS, negative_prompt="ugly", **arguments).gaussians
    encoded = pipe.encode_prompt(PROMPTS, negative_prompt="ugly")
    pipe.register_modules(tokenizer=None, text_encoder=None)
    later = pipe(**dict(zip(names, encoded, strict=True)), **arguments).gaussians
    assert torch.equal(direct, later)


def test_padding_does_not_matter(pipe: DiffGSPipeline) -> None:
    states, mask, _, _ = pipe.encode_prompt("a red chair", do_classifier_free_guidance=False)
    length = int(mask.sum())
    noise = torch.randn(1, 4, 48)
    arguments: dict[str, Any] = {"latents": noise, "num_inference_steps": 2, "output_type": "latent"}
    padded = pipe(prompt_embeds=states, prompt_attention_mask=mask, **arguments).gaussians
    trimmed = pipe(prompt_embeds=states[:, :length], **arguments).gaussians
    torch.testing.assert_close(padded, trimmed, atol=1e-5, rtol=0)
    garbage = torch.where(mask[..., None] > 0, states, torch.full_like(states, torch.nan))
    hidden = pipe(prompt_embeds=garbage, prompt_attention_mask=mask, **arguments).gaussians
    torch.testing.assert_close(padded, hidden, atol=1e-5, rtol=0)


def test_guidance_is_the_papers_formula(pipe: DiffGSPipeline) -> None:
    """Ho & Salimans 2022, eq. 6, with w = scale − 1: (1 + w) ε(c) − w ε(∅), each computed by itself."""
    condition = pipe.encode_prompt("a red chair")
    sample, timestep = torch.randn(1, 4, 48), torch.tensor(30)
    positive, negative = (
        Condition.of_type(*pair) for pair in ((condition[0], 0, condition[1]), (condition[2], 0, condition[3]))
    )
    guided = predict(pipe.unet, sample, timestep, positive, negative, guidance_scale=3.5)
    with_text = pipe.unet(sample, timestep, condition[0], condition[1]).sample
    without = pipe.unet(sample, timestep).sample
    torch.testing.assert_close(guided, 3.5 * with_text - 2.5 * without, atol=1e-4, rtol=1e-4)


def test_what_is_cut_off_is_named(pipe: DiffGSPipeline, caplog: pytest.LogCaptureFixture) -> None:
    text = "a red chair " * 5 + "lamp"
    with caplog.at_level(logging.WARNING):
        states, mask, _, _ = pipe.encode_prompt(text)
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    cut = record.message.split("cut off:")[1]
    assert cut.strip(" '\"").endswith("lamp")
    assert "12 tokens" in record.message
    assert cut.count("chair") < 5
    assert states.shape[1] == 12
    assert mask.all()


def test_a_prompt_that_fits_is_not_warned_about(pipe: DiffGSPipeline, caplog: pytest.LogCaptureFixture) -> None:
    pipe.encode_prompt("a red chair")
    assert not caplog.records
