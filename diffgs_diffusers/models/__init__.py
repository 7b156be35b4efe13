"""The networks: Gaussian VAE, latent denoiser and what encodes its conditions."""

from .autoencoder_gaussian import GaussianVAE
from .base_vae import GaussianVAEDecoderOutput, GaussianVAEEncoderOutput
from .condition import Condition
from .condition_encoder import ConditionEncoder
from .distributions import DiagonalGaussian
from .heads import GaussianFunctions
from .original import DiffGSPriorTransformer, OriginalDDPMScheduler, OriginalGaussianVAE
from .unet_1d_condition import UNet1DConditionModel, UNet1DConditionOutput

__all__ = [
    "Condition",
    "ConditionEncoder",
    "DiagonalGaussian",
    "DiffGSPriorTransformer",
    "GaussianFunctions",
    "GaussianVAE",
    "GaussianVAEDecoderOutput",
    "GaussianVAEEncoderOutput",
    "OriginalDDPMScheduler",
    "OriginalGaussianVAE",
    "UNet1DConditionModel",
    "UNet1DConditionOutput",
]
