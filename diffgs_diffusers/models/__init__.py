"""The networks: Gaussian VAE and latent denoiser."""

from .autoencoder_gaussian import GaussianVAE, GaussianVAEDecoderOutput, GaussianVAEEncoderOutput
from .distributions import DiagonalGaussian
from .heads import GaussianFunctions
from .unet_1d_condition import UNet1DConditionModel, UNet1DConditionOutput

__all__ = [
    "DiagonalGaussian",
    "GaussianFunctions",
    "GaussianVAE",
    "GaussianVAEDecoderOutput",
    "GaussianVAEEncoderOutput",
    "UNet1DConditionModel",
    "UNet1DConditionOutput",
]
