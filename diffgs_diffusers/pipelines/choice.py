"""Of several tries, the one that is worth the most."""

from __future__ import annotations

import torch
from PIL import Image
from torch import Tensor

from ..gaussians import GaussianSplats
from ..models.base_vae import BaseGaussianVAE
from .likeness import likeness
from .mending import encoded, sketch

_PICTURED = 4096  # Gaussians that are enough for a likeness


def chosen_candidate(vae: BaseGaussianVAE, latents: Tensor, picture: Image.Image | None = None) -> int:
    """Which candidate to keep: the soundest, or one that looks like the picture if there is one.

    Of the half that looks most like a picture the one is kept that lies nearest to the others of that half: what a
    picture does not show is likely to be as most of them have it.

    Args:
        vae: in float32.
        latents: [K, C, L] of the candidates, normalised.
        picture: as for :func:`~diffgs_diffusers.pipelines.likeness.likeness`.

    Returns:
        its index; 0 if all are empty.
    """
    found = ((index, sketch(vae, latent)) for index, latent in enumerate(latents))
    sketches = {index: splats for index, splats in found if splats is not None}
    if not sketches:
        return 0
    if picture is None:
        return min(sketches, key=lambda index: cycle_error(vae, latents[index], sketches[index]))
    order = sorted(sketches, key=lambda index: likeness(sketches[index].first(_PICTURED), picture).error)
    half = order[: max(1, len(latents) // 2)]
    rows = latents[half].flatten(1)
    return half[int(torch.cdist(rows, rows).sum(dim=1).argmin())]


def cycle_error(vae: BaseGaussianVAE, latents: Tensor, splats: GaussianSplats) -> float:
    """How far from an object's latents the encoder finds those of its Gaussians.

    Encoder and decoder agree on objects like those that they learned from. A back that is torn, a leg in the air or
    fog is encoded as something else.

    Args:
        vae: that decoded the object.
        latents: [C, L] normalised.
        splats: that were extracted from them.

    Returns:
        mean squared difference of normalised latents.
    """
    return float((encoded(vae, splats) - latents).square().mean())
