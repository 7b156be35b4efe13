"""The networks of the DiffGS that its authors released, layer for layer: their checkpoints become weights of these."""

from .autoencoder import OriginalGaussianVAE
from .prior_transformer import DiffGSPriorTransformer

__all__ = ["DiffGSPriorTransformer", "OriginalGaussianVAE"]
