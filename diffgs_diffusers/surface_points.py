"""Points on the surface that GauPF describes, as many as are wanted and evenly spread (DiffGS, section 3.5).

Octree search finds the cells that hold surface, random points in them are moved uphill in GauPF onto it, and an
even subset of the exact size is kept.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor, nn

from .extraction_settings import ExtractionConfig, Precision
from .functional.linear import pack_weights
from .functional.octree import Cells, surface_cells
from .functional.poisson_disk import progressive_poisson_disk
from .functional.threads import map_parts
from .models.base_vae import BaseGaussianVAE
from .models.constant import constant_copy
from .models.heads import FunctionHeads

_DRAW = 32768  # points drawn at once; the result must not depend on `chunk_size`
_LAYER = 1 << 19  # values of a layer that stay in the cache until the next one reads them
_LEAST_CHUNK = 2048  # points; with fewer, what is done once for each chunk takes longer than their products
_STEEP = 0.5  # slope of GauPF, 1 / δ for a distance, below which it is taken for that of a rounded ridge
_MOST_TRIES = 8  # points drawn per candidate wanted, before a search that hardly finds surface gives up


class EmptySurfaceError(ValueError):
    """GauPF reaches the surface threshold nowhere: there is nothing to extract."""


def surface_points(
    vae: BaseGaussianVAE, planes: Tensor, num_points: int, generator: torch.Generator, config: ExtractionConfig
) -> Tensor:
    """[num_points, 3] on the surface, in progressive order: every prefix is evenly spread, too.

    Args:
        vae: whose heads read the planes.
        planes: [3, C, R, R] feature planes of one object, in which gradients may be followed.
        num_points: N ≥ 1.
        generator: draws the candidates.
        config: the search's settings.

    Raises:
        EmptySurfaceError: if no point of the box has a probability above the threshold.
    """
    wanted = max(math.ceil(num_points * config.oversampling), config.min_candidates)
    points = SurfaceSearch(vae, planes, config).candidates(wanted, generator)
    if len(points) == 0:
        raise EmptySurfaceError(
            f"The probability stays below {config.threshold} everywhere: these planes describe no surface."
        )
    while len(points) < num_points:  # a surface of a few points: fill up around them
        jitter = torch.randn(points.shape, generator=generator, device=generator.device).to(points) * 1e-3
        points = torch.cat([points, points + jitter])
    chosen = progressive_poisson_disk(points.cpu().numpy(), num_points)
    points = points[torch.from_numpy(chosen).to(points.device)]
    if config.precision == "float32":
        return points
    exact = SurfaceSearch(vae, planes, replace(config, precision="float32"))
    # Draw by draw, as results of many chunks that wait to be joined scatter the threads' memory.
    moved = [exact.in_chunks(lambda part: exact.step(part)[0], some) for some in points.split(_DRAW)]
    return torch.cat(moved)


class SurfaceSearch:
    """The search for one object's surface in one precision; arguments as of :func:`surface_points`."""

    def __init__(self, vae: BaseGaussianVAE, planes: Tensor, config: ExtractionConfig) -> None:
        self.vae, self.config, self.device = vae, config, planes.device
        self.values = constant_heads(vae.heads, config.precision).probability_of(planes)
        self.chunk_size = points_at_once(vae.heads, config.chunk_size)

    @property
    def is_fast(self) -> bool:
        """Whether values are too coarse to tell which of two points lies higher."""
        return self.config.precision == "bfloat16"

    def cells(self) -> Cells:
        """The octree's last cells."""
        return surface_cells(
            lambda points: self.in_chunks(self.values, points),
            half_side=(1 + self.vae.config.padding) / 2,
            start_resolution=self.config.start_resolution,
            depth=self.config.octree_depth,
            threshold=self.config.threshold,
            slope=1 / self.vae.config.truncation,
            device=self.device,
        )

    def candidates(self, wanted: int, generator: torch.Generator) -> Tensor:
        """[M, 3] points on the surface, scattered at random; M = ``wanted`` unless hardly any point arrives."""
        cells = self.cells()
        found = torch.empty(wanted, 3, device=self.device)
        count = tried = 0
        while count < wanted and tried < _MOST_TRIES * wanted and len(cells.centers):
            points, drawn = random_points(cells, _DRAW, generator)
            moved = self.in_chunks(self.approached if self.is_fast else self.moved_uphill, points)[drawn]
            arrived = moved[moved[:, 3] >= self.config.threshold, :3][: wanted - count]
            found[count : count + len(arrived)] = arrived
            count, tried = count + len(arrived), tried + len(points)
        return found[:count]

    def moved_uphill(self, points: Tensor) -> Tensor:
        """Points [M, 3] moved onto the ridge of GauPF, with the value there: [M, 4].

        1 − p is a truncated distance, so a point is about (1 − p) δ away from the surface along the gradient, as in
        marching along a distance field. Where such a step ends lower it has crossed the ridge, whose decoded height
        is seldom quite 1: the next one starts again from the best position with half the length.
        """
        values, gradients = self.values_and_gradients(points)
        directions = nn.functional.normalize(gradients, dim=-1)
        share = torch.full_like(values, 0.9)  # of the distance that is gone in a step
        for remaining in reversed(range(self.config.refinement_steps)):
            length = share * (1 - values).clamp(min=0) * self.vae.config.truncation
            tried = points + directions * length[:, None]
            if remaining:
                found, gradients = self.values_and_gradients(tried)
                onward = nn.functional.normalize(gradients, dim=-1)
            else:  # nobody goes on from the last one, and a gradient costs more than a value
                found, onward = self.values(tried), directions
            better = found > values
            share = torch.where(better, share, share / 2)
            points = torch.where(better[:, None], tried, points)
            directions = torch.where(better[:, None], onward, directions)
            values = torch.where(better, found, values)
        return torch.cat([points, values[:, None]], dim=1)

    def approached(self, points: Tensor) -> Tensor:
        """Points [M, 3] moved towards the ridge without looking back, and the value [M, 4] before the last step."""
        for _ in range(self.config.refinement_steps):
            points, values = self.step(points)
        return torch.cat([points, values[:, None]], dim=1)

    def step(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """Points [M, 3] one damped Newton step nearer to the ridge, and the values [M] that they had before it.

        On the way up GauPF is as steep as a distance, or nearly; the ridge that a decoder makes is rounded and its
        height is seldom quite 1, so the step vanishes with the gradient.
        """
        values, gradients = self.values_and_gradients(points)
        slope = gradients.norm(dim=-1) * self.vae.config.truncation
        length = (1 - values).clamp(min=0) * self.vae.config.truncation * slope / slope.clamp(min=_STEEP).square()
        return points + nn.functional.normalize(gradients, dim=-1) * length[:, None], values

    def values_and_gradients(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """GauPF [M] at points [M, 3], and its gradients [M, 3]."""
        with torch.enable_grad():
            points = points.detach().requires_grad_()
            values = self.values(points)
            (gradients,) = torch.autograd.grad(values.sum(), points)
        return values.detach(), gradients

    def in_chunks(self, function: Callable[[Tensor], Tensor], points: Tensor) -> Tensor:
        """The function's values on all points, so many of them at a time that they stay in the cache."""
        if len(points) == 0:
            return points.new_zeros(0)
        return torch.cat(map_parts(function, points.split(self.chunk_size), points.device))


def points_at_once(heads: FunctionHeads, chunk_size: int | None = None) -> int:
    """How many points to ask the heads about at once, where ``chunk_size`` does not say it."""
    widths = (layer.out_features for layer in heads.modules() if isinstance(layer, nn.Linear))
    return chunk_size or max(_LEAST_CHUNK, _LAYER // max(widths, default=_LAYER))


def constant_heads(heads: FunctionHeads, precision: Precision) -> FunctionHeads:
    """A copy in this precision whose weights follow no gradient: points alone do, which takes half the products.

    They are never to be changed, nor are those copied: they share memory, and on the CPU they are laid out for its
    products once.
    """
    copied = constant_copy(heads)
    if precision == "bfloat16":
        copied = copied.to(torch.bfloat16)
    pack_weights(copied)
    return copied


def random_points(cells: Cells, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """[count, 3] uniform over the volume of the cells, one cell after another; and the order they were drawn in.

    What one point reads of the planes is still in the cache when its neighbour comes.
    """
    device = cells.centers.device
    index = torch.randint(len(cells.centers), (count,), generator=generator, device=generator.device)
    offsets = (torch.rand(count, 3, generator=generator, device=generator.device) - 0.5) * cells.side
    index, order = index.to(device).sort(stable=True)
    return cells.centers[index] + offsets.to(cells.centers)[order], order.argsort()
