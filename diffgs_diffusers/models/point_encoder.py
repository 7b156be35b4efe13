"""PointNet with local pooling on planes: a set of Gaussians becomes three feature planes (DiffGS, section 3.3)."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from ..functional.quaternions import symmetric_square_roots
from ..functional.spherical_harmonics import SH_C0
from ..functional.triplane import cell_indices, depth_occupancy, gather_cells, scatter_mean
from ..gaussians import GaussianSplats

SCALE_UNIT = 0.01  # object units; brings the scales of 8k-Gaussian fits to about 1
COLOR_GAIN = 8.0  # brings hues, a small part of RGB's variance, to the size of the other features
NUM_FREQUENCIES = 6


def num_point_features(sh_degree: int) -> int:
    """Width of :func:`point_features`."""
    return 3 + 6 + 1 + 3 * (sh_degree + 1) ** 2


def point_features(splats: GaussianSplats, sh_degree: int) -> Tensor:
    """What the encoder is told of each Gaussian, [N, F]: position, shape, opacity, colour.

    The shape is the symmetric square root of the covariance, which no choice of quaternion changes.
    """
    roots = symmetric_square_roots(splats.quats, splats.scales) / SCALE_UNIT
    rows, columns = torch.triu_indices(3, 3)
    colors = splats.with_sh_degree(sh_degree).colors * (COLOR_GAIN * SH_C0)
    shape = roots[:, rows, columns].clamp(-10, 10)
    return torch.cat([splats.means, shape, splats.opacities[:, None] * 2 - 1, colors.flatten(1)], dim=1)


def positional_features(points: Tensor) -> Tensor:
    """sin and cos of the coordinates at six octaves, [..., 36]: where in its cell a point lies."""
    frequencies = 2.0 ** torch.arange(NUM_FREQUENCIES, device=points.device) * math.pi
    angles = (points[..., None] * frequencies).flatten(-2)
    return torch.cat([angles.sin(), angles.cos()], dim=-1)


class PointResidualBlock(nn.Module):
    """x + MLP(x) on features per point."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(channels)
        self.linear_in = nn.Linear(channels, channels)
        self.linear_out = nn.Linear(channels, channels)

    def forward(self, hidden: Tensor) -> Tensor:
        return hidden + self.linear_out(nn.functional.silu(self.linear_in(self.norm(hidden))))


class PointEncoder(nn.Module):
    """Gaussians to planes.

    Residual blocks on each point alternate with local pooling: the mean of a point's cell on each plane, gathered
    back, tells the point about its neighbours. A mean over a cell says little of several surfaces behind each
    other, as of a shelf seen from above; the occupancy along the plane's normal tells them apart.

    Args:
        in_features: width of the features per Gaussian.
        channels: width inside and of the planes.
        resolution: cells along a plane's side, R.
        num_blocks: residual blocks.
        padding: how far planes reach beyond the unit box.
        depth_bins: bins along a plane's normal, 0 for none.
    """

    def __init__(
        self,
        in_features: int,
        channels: int,
        resolution: int,
        num_blocks: int = 3,
        padding: float = 0.1,
        depth_bins: int = 0,
    ) -> None:
        super().__init__()
        self.resolution, self.padding, self.depth_bins = resolution, padding, depth_bins
        self.out_channels = channels + in_features + depth_bins + 1
        self.proj_in = nn.Linear(in_features + 6 * NUM_FREQUENCIES, channels)
        self.blocks = nn.ModuleList(PointResidualBlock(channels) for _ in range(num_blocks))
        self.pool_projs = nn.ModuleList(nn.Linear(channels, channels) for _ in range(num_blocks - 1))

    def forward(self, features: Tensor) -> Tensor:
        """
        Args:
            features: [B, N, F] float32, positions first: half precision would put Gaussians into their neighbours'
                cells.

        Returns:
            planes [B, 3, out_channels, R, R]: learned features, then the mean of the given ones, then the occupancy
            along the normal, then 1 in cells that hold a Gaussian.
        """
        features = features.float()
        points = features[..., :3]
        indices = cell_indices(points, self.resolution, self.padding)
        num_cells = self.resolution**2
        known = torch.cat([features, positional_features(points)], dim=-1)
        hidden = self.proj_in(known.to(self.proj_in.weight.dtype))
        hidden = self.blocks[0](hidden)
        for block, proj in zip(self.blocks[1:], self.pool_projs, strict=True):
            pooled = gather_cells(scatter_mean(hidden, indices, num_cells), indices)
            hidden = block(hidden + proj(pooled.to(hidden.dtype)))
        occupied = torch.ones_like(features[..., :1])
        cells = scatter_mean(torch.cat([hidden, features, occupied], dim=-1), indices, num_cells)
        if self.depth_bins:
            depth = depth_occupancy(points, indices, num_cells, self.depth_bins, self.padding)
            cells = torch.cat([cells[..., :-1], depth, cells[..., -1:]], dim=-1)
        return cells.transpose(2, 3).unflatten(3, (self.resolution, self.resolution))
