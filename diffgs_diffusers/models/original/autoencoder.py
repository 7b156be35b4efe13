"""The original's Gaussian VAE: Gaussians to one vector, the vector to planes and three functions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from diffusers.configuration_utils import register_to_config
from diffusers.utils.accelerate_utils import apply_forward_hook
from torch import Tensor

from ...gaussians import GaussianSplats
from ..base_vae import BaseGaussianVAE, GaussianVAEDecoderOutput, GaussianVAEEncoderOutput, check_splats
from ..distributions import DiagonalGaussian
from .heads import OriginalFunctionHeads
from .plane_vae import OriginalPlaneDecoder, OriginalPlaneEncoder
from .point_encoder import NUM_GAUSSIAN_CHANNELS, NUM_POSITION_CHANNELS, OriginalPointEncoder, raw_channels


class OriginalGaussianVAE(BaseGaussianVAE):
    """The VAE that DiffGS's authors released (DiffGS, section 3.3), for their weights and for comparison.

    It stands wherever a :class:`~diffgs_diffusers.models.GaussianVAE` does. An object is one vector: latents are
    [B, latent_channels, 1], not normalised unless statistics are given. Defaults are the released sizes.

    Args:
        in_channels: what the encoder is told of a Gaussian: 59 values as a PLY file stores them, or 3, its position
            (the form for point clouds).
        plane_channels: C of each plane.
        plane_resolution: R, cells along a side of the planes.
        point_channels: width of the point encoder's blocks.
        num_point_blocks: its residual blocks.
        unet_channels: of the first level of the point encoder's U-Net.
        unet_depth: levels of that U-Net.
        latent_channels: length of the latent vector.
        block_channels: channels of the convolutional VAE's levels; each halves the resolution.
        head_channels: width of the three heads.
        has_head_skip: whether the heads see their input once more in the middle.
        has_probability_tanh: whether GauPF passes through a tanh.
        max_scale: greatest scale that GauTF gives, in object units.
        opacity: of every Gaussian; it is not learned.
        fitted_num_gaussians: how many Gaussians the objects had that scales were learned from.
        padding: how far the planes reach beyond the unit box, as a fraction of its side.
        truncation: δ of GauPF in object units: the probability reaches 0 at this distance.
        latents_mean: mean per latent channel over the training set; None for 0: diffusion works on latents as they
            are.
        latents_std: standard deviation per latent channel over the training set; None for 1.

    Raises:
        ValueError: if sizes do not fit together.
    """

    @register_to_config
    def __init__(
        self,
        in_channels: int = NUM_GAUSSIAN_CHANNELS,
        plane_channels: int = 256,
        plane_resolution: int = 64,
        point_channels: int = 128,
        num_point_blocks: int = 5,
        unet_channels: int = 32,
        unet_depth: int = 4,
        latent_channels: int = 768,
        block_channels: tuple[int, ...] = (768, 768, 768, 768, 768),
        head_channels: int = 512,
        has_head_skip: bool = True,
        has_probability_tanh: bool = False,
        max_scale: float = 0.2,
        opacity: float = 0.95,
        fitted_num_gaussians: int = 100_000,
        padding: float = 0.1,
        truncation: float = 0.2,
        latents_mean: tuple[float, ...] | None = None,
        latents_std: tuple[float, ...] | None = None,
    ) -> None:
        super().__init__()
        if in_channels not in (NUM_GAUSSIAN_CHANNELS, NUM_POSITION_CHANNELS):
            raise ValueError(f"`in_channels` must be 59 (Gaussians) or 3 (positions), got {in_channels}.")
        divisor = 2 ** max(len(block_channels), unet_depth - 1)
        if plane_resolution % divisor:
            raise ValueError(
                f"`plane_resolution` must be a multiple of {divisor}, which the levels of `block_channels` and of "
                f"the U-Net halve it to, got {plane_resolution}."
            )
        self.point_encoder = OriginalPointEncoder(
            in_channels,
            point_channels,
            num_point_blocks,
            plane_channels,
            plane_resolution,
            unet_channels,
            unet_depth,
            padding,
        )
        sizes = (3 * plane_channels, tuple(block_channels), plane_resolution >> len(block_channels))
        self.encoder = OriginalPlaneEncoder(*sizes, latent_channels)
        self.decoder = OriginalPlaneDecoder(*sizes, latent_channels)
        self.heads = OriginalFunctionHeads(
            plane_channels,
            head_channels,
            has_head_skip,
            has_probability_tanh,
            max_scale,
            opacity,
            fitted_num_gaussians,
            padding,
        )

    @property
    def latent_length(self) -> int:
        """L = 1: an object is one vector."""
        return 1

    @apply_forward_hook
    def encode(self, splats: Sequence[GaussianSplats] | GaussianSplats | Tensor, return_dict: bool = True) -> Any:
        """Posterior over the latents of objects.

        Args:
            splats: objects in the unit box, of any numbers of Gaussians, all of which are read; or features
                [B, N, in_channels].
            return_dict: False gives a tuple.

        Returns:
            :class:`GaussianVAEEncoderOutput` with the posterior over [B, latent_channels, 1], or the posterior in
            a tuple.
        """
        if isinstance(splats, GaussianSplats):
            splats = [splats]
        if isinstance(splats, Tensor):
            parameters = [self.encoder(self.point_encoder(splats))]
        else:
            check_splats(splats)
            parameters = [self.encoder(self.point_encoder(self._features(one)[None])) for one in splats]
        mean, logvar = (torch.cat(values).float()[..., None] for values in zip(*parameters, strict=True))
        posterior = DiagonalGaussian.from_parameters(torch.cat([mean, logvar], dim=1))
        return GaussianVAEEncoderOutput(latent_dist=posterior) if return_dict else (posterior,)

    def _features(self, splats: GaussianSplats) -> Tensor:
        """[N, in_channels] on the model's device."""
        splats = splats.to(self.device, torch.float32)
        return splats.means if self.config.in_channels == NUM_POSITION_CHANNELS else raw_channels(splats)

    @apply_forward_hook
    def decode(self, latents: Tensor, return_dict: bool = True) -> Any:
        """Feature planes of latents [B, latent_channels, 1].

        Returns:
            :class:`GaussianVAEDecoderOutput` with the planes [B, 3, C, R, R], or the planes in a tuple.

        Raises:
            ValueError: if the latents have another shape.
        """
        self.check_latents(latents)
        planes = self.decoder(latents[..., 0].to(self.dtype))
        return GaussianVAEDecoderOutput(planes=planes) if return_dict else (planes,)
