"""Finds the classes in the installed package: `pip install diffgs-diffusers`."""

from diffgs_diffusers import (
    ConditionEncoder,
    DiffGSPipeline,
    DiffGSPriorTransformer,
    GaussianVAE,
    OriginalDDPMScheduler,
    OriginalGaussianVAE,
    UNet1DConditionModel,
)

__all__ = [
    "ConditionEncoder",
    "DiffGSPipeline",
    "DiffGSPriorTransformer",
    "GaussianVAE",
    "OriginalDDPMScheduler",
    "OriginalGaussianVAE",
    "UNet1DConditionModel",
]
