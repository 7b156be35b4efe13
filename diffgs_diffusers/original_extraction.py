"""The original's way from GauPF to Gaussians: an octree by rank, jittered copies, twenty tiny steps.

DiffGS (Zhou et al. 2024), section 3.5, with the released numbers: the cube [-1, 1]³ is split 16, 4, 4 and 4 times
a side; the best fifth of the cells of a level, by rank and whatever their value, is split further; the best K of
the last one are kept, together with K copies that are moved at random by up to 0.001 and then climb 20 steps of
1e-5. (Its optimiser, Adam, is made anew for each step, which makes every step the sign of the gradient.) For
1.3 million Gaussians GauPF is asked 9.3 million times and 13 million gradients are followed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import replace

import torch
from torch import Tensor

from .extraction import extract_gaussians, gaussians_at
from .extraction_settings import ExtractionConfig, OriginalExtractionConfig, check_count
from .gaussians import GaussianSplats
from .models.base_vae import BaseGaussianVAE
from .surface_points import constant_heads

Probability = Callable[[Tensor], Tensor]
Thinning = Callable[[int, Tensor], Tensor]


def extract(
    vae: BaseGaussianVAE,
    planes: Tensor,
    num_gaussians: int,
    *,
    generator: torch.Generator | None = None,
    config: ExtractionConfig | OriginalExtractionConfig,
) -> GaussianSplats:
    """Exactly ``num_gaussians`` Gaussians from one object's functions, the way that ``config`` belongs to.

    Args and errors as in :func:`~diffgs_diffusers.extraction.extract_gaussians` and :func:`extract_original`.
    """
    if isinstance(config, OriginalExtractionConfig):
        return extract_original(vae, planes, num_gaussians, generator=generator, config=config)
    return extract_gaussians(vae, planes, num_gaussians, generator=generator, config=config)


@torch.inference_mode(False)  # refinement follows gradients
@torch.no_grad()
def extract_original(
    vae: BaseGaussianVAE,
    planes: Tensor,
    num_gaussians: int = 1_300_000,
    *,
    generator: torch.Generator | None = None,
    config: OriginalExtractionConfig | None = None,
) -> GaussianSplats:
    """The original's Gaussians: the most probable cells, then a refined copy of each.

    They are found whatever the values of GauPF are, so an object without a surface gets as many as any other. Cells
    lie on the octree's grid; the original's own arithmetic shears it, by up to a cell at the last level.

    Args:
        vae: whose heads read the planes.
        planes: [3, C, R, R] feature planes of one object.
        num_gaussians: N; the original makes 1,300,000.
        generator: of the copies' jitter, on the CPU; None is a fixed seed.
        config: the numbers.

    Returns:
        N Gaussians, half of them cells from the least probable on, then the copies in the same order.

    Raises:
        ValueError: if the count is below 1 or above twice the cells of the octree's last level.
    """
    config = config or OriginalExtractionConfig()
    if num_gaussians < 1:
        raise ValueError(f"`num_gaussians` must be at least 1, got {num_gaussians}.")
    check_count(num_gaussians, config)
    generator = generator or torch.Generator().manual_seed(0)
    planes = planes.clone()  # tensors of inference mode cannot take part in a gradient
    heads = constant_heads(vae.heads, "float32")

    def probability(points: Tensor) -> Tensor:
        return heads.probability(planes[None], points[None])[0]

    *_, cells = search_levels(probability, config, device=planes.device)
    best = cells[-math.ceil(num_gaussians / 2) :]
    means = torch.cat([best, refined_copies(probability, best, config, generator)[: num_gaussians // 2]])
    units = torch.ones_like(means[:, 0]) if vae.heads.has_absolute_scales else None
    splats = gaussians_at(vae, planes, means, config.batch_size, units)
    opacities = torch.full_like(splats.opacities, config.opacity)
    return replace(splats, opacities=opacities, scales=splats.scales**config.scale_exponent)


def search_levels(
    probability: Probability,
    config: OriginalExtractionConfig,
    thin: Thinning = lambda level, centers: centers,
    device: torch.device | str | None = None,
) -> Iterator[Tensor]:
    """The octree, level by level.

    Args:
        probability: maps points [M, 3] to values [M].
        config: the numbers.
        thin: which of a level's cells are asked, of (level, centres).
        device: where the centres are made.

    Yields:
        [M, 3] centres of the cells of a level that were asked, the most probable last.
    """
    side = 2 * config.half_side
    kept = torch.zeros(1, 3, device=device)
    for level, splits in enumerate(config.splits):
        side /= splits
        centers = thin(level, split_cells(kept, splits, side))
        values = torch.cat([probability(part) for part in centers.split(config.batch_size)])
        centers = centers[values.argsort()]
        yield centers
        kept = centers[len(centers) - config.num_kept(len(centers)) :]


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
    drawn = torch.rand(centers.shape, generator=generator, device=generator.device)
    offsets = (drawn * 2 - 1).to(centers) * config.reach
    moved = []
    for around, own in zip(centers.split(config.batch_size), offsets.split(config.batch_size)):
        for _ in range(config.refinement_steps):
            with torch.enable_grad():
                points = (around + own).requires_grad_()
                (gradient,) = torch.autograd.grad(probability(points).sum(), points)
            own = (own + config.step * gradient.sign()).clamp(-config.reach, config.reach)
        moved.append(around + own)
    return torch.cat(moved)


def split_cells(centers: Tensor, splits: int, side: float) -> Tensor:
    """[M · splits³, 3] centres of the cells of ``side`` that cells around ``centers`` [M, 3] are split into."""
    axis = (torch.arange(splits, device=centers.device) - (splits - 1) / 2) * side
    offsets = torch.stack(torch.meshgrid(axis, axis, axis, indexing="ij"), dim=-1).reshape(-1, 3)
    return (centers[:, None] + offsets).reshape(-1, 3)
