"""The denoisers that a pipeline can have."""

from __future__ import annotations

from .original import DiffGSPriorTransformer
from .unet_1d_condition import UNet1DConditionModel

Denoiser = UNet1DConditionModel | DiffGSPriorTransformer


def is_conditional(unet: Denoiser) -> bool:
    """Whether the denoiser can be told anything."""
    return not isinstance(unet, DiffGSPriorTransformer)
