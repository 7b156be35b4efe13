"""Convolutional encoder and decoder between feature planes and a latent of low resolution.

The three planes share their weights (a learned embedding tells them apart) and meet in self-attention over all
their cells at the latent's resolution, where that is cheap.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class ResidualBlock2D(nn.Module):
    """Two 3×3 convolutions with group normalisation and SiLU around a skip connection."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.norm1 = nn.GroupNorm(8, in_channels)
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, padding=1)
        self.norm2 = nn.GroupNorm(8, out_channels)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1)
        self.shortcut = nn.Conv2d(in_channels, out_channels, 1) if in_channels != out_channels else nn.Identity()

    def forward(self, hidden: Tensor) -> Tensor:
        residual = self.conv1(nn.functional.silu(self.norm1(hidden)))
        residual = self.conv2(nn.functional.silu(self.norm2(residual)))
        return self.shortcut(hidden) + residual


class PlaneAttention(nn.Module):
    """A transformer block over the cells of all three planes together."""

    def __init__(self, channels: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.norm1 = nn.LayerNorm(channels)
        self.to_qkv = nn.Linear(channels, 3 * channels)
        self.to_out = nn.Linear(channels, channels)
        self.norm2 = nn.LayerNorm(channels)
        self.feed_forward = nn.Sequential(
            nn.Linear(channels, 4 * channels), nn.SiLU(), nn.Linear(4 * channels, channels)
        )

    def forward(self, hidden: Tensor) -> Tensor:
        """[B·3, C, R, R] to the same shape."""
        planes, channels, height, width = hidden.shape
        tokens = hidden.view(planes // 3, 3, channels, height * width).transpose(2, 3).flatten(1, 2)
        qkv = self.to_qkv(self.norm1(tokens)).unflatten(2, (3, self.num_heads, -1))
        query, key, value = qkv.permute(2, 0, 3, 1, 4)
        attended = nn.functional.scaled_dot_product_attention(query, key, value)
        tokens = tokens + self.to_out(attended.transpose(1, 2).flatten(2))
        tokens = tokens + self.feed_forward(self.norm2(tokens))
        return tokens.unflatten(1, (3, -1)).transpose(2, 3).reshape(planes, channels, height, width)


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

    Args:
        in_channels: channels of the incoming planes.
        block_channels: width per level, highest resolution first; each further level halves the resolution.
        latent_channels: channels of the latent.
        latent_resolution: r, the resolution of the last level.
        num_attention_blocks: transformer blocks at the last level.
    """

    def __init__(
        self,
        in_channels: int,
        block_channels: tuple[int, ...],
        latent_channels: int,
        latent_resolution: int,
        num_attention_blocks: int,
    ) -> None:
        super().__init__()
        self.conv_in = nn.Conv2d(in_channels, block_channels[0], 3, padding=1)
        self.levels = nn.ModuleList()
        previous = block_channels[0]
        for level, channels in enumerate(block_channels):
            down = nn.Conv2d(previous, channels, 3, stride=2, padding=1) if level else nn.Identity()
            self.levels.append(nn.Sequential(down, ResidualBlock2D(channels, channels)))
            previous = channels
        self.middle = _middle(previous, num_attention_blocks, latent_resolution)
        self.norm_out = nn.GroupNorm(8, previous)
        self.conv_out = nn.Conv2d(previous, 2 * latent_channels, 1)

    def forward(self, planes: Tensor) -> Tensor:
        hidden = self.conv_in(planes.flatten(0, 1))
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
        out_channels: channels of the feature planes.
        num_attention_blocks: transformer blocks at the latent's resolution.
        blocks_per_level: residual blocks per level.
    """

    def __init__(
        self,
        latent_channels: int,
        latent_resolution: int,
        block_channels: tuple[int, ...],
        out_channels: int,
        num_attention_blocks: int,
        blocks_per_level: int = 1,
    ) -> None:
        super().__init__()
        widths = tuple(reversed(block_channels))
        self.conv_in = nn.Conv2d(latent_channels, widths[0], 3, padding=1)
        self.middle = _middle(widths[0], num_attention_blocks, latent_resolution)
        self.levels = nn.ModuleList()
        previous = widths[0]
        for level, channels in enumerate(widths):
            up = [nn.Upsample(scale_factor=2, mode="nearest")] if level else []
            blocks = [ResidualBlock2D(previous if i == 0 else channels, channels) for i in range(blocks_per_level)]
            self.levels.append(nn.Sequential(*up, *blocks))
            previous = channels
        self.norm_out = nn.GroupNorm(8, previous)
        self.conv_out = nn.Conv2d(previous, out_channels, 3, padding=1)

    def forward(self, latents: Tensor) -> Tensor:
        hidden = self.middle(self.conv_in(latents.flatten(0, 1)))
        for level in self.levels:
            hidden = level(hidden)
        return self.conv_out(nn.functional.silu(self.norm_out(hidden))).unflatten(0, (-1, 3))
