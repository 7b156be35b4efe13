"""Latents to objects: one at a time, so that an object does not depend on its batch."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
from PIL import Image
from torch import Tensor

from ..extraction import EmptySurfaceError
from ..extraction_settings import ExtractionConfig, OriginalExtractionConfig
from ..gaussians import GaussianSplats
from ..models.base_vae import BaseGaussianVAE
from ..original_extraction import extract
from .choice import chosen_candidate
from .completion import complete
from .mending import mend_latents

Generators = torch.Generator | list[torch.Generator] | None
Extraction = str | ExtractionConfig | OriginalExtractionConfig


def object_generators(generator: Generators, count: int) -> list[torch.Generator]:
    """One CPU generator for each of ``count`` objects, seeded from the object's own or from the common one."""
    sources = generator if isinstance(generator, list) else [generator] * count
    seeds = [
        torch.randint(2**62, (1,), generator=source, device="cpu" if source is None else source.device)
        for source in sources
    ]
    return [torch.Generator().manual_seed(int(seed)) for seed in seeds]


def candidate_generators(generator: Generators, num_candidates: int) -> Generators:
    """Those of the candidates: the one of all objects, or each object's own for all of its candidates."""
    if not isinstance(generator, list):
        return generator
    return [source for source in generator for _ in range(num_candidates)]


def decode_objects(
    vae: BaseGaussianVAE,
    latents: Tensor,
    num_gaussians: int,
    generators: list[torch.Generator],
    config: ExtractionConfig | OriginalExtractionConfig,
) -> list[GaussianSplats]:
    """Decodes normalised latents [B, C, L] and samples ``num_gaussians`` Gaussians from each object's functions.

    Args:
        vae: decodes them.
        latents: of B objects.
        num_gaussians: N.
        generators: one for each object.
        config: how Gaussians are found.

    Raises:
        EmptySurfaceError: naming the object that has no surface.
    """
    return _decode_each(
        vae,
        latents,
        lambda index, planes: extract(vae, planes, num_gaussians, generator=generators[index], config=config),
    )


def complete_objects(
    vae: BaseGaussianVAE,
    latents: Tensor,
    num_gaussians: int,
    generators: list[torch.Generator],
    parts: Sequence[GaussianSplats],
) -> list[GaussianSplats]:
    """As :func:`decode_objects`, but every object begins with its part: P parts for B / P objects each."""
    each = len(latents) // len(parts)
    return _decode_each(
        vae,
        latents,
        lambda index, planes: complete(
            vae, planes, parts[index // each], num_gaussians, generator=generators[index]
        ),
    )


@torch.inference_mode(False)
@torch.no_grad()
def mended_latents(vae: BaseGaussianVAE, latents: Tensor, steps: int) -> Tensor:
    """As :func:`~diffgs_diffusers.pipelines.mending.mend_latents`, for a VAE of any precision."""
    with _in_float32(vae):
        return mend_latents(vae, latents, steps)


@torch.inference_mode(False)
@torch.no_grad()
def chosen_latents(
    vae: BaseGaussianVAE, latents: Tensor, num_candidates: int, pictures: Sequence[Image.Image] = ()
) -> Tensor:
    """The candidate for each object that :func:`~diffgs_diffusers.pipelines.choice.chosen_candidate` finds.

    Args:
        vae: decodes them.
        latents: [B · K, C, L] normalised, the K candidates for an object next to each other.
        num_candidates: K.
        pictures: P of them, for B / P objects each; none if the objects were not made from pictures.

    Returns:
        [B, C, L].
    """
    groups = latents.unflatten(0, (-1, num_candidates))
    pictured: list[Image.Image | None] = list(pictures) or [None]
    each = len(groups) // len(pictured)
    with _in_float32(vae):
        chosen = [
            group[chosen_candidate(vae, group, pictured[index // each])] for index, group in enumerate(groups)
        ]
    return torch.stack(chosen)


@torch.inference_mode(False)  # weights converted in inference mode could not take part in a gradient
@torch.no_grad()
def _decode_each(
    vae: BaseGaussianVAE, latents: Tensor, make: Callable[[int, Tensor], GaussianSplats]
) -> list[GaussianSplats]:
    objects = []
    with _in_float32(vae):
        for index, latent in enumerate(latents):
            (planes,) = vae.decode(vae.denormalize_latents(latent[None]), return_dict=False)[0]
            try:
                objects.append(make(index, planes))
            except EmptySurfaceError as error:
                raise EmptySurfaceError(
                    f"Object {index + 1} of {len(latents)} came out empty: {error} Try another seed or more steps."
                ) from error
    return objects


@contextmanager
def _in_float32(vae: BaseGaussianVAE) -> Iterator[None]:
    """Half precision cannot place points finely enough: 2⁻¹¹ of the box is larger than a small Gaussian."""
    dtype = vae.dtype
    if dtype == torch.float32:
        yield
        return
    vae.to(torch.float32)
    try:
        yield
    finally:
        vae.to(dtype)
