"""What the original's extraction costs, measured whole or on a share of it.

All of it asks 9.3 million times for GauPF and follows 13 million gradients. With a fraction below 1 the first two
levels of its octree are whole, and only a random share of the cells of the others is asked, ranked, kept and
refined; times are extrapolated by that share, which is linear in what is left out.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from diffgs_diffusers.extraction_settings import OriginalExtractionConfig
from diffgs_diffusers.original_extraction import Probability, refined_copies, search_levels

from ..timing import Sample, Stopwatch

WHOLE_LEVELS = 2


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
    probability: Probability,
    config: OriginalExtractionConfig,
    fraction: float = 1.0,
    generator: torch.Generator | None = None,
) -> RankedCells:
    """All levels of the octree.

    Args:
        probability: maps points [M, 3] to values [M].
        config: the numbers.
        fraction: of the queries that are made.
        generator: draws the share that is asked.
    """
    generator = generator or torch.Generator().manual_seed(0)
    share, kept, queries = 1.0, 1, 0

    def thin(level: int, centers: Tensor) -> Tensor:
        nonlocal share
        if level < WHOLE_LEVELS or share <= fraction:
            return centers
        count = max(1, round(len(centers) * fraction / share))
        share = fraction
        return centers[torch.randperm(len(centers), generator=generator)[:count]]

    spent, watch = Sample(0.0, 0.0), Stopwatch()
    for splits, found in zip(config.splits, search_levels(probability, config, thin), strict=True):
        spent, watch = spent.followed_by(watch.read(1 / share)), Stopwatch()
        cells = kept * splits**3  # of the whole level
        kept, queries, centers = config.num_kept(cells), queries + cells, found
    return RankedCells(centers, share, queries, spent)


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
    for part in means.split(config.batch_size):
        attributes(part)
    return watch.read(1 / cells.share, result=means)
