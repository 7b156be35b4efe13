"""Projection and harmonics against gsplat's own torch code; gsplat's rasteriser needs CUDA, these parts do not."""

from __future__ import annotations

import math

import pytest
import torch
from gsplat.cuda._torch_impl import _fully_fused_projection, _quat_scale_to_covar_preci, _spherical_harmonics

from diffgs_diffusers.rendering import rasterization

from . import reference, scenes


@pytest.mark.parametrize("rasterize_mode", ["classic", "antialiased"])
def test_projection(rasterize_mode: str) -> None:
    scene, views = scenes.gaussians(300, seed=5), scenes.cameras(3)
    scene["opacities"] = torch.full((300,), 1.0, dtype=torch.float64)
    size = (scenes.WIDTH, scenes.HEIGHT)
    _, _, meta = rasterization(
        **scene,
        colors=scenes.colors(300, None),
        **views,
        width=size[0],
        height=size[1],
        rasterize_mode=rasterize_mode,
    )
    covars, _ = _quat_scale_to_covar_preci(scene["quats"], scene["scales"], compute_preci=False)
    radii, means2d, depths, conics, compensations = _fully_fused_projection(
        scene["means"], covars, **views, width=size[0], height=size[1], calc_compensations=True
    )
    seen = (meta["radii"] > 0).all(dim=-1)
    if rasterize_mode == "classic":
        # gsplat's torch code knows no opacity-aware radius: at opacity 1 the two bounds are 3.33 and 3.329.
        assert torch.equal(seen, (radii > 0).all(dim=-1))
        assert (meta["radii"] - radii).abs().max() <= 1
        torch.testing.assert_close(meta["opacities"][seen], torch.ones_like(meta["opacities"][seen]))
    else:
        assert not (seen & ~(radii > 0).all(dim=-1)).any()
        # Their compensation subtracts two products that cancel for edge-on discs; 1e-10 is what is left.
        assert (meta["opacities"][seen] ** 2 - compensations[seen] ** 2).abs().max() < 1e-10
    assert 300 < int(seen.sum()) < 900
    for name, expected in (("means2d", means2d), ("conics", conics), ("depths", depths)):
        torch.testing.assert_close(meta[name][seen], expected[seen], rtol=1e-7, atol=1e-9)
        assert not meta[name][~seen].any()


def test_radii_follow_opacity() -> None:
    """Half-axes sqrt(2 ln(255 opacity)) standard deviations long, at most 3.33, rounded up."""
    scene, views = scenes.gaussians(200, seed=6), scenes.cameras(1)
    _, _, meta = rasterization(**scene, colors=scenes.colors(200, None), **views, width=41, height=37)
    _, blurred, _, _ = reference.project(
        scene["means"], scene["quats"], scene["scales"], views["viewmats"][0], views["Ks"][0], 41, 37, 0.3
    )
    extent = (2 * (255 * scene["opacities"]).log()).sqrt().clamp(max=3.33)
    expected = (extent[:, None] * blurred.diagonal(dim1=-2, dim2=-1).sqrt()).ceil()
    seen = (meta["radii"][0] > 0).all(dim=-1)
    assert seen.sum() > 100
    assert torch.equal(meta["radii"][0][seen].double(), expected[seen])


@pytest.mark.parametrize("degree", [0, 1, 2, 3])
def test_harmonics(degree: int) -> None:
    """One huge opaque Gaussian fills the pixel: its colour is 0.999 of the harmonics' sum."""
    generator = torch.Generator().manual_seed(degree)
    for _ in range(8):
        direction = torch.nn.functional.normalize(torch.randn(3, generator=generator, dtype=torch.float64), dim=0)
        coefficients = 0.1 * torch.randn(1, (degree + 1) ** 2, 3, generator=generator, dtype=torch.float64)
        expected = _spherical_harmonics(degree, direction[None], coefficients)[0] + 0.5
        other = reference.spherical_harmonics(degree, direction[None])[0] @ coefficients[0] + 0.5
        torch.testing.assert_close(other, expected, rtol=1e-9, atol=1e-9)
        viewmat = torch.eye(4, dtype=torch.float64)
        right = torch.nn.functional.normalize(torch.linalg.cross(direction, direction.roll(1)), dim=0)
        viewmat[:3, :3] = torch.stack([right, torch.linalg.cross(direction, right), direction])
        image, alpha, _ = rasterization(
            direction[None], torch.tensor([[1.0, 0, 0, 0]], dtype=torch.float64),
            torch.full((1, 3), 100.0, dtype=torch.float64), torch.ones(1, dtype=torch.float64), coefficients,
            viewmat[None], torch.tensor([[[9.0, 0, 1.5], [0, 9.0, 1.5], [0, 0, 1]]], dtype=torch.float64), 3, 3,
            sh_degree=degree,
        )  # fmt: skip
        assert math.isclose(float(alpha[0, 1, 1, 0]), 0.999, rel_tol=1e-9)
        torch.testing.assert_close(image[0, 1, 1] / 0.999, expected.clamp(min=0), rtol=1e-9, atol=1e-9)
