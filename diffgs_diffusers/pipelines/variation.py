"""Objects that begin as others: variations of one (SDEdit, Meng et al. 2022), and what lies between two."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from diffusers import SchedulerMixin
from torch import Tensor

from ..gaussians import GaussianSplats
from ..models.base_vae import BaseGaussianVAE
from .context import read_objects

Start = Sequence[GaussianSplats] | Tensor


def read_start(gaussians: Any, shape: tuple[int, int], half_side: float) -> Start:
    """What a call's objects begin as.

    Args:
        gaussians: :class:`GaussianSplats` or a path of a file of them, or a list; or normalised latents [P, C, L].
        shape: (C, L) of the pipeline's latents.
        half_side: half the side of the box that objects live in.

    Returns:
        the objects, or the latents; empty for None.

    Raises:
        TypeError, ValueError, OSError: saying what is wrong.
    """
    if not isinstance(gaussians, Tensor):
        return read_objects("gaussians", gaussians, half_side)
    if gaussians.ndim != 3 or tuple(gaussians.shape[1:]) != shape or len(gaussians) == 0:
        raise ValueError(
            f"`gaussians` as latents must be [P, {shape[0]}, {shape[1]}], got {list(gaussians.shape)}."
        )
    if not gaussians.isfinite().all():
        raise ValueError("`gaussians` as latents must be finite.")
    return gaussians


@torch.no_grad()
def encode_start(vae: BaseGaussianVAE, start: Start) -> Tensor:
    """Normalised latents [P, C, L], float32, of what :func:`read_start` returned."""
    if isinstance(start, Tensor):
        return start.float()
    modes = [vae.encode(splats.to(vae.device)).latent_dist.mode() for splats in start]
    return vae.normalize_latents(torch.cat(modes)).float()


def noised(scheduler: SchedulerMixin, clean: Tensor, noise: Tensor, strength: float) -> tuple[Tensor, Tensor]:
    """Latents with which the denoising begins later, and the timesteps that are left.

    Args:
        scheduler: its timesteps are set.
        clean: [B, C, L].
        noise: [B, C, L] standard normal.
        strength: the share of the steps that is run, in (0, 1].

    Returns:
        [B, C, L] and the timesteps, at least one.
    """
    timesteps = scheduler.timesteps
    count = max(1, round(len(timesteps) * strength))
    begin = len(timesteps) - count
    if hasattr(scheduler, "set_begin_index"):  # those of several steps count from where they begin
        scheduler.set_begin_index(begin)
    remaining = timesteps[begin:]
    return scheduler.add_noise(clean, noise, remaining[:1].expand(len(clean))), remaining


def slerp(first: Tensor, second: Tensor, weight: float) -> Tensor:
    """Between two noises along the sphere (Shoemake 1985), where a straight line would pass through less noise.

    Args:
        first, second: of one shape [C, L].
        weight: 0 is the first, 1 the second.
    """
    cosine = torch.nn.functional.cosine_similarity(first.flatten(), second.flatten(), dim=0)
    angle = cosine.clamp(-1, 1).arccos()
    if angle.sin() < 1e-4:  # the same direction, or opposite ones, between which no way is the shortest
        return torch.lerp(first, second, weight)
    return (first * ((1 - weight) * angle).sin() + second * (weight * angle).sin()) / angle.sin()
