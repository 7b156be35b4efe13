"""Where a part meets the rest: which Gaussians, which pixels, and what an error there counts."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from diffgs_diffusers.evaluation.seam import near_seam, seam_psnr, seam_weights
from diffgs_diffusers.evaluation.views import evaluation_cameras, render_on_white
from diffgs_diffusers.functional.spherical_harmonics import rgb_to_sh0
from tests.factories import sphere_splats

SPHERE = sphere_splats(4000)
KEPT = SPHERE.means[:, 1] < 0
CAMERAS = evaluation_cameras(48, 3)


def test_the_seam_is_a_band_on_both_sides_of_the_cut() -> None:
    near = near_seam(SPHERE, KEPT, 0.05)
    heights = SPHERE.means[:, 1].abs()
    assert near[heights < 0.01].all()
    assert not near[heights > 0.05].any()
    assert 0 < int(near[KEPT].sum()) < len(SPHERE) / 4
    assert 0 < int(near[~KEPT].sum()) < len(SPHERE) / 4


@pytest.mark.parametrize("kept", [torch.ones(4000, dtype=torch.bool), torch.zeros(4000, dtype=torch.bool)])
def test_without_a_cut_there_is_no_seam(kept: torch.Tensor) -> None:
    near = near_seam(SPHERE, kept)
    assert not near.any()
    weights = seam_weights(SPHERE, near, CAMERAS)
    target = render_on_white(SPHERE, CAMERAS)
    assert seam_psnr(target, target, weights) is None


def test_pixels_of_the_seam_are_those_that_show_it() -> None:
    weights = seam_weights(SPHERE, near_seam(SPHERE, KEPT, 0.05), CAMERAS)
    alpha = SPHERE.render(CAMERAS)[..., 3]
    assert weights.max() > 0.7
    assert float(weights[alpha < 0.01].max()) < 0.01
    assert 0.02 < float((weights > 0.5).float().mean() / (alpha > 0.5).float().mean()) < 0.4


def test_an_error_counts_on_the_seam_only() -> None:
    weights = seam_weights(SPHERE, near_seam(SPHERE, KEPT, 0.05), CAMERAS)
    target = render_on_white(SPHERE, CAMERAS)
    assert seam_psnr(target, target, weights) == 60.0
    assert seam_psnr(target + 0.1, target, weights) == pytest.approx(20.0, abs=1e-3)
    elsewhere = target + 0.5 * (weights == 0)[..., None]
    assert seam_psnr(elsewhere, target, weights) == 60.0


def test_a_jump_of_colour_between_the_sides_shows() -> None:
    """The added side in another colour; the nearer to the true one, the better."""
    weights = seam_weights(SPHERE, near_seam(SPHERE, KEPT, 0.05), CAMERAS)
    target = render_on_white(SPHERE, CAMERAS)
    found = []
    for red in (0.3, 0.6, 0.8):
        sh0 = torch.where(KEPT[:, None, None], SPHERE.sh0, rgb_to_sh0(torch.tensor([red, 0.2, 0.1])))
        found.append(seam_psnr(render_on_white(replace(SPHERE, sh0=sh0), CAMERAS), target, weights))
    assert found[0] < found[1] < found[2]
