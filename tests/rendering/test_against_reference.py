"""Colours and every gradient against the dense float64 renderer of `reference.py`."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from diffgs_diffusers.rendering import rasterization

from . import reference, scenes

COLOR_TOLERANCE = 1e-5
GRADIENT_TOLERANCE = 1e-4
DIFFERENTIABLE = ("means", "quats", "scales", "opacities", "colors", "viewmats", "backgrounds")


def compare(tensors: dict[str, Tensor], dtype: torch.dtype = torch.float32, **options) -> Tensor:
    """Assert that images and gradients agree; the alphas, so that a test can say what its scene must show."""
    mine = {name: tensor.to(dtype) for name, tensor in tensors.items()}
    theirs = scenes.double_precision(mine)
    size = (scenes.WIDTH, scenes.HEIGHT)
    results, gradients = [], []
    for render, inputs in ((rasterization, mine), (reference.rasterization, theirs)):
        leaves = {name: tensor.clone().requires_grad_(name in DIFFERENTIABLE) for name, tensor in inputs.items()}
        colors, alphas = render(**leaves, width=size[0], height=size[1], **options)[:2]
        generator = torch.Generator().manual_seed(3)
        weights = torch.randn(colors.shape, generator=generator, dtype=torch.float64)
        alpha_weights = torch.randn(alphas.shape, generator=generator, dtype=torch.float64)
        ((colors * weights).sum() + (alphas * alpha_weights).sum()).backward()
        results.append((colors.detach(), alphas.detach()))
        gradients.append({name: leaf.grad for name, leaf in leaves.items() if leaf.requires_grad})
    (colors, alphas), (true_colors, true_alphas) = results
    # A tenth of the bounds in single precision; in double precision the formulas themselves are on trial.
    exact = dtype == torch.float64
    color_bound = 1e-11 if exact else COLOR_TOLERANCE
    assert (colors - true_colors).abs().max() <= color_bound * true_colors.abs().max().clamp(min=1)
    assert (alphas - true_alphas).abs().max() <= color_bound
    for name, true_gradient in gradients[1].items():
        check_gradient(name, gradients[0][name], true_gradient, 1e-9 if exact else GRADIENT_TOLERANCE)
    return alphas


def check_gradient(name: str, gradient: Tensor | None, true_gradient: Tensor | None, tolerance: float) -> None:
    """Relative to the largest entry of the true gradient; no gradient equals a gradient of zeros."""
    if true_gradient is None or not true_gradient.any():
        assert gradient is None or not gradient.any(), name
        return
    assert gradient is not None, name
    error = (gradient - true_gradient).abs().max() / true_gradient.abs().max()
    assert error <= tolerance, f"{name}: relative error {error:.1e}"


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("rasterize_mode", ["classic", "antialiased"])
@pytest.mark.parametrize("sh_degree", [0, 1, 2, 3])
def test_spherical_harmonics(sh_degree: int, rasterize_mode: str, dtype: torch.dtype) -> None:
    tensors = {**scenes.gaussians(120, seed=sh_degree), **scenes.cameras(2)}
    tensors["colors"] = scenes.colors(120, sh_degree)
    alphas = compare(tensors, dtype, sh_degree=sh_degree, rasterize_mode=rasterize_mode)
    assert alphas.max() > 0.98 and alphas.min() < 0.2


@pytest.mark.parametrize("rasterize_mode", ["classic", "antialiased"])
@pytest.mark.parametrize("channels", [1, 3, 4, 7])
def test_direct_colors_and_backgrounds(channels: int, rasterize_mode: str) -> None:
    tensors = {**scenes.gaussians(120, seed=21), **scenes.cameras(3)}
    tensors["colors"] = scenes.colors(120, None, channels=channels)
    tensors["backgrounds"] = torch.linspace(0.1, 0.9, 3 * channels, dtype=torch.float64).reshape(3, channels)
    compare(tensors, rasterize_mode=rasterize_mode)


@pytest.mark.parametrize("sh_degree", [None, 2])
@pytest.mark.parametrize("render_mode", ["D", "ED", "RGB+D", "RGB+ED"])
def test_render_modes(render_mode: str, sh_degree: int | None) -> None:
    tensors = {**scenes.gaussians(100, seed=31), **scenes.cameras(2)}
    tensors["colors"] = scenes.colors(100, sh_degree)
    tensors["backgrounds"] = torch.full((2, 3), 0.7, dtype=torch.float64)
    compare(tensors, sh_degree=sh_degree, render_mode=render_mode, rasterize_mode="antialiased")


@pytest.mark.parametrize("sh_degree", [None, 1])
def test_colors_per_camera(sh_degree: int | None) -> None:
    tensors = {**scenes.gaussians(80, seed=41), **scenes.cameras(2)}
    tensors["colors"] = scenes.colors(80, sh_degree, per_camera=2)
    compare(tensors, sh_degree=sh_degree)


def test_more_coefficients_than_the_degree_uses() -> None:
    tensors = {**scenes.gaussians(60, seed=43), **scenes.cameras(1)}
    tensors["colors"] = scenes.colors(60, 3)
    compare(tensors, sh_degree=1)


@pytest.mark.parametrize("rasterize_mode", ["classic", "antialiased"])
def test_near_plane(rasterize_mode: str) -> None:
    """Centres just before and behind the camera: J's slopes reach their limits, footprints cover the image."""
    tensors = {**scenes.gaussians(60, seed=51), **scenes.cameras(1), "colors": scenes.colors(60, None)}
    tensors["viewmats"] = torch.eye(4, dtype=torch.float64)[None]
    tensors["means"] = tensors["means"] * torch.tensor([0.3, 0.3, 0.1], dtype=torch.float64)
    tensors["opacities"] = tensors["opacities"] * 0.3
    assert (tensors["means"][:, 2] < 0.05).any() and (tensors["means"][:, 2] > 0.05).any()
    compare(tensors, near_plane=0.05, rasterize_mode=rasterize_mode)


@pytest.mark.parametrize("rasterize_mode", ["classic", "antialiased"])
def test_far_plane_and_off_screen(rasterize_mode: str) -> None:
    """Centres outside the image on all sides, whose tails reach in, and beyond J's limits."""
    tensors = {**scenes.gaussians(100, seed=61), **scenes.cameras(1), "colors": scenes.colors(100, None)}
    tensors["means"] = tensors["means"] * torch.tensor([1.2, 1.2, 0.3], dtype=torch.float64)
    tensors["scales"] = tensors["scales"] * 3
    tensors["opacities"] = tensors["opacities"] * 0.5
    compare(tensors, far_plane=1.9, rasterize_mode=rasterize_mode)


@pytest.mark.parametrize("eps2d", [0.0, 1.3])
@pytest.mark.parametrize("rasterize_mode", ["classic", "antialiased"])
def test_low_pass(eps2d: float, rasterize_mode: str) -> None:
    tensors = {**scenes.gaussians(60, seed=71), **scenes.cameras(1), "colors": scenes.colors(60, None)}
    # Without a low-pass the reference's own determinants lose the digits of edge-on discs.
    tensors["scales"] = tensors["scales"].clamp(min=0.03)
    compare(tensors, eps2d=eps2d, rasterize_mode=rasterize_mode)


def test_long_lists_close_pixels() -> None:
    """Hundreds of Gaussians over each other: transmittance runs through its whole range."""
    tensors = {**scenes.gaussians(600, seed=81), **scenes.cameras(1), "colors": scenes.colors(600, None)}
    tensors["means"] = tensors["means"] * 0.2
    alphas = compare(tensors, rasterize_mode="antialiased")
    assert (alphas > 0.9998).sum() > 100


def test_view_matrix_that_is_not_rigid() -> None:
    """A view matrix under optimisation drifts from a rotation; gradients follow its full inverse."""
    tensors = {**scenes.gaussians(60, seed=91), **scenes.cameras(1), "colors": scenes.colors(60, 3)}
    tensors["viewmats"] = tensors["viewmats"].clone()
    tensors["viewmats"][:, :3, :3] *= torch.tensor([1.05, 0.97, 1.1], dtype=torch.float64)
    compare(tensors, sh_degree=3)


@pytest.mark.parametrize("slant", [0.6, 0.785, -0.785, 1.2])
def test_a_slanted_needle_of_a_thousand_pixels(slant: float) -> None:
    """Single precision holds it as well as double does: its conic may not be rounded."""
    size, half = 1024, slant / 2
    alphas = []
    for dtype in (torch.float32, torch.float64):
        tensors = {
            "means": [[0.03, 0.02, 1.0]],
            "quats": [[math.cos(half), 0.0, 0.0, math.sin(half)]],
            "scales": [[1.0, 1e-4, 1e-4]],
            "opacities": [0.9],
            "colors": [[1.0, 1.0, 1.0]],
            "viewmats": torch.eye(4)[None],
            "Ks": [[[1024.0, 0.0, 512.0], [0.0, 1024.0, 512.0], [0.0, 0.0, 1.0]]],
        }
        # Rounded first, so that both draw the same needle.
        given = {name: torch.as_tensor(value, dtype=torch.float32).to(dtype) for name, value in tensors.items()}
        alphas.append(rasterization(**given, width=size, height=size)[1].double())
    assert (alphas[1] > 0.5).sum() > 500
    assert (alphas[0] - alphas[1]).abs().max() < 1.01 / 255, "whole pixels where it ends, as they round"
    inside = alphas[1] > 0.02
    assert (alphas[0] - alphas[1]).abs()[inside].max() < 1e-3
