"""The original's convolutional VAE: three planes to one vector and back."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from torch import Tensor, nn


class OriginalPlaneEncoder(nn.Module):
    """Planes to the mean and log variance of a vector.

    Args:
        in_channels: of the three planes together.
        block_channels: of the levels, each of which halves the resolution.
        last_resolution: cells along a side after the last one.
        latent_channels: length of the vector.
    """

    def __init__(
        self, in_channels: int, block_channels: Sequence[int], last_resolution: int, latent_channels: int
    ) -> None:
        super().__init__()
        widths = [in_channels, *block_channels]
        self.convs = nn.ModuleList(nn.Conv2d(a, b, 3, stride=2, padding=1) for a, b in pairwise(widths))
        self.norms = nn.ModuleList(nn.BatchNorm2d(width) for width in widths[1:])
        self.activation = nn.LeakyReLU()
        flat = widths[-1] * last_resolution**2
        self.mean, self.logvar = nn.Linear(flat, latent_channels), nn.Linear(flat, latent_channels)

    def forward(self, planes: Tensor) -> tuple[Tensor, Tensor]:
        """[B, 3, C, R, R] to mean and log variance [B, latent_channels]."""
        hidden = planes.flatten(1, 2)
        for conv, norm in zip(self.convs, self.norms, strict=True):
            hidden = self.activation(norm(conv(hidden)))
        hidden = hidden.flatten(1)
        return self.mean(hidden), self.logvar(hidden)


class OriginalPlaneDecoder(nn.Module):
    """A vector to planes in (−1, 1); arguments as of :class:`OriginalPlaneEncoder`."""

    def __init__(
        self, out_channels: int, block_channels: Sequence[int], last_resolution: int, latent_channels: int
    ) -> None:
        super().__init__()
        widths = [*reversed(block_channels), block_channels[0]]
        self.last_resolution = last_resolution
        self.proj_in = nn.Linear(latent_channels, widths[0] * last_resolution**2)
        self.convs = nn.ModuleList(
            nn.ConvTranspose2d(a, b, 3, stride=2, padding=1, output_padding=1) for a, b in pairwise(widths)
        )
        self.norms = nn.ModuleList(nn.BatchNorm2d(width) for width in widths[1:])
        self.activation = nn.LeakyReLU()
        self.conv_out = nn.Conv2d(widths[-1], out_channels, 3, padding=1)

    def forward(self, latents: Tensor) -> Tensor:
        """[B, latent_channels] to [B, 3, C, R, R]."""
        size = self.last_resolution
        hidden = self.proj_in(latents).unflatten(1, (-1, size, size))
        for conv, norm in zip(self.convs, self.norms, strict=True):
            hidden = self.activation(norm(conv(hidden)))
        return self.conv_out(hidden).tanh().unflatten(1, (3, -1))
