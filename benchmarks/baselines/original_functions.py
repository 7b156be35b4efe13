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

from diffgs_diffusers.models.original.heads import OriginalFunctionHeads

PADDING = 0.1
TRUNCATION = 0.2
RADIUS = 0.35
BUMPS = 0.04  # length of a point's features beside its coordinates; with more, GauPF is far from a distance


class OriginalFunctions(nn.Module):
    """Stands where extraction takes a VAE: heads without a sharing head, and the two numbers that it reads.

    Args:
        plane_channels: C of the planes.
        width: of the heads.
        resolution: R of the planes.
    """

    def __init__(self, plane_channels: int = 256, width: int = 512, resolution: int = 64) -> None:
        super().__init__()
        self.config = SimpleNamespace(padding=PADDING, truncation=TRUNCATION)
        self.plane_shape = (3, plane_channels, resolution, resolution)
        self.heads = OriginalFunctionHeads(plane_channels, width, padding=PADDING)
        self.sharing = None

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
        _draw_bumpy_sphere(functions.heads, planes)
    return functions, planes


def _draw_bumpy_sphere(heads: OriginalFunctionHeads, planes: Tensor) -> None:
    """Weights as the module's docstring says.

    Layers of variance 2 / width keep the norm of what passes through their ReLU (He et al. 2015); of half-normal
    values the norm is √(π / width) times the sum.
    """
    out = heads.gaupf_out
    width = out.in_features
    layers = [layer for layer in heads.gaupf.layers if isinstance(layer, nn.Linear)]
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
    out.weight.zero_()
    out.weight[0, 0] = 1.0
    out.bias.zero_()
