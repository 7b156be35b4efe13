"""What renderers leave out of faint Gaussians, and that it is there again."""

from __future__ import annotations

import math

import pytest
import torch

from diffgs_diffusers.cameras import orbit_cameras
from diffgs_diffusers.functional.render_floor import keep_absorption
from diffgs_diffusers.gaussians import GaussianSplats

EVERYWHERE = torch.ones((), dtype=torch.bool)


def absorbed(opacity: float, pixels: float, *, kept: bool) -> float:
    """What a picture shows of a small faint Gaussian, beside what a Gaussian of that opacity absorbs.

    The mean of 25 of them, none in front of another, each elsewhere between the centres of its pixels.
    """
    camera = orbit_cameras(1, 256, elevation=0.0)
    unit = float(camera.Ks[0, 0, 0] / camera.viewmats[0, 2, 3])  # pixels
    places = torch.linspace(-0.15, 0.15, 5)
    x, y = torch.meshgrid(places, places, indexing="ij")
    means = torch.stack([x, y, torch.zeros(5, 5)], dim=-1).reshape(-1, 3)
    scales = torch.full((25, 3), pixels / unit)
    opacities = torch.full((25,), opacity)
    if kept:
        opacities = keep_absorption(opacities, scales, EVERYWHERE)
    quats = torch.tensor([1.0, 0, 0, 0]).expand(25, 4)
    alpha = GaussianSplats(means, quats, scales, opacities, torch.zeros(25, 1, 3)).render(camera)[..., 3]
    return float(alpha.sum()) / (25 * 2 * math.pi * opacity * pixels**2)


@pytest.mark.parametrize("opacity", [0.03, 0.08, 0.3])
@pytest.mark.parametrize("pixels", [0.5, 1.0, 2.0])
def test_faint_gaussians_absorb_in_pictures_what_their_opacity_says(opacity, pixels):
    assert absorbed(opacity, pixels, kept=True) == pytest.approx(1, abs=0.03)
    assert absorbed(opacity, pixels, kept=False) < 0.99


def test_others_stay_as_they_are_and_none_becomes_more_than_opaque():
    opacities, where = torch.tensor([0.1, 0.1, 0.999]), torch.tensor([True, False, True])
    kept = keep_absorption(opacities, torch.full((3, 3), 0.003), where)
    assert kept[0] > 0.1 and kept[1] == opacities[1] and kept[2] == 1


def test_the_area_counts_that_is_seen_from_the_widest_side():
    flat = keep_absorption(torch.full((1,), 0.1), torch.tensor([[0.0001, 0.01, 0.005]]), EVERYWHERE)
    turned = keep_absorption(torch.full((1,), 0.1), torch.tensor([[0.01, 0.005, 0.0001]]), EVERYWHERE)
    round_one = keep_absorption(torch.full((1,), 0.1), torch.full((1, 3), math.sqrt(0.01 * 0.005)), EVERYWHERE)
    torch.testing.assert_close(flat, turned)
    torch.testing.assert_close(flat, round_one)
