"""Latents that describe one object better than the encoder guesses (semi-amortised inference, Kim et al. 2018).

An encoder answers for every object with the same weights. What it misses of a single one, gradient steps on that
object's latents find, while the decoder stays as it is.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

from .data.function_samples import FunctionSampling, FunctionTargets
from .extraction_settings import SHARP
from .gaussians import GaussianSplats
from .models.autoencoder_gaussian import GaussianVAE
from .models.constant import constant_copy
from .surface_points import constant_heads
from .training.objectives_pictures import PictureObjective, PictureSampling
from .training.objectives_vae import VAELossWeights, function_terms, weighted_sum

_LEARNING_RATE = 0.15  # of Adam, in standard deviations of the latents over the training set
_PICTURE_LEARNING_RATE = 0.08
_PICTURE_WEIGHT = 0.2  # of the pictures' error beside the functions'
_SEARCH_EVERY = 8  # steps: the surface moves with the latents
_PICTURES = PictureSampling()
_BETAS = (0.9, 0.99)
_WARM_UP = 5
_SAMPLING = FunctionSampling(num_queries=8192, num_centers=1024)
_WEIGHTS = VAELossWeights(color=1.5)  # as the VAE was trained with


@torch.inference_mode(False)  # gradients are followed, which inference mode refuses
@torch.no_grad()
def refine_latents(
    vae: GaussianVAE,
    splats: GaussianSplats,
    latents: Tensor,
    num_steps: int,
    picture_steps: int = 0,
    *,
    seed: int = 0,
    pictures: PictureSampling | None = None,
    on_step: Callable[[], object] = lambda: None,
) -> Tensor:
    """Latents from which the decoder's functions come nearer to an object's than from those that are given.

    First by the functions alone, at points of its own for each step, so that latents do not learn a few points by
    heart. Then by pictures, too, of Gaussians that are extracted as "sharp" does: they know what a renderer makes
    of colours, shapes and opacities together. Latents move by half a standard deviation or so: a denoiser that was
    trained on the encoder's knows them less well.

    Args:
        vae: in eval mode. Its decoder is asked in float32, and its weights gather no gradients.
        splats: the object, in the unit box.
        latents: [C, L] to begin with, normalised; the encoder's of this object, say.
        num_steps: steps by functions. 50 find most of what there is to be found.
        picture_steps: steps by functions and pictures that follow them; on a CPU each takes as long as twelve of
            the others.
        seed: draws the points and the pictures.
        pictures: what is drawn in a step; None is the sizes that the shipped VAE was tried with.
        on_step: called after every one.

    Returns:
        [C, L], normalised; those that were given where there are no steps.

    Raises:
        ValueError: if a number of steps is negative.
    """
    for name, steps in (("num_steps", num_steps), ("picture_steps", picture_steps)):
        if steps < 0:
            raise ValueError(f"`{name}` must not be negative, got {steps}.")
    if num_steps == picture_steps == 0:  # of every VAE, also of those that cannot be refined
        return latents.detach()
    # Not by diffusers' own method, which warns users of modules that nobody asked to be kept in float32.
    constant = nn.Module.to(constant_copy(vae), torch.float32)
    search = _LatentSearch(constant, splats, latents, seed, on_step)
    search.follow_functions(num_steps)
    search.follow_pictures(picture_steps, _PICTURES if pictures is None else pictures)
    return search.latents.detach()


class _LatentSearch:
    """Latents of one object on their way."""

    def __init__(
        self, vae: GaussianVAE, splats: GaussianSplats, latents: Tensor, seed: int, on_step: Callable[[], object]
    ) -> None:
        config = vae.config
        self.latents = latents.detach().float().clone().requires_grad_()
        self._vae, self._heads = vae, constant_heads(vae.heads, "float32")
        self._splats = splats.detach().to("cpu", torch.float32)
        self._targets = FunctionTargets(
            self._splats,
            _SAMPLING,
            truncation=config.truncation,
            core=config.core,
            sh_degree=config.sh_degree,
        )
        self._seed, self._generator = seed, np.random.default_rng(seed)
        self._on_step = on_step

    def follow_functions(self, num_steps: int) -> None:
        """Steps by the loss of the functions."""
        self._descend(num_steps, _LEARNING_RATE, lambda planes, step: self._function_error(planes))

    def follow_pictures(self, num_steps: int, sampling: PictureSampling) -> None:
        """Steps by the loss of functions and pictures: one alone would learn what only its questions see."""
        objective = PictureObjective(self._vae, self._splats, SHARP, sampling)

        def error(planes: Tensor, step: int) -> Tensor:
            if step % _SEARCH_EVERY == 0:
                objective.search(planes[0], torch.Generator().manual_seed(self._seed + step))
            return self._function_error(planes) + _PICTURE_WEIGHT * objective(planes[0], self._generator)

        self._descend(num_steps, _PICTURE_LEARNING_RATE, error)

    def _descend(self, num_steps: int, learning_rate: float, error: Callable[[Tensor, int], Tensor]) -> None:
        optimizer = torch.optim.Adam([self.latents], betas=_BETAS)
        for step in range(num_steps):
            optimizer.param_groups[0]["lr"] = learning_rate * _share_of_rate(step, num_steps)
            with torch.enable_grad():
                planes = self._vae.decode(self._vae.denormalize_latents(self.latents[None])).planes
                (self.latents.grad,) = torch.autograd.grad(error(planes, step), self.latents)
            optimizer.step()
            self._on_step()

    def _function_error(self, planes: Tensor) -> Tensor:
        sample = {name: value[None].to(planes) for name, value in self._targets.sample(self._generator).items()}
        functions = self._heads(planes, sample["query_points"], sample["centers"])
        return weighted_sum(function_terms(functions, sample), _WEIGHTS)


def _share_of_rate(step: int, num_steps: int) -> float:
    """A short warm-up, then half a cosine."""
    return min(1.0, (step + 1) / _WARM_UP) * (1 + math.cos(math.pi * step / num_steps)) / 2
