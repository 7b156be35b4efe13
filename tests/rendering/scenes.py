"""Small random scenes for the rendering tests, with every difficulty the kernels have a branch for."""

from __future__ import annotations

import torch
from torch import Tensor

from .reference import rotation_matrices

WIDTH, HEIGHT = 41, 37  # three tiles by three, the last ones cut


def uniform(generator: torch.Generator, *shape: int) -> Tensor:
    return torch.rand(*shape, generator=generator, dtype=torch.float64)


def gaussians(count: int, seed: int = 0) -> dict[str, Tensor]:
    """Gaussians in front of, beside, across and behind the cameras of `cameras`; quaternions not normalised."""
    generator = torch.Generator().manual_seed(seed)
    means = (uniform(generator, count, 3) - 0.5) * torch.tensor([3.0, 3.0, 4.0], dtype=torch.float64)
    scales = uniform(generator, count, 3) * 0.2 + 0.01
    scales[::5, 1] = 1e-4  # discs, many of them seen edge-on
    opacities = uniform(generator, count) * 0.9 + 0.02
    opacities[::7] = 1.0  # reach the alpha ceiling and close pixels
    return {
        "means": means,
        "quats": torch.randn(count, 4, generator=generator, dtype=torch.float64),
        "scales": scales,
        "opacities": opacities,
    }


def cameras(count: int) -> dict[str, Tensor]:
    """Cameras that look along +z from different places, with unequal focal lengths and an off-centre axis."""
    generator = torch.Generator().manual_seed(count)
    viewmats = torch.eye(4, dtype=torch.float64).repeat(count, 1, 1)
    turns = torch.tensor([[1.0, 0.0, 0.0, 0.0]], dtype=torch.float64) + 0.15 * uniform(generator, count, 4)
    viewmats[:, :3, :3] = rotation_matrices(turns)
    viewmats[:, :3, 3] = torch.tensor([0.1, -0.1, 1.5], dtype=torch.float64) + 0.2 * uniform(generator, count, 3)
    K = torch.tensor([[40.0, 0.0, 21.0], [0.0, 44.0, 18.0], [0.0, 0.0, 1.0]], dtype=torch.float64)
    return {"viewmats": viewmats, "Ks": K.repeat(count, 1, 1)}


def colors(count: int, sh_degree: int | None, per_camera: int | None = None, channels: int = 3) -> Tensor:
    """Direct colours [N,D], or harmonics [N,K,3] strong enough for some colours to fall below zero."""
    generator = torch.Generator().manual_seed(11)
    lead = (count,) if per_camera is None else (per_camera, count)
    if sh_degree is None:
        return uniform(generator, *lead, channels)
    return 0.5 * torch.randn(*lead, (sh_degree + 1) ** 2, 3, generator=generator, dtype=torch.float64)


def single_precision(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The same scene rounded to float32; `double_precision` of it is what the reference must be given."""
    return {name: tensor.float() for name, tensor in tensors.items()}


def double_precision(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The same values as float64, without a graph."""
    return {name: tensor.detach().double() for name, tensor in tensors.items()}


def scene(count: int = 50, views: int = 2, sh_degree: int | None = None) -> dict[str, Tensor]:
    """Gaussians, cameras and colours in single precision, by the front door's argument names."""
    return single_precision({**gaussians(count), **cameras(views), "colors": colors(count, sh_degree)})
