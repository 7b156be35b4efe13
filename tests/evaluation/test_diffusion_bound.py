"""The bound of a denoiser whose guess is always zero, for which every term has a closed form."""

from __future__ import annotations

import math
from collections.abc import Iterator

import pytest
import torch

from diffgs_diffusers import DiffGSPipeline
from diffgs_diffusers.evaluation.diffusion_bound import bound_summary, object_bounds


@pytest.fixture
def zero_pipeline(tiny_pipeline: DiffGSPipeline) -> Iterator[DiffGSPipeline]:
    """Its denoiser, which predicts the sample, answers 0."""
    layer = tiny_pipeline.unet.conv_out
    kept = {name: value.clone() for name, value in layer.state_dict().items()}
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.zero_()
    yield tiny_pipeline
    layer.load_state_dict(kept)


def test_terms_of_the_zero_guess(zero_pipeline: DiffGSPipeline) -> None:
    shape = (zero_pipeline.unet.config.in_channels, zero_pipeline.unet.config.sample_size)
    latents = torch.randn(2, *shape, generator=torch.Generator().manual_seed(0))
    (found, _) = object_bounds(zero_pipeline, latents, None, num_steps=None)
    squares, dimensions = float(latents[0].double().square().sum()), latents[0].numel()
    signal = zero_pipeline.scheduler.alphas_cumprod.double()
    beta = zero_pipeline.scheduler.betas.double()
    before, at, now = signal[:-1], signal[1:], beta[1:]
    variance = (1 - before) / (1 - at) * now  # DDPM, equation 7
    weight = before * now**2 / (1 - at) ** 2
    ratio = variance / now
    steps = 0.5 * (weight / now * squares + dimensions * (ratio - 1 - ratio.log())).sum()
    first = 0.5 * (squares / beta[0] + dimensions * (2 * math.pi * beta[0]).log())
    last = 0.5 * (signal[-1] * squares - dimensions * (signal[-1] + (1 - signal[-1]).log()))
    assert found.dimensions == dimensions
    assert found.steps == pytest.approx(float(steps), rel=1e-3)
    assert found.reconstruction == pytest.approx(float(first), rel=1e-3)
    assert found.prior == pytest.approx(float(last), rel=1e-3)
    assert found.normal == pytest.approx(0.5 * (squares + dimensions * math.log(2 * math.pi)), rel=1e-5)


def test_captions_reach_the_denoiser_and_the_noise_is_the_same(tiny_pipeline: DiffGSPipeline) -> None:
    shape = (tiny_pipeline.unet.config.in_channels, tiny_pipeline.unet.config.sample_size)
    latents = torch.randn(1, *shape, generator=torch.Generator().manual_seed(0))
    captions = [None, ["a red chair"], ["a blue table"], ["a red chair"]]
    terms = [object_bounds(tiny_pipeline, latents, texts, num_steps=4)[0] for texts in captions]
    assert len({one.steps for one in terms}) == 3
    assert terms[1] == terms[3]
    assert len({one.prior for one in terms}) == 1


def test_summary_is_in_nats_and_in_bits(tiny_pipeline: DiffGSPipeline) -> None:
    shape = (tiny_pipeline.unet.config.in_channels, tiny_pipeline.unet.config.sample_size)
    terms = object_bounds(tiny_pipeline, torch.zeros(3, *shape), None, num_steps=2)
    summary = bound_summary(terms)
    parts = ("prior", "steps", "reconstruction")
    assert summary["num_objects"] == 3
    assert summary["total"] == pytest.approx(sum(summary[name] for name in parts))
    assert summary["total_bits"] == pytest.approx(summary["total"] / summary["dimensions"] / math.log(2))
    assert summary["total_std"] > 0
