"""Gaussian functions of the original's sizes: summed planes, heads of eight layers with a skip, random weights.

DiffGS (Zhou et al. 2024), section 3.3, with the released sizes: planes 3 × 256 × 64², heads 512 wide. Trained
weights are not to be had, and a random network has no surface. So GauPF's weights are drawn such that its sixth
layer holds s(x), about the norm of the point with bumps from the planes, and its last two layers make of it
p = max(0, 1 − |s − r| / δ): a bumpy sphere. The work of a query does not depend on what the weights are.
"""

from __future__ import annotations

import math
from types import SimpleNamespace

import torch
from torch import Tensor, nn

from diffgs_diffusers.functional.triplane import PLANE_AXES

PADDING = 0.1
TRUNCATION = 0.2
RADIUS = 0.35
BUMPS = 0.04  # length of a point's features beside its coordinates; with more, GauPF is far from a distance
SH_BASES = 16


class OriginalHead(nn.Module):
    """Eight hidden layers; the input comes in once more at the fifth.

    Args:
        in_channels: of a point: its coordinates and features.
        width: of the hidden layers.
        out_channels: of the result.
        activation: between the layers.
    """

    def __init__(self, in_channels: int, width: int, out_channels: int, activation: nn.Module) -> None:
        super().__init__()
        self.activation = activation
        widths = [in_channels, width, width, width, in_channels + width, width, width, width]
        self.layers = nn.ModuleList(nn.Linear(channels, width) for channels in widths)
        self.proj_out = nn.Linear(width, out_channels)

    def forward(self, inputs: Tensor) -> Tensor:
        """[..., in_channels] to [..., out_channels]."""
        hidden = inputs
        for index, layer in enumerate(self.layers):
            if index == 4:
                hidden = torch.cat([inputs, hidden], dim=-1)
            hidden = self.activation(layer(hidden))
        return self.proj_out(hidden)


class OriginalHeads(nn.Module):
    """GauPF, GauCF and GauTF in the interface of :class:`diffgs_diffusers.models.heads.GaussianFunctionHeads`.

    Args:
        plane_channels: C of the planes.
        width: of the heads.
    """

    def __init__(self, plane_channels: int, width: int) -> None:
        super().__init__()
        inputs = 3 + plane_channels
        self.gaupf = OriginalHead(inputs, width, 1, nn.ReLU())
        self.gaucf = OriginalHead(inputs, width, 3 * SH_BASES, nn.SiLU())
        self.gautf_scale = OriginalHead(inputs, width, 3, nn.SiLU())
        self.gautf_rotation = OriginalHead(inputs, width, 4, nn.SiLU())

    def features(self, planes: Tensor, query_points: Tensor) -> Tensor:
        """[B, M, 3 + C] coordinates and the sum of the three planes' bilinear features."""
        unit = (query_points / (1 + PADDING + 1e-5) + 0.5).clamp(0, 1 - 1e-5)
        grid = torch.stack([unit[..., list(axes)] for axes in PLANE_AXES], dim=1) * 2 - 1
        sampled = nn.functional.grid_sample(
            planes.flatten(0, 1).float(), grid.flatten(0, 1)[:, None], padding_mode="border", align_corners=True
        )
        summed = sampled[:, :, 0].unflatten(0, planes.shape[:2]).sum(dim=1).transpose(1, 2)
        return torch.cat([query_points.float(), summed], dim=-1).to(planes.dtype)

    def probability(self, planes: Tensor, query_points: Tensor) -> Tensor:
        """GauPF [B, M]."""
        return self.gaupf(self.features(planes, query_points))[..., 0].abs()

    def attributes(self, planes: Tensor, query_points: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """GauCF and GauTF: sh [B, M, 16, 3], scales [B, M, 3], quats [B, M, 4], opacities [B, M]."""
        features = self.features(planes, query_points)
        sh = self.gaucf(features).unflatten(-1, (-1, 3))
        scales = self.gautf_scale(features).exp().clamp(max=0.2)
        quats = nn.functional.normalize(self.gautf_rotation(features), dim=-1)
        return sh, scales, quats, torch.full_like(scales[..., 0], 0.95)


class OriginalFunctions(nn.Module):
    """Stands where extraction takes a VAE: heads, and the two numbers of the configuration that it reads.

    Args:
        plane_channels: C of the planes.
        width: of the heads.
        resolution: R of the planes.
    """

    def __init__(self, plane_channels: int = 256, width: int = 512, resolution: int = 64) -> None:
        super().__init__()
        self.config = SimpleNamespace(padding=PADDING, truncation=TRUNCATION)
        self.plane_shape = (3, plane_channels, resolution, resolution)
        self.heads = OriginalHeads(plane_channels, width)

    def random_planes(self, seed: int = 0) -> Tensor:
        """[3, C, R, R] in (−1, 1), as tanh leaves them."""
        return torch.randn(self.plane_shape, generator=torch.Generator().manual_seed(seed)).tanh()


def make_original_functions(
    plane_channels: int = 256, width: int = 512, resolution: int = 64, seed: int = 0
) -> tuple[OriginalFunctions, Tensor]:
    """Functions with a surface, and the planes [3, C, R, R] that they read."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        functions = OriginalFunctions(plane_channels, width, resolution).eval().requires_grad_(False)
        planes = functions.random_planes(seed)
        _draw_bumpy_sphere(functions.heads.gaupf, planes)
    return functions, planes


def _draw_bumpy_sphere(head: OriginalHead, planes: Tensor) -> None:
    """Weights as the module's docstring says.

    Layers of variance 2 / width keep the norm of what passes through their ReLU (He et al. 2015); of half-normal
    values the norm is √(π / width) times the sum.
    """
    width = head.proj_out.in_features
    layers = [layer for layer in head.layers if isinstance(layer, nn.Linear)]
    for layer in layers:
        nn.init.normal_(layer.weight, std=math.sqrt(2 / width))
        nn.init.zeros_(layer.bias)
    shrink = BUMPS / (3 * planes.square().mean() * planes.shape[1]).sqrt()
    layers[0].weight[:, 3:] *= shrink
    layers[4].weight[:, 3 : 3 + planes.shape[1]] *= shrink
    layers[4].weight /= math.sqrt(2)  # the input and what became of it have the same norm
    distance, tent = layers[6], layers[7]
    distance.weight[0] = math.sqrt(math.pi / width) / TRUNCATION
    distance.weight[1] = -distance.weight[0]
    distance.bias[0], distance.bias[1] = -RADIUS / TRUNCATION, RADIUS / TRUNCATION
    tent.weight[0].zero_()
    tent.weight[0, :2], tent.bias[0] = -1.0, 1.0
    head.proj_out.weight.zero_()
    head.proj_out.weight[0, 0] = 1.0
    head.proj_out.bias.zero_()
