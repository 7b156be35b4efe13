"""Finds the classes in the installed package: `pip install diffgs-diffusers`."""

from diffgs_diffusers import DiffGSPipeline, GaussianVAE, UNet1DConditionModel

__all__ = ["DiffGSPipeline", "GaussianVAE", "UNet1DConditionModel"]
