"""How good extracted centres are: GauPF at them, their distance to a dense set of surface points, their picture."""

from __future__ import annotations

from collections.abc import Callable

import torch
from scipy.spatial import cKDTree
from torch import Tensor

from diffgs_diffusers.evaluation.metrics import psnr
from diffgs_diffusers.evaluation.views import evaluation_cameras, render_on_white
from diffgs_diffusers.gaussians import GaussianSplats

Probability = Callable[[Tensor], Tensor]
BATCH = 16384
TRIES = 8


def mean_probability(probability: Probability, means: Tensor) -> float:
    """Mean of GauPF, cut to [0, 1], at the centres [N, 3]."""
    with torch.no_grad():
        values = torch.cat([probability(part).clamp(0, 1) for part in means.split(BATCH)])
    return values.double().mean().item()


def distance_to(means: Tensor, reference: Tensor) -> float:
    """Mean distance from the centres [N, 3] to the nearest of the reference's points [M, 3], object units."""
    return float(cKDTree(reference.numpy()).query(means.numpy())[0].mean())


def chamfer_distance(means: Tensor, reference: Tensor) -> float:
    """Symmetric Chamfer distance, object units: the mean of both mean distances to the other's nearest point."""
    return (distance_to(means, reference) + distance_to(reference, means)) / 2


def picture_psnr(splats: GaussianSplats, reference: GaussianSplats) -> float:
    """Mean PSNR in dB between renders of both, at 256² on white."""
    cameras = evaluation_cameras()
    return float(psnr(render_on_white(splats, cameras), render_on_white(reference, cameras)).mean())


def dense_surface(
    probability: Probability,
    *,
    half_side: float,
    truncation: float,
    count: int,
    resolution: int = 48,
    steps: int = 10,
) -> Tensor:
    """Points all over the ridge of GauPF, found without any of the searches that are compared.

    A regular grid is asked; from random places in the cells next to the surface, points are bisected between
    themselves and where their gradient crosses the ridge.

    Args:
        probability: maps points [M, 3] to values [M], differentiable; 1 − p is δ times the distance to the surface.
        half_side: of the cube that holds the surface.
        truncation: δ.
        count: points wanted.
        resolution: cells along a side of the grid.
        steps: bisections; each halves what is left of the distance.

    Returns:
        [count, 3], fewer if hardly any surface is there.

    Raises:
        ValueError: if no cell is near a surface.
    """
    side = 2 * half_side / resolution
    axis = (torch.arange(resolution) + 0.5) * side - half_side
    grid = torch.stack(torch.meshgrid(axis, axis, axis, indexing="ij"), dim=-1).reshape(-1, 3)
    with torch.no_grad():
        values = torch.cat([probability(part) for part in grid.split(BATCH)])
    near = grid[values >= 0.9 - side / truncation]
    if len(near) == 0:
        raise ValueError(
            f"GauPF reaches at most {values.max():.3f} on a grid of {resolution}³: there is no surface"
        )
    generator = torch.Generator().manual_seed(1)
    found: list[Tensor] = []
    for _ in range(TRIES * -(-count // BATCH)):
        cells = near[torch.randint(len(near), (BATCH,), generator=generator)]
        points = cells + (torch.rand(BATCH, 3, generator=generator) - 0.5) * side
        points, values = _onto_ridge(probability, points, truncation, steps)
        found.append(points[values >= 0.9])
        if sum(map(len, found)) >= count:
            break
    return torch.cat(found)[:count]


def _onto_ridge(probability: Probability, points: Tensor, truncation: float, steps: int) -> tuple[Tensor, Tensor]:
    """Points [M, 3] bisected onto the ridge along their first gradient, and GauPF [M] there.

    On the near side of the ridge GauPF rises along that direction and behind it falls, so the sign of the slope
    says in which half the ridge is.
    """
    values, direction = _value_and_gradient(probability, points)
    direction = torch.nn.functional.normalize(direction, dim=-1)
    low = torch.zeros(len(points))
    high = 2 * (1 - values).clamp(min=0.01) * truncation
    for _ in range(steps):
        middle = (low + high) / 2
        values, gradient = _value_and_gradient(probability, points + direction * middle[:, None])
        rising = (gradient * direction).sum(dim=-1) > 0
        low, high = torch.where(rising, middle, low), torch.where(rising, high, middle)
    return points + direction * ((low + high) / 2)[:, None], values


def _value_and_gradient(probability: Probability, points: Tensor) -> tuple[Tensor, Tensor]:
    with torch.enable_grad():
        points = points.detach().requires_grad_()
        values = probability(points)
        (gradient,) = torch.autograd.grad(values.sum(), points)
    return values.detach(), gradient
