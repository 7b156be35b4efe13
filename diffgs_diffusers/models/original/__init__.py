"""The networks of the DiffGS that its authors released, layer for layer, for weights of theirs."""

from .autoencoder import OriginalGaussianVAE
from .prior_transformer import DiffGSPriorTransformer
from .scheduler import OriginalDDPMScheduler, original_scheduler

__all__ = ["DiffGSPriorTransformer", "OriginalDDPMScheduler", "OriginalGaussianVAE", "original_scheduler"]
