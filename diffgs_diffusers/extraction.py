"""From Gaussian functions to Gaussians: any number of them, evenly spread over the surface (DiffGS, section 3.5).

Octree search finds the cells that hold surface, random points in them are moved uphill in GauPF onto it, an even
subset of the exact size is kept, and GauCF and GauTF give every point its colour, shape and opacity.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from .extraction_settings import ExtractionConfig
from .functional.octree import Cells, surface_cells
from .functional.poisson_disk import progressive_poisson_disk
from .functional.sharing import equal_sharing
from .functional.spacing import coarse_spacing, even_spacing, local_spacing
from .gaussians import GaussianSplats
from .models.base_vae import BaseGaussianVAE

_DRAW = 32768  # points drawn at once; the result must not depend on `chunk_size`
_MOST_TRIES = 8  # points drawn per candidate wanted, before a search that hardly finds surface gives up


class EmptySurfaceError(ValueError):
    """GauPF reaches the surface threshold nowhere: there is nothing to extract."""


@torch.inference_mode(False)  # the search follows gradients, which inference mode refuses even under enable_grad
@torch.no_grad()
def extract_gaussians(
    vae: BaseGaussianVAE,
    planes: Tensor,
    num_gaussians: int,
    *,
    generator: torch.Generator | None = None,
    config: ExtractionConfig | None = None,
) -> GaussianSplats:
    """Samples exactly ``num_gaussians`` Gaussians from one object's functions.

    Args:
        vae: whose heads read the planes.
        planes: [3, C, R, R] feature planes of one object.
        num_gaussians: N ≥ 1.
        generator: draws the candidates; one of the CPU draws the same ones whatever the device of the planes. None
            is a fixed seed.
        config: the search's settings.

    Returns:
        N Gaussians in progressive order: the first n of them are an evenly spread smaller set. Scales and
            opacities fit N; :meth:`GaussianSplats.first` makes them fit n.

    Raises:
        ValueError: if the count is below 1 or the planes are not [3, C, R, R].
        EmptySurfaceError: if no point of the box has a probability above the threshold.
    """
    if num_gaussians < 1:
        raise ValueError(f"`num_gaussians` must be at least 1, got {num_gaussians}.")
    if planes.ndim != 4 or planes.shape[0] != 3:
        raise ValueError(f"`planes` must be [3, C, R, R], got {list(planes.shape)}.")
    config = config or ExtractionConfig()
    generator = generator or torch.Generator().manual_seed(0)
    # Channels last, as they are read; and a copy, as tensors of inference mode cannot take part in a gradient.
    planes = planes.permute(0, 2, 3, 1).clone(memory_format=torch.contiguous_format).permute(0, 3, 1, 2)[None]

    def probability(points: Tensor) -> Tensor:
        return _in_chunks(lambda part: vae.heads.probability(planes, part[None])[0], points, config.chunk_size)

    cells = surface_cells(
        probability,
        half_side=(1 + vae.config.padding) / 2,
        start_resolution=config.start_resolution,
        depth=config.octree_depth,
        threshold=config.threshold,
        slope=1 / vae.config.truncation,
        device=planes.device,
    )
    means = _surface_points(vae, planes, cells, num_gaussians, generator, config)
    spacing = even_spacing(means)
    units = config.relative_scale * vae.heads.scale_units(spacing)
    splats = gaussians_at(vae, planes[0], means, config.chunk_size, units)
    return share_crowded(vae, planes[0], splats, spacing, config.finest_spacing, config.chunk_size)


def share_crowded(
    vae: BaseGaussianVAE,
    planes: Tensor,
    splats: GaussianSplats,
    spacing: Tensor,
    finest_spacing: float,
    chunk_size: int = 4096,
) -> GaussianSplats:
    """Gaussians that lie closer together than their functions' finest detail, larger and sharing their opacity.

    Args:
        vae: whose sharing head, if it has one, knows more than how close they lie.
        planes: [3, C, R, R] feature planes of the object.
        splats: as the functions describe them, in progressive order.
        spacing: [N] of their centres, by :func:`~diffgs_diffusers.functional.spacing.even_spacing`, object units.
        finest_spacing: in cells of the planes, as in :class:`ExtractionConfig`.
        chunk_size: Gaussians evaluated at once.
    """
    cell = (1 + vae.config.padding) / planes.shape[-1]
    spacing = spacing / cell
    if not (spacing < finest_spacing).any():
        return splats
    if vae.sharing is None:
        growth, share = equal_sharing(spacing, finest_spacing)
    else:
        known = (spacing, coarse_spacing(splats.means) / cell, splats.scales / cell / spacing[:, None])
        parts = [slice(start, start + chunk_size) for start in range(0, len(splats), chunk_size)]
        told = [
            vae.sharing(
                vae.heads.features(planes[None], splats.means[None, part])[0],
                *(value[part] for value in known),
                splats.opacities[part],
                finest_spacing,
            )
            for part in parts
        ]
        growth, share = (torch.cat(values) for values in zip(*told, strict=True))
    return replace(splats, scales=splats.scales * growth.exp()[:, None], opacities=splats.opacities * share.exp())


@torch.no_grad()
def reconstruct_gaussians(
    vae: BaseGaussianVAE,
    splats: GaussianSplats,
    num_gaussians: int,
    *,
    generator: torch.Generator | None = None,
    config: ExtractionConfig | None = None,
) -> GaussianSplats:
    """An object through the VAE: encoded to the posterior's mode, decoded, extracted.

    Args and errors as in :func:`extract_gaussians`.
    """
    planes = vae.decode(vae.encode(splats).latent_dist.mode()).planes[0]
    return extract_gaussians(vae, planes, num_gaussians, generator=generator, config=config)


@torch.no_grad()
def gaussians_at(
    vae: BaseGaussianVAE, planes: Tensor, means: Tensor, chunk_size: int = 4096, units: Tensor | None = None
) -> GaussianSplats:
    """The Gaussians that GauCF and GauTF describe at given centres.

    Args:
        vae: whose heads read the planes.
        planes: [3, C, R, R] feature planes of one object.
        means: [N, 3] centres.
        chunk_size: points evaluated at once.
        units: [N] what a scale of 1 means, in object units; None is what fits the local spacing of the centres.
    """
    units = vae.heads.scale_units(_spacing(means)) if units is None else units
    whole: list[Tensor] = []  # filled in place: a list of parts to join would need twice the memory
    for start in range(0, len(means), chunk_size):
        place = slice(start, start + chunk_size)
        sh, scales, quats, opacities = vae.heads.attributes(planes[None], means[None, place])
        scales = scales * units[None, place, None]
        values = [value[0] for value in (quats, scales, opacities, sh[..., :1, :], sh[..., 1:, :])]
        whole = whole or [value.new_empty(len(means), *value.shape[1:]) for value in values]
        for stored, value in zip(whole, values, strict=True):
            stored[place] = value
    return GaussianSplats(means, *whole)


def _spacing(means: Tensor) -> Tensor:
    """[N] local spacing of the centres."""
    return torch.from_numpy(local_spacing(means.detach().cpu().numpy())).to(means)


def _surface_points(
    vae: BaseGaussianVAE,
    planes: Tensor,
    cells: Cells,
    num_gaussians: int,
    generator: torch.Generator,
    config: ExtractionConfig,
) -> Tensor:
    """[N, 3] evenly spread points where GauPF is high."""
    wanted = max(math.ceil(num_gaussians * config.oversampling), config.min_candidates)
    points = _candidates(vae, planes, cells, wanted, generator, config)
    if len(points) == 0:
        raise EmptySurfaceError(
            f"The probability stays below {config.threshold} everywhere: these planes describe no surface."
        )
    while len(points) < num_gaussians:  # a surface of a few points: fill up around them
        jitter = torch.randn(points.shape, generator=generator, device=generator.device).to(points) * 1e-3
        points = torch.cat([points, points + jitter])
    chosen = progressive_poisson_disk(points.cpu().numpy(), num_gaussians)
    return points[torch.from_numpy(chosen).to(points.device)]


def _candidates(
    vae: BaseGaussianVAE,
    planes: Tensor,
    cells: Cells,
    wanted: int,
    generator: torch.Generator,
    config: ExtractionConfig,
) -> Tensor:
    """[M, 3] points on the surface, scattered at random; M = ``wanted`` unless hardly any point arrives."""
    found = planes.new_empty(wanted, 3, dtype=torch.float32)
    count = tried = 0
    while count < wanted and tried < _MOST_TRIES * wanted and len(cells.centers):
        points = _random_points(cells, _DRAW, generator)
        moved = _in_chunks(lambda part: _move_uphill(vae, planes, part, config), points, config.chunk_size)
        arrived = moved[moved[:, 3] >= config.threshold, :3][: wanted - count]
        found[count : count + len(arrived)] = arrived
        count, tried = count + len(arrived), tried + len(points)
    return found[:count]


def _random_points(cells: Cells, count: int, generator: torch.Generator) -> Tensor:
    """[count, 3] uniform over the volume of the cells."""
    device = generator.device
    index = torch.randint(len(cells.centers), (count,), generator=generator, device=device)
    offsets = (torch.rand(count, 3, generator=generator, device=device) - 0.5) * cells.side
    return cells.centers[index.to(cells.centers.device)] + offsets.to(cells.centers)


def _move_uphill(vae: BaseGaussianVAE, planes: Tensor, points: Tensor, config: ExtractionConfig) -> Tensor:
    """Points [M, 3] moved onto the ridge of GauPF, with the value there: [M, 4].

    1 − p is a truncated distance, so a point is about (1 − p) δ away from the surface along the gradient, as in
    marching along a distance field. Where such a step ends lower it has crossed the ridge, whose decoded height is
    seldom quite 1: the next one starts again from the best position with half the length.
    """

    def value_and_direction(at: Tensor) -> tuple[Tensor, Tensor]:
        with torch.enable_grad():
            at = at.detach().requires_grad_()
            values = vae.heads.probability(planes, at[None])[0]
            (gradient,) = torch.autograd.grad(values.sum(), at)
        return values.detach(), torch.nn.functional.normalize(gradient, dim=-1)

    values, directions = value_and_direction(points)
    share = torch.full_like(values, 0.9)  # of the distance that is gone in a step
    for remaining in reversed(range(config.refinement_steps)):
        length = share * (1 - values).clamp(min=0) * vae.config.truncation
        tried = points + directions * length[:, None]
        if remaining:
            found, onward = value_and_direction(tried)
        else:  # nobody goes on from the last one, and a gradient costs more than a value
            found, onward = vae.heads.probability(planes, tried[None])[0], directions
        better = found > values
        share = torch.where(better, share, share / 2)
        points = torch.where(better[:, None], tried, points)
        directions = torch.where(better[:, None], onward, directions)
        values = torch.where(better, found, values)
    return torch.cat([points, values[:, None]], dim=1)


def _in_chunks(function: Callable[[Tensor], Tensor], points: Tensor, chunk_size: int) -> Tensor:
    """The function's values on all points, ``chunk_size`` of them at a time."""
    if len(points) == 0:
        return points.new_zeros(0)
    return torch.cat([function(part) for part in points.split(chunk_size)])
