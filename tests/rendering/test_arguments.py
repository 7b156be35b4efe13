"""Wrong arguments: one error each, which names the argument and its rule."""

from __future__ import annotations

import pytest
import torch

from diffgs_diffusers.rendering import rasterization

from . import scenes
from .scenes import scene

SIZE = {"width": scenes.WIDTH, "height": scenes.HEIGHT}


@pytest.mark.parametrize(
    ("name", "shape", "message"),
    [
        ("means", (50, 2), r"means must have shape \[50, 3\], got \[50, 2\]"),
        ("means", (50,), r"means must have shape \[N, 3\]"),
        ("quats", (49, 4), r"quats must have shape \[50, 4\], got \[49, 4\]"),
        ("scales", (50,), r"scales must have shape \[50, 3\]"),
        ("opacities", (50, 1), r"opacities must have shape \[50\]"),
        ("colors", (49, 3), r"colors must have shape \[50, D\] or \[2, 50, D\]"),
        ("colors", (50, 0), r"D above 0"),
        ("viewmats", (2, 3, 4), r"viewmats must have shape \[2, 4, 4\]"),
        ("viewmats", (0, 4, 4), r"C above 0"),
        ("Ks", (1, 3, 3), r"Ks must have shape \[2, 3, 3\]"),
        ("backgrounds", (3,), r"backgrounds must have shape \[2, 3\]"),
        ("backgrounds", (2, 4), r"backgrounds must have shape \[2, 3\]"),
    ],
)
def test_wrong_shapes(name: str, shape: tuple[int, ...], message: str) -> None:
    tensors = {**scene(), name: torch.zeros(shape)}
    with pytest.raises(ValueError, match=message):
        rasterization(**tensors, **SIZE)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"render_mode": "rgb"}, "render_mode must be one of RGB, D, ED, RGB.D, RGB.ED, got 'rgb'"),
        ({"rasterize_mode": "fast"}, "rasterize_mode must be one of classic, antialiased"),
        ({"width": 0}, "width must be at least 1 pixel, got 0"),
        ({"height": -3}, "height must be at least 1 pixel, got -3"),
        ({"near_plane": 0.0}, "near_plane must be above 0"),
        ({"near_plane": 2.0, "far_plane": 1.0}, "below far_plane"),
        ({"eps2d": -0.1}, "eps2d must be 0 or more"),
        ({"sh_degree": 4}, "sh_degree must be None or 0 to 3, got 4"),
        ({"sh_degree": 1}, r"colors must have shape \[50, K, 3\] or \[2, 50, K, 3\] with K at least 4"),
    ],
)
def test_wrong_options(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        rasterization(**scene(), **{**SIZE, **options})


def test_wrong_types_and_devices() -> None:
    with pytest.raises(TypeError, match=r"scales must be torch.float32 like means, got torch.float64"):
        tensors = scene()
        rasterization(**{**tensors, "scales": tensors["scales"].double()}, **SIZE)
    with pytest.raises(TypeError, match=r"means must be torch.float32 or torch.float64 on cpu, got torch.float16"):
        rasterization(**{name: tensor.half() for name, tensor in scene().items()}, **SIZE)
    with pytest.raises(ValueError, match="quats must be on cpu like means, got meta"):
        tensors = scene()
        rasterization(**{**tensors, "quats": tensors["quats"].to("meta")}, **SIZE)
    with pytest.raises(ValueError, match="means must be on the CPU or on CUDA, got meta"):
        rasterization(**{name: tensor.to("meta") for name, tensor in scene().items()}, **SIZE)
