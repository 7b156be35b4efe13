"""Convolutional encoder and decoder between feature planes and a latent of low resolution.

The three planes share their weights (a learned embedding tells them apart) and meet in self-attention over all
their cells at the latent's resolution, where that is cheap.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class ResidualBlock2D(nn.Module):
    """Two 3×3 convolutions with group normalisation and SiLU around a skip connection."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm1 = nn.GroupNorm(8, channels)
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.norm2 = nn.GroupNorm(8, channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, hidden: Tensor) -> Tensor:
        residual = self.conv1(nn.functional.silu(self.norm1(hidden)))
        return hidden + self.conv2(nn.functional.silu(self.norm2(residual)))


class PlaneAttention(nn.Module):
    """A transformer block over the cells of all three planes together, at half their resolution.

    Four cells are averaged to a token: attention costs a sixteenth, and what planes have to tell each other is
    coarse.
    """

    def __init__(self, channels: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.norm1 = nn.LayerNorm(channels)
        self.to_qkv = nn.Linear(channels, 3 * channels)
        self.to_out = nn.Linear(channels, channels)
        self.norm2 = nn.LayerNorm(channels)
        self.feed_forward = nn.Sequential(
            nn.Linear(channels, 2 * channels), nn.SiLU(), nn.Linear(2 * channels, channels)
        )

    def forward(self, hidden: Tensor) -> Tensor:
        """[B·3, C, R, R] to the same shape."""
        pooled = nn.functional.avg_pool2d(hidden, 2)
        planes, channels, height, width = pooled.shape
        tokens = pooled.reshape(planes // 3, 3, channels, height * width).transpose(2, 3).flatten(1, 2)
        change = self._attend(self.norm1(tokens))
        change = change + self.feed_forward(self.norm2(tokens + change))
        grid = change.unflatten(1, (3, -1)).transpose(2, 3).reshape(planes, channels, height, width)
        return hidden + nn.functional.interpolate(grid, scale_factor=2.0, mode="nearest")

    def _attend(self, tokens: Tensor) -> Tensor:
        qkv = self.to_qkv(tokens).unflatten(2, (3, self.num_heads, -1))
        query, key, value = qkv.permute(2, 0, 3, 1, 4)
        attended = nn.functional.scaled_dot_product_attention(query, key, value)
        return self.to_out(attended.transpose(1, 2).flatten(2))


def _middle(channels: int, num_attention_blocks: int, resolution: int) -> nn.Module:
    blocks = [PlaneAttention(channels, max(1, channels // 32)) for _ in range(num_attention_blocks)]
    return nn.Sequential(_PlanePositions(channels, resolution), *blocks)


class _PlanePositions(nn.Module):
    """Adds a learned embedding per plane and cell."""

    def __init__(self, channels: int, resolution: int) -> None:
        super().__init__()
        self.embedding = nn.Parameter(torch.randn(3, channels, resolution, resolution) * 0.02)

    def forward(self, hidden: Tensor) -> Tensor:
        return (hidden.unflatten(0, (-1, 3)) + self.embedding).flatten(0, 1)


class TriplaneEncoder(nn.Module):
    """Planes [B, 3, C, R, R] to the posterior's parameters [B, 3, 2·latent_channels, r, r].

    The first step folds patches of ``patch_size``² cells into channels, so that no work is done at the planes'
    full resolution.

    Args:
        in_channels: channels of the incoming planes.
        patch_size: side of the patches.
        block_channels: width per level, highest resolution first; each further level halves the resolution.
        latent_channels: channels of the latent.
        latent_resolution: r, the resolution of the last level.
        blocks_per_level: residual blocks per level.
        num_attention_blocks: transformer blocks at the last level.
    """

    def __init__(
        self,
        in_channels: int,
        patch_size: int,
        block_channels: tuple[int, ...],
        latent_channels: int,
        latent_resolution: int,
        blocks_per_level: int,
        num_attention_blocks: int,
    ) -> None:
        super().__init__()
        self.fold = nn.PixelUnshuffle(patch_size)
        self.conv_in = nn.Conv2d(in_channels * patch_size**2, block_channels[0], 3, padding=1)
        self.levels = nn.ModuleList()
        previous = block_channels[0]
        for level, channels in enumerate(block_channels):
            down = [nn.Conv2d(previous, channels, 3, stride=2, padding=1)] if level else []
            blocks = [ResidualBlock2D(channels) for _ in range(blocks_per_level)]
            self.levels.append(nn.Sequential(*down, *blocks))
            previous = channels
        self.middle = _middle(previous, num_attention_blocks, latent_resolution)
        self.norm_out = nn.GroupNorm(8, previous)
        self.conv_out = nn.Conv2d(previous, 2 * latent_channels, 1)
        # A sharp posterior at the start: what is weak in the input (hue beside brightness) has to get through the
        # noise before it can grow.
        start = torch.tensor([0.0, -4.0]).repeat_interleave(latent_channels)
        self.conv_out.bias = nn.Parameter(start)

    def forward(self, planes: Tensor) -> Tensor:
        hidden = self.conv_in(self.fold(planes.flatten(0, 1)))
        for level in self.levels:
            hidden = level(hidden)
        hidden = self.conv_out(nn.functional.silu(self.norm_out(self.middle(hidden))))
        return hidden.unflatten(0, (-1, 3))


class TriplaneDecoder(nn.Module):
    """Latent planes [B, 3, latent_channels, r, r] to feature planes [B, 3, C, R, R].

    Args:
        latent_channels: channels of the latent.
        latent_resolution: r.
        block_channels: width per level, *highest resolution first* as in the encoder.
        patch_size: side of the patches that the last step unfolds channels into.
        out_channels: channels of the feature planes.
        blocks_per_level: residual blocks per level.
        num_attention_blocks: transformer blocks at the latent's resolution.
    """

    def __init__(
        self,
        latent_channels: int,
        latent_resolution: int,
        block_channels: tuple[int, ...],
        patch_size: int,
        out_channels: int,
        blocks_per_level: int,
        num_attention_blocks: int,
    ) -> None:
        super().__init__()
        widths = tuple(reversed(block_channels))
        self.conv_in = nn.Conv2d(latent_channels, widths[0], 3, padding=1)
        self.middle = _middle(widths[0], num_attention_blocks, latent_resolution)
        self.levels = nn.ModuleList()
        previous = widths[0]
        for level, channels in enumerate(widths):
            # Channels shrink before the grid grows: the wide tensor never exists at the higher resolution.
            up = [nn.Conv2d(previous, channels, 1), nn.Upsample(scale_factor=2, mode="nearest")] if level else []
            blocks = [ResidualBlock2D(channels) for _ in range(blocks_per_level)]
            self.levels.append(nn.Sequential(*up, *blocks))
            previous = channels
        self.norm_out = nn.GroupNorm(8, previous)
        self.conv_out = nn.Conv2d(previous, out_channels * patch_size**2, 3, padding=1)
        self.unfold = nn.PixelShuffle(patch_size)

    def forward(self, latents: Tensor) -> Tensor:
        hidden = self.middle(self.conv_in(latents.flatten(0, 1)))
        for level in self.levels:
            hidden = level(hidden)
        hidden = self.conv_out(nn.functional.silu(self.norm_out(hidden)))
        return self.unfold(hidden).unflatten(0, (-1, 3))
