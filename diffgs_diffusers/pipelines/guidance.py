"""Classifier-free guidance."""

from __future__ import annotations

import torch
from torch import Tensor

from ..models import Condition
from ..models.kinds import Denoiser


def predict(
    unet: Denoiser,
    sample: Tensor,
    timestep: Tensor,
    condition: Condition | None,
    negative: Condition | None,
    guidance_scale: float,
) -> Tensor:
    """The denoiser's output led from the negative condition towards the condition (Ho & Salimans 2022, eq. 6).

    Their weight w is ``guidance_scale`` − 1: at 1 or less the condition alone is predicted, in a batch of B instead
    of 2B.

    Args:
        unet: runs in its own precision.
        sample: [B, C, L] latents as the scheduler scales them.
        timestep: of the scheduler.
        condition: of B rows; None is the unconditional case.
        negative: of B rows; None switches guidance off.
        guidance_scale: how far to go.

    Returns:
        [B, C, L], float32.
    """
    if guidance_scale <= 1 or condition is None or negative is None:
        return _denoise(unet, sample, timestep, condition)
    joined = Condition.stacked([negative, condition])
    from_negative, from_condition = _denoise(unet, torch.cat([sample, sample]), timestep, joined).chunk(2)
    return from_negative + guidance_scale * (from_condition - from_negative)


def _denoise(unet: Denoiser, sample: Tensor, timestep: Tensor, condition: Condition | None) -> Tensor:
    sample = sample.to(unet.dtype)
    if condition is None:
        return unet(sample, timestep).sample.float()
    states = condition.states.to(unet.dtype)
    aligned = None if condition.aligned is None else condition.aligned.to(unet.dtype)
    return unet(sample, timestep, states, condition.mask, condition.type_ids, aligned).sample.float()
