"""Pictures, partial objects and point clouds as conditions of the denoiser (DiffGS, section 3.4)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from torch import Tensor, nn

from ..functional.triplane import DEFAULT_PADDING, planes_to_sequence
from ..gaussians import GaussianSplats
from .picture_guess import PictureGuess
from .point_encoder import COLOR_GAIN, PointEncoder, num_point_features, point_features
from .triplane import AxisExchange, PlaneAttention, PlanePositions, ResidualBlock2D
from .unet_1d_blocks import zero_init

NUM_FEATURES = num_point_features(0) + 2  # and whether shape and colour are known
POINT_KINDS = ("partial", "points")  # some of an object's Gaussians, or points from all over its surface
_COLORS = slice(10, 13)


def splats_features(splats: GaussianSplats) -> Tensor:
    """[N, F] features of Gaussians, whose shape and colour are known."""
    features = point_features(splats, 0)
    return torch.cat([features, torch.ones_like(features[:, :2])], dim=1)


def points_features(points: Tensor, colors: Tensor | None = None) -> Tensor:
    """[N, F] features of bare points.

    Args:
        points: [N, 3], object frame.
        colors: [N, 3] RGB in [0, 1]; None if they are unknown.
    """
    features = points.new_zeros(len(points), NUM_FEATURES)
    features[:, :3] = points
    if colors is not None:
        features[:, _COLORS] = (colors - 0.5) * COLOR_GAIN
        features[:, -1] = 1
    return features


class ConditionEncoder(ModelMixin, ConfigMixin):
    """What is known of an object besides a text: some of its Gaussians, points of its surface, a picture.

    Points are pooled on three planes as in the VAE's encoder, and the planes are brought down to the denoiser's
    sequence: every position gets a state, the empty ones too, as that nothing was found there is known as well.
    A linear shortcut carries the means of the points' features there, without which hues were learned last.
    The states of a picture come from a CLIP vision model and are projected for the cross-attention; besides, a
    first guess of the latents from its pixels can be told at every position.

    Args:
        cross_attention_dim: size of a state, that of the denoiser's condition.
        image_dim: size of the vision model's states; None for an encoder that takes no pictures.
        guess_channels: latent channels of a position, for a :class:`PictureGuess`; None for none.
        guess_rank: components of that guess.
        guess_width: channels of the first layer of its network.
        point_channels: width of the point encoder.
        point_resolution: cells along a side of the planes that points are pooled on.
        num_point_blocks: residual blocks of the point encoder.
        depth_bins: bins along each plane's normal in which points are counted; 0 for none.
        resolution: positions along a side of each plane, so 3 · resolution² of them.
        channels: width of the plane encoder.
        num_blocks: residual blocks at that resolution.
        num_attention_blocks: transformer blocks over all planes.
        num_points: points read at most; more are thinned, fewer repeated.
        padding: how far the planes reach beyond the unit box, as a fraction of its side.

    Raises:
        ValueError: if the resolutions do not divide.
    """

    @register_to_config
    def __init__(
        self,
        cross_attention_dim: int = 192,
        image_dim: int | None = None,
        guess_channels: int | None = None,
        guess_rank: int = 256,
        guess_width: int = 48,
        point_channels: int = 32,
        point_resolution: int = 32,
        num_point_blocks: int = 3,
        depth_bins: int = 16,
        resolution: int = 8,
        channels: int = 128,
        num_blocks: int = 2,
        num_attention_blocks: int = 1,
        num_points: int = 4096,
        padding: float = DEFAULT_PADDING,
    ) -> None:
        super().__init__()
        if point_resolution % resolution:
            raise ValueError(
                f"`point_resolution` must be a multiple of `resolution`, got {point_resolution} and {resolution}."
            )
        patch = point_resolution // resolution
        self.point_encoder = PointEncoder(
            NUM_FEATURES, point_channels, point_resolution, num_point_blocks, padding, depth_bins
        )
        self.fold = nn.PixelUnshuffle(patch)
        self.conv_in = nn.Conv2d(self.point_encoder.out_channels * patch**2, channels, 1)
        self.blocks = nn.ModuleList(
            nn.Sequential(AxisExchange(channels), ResidualBlock2D(channels)) for _ in range(num_blocks)
        )
        self.positions = PlanePositions(channels, resolution)
        self.kind_embedding = nn.Embedding(len(POINT_KINDS), channels)
        self.attention = nn.ModuleList(
            PlaneAttention(channels, max(1, channels // 32)) for _ in range(num_attention_blocks)
        )
        self.norm_out = nn.LayerNorm(channels)
        self.proj_out = nn.Linear(channels, cross_attention_dim)
        self.shortcut = zero_init(nn.Linear(NUM_FEATURES, cross_attention_dim, bias=False))
        self.image_projection = (
            None
            if image_dim is None
            else nn.Sequential(nn.LayerNorm(image_dim), nn.Linear(image_dim, cross_attention_dim))
        )
        self.picture_guess = (
            None
            if guess_channels is None
            else PictureGuess(3 * resolution**2, guess_channels, guess_rank, guess_width, cross_attention_dim)
        )

    def prepare_features(self, features: Sequence[Tensor], seed: int = 0) -> Tensor:
        """Features of objects, brought to one number of points.

        Args:
            features: of each object, [N, F] from :func:`splats_features` or :func:`points_features`.
            seed: of the choice among more points than are read.

        Returns:
            [B, num_points, F] float32 on the model's device.

        Raises:
            ValueError: if an object has no point.
        """
        if not features or any(len(one) == 0 for one in features):
            raise ValueError("A condition needs at least one point.")
        target, rows = self.config.num_points, []
        for one in features:
            order = torch.randperm(len(one), generator=torch.Generator().manual_seed(seed))
            index = order.repeat(-(-target // len(one)))[:target]
            rows.append(one[index.to(one.device)].to(self.device, torch.float32))
        return torch.stack(rows)

    def project_images(self, states: Tensor) -> Tensor:
        """A vision model's last hidden states [B, S, image_dim] as tokens [B, S, cross_attention_dim].

        Raises:
            ValueError: if the encoder takes no pictures or the states have another size.
        """
        if self.image_projection is None:
            raise ValueError("This condition encoder was made without `image_dim`: it takes no pictures.")
        if states.shape[-1] != self.config.image_dim:
            raise ValueError(f"Image states must have {self.config.image_dim} channels, got {states.shape[-1]}.")
        return self.image_projection(states.to(self.dtype))

    def places_of_images(self, pixels: Tensor) -> Tensor | None:
        """What pictures [B, 3, H, H], as CLIP's image processor makes them, let guess of each position,
        [B, 3 · resolution², cross_attention_dim]; None for an encoder without a guess."""
        return None if self.picture_guess is None else self.picture_guess(pixels)

    def forward(self, features: Tensor, kinds: Tensor) -> Tensor:
        """States of places.

        Args:
            features: [B, N, F] from :meth:`prepare_features`.
            kinds: [B] integer, index into ``POINT_KINDS``.

        Returns:
            [B, 3 · resolution², cross_attention_dim], in the order of the latents: plane after plane, each along
            the Z-order curve.
        """
        planes = self.point_encoder(features).to(self.conv_in.weight.dtype)
        hidden = self.positions(self.conv_in(self.fold(planes.flatten(0, 1))))
        hidden = hidden + self.kind_embedding(kinds).repeat_interleave(3, 0)[:, :, None, None]
        for block in (*self.blocks, *self.attention):
            hidden = block(hidden)
        states = self.proj_out(self.norm_out(_places(hidden)))
        return states + self.shortcut(self._mean_features(planes).to(states.dtype))

    def _mean_features(self, planes: Tensor) -> Tensor:
        """[B, 3 · resolution², F] means of the given features over what lies at each place; 0 for nothing."""
        given = planes.flatten(0, 1)[:, self.config.point_channels :]
        patch = self.config.point_resolution // self.config.resolution
        features, occupied = (
            nn.functional.avg_pool2d(part, patch) for part in (given[:, :NUM_FEATURES], given[:, -1:])
        )
        return _places(features / occupied.clamp(min=1e-6))


def _places(planes: Tensor) -> Tensor:
    """[B·3, C, R, R] as [B, 3·R², C], in the order of the latents."""
    return planes_to_sequence(planes.unflatten(0, (-1, 3))).transpose(1, 2)
