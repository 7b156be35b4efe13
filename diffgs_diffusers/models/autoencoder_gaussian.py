"""The Gaussian VAE: a set of Gaussians to a latent sequence, the latent to planes, planes to three functions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from diffusers.configuration_utils import register_to_config
from diffusers.utils.accelerate_utils import apply_forward_hook
from torch import Tensor

from ..functional.triplane import DEFAULT_PADDING, planes_to_sequence, sequence_to_planes
from ..gaussians import GaussianSplats
from .base_vae import BaseGaussianVAE, GaussianVAEDecoderOutput, GaussianVAEEncoderOutput, check_splats
from .distributions import DiagonalGaussian
from .heads import GaussianFunctionHeads
from .point_encoder import PointEncoder, num_point_features, point_features
from .sharing import SharingHead
from .triplane import TriplaneDecoder, TriplaneEncoder


class GaussianVAE(BaseGaussianVAE):
    """Variational autoencoder of 3D Gaussian objects (DiffGS, section 3.3).

    ``encode`` pools Gaussians onto three planes and compresses them; ``decode`` turns latents into feature planes;
    ``query`` reads the Gaussian probability (GauPF), colour (GauCF) and transform (GauTF) functions off the planes
    at any points. Latents are sequences [B, latent_channels, latent_length], plane after plane along a Z-order
    curve, so that a 1-D U-Net sees neighbours as neighbours.

    Args:
        sh_degree: degree of the colours that are read and predicted.
        plane_resolution: R, cells along a side of the decoded planes.
        plane_channels: channels of the decoded planes.
        patch_size: side of the patches of decoded cells that the decoder's last layer makes at once.
        point_resolution: cells along a side of the planes that the point encoder pools on.
        point_channels: width of the point encoder.
        num_point_blocks: residual blocks of the point encoder.
        depth_bins: bins along each plane's normal in which the encoder sees where Gaussians lie; 0 for the means of
            the paper's point encoder alone.
        block_channels: widths of the plane encoder and decoder, highest resolution (R / patch_size) first; each
            further level halves the resolution, the last one is the latent's.
        blocks_per_level: residual blocks per level.
        encoder_blocks_per_level: the same of the plane encoder, None for as many: finding the latent that describes
            an object is harder than reading it.
        num_attention_blocks: transformer blocks over the three planes at the latent's resolution, each way.
        latent_channels: channels of the latent.
        head_channels: width of the three heads.
        head_layers: hidden layers of each head.
        padding: how far the planes reach beyond the unit box, as a fraction of its side.
        truncation: δ of GauPF in object units: the probability reaches 0 at this distance.
        core: half sides of a Gaussian's core in standard deviations (across the surface at most 1), from which
            GauPF measures distance; 0 is the paper's distance to centres.
        encoder_num_gaussians: objects with more Gaussians are thinned to this number for the encoder.
        latents_mean: mean per latent channel over the training set; diffusion works on normalised latents.
        latents_std: standard deviation per latent channel over the training set.
        sharing_channels: width of the head that says how Gaussians share their opacity where they lie closer
            together than the planes' detail (``training/train_sharing.py``); 0 for none.
    """

    @register_to_config
    def __init__(
        self,
        sh_degree: int = 0,
        plane_resolution: int = 64,
        plane_channels: int = 48,
        patch_size: int = 2,
        point_resolution: int = 64,
        point_channels: int = 32,
        num_point_blocks: int = 3,
        depth_bins: int = 32,
        block_channels: tuple[int, ...] = (128, 256),
        blocks_per_level: int = 1,
        encoder_blocks_per_level: int | None = 3,
        num_attention_blocks: int = 1,
        latent_channels: int = 8,
        head_channels: int = 128,
        head_layers: int = 2,
        padding: float = DEFAULT_PADDING,
        truncation: float = 0.06,
        core: float = 1.6,
        encoder_num_gaussians: int = 8192,
        latents_mean: tuple[float, ...] | None = None,
        latents_std: tuple[float, ...] | None = None,
        sharing_channels: int = 0,
    ) -> None:
        super().__init__()
        top_resolution = plane_resolution // patch_size
        factor = 2 ** (len(block_channels) - 1)
        if top_resolution * patch_size != plane_resolution or top_resolution % factor:
            raise ValueError(
                f"`plane_resolution` must be a multiple of {patch_size * factor} (`patch_size` times 2 for each "
                f"level after the first of `block_channels`), got {plane_resolution}."
            )
        if point_resolution % top_resolution:
            raise ValueError(
                f"`point_resolution` must be a multiple of `plane_resolution` / `patch_size` = {top_resolution}, "
                f"got {point_resolution}."
            )
        if depth_bins < 0 or depth_bins == 1:
            raise ValueError(f"`depth_bins` must be 0 or at least 2, got {depth_bins}.")
        self.latent_resolution = top_resolution // factor
        levels = tuple(block_channels)
        self.point_encoder = PointEncoder(
            num_point_features(sh_degree), point_channels, point_resolution, num_point_blocks, padding, depth_bins
        )
        self.encoder = TriplaneEncoder(
            in_channels=self.point_encoder.out_channels,
            patch_size=point_resolution // top_resolution,
            block_channels=levels,
            latent_channels=latent_channels,
            latent_resolution=self.latent_resolution,
            blocks_per_level=encoder_blocks_per_level or blocks_per_level,
            num_attention_blocks=num_attention_blocks,
        )
        self.decoder = TriplaneDecoder(
            latent_channels=latent_channels,
            latent_resolution=self.latent_resolution,
            block_channels=levels,
            patch_size=patch_size,
            out_channels=plane_channels,
            blocks_per_level=blocks_per_level,
            num_attention_blocks=num_attention_blocks,
        )
        self.heads = GaussianFunctionHeads(plane_channels, head_channels, head_layers, sh_degree, padding)
        if sharing_channels:
            self.sharing = SharingHead(3 * plane_channels + 3, sharing_channels)

    @property
    def latent_length(self) -> int:
        """L, the length of a latent sequence."""
        return 3 * self.latent_resolution**2

    def prepare_features(self, splats: Sequence[GaussianSplats]) -> Tensor:
        """What the encoder reads: every object brought to one number of Gaussians.

        A larger object is thinned evenly over its order, after a fixed shuffle; a smaller one repeats Gaussians,
        which the means over cells hardly notice.

        Returns:
            [B, N, F] float32 on the model's device.

        Raises:
            ValueError: if there is no object or an object is empty.
        """
        check_splats(splats)
        target = min(self.config.encoder_num_gaussians, max(len(one) for one in splats))
        rows = []
        for one in splats:
            order = torch.randperm(len(one), generator=torch.Generator().manual_seed(0))
            index = order.repeat(-(-target // len(one)))[:target] if len(one) != target else torch.arange(target)
            chosen = one.select(index.to(one.device)).to(self.device, torch.float32)
            rows.append(point_features(chosen, self.config.sh_degree))
        return torch.stack(rows)

    @apply_forward_hook
    def encode(self, splats: Sequence[GaussianSplats] | GaussianSplats | Tensor, return_dict: bool = True) -> Any:
        """Posterior over the latents of objects.

        Args:
            splats: objects in the unit box, or features [B, N, F] from :meth:`prepare_features`.
            return_dict: False gives a tuple.

        Returns:
            :class:`GaussianVAEEncoderOutput` with the posterior over [B, latent_channels, latent_length], not
            normalised by ``latents_mean``; or the posterior in a tuple.
        """
        if isinstance(splats, GaussianSplats):
            splats = [splats]
        features = splats if isinstance(splats, Tensor) else self.prepare_features(splats)
        parameters = self.encoder(self.point_encoder(features).to(self.dtype))
        posterior = DiagonalGaussian.from_parameters(planes_to_sequence(parameters.float()))
        return GaussianVAEEncoderOutput(latent_dist=posterior) if return_dict else (posterior,)

    @apply_forward_hook
    def decode(self, latents: Tensor, return_dict: bool = True) -> Any:
        """Feature planes of latents [B, latent_channels, latent_length].

        Returns:
            :class:`GaussianVAEDecoderOutput` with the planes [B, 3, C, R, R], or the planes in a tuple.

        Raises:
            ValueError: if the latents have another shape.
        """
        self.check_latents(latents)
        planes = self.decoder(sequence_to_planes(latents.to(self.dtype), self.latent_resolution))
        return GaussianVAEDecoderOutput(planes=planes) if return_dict else (planes,)
