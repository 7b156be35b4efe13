"""What the shipped checkpoint generates, kept for all pictures that show it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from diffgs_diffusers import DiffGSPipeline, GaussianSplats, default_checkpoint, orbit_cameras
from diffgs_diffusers.functional.diffusion import predicted_clean

PROMPT, SEED, STEPS = "a red armchair", 9, 25
NUM_GAUSSIANS = 20_000
SIZE = 192  # pixels of a rendered object


@dataclass(frozen=True, eq=False)
class Generated:
    """An object and the way to it.

    Args:
        splats: of ``NUM_GAUSSIANS``.
        latents: [1, C, L] normalised.
        guesses: x̂_0 [C, L] after each of the steps.
        timesteps: of the steps.
    """

    splats: GaussianSplats
    latents: Tensor
    guesses: list[Tensor]
    timesteps: list[int]


@lru_cache(maxsize=1)
def pipeline() -> DiffGSPipeline:
    """The shipped checkpoint, without progress bars."""
    pipe = DiffGSPipeline.from_pretrained(default_checkpoint())
    pipe.set_progress_bar_config(disable=True)
    return pipe


@lru_cache(maxsize=16)
def generated(pipe: DiffGSPipeline, prompt: str | None, seed: int, guidance_scale: float = 3.0) -> Generated:
    """What the pipeline makes of a prompt, and the guess of the clean latents in each of its steps.

    A deterministic (DDIM) step is x_{t'} = √ᾱ' x̂_0 + √(1−ᾱ') ε̂ with x_t = √ᾱ x̂_0 + √(1−ᾱ) ε̂: two equations that
    give x̂_0 from the latents before and after it.
    """
    generator = torch.Generator().manual_seed(seed)
    noise = pipe.prepare_noise(1, torch.device("cpu"), generator)
    states, timesteps = [noise], []

    def keep(_: Any, __: int, timestep: Tensor, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        states.append(tensors["latents"])
        timesteps.append(int(timestep))
        return {}

    options = {"num_objects": 1} if prompt is None else {"prompt": prompt}
    result = pipe(
        **options,
        num_inference_steps=STEPS,
        guidance_scale=guidance_scale,
        latents=noise,
        generator=generator,
        output_type="latent",
        callback_on_step_end=keep,
    )
    splats = pipe.decode_latents(result.gaussians, NUM_GAUSSIANS, torch.Generator().manual_seed(0))[0]
    guesses = [
        _guess(pipe.scheduler.alphas_cumprod, before, after, timestep, following)[0]
        for before, after, timestep, following in zip(states, states[1:], timesteps, [*timesteps[1:], None])
    ]
    return Generated(splats, result.gaussians, guesses, timesteps)


def _guess(alphas_cumprod: Tensor, before: Tensor, after: Tensor, timestep: int, following: int | None) -> Tensor:
    if following is None:
        return after
    signal, signal_after = alphas_cumprod[timestep].double(), alphas_cumprod[following].double()
    scale = (signal_after / signal).sqrt()
    noise = (after - scale * before) / ((1 - signal_after).sqrt() - scale * (1 - signal).sqrt())
    return predicted_clean(alphas_cumprod, before, noise.float(), torch.tensor([timestep]), "epsilon")


def picture(splats: GaussianSplats, size: int = SIZE) -> np.ndarray:
    """The object from the front and a little above, on white, [size, size, 3]."""
    pixels = splats.render(orbit_cameras(1, size), background=(1.0, 1.0, 1.0))[0, :, :, :3]
    return pixels.clamp(0, 1).numpy()
