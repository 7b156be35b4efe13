"""From Gaussian functions to Gaussians: any number of them, evenly spread over the surface (DiffGS, section 3.5).

Octree search finds the cells that hold surface, random points in them are moved uphill in GauPF onto it, an even
subset of the exact size is kept, and GauCF and GauTF give every point its colour, shape and opacity.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from .extraction_settings import ExtractionConfig
from .functional.plane_lookup import cell_by_cell
from .functional.render_floor import keep_absorption
from .functional.sharing import equal_sharing
from .functional.spacing import coarse_spacing, even_spacing, local_spacing
from .functional.threads import map_parts
from .gaussians import GaussianSplats
from .models.base_vae import BaseGaussianVAE
from .surface_points import EmptySurfaceError as EmptySurfaceError
from .surface_points import points_at_once, surface_points

_DECODED = 1 << 16  # Gaussians whose values become attributes at once: enough for all threads, little memory
TRANSLUCENT = 0.5  # opacity below which what the functions describe lets light through


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
    # A copy in any case: tensors of inference mode cannot take part in a gradient.
    planes = cell_by_cell(planes)
    means = surface_points(vae, planes, num_gaussians, generator, config)
    return drawn_gaussians(vae, planes, means, even_spacing(means), config)


def drawn_gaussians(
    vae: BaseGaussianVAE,
    planes: Tensor,
    means: Tensor,
    spacing: Tensor,
    config: ExtractionConfig,
    coarse: Tensor | None = None,
) -> GaussianSplats:
    """The Gaussians that are drawn at points of a surface: as the functions describe them, crowded ones sharing.

    Follows gradients where the caller does, into the planes and the weights; not to be called in inference mode.

    Args:
        vae: whose heads read the planes.
        planes: [3, C, R, R] feature planes of the object.
        means: [N, 3] centres; any of those that the next two were worked out for.
        spacing: [N] as for :func:`share_crowded`, object units.
        config: the extraction's settings.
        coarse: [N] as for :func:`share_crowded`.
    """
    units = config.relative_scale * vae.heads.scale_units(spacing)
    splats = _described(vae, planes, means, config.chunk_size, units)
    shared = share_crowded(vae, planes, splats, spacing, config.finest_spacing, config.chunk_size, coarse)
    return keep_glass(shared, splats.opacities)


def keep_glass(splats: GaussianSplats, described: Tensor) -> GaussianSplats:
    """What is translucent, with as much opacity as renderers leave out of it.

    Many faint Gaussians lose more than few, until thin glass is gone. Where the functions describe what is opaque,
    there are others behind a faint one.

    Args:
        splats: N Gaussians as they share their opacity.
        described: [N] opacities as the functions describe them.
    """
    opacities = keep_absorption(splats.opacities, splats.scales, described < TRANSLUCENT)
    return replace(splats, opacities=opacities)


def share_crowded(
    vae: BaseGaussianVAE,
    planes: Tensor,
    splats: GaussianSplats,
    spacing: Tensor,
    finest_spacing: float,
    chunk_size: int | None = None,
    coarse: Tensor | None = None,
) -> GaussianSplats:
    """Gaussians that lie closer together than their functions' finest detail, larger and sharing their opacity.

    Args:
        vae: whose sharing head, if it has one, knows more than how close they lie.
        planes: [3, C, R, R] feature planes of the object.
        splats: as the functions describe them, in progressive order.
        spacing: [N] of their centres, by :func:`~diffgs_diffusers.functional.spacing.even_spacing`, object units.
        finest_spacing: in cells of the planes, as in :class:`ExtractionConfig`.
        chunk_size: Gaussians evaluated at once, as in :class:`ExtractionConfig`.
        coarse: [N] by :func:`~diffgs_diffusers.functional.spacing.coarse_spacing`, object units, if it is known.
    """
    cell = (1 + vae.config.padding) / planes.shape[-1]
    spacing = spacing / cell
    if not (spacing < finest_spacing).any():
        return splats
    if vae.sharing is None:
        growth, share = equal_sharing(spacing, finest_spacing)
    else:
        coarse = coarse_spacing(splats.means) if coarse is None else coarse
        known = (spacing, coarse / cell, splats.scales / cell / spacing[:, None])
        parts = _parts(len(splats), points_at_once(vae.heads, chunk_size))
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
    opacities = (splats.opacities * share.exp()).clamp(max=1)  # a head may ask for more than there is
    return replace(splats, scales=splats.scales * growth.exp()[:, None], opacities=opacities)


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


@torch.inference_mode(False)  # parts are written by several threads, and inference mode belongs to one
@torch.no_grad()
def gaussians_at(
    vae: BaseGaussianVAE,
    planes: Tensor,
    means: Tensor,
    chunk_size: int | None = None,
    units: Tensor | None = None,
) -> GaussianSplats:
    """The Gaussians that GauCF and GauTF describe at given centres.

    Args:
        vae: whose heads read the planes.
        planes: [3, C, R, R] feature planes of one object.
        means: [N, 3] centres.
        chunk_size: points evaluated at once, as in :class:`ExtractionConfig`.
        units: [N] what a scale of 1 means, in object units; None is what fits the local spacing of the centres.
    """
    units = vae.heads.scale_units(_spacing(means)) if units is None else units
    return _described(vae, planes, means, chunk_size, units)


def _described(
    vae: BaseGaussianVAE, planes: Tensor, means: Tensor, chunk_size: int | None, units: Tensor
) -> GaussianSplats:
    """As :func:`gaussians_at`, but with gradients where the caller follows them."""

    def told(points: Tensor) -> tuple[Tensor, Tensor]:
        return vae.heads.raw_attributes(vae.heads.features(planes[None], points[None]))

    def described(place: slice) -> list[Tensor]:
        parts = map_parts(told, means[place].split(points_at_once(vae.heads, chunk_size)), planes.device)
        # Decoded together: in parts, threads would wait for each other at every one of many short operations.
        raw = (torch.cat(values, dim=1)[0] for values in zip(*parts, strict=True))
        sh, scales, quats, opacities = vae.heads.decode_attributes(*raw)
        return [quats, scales * units[place, None], opacities, sh[:, :1], sh[:, 1:]]

    # Filled in place: a list of results to join would need twice the memory.
    whole = [value.new_empty(len(means), *value.shape[1:]) for value in described(slice(0, 1))]
    for place in _parts(len(means), _DECODED):
        for stored, value in zip(whole, described(place), strict=True):
            stored[place] = value
    return GaussianSplats(means, *whole)


def _parts(count: int, size: int) -> list[slice]:
    """The range of a count in parts of a size."""
    return [slice(start, start + size) for start in range(0, count, size)]


def _spacing(means: Tensor) -> Tensor:
    """[N] local spacing of the centres."""
    return torch.from_numpy(local_spacing(means.detach().cpu().numpy())).to(means)
