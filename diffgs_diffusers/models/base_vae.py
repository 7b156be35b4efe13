"""What every Gaussian VAE has: latents with statistics, and functions that are read off decoded planes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from diffusers.configuration_utils import ConfigMixin
from diffusers.models.modeling_utils import ModelMixin
from diffusers.utils import BaseOutput
from torch import Tensor

from ..gaussians import GaussianSplats
from .distributions import DiagonalGaussian
from .heads import FunctionHeads, GaussianFunctions
from .sharing import SharingHead


@dataclass
class GaussianVAEEncoderOutput(BaseOutput):
    """
    Args:
        latent_dist: posterior over latents [B, C, L].
    """

    latent_dist: DiagonalGaussian


@dataclass
class GaussianVAEDecoderOutput(BaseOutput):
    """
    Args:
        planes: [B, 3, C, R, R] feature planes, order xz, xy, yz.
    """

    planes: Tensor


class BaseGaussianVAE(ModelMixin, ConfigMixin, ABC):
    """A variational autoencoder of 3D Gaussian objects, as the pipeline and extraction use it.

    A subclass has ``heads``, ``latent_length``, ``encode`` and ``decode``, and in its configuration at least
    ``latent_channels``, ``padding``, ``truncation``, ``latents_mean`` and ``latents_std``.
    """

    heads: FunctionHeads

    def __init__(self) -> None:
        super().__init__()
        self.sharing: SharingHead | None = None  # knows more of crowded Gaussians than how close they lie

    @property
    @abstractmethod
    def latent_length(self) -> int:
        """L, the length of a latent sequence."""

    @abstractmethod
    def encode(self, splats: Sequence[GaussianSplats] | GaussianSplats | Tensor, return_dict: bool = True) -> Any:
        """Posterior over the latents of objects."""

    @abstractmethod
    def decode(self, latents: Tensor, return_dict: bool = True) -> Any:
        """Feature planes of latents [B, latent_channels, latent_length]."""

    def query(self, planes: Tensor, query_points: Tensor) -> GaussianFunctions:
        """GauPF, GauCF and GauTF at ``query_points`` [B, M, 3], object frame."""
        return self.heads(planes, query_points)

    def check_latents(self, latents: Tensor) -> None:
        """Raises ValueError unless latents are [B, latent_channels, latent_length]."""
        expected = (self.config.latent_channels, self.latent_length)
        if latents.ndim != 3 or tuple(latents.shape[1:]) != expected:
            raise ValueError(f"`latents` must be [B, {expected[0]}, {expected[1]}], got {list(latents.shape)}.")

    def normalize_latents(self, latents: Tensor) -> Tensor:
        """Latents [B, C, L] with zero mean and unit variance per channel over the training set."""
        mean, std = self._latent_statistics(latents)
        return (latents - mean) / std

    def denormalize_latents(self, latents: Tensor) -> Tensor:
        """Inverse of :meth:`normalize_latents`."""
        mean, std = self._latent_statistics(latents)
        return latents * std + mean

    def _latent_statistics(self, latents: Tensor) -> tuple[Tensor, Tensor]:
        channels = self.config.latent_channels
        mean = self.config.latents_mean or [0.0] * channels
        std = self.config.latents_std or [1.0] * channels
        return latents.new_tensor(mean)[:, None], latents.new_tensor(std)[:, None]

    def forward(
        self,
        splats: Sequence[GaussianSplats] | Tensor,
        query_points: Tensor,
        centers: Tensor | None = None,
        sample_posterior: bool = False,
        generator: torch.Generator | None = None,
    ) -> tuple[GaussianFunctions, DiagonalGaussian]:
        """Encodes, decodes and queries.

        Args:
            splats: as :meth:`encode` takes them.
            query_points: [B, M, 3] where GauPF is asked.
            centers: [B, P, 3] where GauCF and GauTF are asked; ``query_points`` by default.
            sample_posterior: draw the latents instead of taking the posterior's mode.
            generator: draws them.
        """
        posterior = self.encode(splats).latent_dist
        latents = posterior.sample(generator) if sample_posterior else posterior.mode()
        return self.heads(self.decode(latents).planes, query_points, centers), posterior


def check_splats(splats: Sequence[GaussianSplats]) -> None:
    """Raises ValueError if there is no object or an object is empty."""
    if not splats or any(len(one) == 0 for one in splats):
        raise ValueError("`encode` needs at least one object, each with at least one Gaussian.")
