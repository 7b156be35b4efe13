"""Latents that describe one object better than the encoder guesses (semi-amortised inference, Kim et al. 2018).

An encoder answers for every object with the same weights. What it misses of a single one, gradient steps on that
object's latents find, while the decoder stays as it is.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from .data.function_samples import FunctionSampling, FunctionTargets
from .gaussians import GaussianSplats
from .models.autoencoder_gaussian import GaussianVAE
from .models.constant import constant_copy
from .surface_points import constant_heads
from .training.objectives_vae import VAELossWeights, function_terms, weighted_sum

_LEARNING_RATE = 0.15  # of Adam, in standard deviations of the latents over the training set
_BETAS = (0.9, 0.99)
_WARM_UP = 5
_SAMPLING = FunctionSampling(num_queries=8192, num_centers=1024)
_WEIGHTS = VAELossWeights(color=1.5)  # as the VAE was trained with


@torch.inference_mode(False)  # gradients are followed, which inference mode refuses
@torch.no_grad()
def refine_latents(
    vae: GaussianVAE, splats: GaussianSplats, latents: Tensor, num_steps: int, seed: int = 0
) -> Tensor:
    """Latents from which the decoder's functions come nearer to an object's than from those that are given.

    Each step asks about points of its own, so that latents do not learn a few points by heart. Latents move by half
    a standard deviation or so: a denoiser that was trained on the encoder's knows them less well.

    Args:
        vae: in eval mode. Its decoder is asked in float32, and its weights gather no gradients.
        splats: the object, in the unit box.
        latents: [C, L] to begin with, normalised; the encoder's of this object, say.
        num_steps: steps, 0 for the latents as they are. 50 find most of what there is to be found.
        seed: draws the points.

    Returns:
        [C, L], normalised.

    Raises:
        ValueError: if the number of steps is negative.
    """
    if num_steps < 0:
        raise ValueError(f"`num_steps` must not be negative, got {num_steps}.")
    if num_steps == 0:  # of every VAE, also of those that cannot be refined
        return latents.detach()
    vae = constant_copy(vae).to(torch.float32)
    config = vae.config
    targets = FunctionTargets(
        splats.detach().to("cpu", torch.float32),
        _SAMPLING,
        truncation=config.truncation,
        core=config.core,
        sh_degree=config.sh_degree,
    )
    heads, generator = constant_heads(vae.heads, "float32"), np.random.default_rng(seed)
    refined = latents.detach().float().clone().requires_grad_()
    optimizer = torch.optim.Adam([refined], betas=_BETAS)
    for step in range(num_steps):
        optimizer.param_groups[0]["lr"] = _LEARNING_RATE * _share_of_rate(step, num_steps)
        sample = {name: value[None].to(refined) for name, value in targets.sample(generator).items()}
        with torch.enable_grad():
            planes = vae.decode(vae.denormalize_latents(refined[None])).planes
            terms = function_terms(heads(planes, sample["query_points"], sample["centers"]), sample)
            (refined.grad,) = torch.autograd.grad(weighted_sum(terms, _WEIGHTS), refined)
        optimizer.step()
    return refined.detach()


def _share_of_rate(step: int, num_steps: int) -> float:
    """A short warm-up, then half a cosine."""
    return min(1.0, (step + 1) / _WARM_UP) * (1 + math.cos(math.pi * step / num_steps)) / 2
