"""Of several tries, the one that is worth the most."""

from __future__ import annotations

import torch
from PIL import Image
from torch import Tensor

from ..extraction import EmptySurfaceError, extract_gaussians
from ..extraction_settings import ExtractionConfig
from ..gaussians import GaussianSplats
from ..models.base_vae import BaseGaussianVAE
from .likeness import likeness

# A sketch is enough to tell candidates apart, but for an encoder it must not have holes.
_SKETCH_GAUSSIANS = 8192
_SKETCH = ExtractionConfig(min_candidates=0, refinement_steps=2)
_PICTURED = 4096  # of its Gaussians


def chosen_candidate(vae: BaseGaussianVAE, latents: Tensor, picture: Image.Image | None = None) -> int:
    """Which candidate to keep: the soundest, of the half that looks most like its picture if there is one.

    Args:
        vae: in float32.
        latents: [K, C, L] of the candidates, normalised.
        picture: as for :func:`~diffgs_diffusers.pipelines.likeness.likeness`.

    Returns:
        its index; 0 if all are empty.
    """
    found = ((index, _sketch(vae, latent)) for index, latent in enumerate(latents))
    sketches = {index: splats for index, splats in found if splats is not None}
    kept = list(sketches)
    if picture is not None:
        kept.sort(key=lambda index: likeness(sketches[index].first(_PICTURED), picture).error)
        kept = kept[: max(1, len(latents) // 2)]
    return min(kept, key=lambda index: cycle_error(vae, latents[index], sketches[index]), default=0)


@torch.no_grad()
def cycle_error(vae: BaseGaussianVAE, latents: Tensor, splats: GaussianSplats) -> float:
    """How far from an object's latents the encoder finds those of its Gaussians.

    Encoder and decoder agree on objects like those that they learned from. A back that is torn, a leg in the air or
    fog is encoded as something else: as what it should have been.

    Args:
        vae: that decoded the object.
        latents: [C, L] normalised.
        splats: that were extracted from them.

    Returns:
        mean squared difference of normalised latents.
    """
    found = vae.normalize_latents(vae.encode(splats).latent_dist.mode())[0]
    return float((found - latents).square().mean())


def _sketch(vae: BaseGaussianVAE, latents: Tensor) -> GaussianSplats | None:
    """A few Gaussians of an object with normalised latents [C, L]; None if it is empty."""
    (planes,) = vae.decode(vae.denormalize_latents(latents[None]), return_dict=False)[0]
    try:
        return extract_gaussians(vae, planes, _SKETCH_GAUSSIANS, config=_SKETCH)
    except EmptySurfaceError:
        return None
