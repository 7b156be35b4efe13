"""Convolutional encoder and decoder between feature planes and a latent of low resolution.

The three planes share their weights (a learned embedding tells them apart). At every level they exchange profiles
along the axes that they share, and they meet in self-attention over all their cells at the latent's resolution,
where that is cheap.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class ResidualBlock2D(nn.Module):
    """Two 3×3 convolutions with group normalisation and SiLU around a skip connection.

    Args:
        channels: of what comes in, a multiple of 8.
        out_channels: of what goes out; None for as many.
        stride: by how much the picture gets smaller.
    """

    def __init__(self, channels: int, out_channels: int | None = None, stride: int = 1) -> None:
        super().__init__()
        out_channels = out_channels or channels
        self.norm1 = nn.GroupNorm(8, channels)
        self.conv1 = nn.Conv2d(channels, out_channels, 3, stride, padding=1)
        self.norm2 = nn.GroupNorm(8, out_channels)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1)
        same = out_channels == channels and stride == 1
        self.skip = nn.Identity() if same else nn.Conv2d(channels, out_channels, 1, stride)

    def forward(self, hidden: Tensor) -> Tensor:
        residual = self.conv1(nn.functional.silu(self.norm1(hidden)))
        return self.skip(hidden) + self.conv2(nn.functional.silu(self.norm2(residual)))


class AxisExchange(nn.Module):
    """Tells each plane what the other two hold along the axes that it shares with them.

    A column of the xz plane and a column of the xy plane show the same slab of x. The mean over a plane's other
    axis is a profile along the shared one; every plane adds its neighbours' profiles to its columns and rows, at
    full resolution and for next to nothing (compare the 3D-aware convolution of Wang et al. 2023, "Rodin").
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.to_columns = nn.Linear(channels, channels)
        self.to_rows = nn.Linear(channels, channels)
        for layer in (self.to_columns, self.to_rows):  # starts as the identity
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(self, hidden: Tensor) -> Tensor:
        """[B·3, C, R, R] to the same shape."""
        planes = hidden.unflatten(0, (-1, 3))
        along_columns = nn.functional.silu(planes.mean(dim=-2)).transpose(-1, -2)  # [B, 3, R, C]
        along_rows = nn.functional.silu(planes.mean(dim=-1)).transpose(-1, -2)
        # (column, row) axes are xz, xy, yz: x from xy, x from xz, y from xy; and z from yz, y from yz, z from xz
        columns = torch.stack([along_columns[:, 1], along_columns[:, 0], along_rows[:, 1]], dim=1)
        rows = torch.stack([along_rows[:, 2], along_columns[:, 2], along_rows[:, 0]], dim=1)
        to_columns = self.to_columns(columns).transpose(-1, -2).unsqueeze(-2)
        to_rows = self.to_rows(rows).transpose(-1, -2).unsqueeze(-1)
        return (planes + to_columns + to_rows).flatten(0, 1)


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
    return nn.Sequential(PlanePositions(channels, resolution), *blocks)


class PlanePositions(nn.Module):
    """Adds a learned embedding per plane and cell."""

    def __init__(self, channels: int, resolution: int) -> None:
        super().__init__()
        self.embedding = nn.Parameter(torch.randn(3, channels, resolution, resolution) * 0.02)

    def forward(self, hidden: Tensor) -> Tensor:
        return (hidden.unflatten(0, (-1, 3)) + self.embedding).flatten(0, 1)


class TriplaneEncoder(nn.Module):
    """Planes [B, 3, C, R, R] to the posterior's parameters [B, 3, 2·latent_channels, r, r].

    The first step folds patches of ``patch_size``² cells into channels, so that no work is done at the planes'
    full resolution. A linear shortcut from the mean of each latent cell to the posterior's mean, and another in the
    decoder, carry from the first step on what is linear in the input: without them hues, a small part of what a
    latent holds, were learned thousands of steps after shapes.

    Args:
        in_channels: channels of the incoming planes, the last of them 1 in cells that hold anything, else 0.
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
        self.reduction = patch_size * 2 ** (len(block_channels) - 1)
        self.shortcut = nn.Conv2d(in_channels, latent_channels, 1)
        self.conv_in = nn.Conv2d(in_channels * patch_size**2, block_channels[0], 3, padding=1)
        self.levels = nn.ModuleList()
        previous = block_channels[0]
        for level, channels in enumerate(block_channels):
            down = [nn.Conv2d(previous, channels, 3, stride=2, padding=1)] if level else []
            blocks = [ResidualBlock2D(channels) for _ in range(blocks_per_level)]
            self.levels.append(nn.Sequential(*down, AxisExchange(channels), *blocks))
            previous = channels
        self.middle = _middle(previous, num_attention_blocks, latent_resolution)
        self.norm_out = nn.GroupNorm(8, previous)
        self.conv_out = nn.Conv2d(previous, 2 * latent_channels, 1)
        # A sharp posterior at the start: what is weak in the input (hue beside brightness) has to get through the
        # noise before it can grow.
        start = torch.tensor([0.0, -4.0]).repeat_interleave(latent_channels)
        self.conv_out.bias = nn.Parameter(start)

    def forward(self, planes: Tensor) -> Tensor:
        planes = planes.flatten(0, 1)
        hidden = self.conv_in(self.fold(planes))
        for level in self.levels:
            hidden = level(hidden)
        mean, logvar = self.conv_out(nn.functional.silu(self.norm_out(self.middle(hidden)))).chunk(2, dim=1)
        pooled = nn.functional.avg_pool2d(planes, self.reduction)
        known = pooled / pooled[:, -1:].clamp(min=1 / self.reduction**2)  # means over the cells that hold anything
        return torch.cat([mean + self.shortcut(known), logvar], dim=1).unflatten(0, (-1, 3))


class TriplaneDecoder(nn.Module):
    """Latent planes [B, 3, latent_channels, r, r] to feature planes [B, 3, C, R, R].

    A linear shortcut carries the latents to the planes beside the network, as in the encoder.

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
            self.levels.append(nn.Sequential(*up, AxisExchange(channels), *blocks))
            previous = channels
        self.norm_out = nn.GroupNorm(8, previous)
        self.conv_out = nn.Conv2d(previous, out_channels * patch_size**2, 3, padding=1)
        self.unfold = nn.PixelShuffle(patch_size)
        self.shortcut = nn.Conv2d(latent_channels, out_channels, 1)

    def forward(self, latents: Tensor) -> Tensor:
        latents = latents.flatten(0, 1)
        hidden = self.middle(self.conv_in(latents))
        for level in self.levels:
            hidden = level(hidden)
        planes = self.unfold(self.conv_out(nn.functional.silu(self.norm_out(hidden))))
        direct = nn.functional.interpolate(self.shortcut(latents), planes.shape[-2:], mode="bilinear")
        return (planes + direct).unflatten(0, (-1, 3))
