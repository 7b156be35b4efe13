"""Every bad argument gives one error that names it, before any model runs."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from diffgs_diffusers import DiffGSPipeline
from tests.tiny_models import tiny_vae

TWO = ["a red chair", "a blue table"]
STATES = torch.zeros(1, 5, 32)


@pytest.fixture
def idle_pipe(pipe: DiffGSPipeline, monkeypatch: pytest.MonkeyPatch) -> DiffGSPipeline:
    """A pipeline whose models must not run."""

    def fail(*_: Any, **__: Any) -> None:
        raise AssertionError("a model ran before the arguments were checked")

    for model in (pipe.unet, pipe.text_encoder, pipe.vae):
        monkeypatch.setattr(model, "forward", fail)
    monkeypatch.setattr(pipe.vae, "decode", fail)
    return pipe


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"prompt": []}, ValueError, "`prompt` is an empty list"),
        ({"prompt": 3}, TypeError, "`prompt` must be a text or a list of texts, got int"),
        ({"prompt": ["a chair", None]}, TypeError, r"`prompt\[1\]` must be a text, got NoneType"),
        ({"prompt": TWO, "negative_prompt": ["a", "b", "c"]}, ValueError, "3 negative prompts for 2 of `prompt`"),
        ({"prompt": "a chair", "negative_prompt": []}, ValueError, "`negative_prompt` is an empty list"),
        ({"negative_prompt": "ugly"}, ValueError, "needs a `prompt`"),
        ({"prompt": "a", "num_objects": 2}, ValueError, "use `num_objects_per_prompt`"),
        ({"prompt": "a", "prompt_embeds": STATES}, ValueError, "`prompt` or `prompt_embeds`, not both"),
        (
            {"prompt": "a", "negative_prompt": "b", "negative_prompt_embeds": STATES},
            ValueError,
            "`negative_prompt` or `negative_prompt_embeds`, not both",
        ),
        ({"prompt_embeds": STATES[..., :8]}, ValueError, r"`prompt_embeds` must be \[P, S, 32\], got \[1, 5, 8\]"),
        ({"prompt_embeds": STATES[0]}, ValueError, r"must be \[P, S, 32\], got \[5, 32\]"),
        (
            {"prompt_embeds": STATES, "prompt_attention_mask": torch.ones(1, 4)},
            ValueError,
            r"`prompt_attention_mask` must be \[1, 5\]",
        ),
        ({"prompt_attention_mask": torch.ones(1, 4)}, ValueError, "`prompt_embeds`, which is missing"),
        ({"num_objects_per_prompt": 0, "prompt": "a"}, ValueError, "`num_objects_per_prompt` must be at least 1"),
        ({"num_objects": 0}, ValueError, "`num_objects` must be at least 1, got 0"),
        ({"num_objects": -2}, ValueError, "`num_objects` must be at least 1, got -2"),
        ({"num_gaussians": 0}, ValueError, "`num_gaussians` must be at least 1, got 0"),
        ({"num_gaussians": -5}, ValueError, "`num_gaussians` must be at least 1, got -5"),
        ({"num_gaussians": 1.5}, TypeError, "`num_gaussians` must be an integer, got 1.5"),
        ({"num_gaussians": True}, TypeError, "`num_gaussians` must be an integer"),
        ({"num_inference_steps": 0}, ValueError, "`num_inference_steps` must be at least 1"),
        ({"num_inference_steps": 101}, ValueError, "`num_inference_steps` must be at most 100"),
        ({"guidance_scale": "3"}, TypeError, "`guidance_scale` must be a number"),
        ({"guidance_scale": float("nan")}, ValueError, "`guidance_scale` must be finite"),
        ({"output_type": "mesh"}, ValueError, "`output_type` must be one of gaussians, np, pt, latent; got 'mesh'"),
        (
            {"latents": torch.zeros(1, 4, 47)},
            ValueError,
            r"`latents` must be \[1, 4, 48\] for this batch, got \[1, 4, 47\]",
        ),
        ({"prompt": TWO, "latents": torch.zeros(1, 4, 48)}, ValueError, r"`latents` must be \[2, 4, 48\]"),
        ({"generator": [torch.Generator()] * 3, "num_objects": 2}, ValueError, "3 entries for a batch of 2"),
        ({"generator": 42}, TypeError, "`generator` must be a torch.Generator or a list of them, got int"),
        ({"generator": [42]}, TypeError, "`generator` must be a torch.Generator"),
        (
            {"callback_on_step_end_tensor_inputs": ["noise"]},
            ValueError,
            "`callback_on_step_end_tensor_inputs` may name latents, .*got noise",
        ),
    ],
)
def test_bad_arguments(
    idle_pipe: DiffGSPipeline, arguments: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        idle_pipe(**{"num_inference_steps": 2} | arguments)


@pytest.mark.parametrize("missing", ["tokenizer", "text_encoder"])
def test_a_prompt_needs_a_text_encoder(idle_pipe: DiffGSPipeline, missing: str) -> None:
    idle_pipe.register_modules(**{missing: None})
    with pytest.raises(ValueError, match="this pipeline has none: load a checkpoint with"):
        idle_pipe("a red chair")


def test_a_foreign_vae_is_refused(idle_pipe: DiffGSPipeline) -> None:
    idle_pipe.register_modules(vae=tiny_vae(latent_channels=8))
    with pytest.raises(ValueError, match=r"makes latents \[4, 48\] and the VAE decodes \[8, 48\]"):
        idle_pipe("a red chair")


def test_a_foreign_text_encoder_is_refused(idle_pipe: DiffGSPipeline) -> None:
    idle_pipe.text_encoder.config.hidden_size = 512
    with pytest.raises(ValueError, match="512 channels and the denoiser expects 32"):
        idle_pipe("a red chair")
