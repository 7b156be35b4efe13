"""The posterior of a VAE."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from diffusers.utils.torch_utils import randn_tensor
from torch import Tensor


@dataclass(frozen=True, eq=False)
class DiagonalGaussian:
    """N(mean, diag(exp(logvar))) over tensors of any shape after the batch.

    Args:
        mean: [B, ...].
        logvar: [B, ...] log variances, between −30 and 20.
    """

    mean: Tensor
    logvar: Tensor

    @staticmethod
    def from_parameters(parameters: Tensor) -> DiagonalGaussian:
        """From one tensor [B, 2C, ...]: the mean's channels first."""
        mean, logvar = parameters.chunk(2, dim=1)
        return DiagonalGaussian(mean, logvar.clamp(-30.0, 20.0))

    def mode(self) -> Tensor:
        """The most likely value, which is the mean."""
        return self.mean

    def sample(self, generator: torch.Generator | None = None) -> Tensor:
        """mean + std · ε, ε ~ N(0, I) (the reparameterisation of VAE, arXiv 1312.6114, section 2.4)."""
        noise = randn_tensor(self.mean.shape, generator=generator, device=self.mean.device, dtype=self.mean.dtype)
        return self.mean + (0.5 * self.logvar).exp() * noise

    def kl(self) -> Tensor:
        """KL divergence [B] to the standard normal, averaged over dimensions, in nats.

        A mean and not a sum keeps its weight in the loss independent of the latent's size.
        """
        terms = 0.5 * (self.mean**2 + self.logvar.exp() - 1 - self.logvar)
        return terms.flatten(1).mean(dim=1)
