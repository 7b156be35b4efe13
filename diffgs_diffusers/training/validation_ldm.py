"""Validation of the denoiser: its error on held-out latents and pictures of prompts, from the same noise always."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from diffusers import DDPMScheduler, DiffusionPipeline
from PIL import Image
from torch import Tensor, nn

from ..cameras import orbit_cameras
from ..data.latents import LatentDataset
from ..extraction import EmptySurfaceError
from .conditions import CaptionStates
from .objectives_diffusion import diffusion_loss

NUM_TIMESTEPS = 8


def validation_set(latents: LatentDataset, limit: int) -> tuple[Tensor, list[str]]:
    """The first version of up to `limit` objects, [B, C, L], and its first caption."""
    count = min(limit, len(latents))
    stacked = torch.stack([latents.latents(index, 0) for index in range(count)])
    return stacked, [latents.records[index].captions[0][0] for index in range(count)]


@torch.no_grad()
def held_out_error(
    unet: nn.Module,
    scheduler: DDPMScheduler,
    latents: Tensor,
    captions: CaptionStates | None,
    batch_size: int = 32,
) -> dict[str, float]:
    """Mean squared error of the prediction at fixed timesteps with fixed noise.

    Args:
        unet: the denoiser, in eval mode.
        scheduler: of the training.
        latents: [B, C, L], normalised, on the device of the denoiser.
        captions: states of the B captions in the same order; None for a denoiser without text.
        batch_size: latents at a time.

    Returns:
        ``mse`` over all timesteps and ``mse_t<t>`` at each; with text also ``unconditional_mse`` and so on, without
        it. Where both are equal at large t, the denoiser does not listen.
    """
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(latents.shape, generator=generator).to(latents.device)
    spacing = scheduler.config.num_train_timesteps / NUM_TIMESTEPS
    steps = [int((i + 0.5) * spacing) for i in range(NUM_TIMESTEPS)]
    conditions = {"": captions, "unconditional_": None} if captions is not None else {"": None}
    values = {}
    for prefix, table in conditions.items():
        errors = [_error_at(unet, scheduler, latents, noise, t, table, batch_size) for t in steps]
        values[f"{prefix}mse"] = sum(errors) / len(errors)
        values |= {f"{prefix}mse_t{t}": error for t, error in zip(steps, errors)}
    return values


def _error_at(
    unet: nn.Module,
    scheduler: DDPMScheduler,
    latents: Tensor,
    noise: Tensor,
    t: int,
    captions: CaptionStates | None,
    batch_size: int,
) -> float:
    total = 0.0
    for rows in torch.arange(len(latents), device=latents.device).split(batch_size):
        timesteps = torch.full_like(rows, t)
        condition = captions(rows) if captions is not None else ()
        terms = diffusion_loss(unet, scheduler, latents[rows], noise[rows], timesteps, *condition)
        total += terms["mse"].item() * len(rows)
    return total / len(latents)


@torch.no_grad()
def render_prompts(
    pipeline: DiffusionPipeline, prompts: Sequence[str], path: Path, *, seed: int, size: int = 192, **options: Any
) -> None:
    """Writes one row of pictures on white, an object per prompt.

    Args:
        pipeline: a DiffGSPipeline with text encoder.
        prompts: P texts.
        path: of the PNG, which will be size × P·size pixels.
        seed: of the first object's noise; the others follow.
        size: pixels along a side of a picture.
        options: further arguments of the pipeline's call.
    """
    pipeline.set_progress_bar_config(disable=True)
    camera, pictures = orbit_cameras(1, size), []
    for index, prompt in enumerate(prompts):
        generator = torch.Generator().manual_seed(seed + index)
        try:
            # The trainer validates under autocast, but half precision cannot place points finely enough.
            with torch.autocast(pipeline.device.type, enabled=False):
                (splats,) = pipeline(prompt, generator=generator, **options).gaussians
        except EmptySurfaceError:  # early in training; the run goes on, the picture stays white
            pictures.append(torch.ones(size, size, 3))
        else:
            pictures.append(splats.to("cpu").render(camera, background=torch.ones(3))[0, :, :, :3])
    row = (torch.cat(pictures, dim=1).clamp(0, 1) * 255).round().byte().numpy()
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(row).save(path)
