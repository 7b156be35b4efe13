"""The models that stand in for each other in a pipeline."""

from __future__ import annotations

from .autoencoder_gaussian import GaussianVAE
from .original import DiffGSPriorTransformer, OriginalGaussianVAE
from .unet_1d_condition import UNet1DConditionModel

# Unions and no base classes: diffusers looks a component's very class up in a pipeline's annotations.
Denoiser = UNet1DConditionModel | DiffGSPriorTransformer
PipelineVAE = GaussianVAE | OriginalGaussianVAE


def is_conditional(unet: Denoiser) -> bool:
    """Whether the denoiser can be told anything."""
    return not isinstance(unet, DiffGSPriorTransformer)
