"""Errors of functions that are constant, on a sphere, whose targets have closed forms."""

from __future__ import annotations

import math
from dataclasses import asdict

import pytest
import torch

from diffgs_diffusers import GaussianVAE
from diffgs_diffusers.data.function_samples import FunctionSampling
from diffgs_diffusers.evaluation.function_errors import FunctionErrors, function_errors, mean_errors
from diffgs_diffusers.functional.spacing import local_spacing
from tests.factories import sphere_splats
from tests.tiny_models import QUICK_VAE_SIZES, tiny_vae

RADIUS, TRUNCATION = 0.4, 0.06
SPHERE = sphere_splats(8000, RADIUS, rgb=(0.5, 0.5, 0.5))
SAMPLING = FunctionSampling(num_queries=40_000, num_centers=2000, center_jitter=0.0, normal_jitter=0.0)


def constant_vae(probability: float, rgb: float, log_scale: float, opacity: float) -> GaussianVAE:
    """Functions that do not depend on the place; GauPF measures to centres."""
    vae = tiny_vae(**QUICK_VAE_SIZES, truncation=TRUNCATION, core=0.0)
    logit = math.log(opacity / (1 - opacity))
    with torch.no_grad():
        for head in (vae.heads.gaupf, vae.heads.gaucf, vae.heads.gautf):
            head.proj_out.weight.zero_()
        vae.heads.gaupf.proj_out.bias.fill_(probability)
        vae.heads.gaucf.proj_out.bias.fill_(2 * (rgb - 0.5))
        vae.heads.gautf.proj_out.bias.copy_(torch.tensor([log_scale] * 3 + [1.0, 0, 0, 0, logit]))
    return vae


def test_errors_of_constants_are_known() -> None:
    """The mean of GauPF over the box is that of a shell about the sphere: 4π (R²δ + δ³ / 6) over its volume."""
    errors = function_errors(constant_vae(-3.0, 0.6, 0.0, 0.9), SPHERE, sampling=SAMPLING)
    shell = 4 * math.pi * (RADIUS**2 * TRUNCATION + TRUNCATION**3 / 6) / 1.1**3
    assert errors.gaupf_box == pytest.approx(shell, rel=0.05)
    assert errors.gaucf == pytest.approx(0.1, abs=1e-5)
    assert errors.gautf_opacity == pytest.approx(0.05, abs=1e-5)
    spacing = torch.from_numpy(local_spacing(SPHERE.means.numpy()))
    expected = (SPHERE.scales / spacing[:, None] - 1).abs().mean()
    assert errors.gautf_scale == pytest.approx(float(expected), rel=0.02)


def test_near_errors_are_of_points_within_the_truncation() -> None:
    """Where the target is p, predicting 0 and predicting 1 err by p and 1 − p."""
    low, high = (
        function_errors(constant_vae(value, 0.5, 0.0, 0.95), SPHERE, sampling=SAMPLING).gaupf_near
        for value in (0.0, 7.0)
    )
    assert low + high == pytest.approx(1.0, abs=1e-5)
    assert 0.5 < low < 0.95  # most points lie well within


def test_the_shape_error_is_that_of_the_gaussians_not_of_their_rotations() -> None:
    """A ball in place of a ball of the same size is right whatever its rotation; a larger one is not."""
    spacing = local_spacing(SPHERE.means.numpy()).mean()
    balls = sphere_splats(8000, RADIUS)
    balls = type(balls)(
        balls.means, balls.quats, torch.full_like(balls.scales, float(spacing)), *(balls.opacities, balls.sh0)
    )
    same, twice = (
        function_errors(constant_vae(0.0, 0.5, value, 0.95), balls, sampling=SAMPLING).gautf_shape
        for value in (0.0, math.log(2.0))
    )
    assert same < 0.03
    assert twice == pytest.approx(1.0, rel=0.05)  # |2 − 1| on each of three diagonal entries, over three


def test_means_are_over_objects() -> None:
    rows = [FunctionErrors(*(float(index + step) for step in range(6))) for index in (0, 2)]
    summary = mean_errors(rows)
    assert summary.pop("num_objects") == 2
    assert list(summary.values()) == [value + 1 for value in asdict(rows[0]).values()]
