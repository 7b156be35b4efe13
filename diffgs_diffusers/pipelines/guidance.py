"""Classifier-free guidance."""

from __future__ import annotations

import torch
from torch import Tensor

from ..models import UNet1DConditionModel
from .conditioning import join_conditions

Condition = tuple[Tensor, Tensor]


def predict(
    unet: UNet1DConditionModel,
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
        condition: states [B, S, D] and mask [B, S]; None is the unconditional case.
        negative: states [B, S', D] and mask [B, S']; None switches guidance off.
        guidance_scale: how far to go.

    Returns:
        [B, C, L], float32.
    """
    if guidance_scale <= 1 or condition is None or negative is None:
        return _denoise(unet, sample, timestep, condition)
    joined = join_conditions(negative, condition)
    from_negative, from_condition = _denoise(unet, torch.cat([sample, sample]), timestep, joined).chunk(2)
    return from_negative + guidance_scale * (from_condition - from_negative)


def _denoise(unet: UNet1DConditionModel, sample: Tensor, timestep: Tensor, condition: Condition | None) -> Tensor:
    states, mask = condition or (None, None)
    states = None if states is None else states.to(unet.dtype)
    sample = sample.to(unet.dtype)
    return unet(sample, timestep, encoder_hidden_states=states, encoder_attention_mask=mask).sample.float()
