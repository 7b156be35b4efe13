"""Generated objects passed through the VAE: it keeps what it knows of objects, and mends what it does not."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from ..extraction import EmptySurfaceError, extract_gaussians
from ..extraction_settings import ExtractionConfig
from ..gaussians import GaussianSplats
from ..models import GaussianVAE
from ..models.base_vae import BaseGaussianVAE

# An encoder does not read more of them, and few show holes that are not there.
_SKETCH_GAUSSIANS = 8192
_SKETCH = ExtractionConfig(min_candidates=0, refinement_steps=2)
_PLACES = frozenset({"partial", "points", "gaussians"})  # conditions that say where the surface is


def default_mending_steps(vae: BaseGaussianVAE, given: Iterable[str] = ()) -> int:
    """How often objects are passed through the VAE unless a call says it.

    Args:
        vae: one of the original's kind leaves objects as they are.
        given: names of the conditions; some say where the surface is, which a VAE does not keep exactly.
    """
    return int(isinstance(vae, GaussianVAE) and _PLACES.isdisjoint(given))


def mend_latents(vae: BaseGaussianVAE, latents: Tensor, steps: int) -> Tensor:
    """Decodes objects, and encodes their Gaussians again.

    A denoiser makes latents that are nearly those of an object. Where they are not, backs are torn and legs have
    gaps; an encoder, which has seen whole objects only, reads them as whole.

    Args:
        vae: in float32.
        latents: [B, C, L] normalised.
        steps: how often; each takes away of what is wrong, and later ones less.

    Returns:
        [B, C, L]; those of an empty object as they were.
    """
    return torch.stack([_mend(vae, one, steps) for one in latents])


def sketch(vae: BaseGaussianVAE, latents: Tensor) -> GaussianSplats | None:
    """A few thousand Gaussians of an object with normalised latents [C, L]; None if it is empty."""
    (planes,) = vae.decode(vae.denormalize_latents(latents[None]), return_dict=False)[0]
    try:
        return extract_gaussians(vae, planes, _SKETCH_GAUSSIANS, config=_SKETCH)
    except EmptySurfaceError:
        return None


@torch.no_grad()
def encoded(vae: BaseGaussianVAE, splats: GaussianSplats) -> Tensor:
    """The posterior's mode of an object's latents, normalised: [C, L]."""
    return vae.normalize_latents(vae.encode(splats).latent_dist.mode())[0]


def _mend(vae: BaseGaussianVAE, latents: Tensor, steps: int) -> Tensor:
    """[C, L] for [C, L]."""
    for _ in range(steps):
        splats = sketch(vae, latents)
        if splats is None:
            break
        latents = encoded(vae, splats).to(latents)
    return latents
