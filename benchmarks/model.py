"""The checkpoint that ships: the pipeline, and one object's latents and planes."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from diffgs_diffusers import GaussianVAE
from diffgs_diffusers.model_folder import default_checkpoint

PROMPT = "a red armchair"


@lru_cache(maxsize=1)
def load_pipeline() -> Any:
    """The pipeline, silent, on the CPU in float32."""
    from diffgs_diffusers.cli.generate import load_pipeline as load

    pipe = load(default_checkpoint(), "cpu")
    pipe.set_progress_bar_config(disable=True)
    return pipe


def generate_latents(pipe: Any, steps: int | None = None) -> Tensor:
    """[1, C, L] normalised latents of the prompt."""
    options = {} if steps is None else {"num_inference_steps": steps}
    generator = torch.Generator().manual_seed(0)
    return pipe(PROMPT, generator=generator, output_type="latent", **options).gaussians


@lru_cache(maxsize=1)
def shipped_functions() -> tuple[GaussianVAE, Tensor]:
    """The VAE in float32, and the planes [3, C, R, R] of an object that it decodes."""
    pipe = load_pipeline()
    vae = pipe.vae.float()
    with torch.no_grad():
        planes = vae.decode(vae.denormalize_latents(generate_latents(pipe))).planes[0]
    return vae, planes
