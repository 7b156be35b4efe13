"""The original's way from GauPF to Gaussians: an octree by rank, jittered copies, twenty tiny steps.

DiffGS (Zhou et al. 2024), section 3.5, with the released numbers: the cube [-1, 1]³ is split 16, 4, 4 and 4 times
a side; the best fifth of the cells of a level, by rank and whatever their value, is split further; the best K of
the last one are kept, together with K copies that are moved at random by up to 0.001 and then climb 20 steps of
1e-5. (Its optimiser, Adam, is made anew for each step, which makes every step the sign of the gradient.)

All of it asks 9.3 million times for GauPF and follows 13 million gradients. With ``fraction`` below 1 the first two
levels are whole, and only a random share of the cells of the others is asked, ranked, kept and refined; times are
extrapolated by that share, which is linear in what is left out.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from ..timing import Sample, Stopwatch

Probability = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class OriginalExtractionConfig:
    """The original's numbers.

    Args:
        half_side: of the cube that is searched.
        splits: cells that a cell's side becomes, level by level.
        keep_share: of a level's cells that are split further.
        refinement_steps: of the copies.
        step: length of one, in each coordinate.
        reach: most that a copy is moved in each coordinate.
        batch_size: points asked at once; the original's 2^20 take 12 to 15 GB.
        fraction: of the queries that are made.
        whole_levels: first levels that are made whole whatever the fraction.
    """

    half_side: float = 1.0
    splits: tuple[int, ...] = (16, 4, 4, 4)
    keep_share: float = 0.2
    refinement_steps: int = 20
    step: float = 1e-5
    reach: float = 1e-3
    batch_size: int = 2**17
    fraction: float = 1.0
    whole_levels: int = 2


@dataclass(frozen=True)
class RankedCells:
    """Cells of the last level, the most probable last.

    Args:
        centers: [M, 3].
        share: of the level's cells that were asked.
        queries: of GauPF that the whole search makes.
        cost: of the search, extrapolated.
    """

    centers: Tensor
    share: float
    queries: int
    cost: Sample

    def best(self, count: int) -> Tensor:
        """[count · share, 3] centres of the most probable cells, at least one."""
        return self.centers[-max(1, round(count * self.share)) :]


def search(
    probability: Probability, config: OriginalExtractionConfig, generator: torch.Generator | None = None
) -> RankedCells:
    """All levels of the octree.

    Args:
        probability: maps points [M, 3] to values [M].
        config: the numbers.
        generator: draws the share that is asked.
    """
    generator = generator or torch.Generator().manual_seed(0)
    side, share, kept, queries = 2 * config.half_side, 1.0, 1, 0
    centers = torch.zeros(1, 3)
    spent = Sample(0.0, 0.0)
    for level, splits in enumerate(config.splits):
        watch = Stopwatch()
        side /= splits
        centers = _children(centers, splits, side)
        cells = kept * splits**3  # of the whole level
        if level >= config.whole_levels and share > config.fraction:
            count = max(1, round(len(centers) * config.fraction / share))
            centers = centers[torch.randperm(len(centers), generator=generator)[:count]]
            share = config.fraction
        centers = centers[_in_batches(probability, centers, config.batch_size).argsort()]
        last = level == len(config.splits) - 1
        centers = centers if last else centers[int((1 - config.keep_share) * len(centers)) :]
        kept = cells - int((1 - config.keep_share) * cells)
        queries += cells
        spent = spent.followed_by(watch.read(1 / share))
    return RankedCells(centers, share, queries, spent)


def refined_copies(
    probability: Probability, centers: Tensor, config: OriginalExtractionConfig, generator: torch.Generator
) -> Tensor:
    """[M, 3] copies of the centres, jittered and moved uphill.

    Args:
        probability: differentiable.
        centers: [M, 3].
        config: the numbers.
        generator: of the jitter.
    """
    offsets = (torch.rand(centers.shape, generator=generator) * 2 - 1) * config.reach
    for start, stop in _ranges(len(centers), config.batch_size):
        own = offsets[start:stop]
        for _ in range(config.refinement_steps):
            with torch.enable_grad():
                points = (centers[start:stop] + own).requires_grad_()
                (gradient,) = torch.autograd.grad(probability(points).sum(), points)
            own = (own + config.step * gradient.sign()).clamp(-config.reach, config.reach)
        offsets[start:stop] = own
    return centers + offsets


def place_gaussians(
    probability: Probability,
    attributes: Callable[[Tensor], object],
    cells: RankedCells,
    count: int,
    config: OriginalExtractionConfig,
    generator: torch.Generator | None = None,
) -> Sample:
    """What follows the search, for ``count`` Gaussians: half of them cells, half refined copies, then attributes.

    Args:
        probability: differentiable.
        attributes: colour and shape at points [M, 3].
        cells: from :func:`search`.
        count: of Gaussians.
        config: the numbers.
        generator: of the jitter.

    Returns:
        time, extrapolated, without the search; the centres [count · share, 3] as result.
    """
    watch = Stopwatch()
    best = cells.best(count // 2)
    copies = refined_copies(probability, best, config, generator or torch.Generator().manual_seed(0))
    means = torch.cat([best, copies])
    for start, stop in _ranges(len(means), config.batch_size):
        attributes(means[start:stop])
    return watch.read(1 / cells.share, result=means)


def _children(centers: Tensor, splits: int, side: float) -> Tensor:
    """[M · splits³, 3] centres of the cells of ``side`` that cells around ``centers`` [M, 3] are split into."""
    axis = (torch.arange(splits) - (splits - 1) / 2) * side
    offsets = torch.stack(torch.meshgrid(axis, axis, axis, indexing="ij"), dim=-1).reshape(-1, 3)
    return (centers[:, None] + offsets).reshape(-1, 3)


def _in_batches(probability: Probability, points: Tensor, batch_size: int) -> Tensor:
    return torch.cat([probability(points[start:stop]) for start, stop in _ranges(len(points), batch_size)])


def _ranges(count: int, size: int) -> list[tuple[int, int]]:
    """[0, count) in parts of ``size``."""
    return list(pairwise([*range(0, count, size), count]))
