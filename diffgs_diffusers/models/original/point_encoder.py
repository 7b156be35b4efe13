"""The original's point encoder: PointNet with local pooling on planes, then a U-Net on each plane."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor, nn

from ...functional.triplane import gather_cells, scatter_mean
from ...gaussians import GaussianSplats
from ...io.ply import stored_values
from .planes import cell_indices, scatter_max

NUM_GAUSSIAN_CHANNELS = 59
NUM_POSITION_CHANNELS = 3
_NUM_HIGHER_BASES = 15  # of degree 3, after the first


def raw_channels(splats: GaussianSplats) -> Tensor:
    """What a PLY file of degree 3 holds of each Gaussian, [N, 59]; bands that the splats do not have are 0."""
    missing = _NUM_HIGHER_BASES - splats.shN.shape[1]
    return stored_values(replace(splats, shN=nn.functional.pad(splats.shN, (0, 0, 0, missing))))


class OriginalPointBlock(nn.Module):
    """A residual block on features per point that halves their number."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.linear_in = nn.Linear(in_channels, out_channels)
        self.linear_out = nn.Linear(out_channels, out_channels)
        self.shortcut = nn.Linear(in_channels, out_channels, bias=False)
        nn.init.zeros_(self.linear_out.weight)

    def forward(self, hidden: Tensor) -> Tensor:
        inner = self.linear_in(hidden.relu())
        return self.shortcut(hidden) + self.linear_out(inner.relu())


class OriginalPlaneUNet(nn.Module):
    """Four levels (or another number) of two convolutions, without norms, on one plane at a time.

    Args:
        channels: of the plane, before and after.
        base_channels: of the first level; each further one has twice as many at half the resolution.
        depth: levels.
    """

    def __init__(self, channels: int, base_channels: int, depth: int) -> None:
        super().__init__()
        widths = [base_channels * 2**level for level in range(depth)]
        self.down = nn.ModuleList(_ConvPair(a, b) for a, b in zip([channels, *widths], widths, strict=False))
        self.upsamplers = nn.ModuleList(
            nn.ConvTranspose2d(width, width // 2, 2, stride=2) for width in reversed(widths[1:])
        )
        self.up = nn.ModuleList(_ConvPair(width, width // 2) for width in reversed(widths[1:]))
        self.conv_out = nn.Conv2d(widths[0], channels, 1)
        for module in self.modules():
            if isinstance(module, nn.Conv2d) and module.bias is not None:
                nn.init.xavier_normal_(module.weight)
                nn.init.zeros_(module.bias)

    def forward(self, hidden: Tensor) -> Tensor:
        """[B, C, R, R] to the same shape; R must be divisible by 2 to the power of the levels after the first."""
        skips: list[Tensor] = []
        for level, pair in enumerate(self.down):
            hidden = pair(nn.functional.max_pool2d(hidden, 2) if level else hidden)
            skips.append(hidden)
        skips.pop()
        for upsampler, pair in zip(self.upsamplers, self.up, strict=True):
            hidden = pair(torch.cat([upsampler(hidden), skips.pop()], dim=1))
        return self.conv_out(hidden)


class _ConvPair(nn.Module):
    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv_in = nn.Conv2d(in_channels, out_channels, 3, padding=1)
        self.conv_out = nn.Conv2d(out_channels, out_channels, 3, padding=1)

    def forward(self, hidden: Tensor) -> Tensor:
        return self.conv_out(self.conv_in(hidden).relu()).relu()


class OriginalPointEncoder(nn.Module):
    """Gaussians, or positions alone, to planes.

    Residual blocks alternate with local pooling: the greatest values in a point's cell on each plane, gathered back
    and summed over the planes, stand beside the point's own. The planes then hold the means of their cells.

    Args:
        in_channels: 59 of :func:`raw_channels`, or 3 for positions alone.
        channels: width of the blocks; the features between them have twice as many.
        num_blocks: residual blocks.
        out_channels: of the planes.
        resolution: cells along a plane's side, R.
        unet_channels: of the U-Net's first level.
        unet_depth: its levels.
        padding: how far planes reach beyond the unit box.
    """

    def __init__(
        self,
        in_channels: int,
        channels: int,
        num_blocks: int,
        out_channels: int,
        resolution: int,
        unet_channels: int,
        unet_depth: int,
        padding: float,
    ) -> None:
        super().__init__()
        self.resolution, self.padding = resolution, padding
        self.proj_in = nn.Linear(in_channels, 2 * channels)
        self.blocks = nn.ModuleList(OriginalPointBlock(2 * channels, channels) for _ in range(num_blocks))
        self.proj_out = nn.Linear(channels, out_channels)
        self.unet = OriginalPlaneUNet(out_channels, unet_channels, unet_depth)

    def forward(self, features: Tensor) -> Tensor:
        """
        Args:
            features: [B, N, in_channels], positions first.

        Returns:
            planes [B, 3, out_channels, R, R].
        """
        points, num_cells = features[..., :3].float(), self.resolution**2
        indices = cell_indices(points, self.resolution, self.padding)
        hidden = self.proj_in(features.to(self.proj_in.weight.dtype))
        for number, block in enumerate(self.blocks):
            if number:
                pooled = gather_cells(scatter_max(hidden, indices, num_cells), indices)
                hidden = torch.cat([hidden, pooled], dim=-1)
            hidden = block(hidden)
        cells = scatter_mean(self.proj_out(hidden), indices, num_cells).to(hidden.dtype)
        planes = cells.transpose(2, 3).unflatten(3, (self.resolution, self.resolution))
        return self.unet(planes.flatten(0, 1)).unflatten(0, planes.shape[:2])
