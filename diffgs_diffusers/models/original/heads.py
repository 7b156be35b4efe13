"""The original's heads: GauPF, GauCF and GauTF, each an MLP that sees its input twice."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from ...functional.folded_lookup import FoldedLookup, can_fold
from ...functional.linear import linear, pack_weights
from ..heads import FunctionHeads
from .planes import read_padding, summed_features

SH_BASES = 16
_LAYERS_PER_BLOCK = 4
_LOG_SCALE_BIAS = -5.0


class OriginalHead(nn.Module):
    """Eight hidden layers; the input comes in once more at the fifth.

    Args:
        in_channels: of a point: its coordinates and features.
        width: of the hidden layers.
        has_skip: whether it comes in once more.
        activation: between the layers, of :func:`~diffgs_diffusers.functional.linear.linear`.
    """

    def __init__(self, in_channels: int, width: int, has_skip: bool, activation: str) -> None:
        super().__init__()
        self.has_skip, self.activation = has_skip, activation
        joined = width + in_channels if has_skip else width
        inner = [width] * (_LAYERS_PER_BLOCK - 1)
        self.layers = nn.ModuleList(nn.Linear(size, width) for size in (in_channels, *inner, joined, *inner))

    def forward(self, inputs: Tensor) -> Tensor:
        """[..., in_channels] to [..., width]."""
        inputs = hidden = inputs.to(next(self.parameters()).dtype)
        for index, layer in enumerate(self.layers):
            if index == _LAYERS_PER_BLOCK and self.has_skip:
                hidden = torch.cat([inputs, hidden], dim=-1)
            assert isinstance(layer, nn.Linear)
            hidden = linear(hidden, layer, self.activation)
        return hidden

    def of_planes(self, planes: Tensor, padding: float) -> Callable[[Tensor], Tensor]:
        """[M, width] of one object's planes [3, C, R, R] as a function of points [M, 3].

        The planes go through both layers that see the input, in place of every point's features. Weights follow no
        gradient; the activation is "relu".
        """
        first, joined = self.layers[0], self.layers[_LAYERS_PER_BLOCK]
        assert isinstance(first, nn.Linear) and isinstance(joined, nn.Linear)
        reach = read_padding(planes.shape[-1], padding)
        seen = FoldedLookup(planes, _for_each_plane(first.weight), first.bias, reach, self.activation)
        if not self.has_skip:
            return lambda points: self._after(1, seen(points))
        inputs, inner = joined.weight.split([first.in_features, first.out_features], dim=1)
        seen_again = FoldedLookup(planes, _for_each_plane(inputs), joined.bias, reach)
        of_hidden = nn.Linear(inner.shape[1], len(inner), bias=False, device="meta")
        of_hidden.weight = nn.Parameter(inner.contiguous(), requires_grad=False)
        pack_weights(of_hidden)

        def values(points: Tensor) -> Tensor:
            hidden = self._after(1, seen(points), _LAYERS_PER_BLOCK)
            hidden = (linear(hidden, of_hidden) + seen_again(points)).relu_()
            return self._after(_LAYERS_PER_BLOCK + 1, hidden)

        return values

    def _after(self, first: int, hidden: Tensor, last: int | None = None) -> Tensor:
        """Through the layers from ``first`` up to ``last``, none of which sees the input."""
        for layer in self.layers[first:last]:
            assert isinstance(layer, nn.Linear)
            hidden = linear(hidden, layer, self.activation)
        return hidden


def _for_each_plane(weight: Tensor) -> Tensor:
    """Columns for coordinates and summed features, as others order them: for each plane's, then coordinates."""
    own, summed = weight.split([3, weight.shape[1] - 3], dim=1)
    return torch.cat([summed, summed, summed, own], dim=1)


class OriginalFunctionHeads(FunctionHeads):
    """GauPF, GauCF and GauTF over one set of planes, whose features are summed.

    Scales are in object units, as fits of ``fitted_num_gaussians`` have them, and opacity is a constant.

    Args:
        plane_channels: C of the planes.
        width: of the hidden layers.
        has_skip: whether the input comes in once more in the middle.
        has_tanh: whether GauPF passes through a tanh.
        max_scale: greatest scale.
        opacity: of every Gaussian.
        fitted_num_gaussians: of the objects that scales were learned from.
        padding: how far planes reach beyond the unit box.
    """

    has_absolute_scales = True

    def __init__(
        self,
        plane_channels: int,
        width: int,
        has_skip: bool = True,
        has_tanh: bool = False,
        max_scale: float = 0.2,
        opacity: float = 0.95,
        fitted_num_gaussians: int = 100_000,
        padding: float = 0.1,
    ) -> None:
        super().__init__()
        self.has_tanh, self.max_scale, self.opacity = has_tanh, max_scale, opacity
        self.fitted_num_gaussians, self.padding = fitted_num_gaussians, padding
        sizes = (3 + plane_channels, width, has_skip)
        self.gaupf, self.gaupf_out = OriginalHead(*sizes, "relu"), nn.Linear(width, 1)
        self.gaucf, self.gaucf_out = OriginalHead(*sizes, "swish"), nn.Linear(width, 3 * SH_BASES)
        self.gautf = OriginalHead(*sizes, "swish")
        self.scales_out, self.quats_out = nn.Linear(width, 3), nn.Linear(width, 4)
        self._initialize(width)

    @torch.no_grad()
    def _initialize(self, width: int) -> None:
        """Grey Gaussians of one size; GauPF as signed distances start (Atzmon & Lipman 2020, section 3)."""
        for layer in self.gaupf.layers:
            assert isinstance(layer, nn.Linear)
            nn.init.normal_(layer.weight, std=math.sqrt(2 / width))
            nn.init.zeros_(layer.bias)
        nn.init.normal_(self.gaupf_out.weight, mean=2 * math.sqrt(math.pi / width), std=1e-6)
        nn.init.constant_(self.gaupf_out.bias, -0.5)
        nn.init.zeros_(self.gaucf_out.weight)
        nn.init.zeros_(self.gaucf_out.bias)
        nn.init.constant_(self.scales_out.bias, _LOG_SCALE_BIAS)
        self.quats_out.bias[0] = 1.0

    def features(self, planes: Tensor, query_points: Tensor) -> Tensor:
        """[B, M, 3 + C] coordinates, then the sum of the three planes' features."""
        summed = summed_features(planes, query_points, self.padding)
        return torch.cat([query_points.to(summed.dtype), summed], dim=-1)

    def read_probability(self, features: Tensor) -> Tensor:
        return self._height(self.gaupf(features))

    def _height(self, hidden: Tensor) -> Tensor:
        """GauPF from the last hidden layer."""
        values = linear(hidden, self.gaupf_out)[..., 0].float()
        return (values.tanh() if self.has_tanh else values).abs()

    def probability_of(self, planes: Tensor) -> Callable[[Tensor], Tensor]:
        """As of any heads; folded as in ours. Points beyond the box read its border, and not 1e-5 inside of it."""
        if not can_fold(planes, self.gaupf_out.weight):
            return super().probability_of(planes)
        hidden = self.gaupf.of_planes(planes, self.padding)
        return lambda points: self._height(hidden(points))

    def raw_attributes(self, features: Tensor) -> tuple[Tensor, Tensor]:
        hidden = self.gautf(features)
        shapes = torch.cat([linear(hidden, layer) for layer in (self.scales_out, self.quats_out)], dim=-1)
        return linear(self.gaucf(features), self.gaucf_out).float(), shapes.float()

    def decode_attributes(self, colors: Tensor, shapes: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        # Band 0 is RGB; the other bands are stored as in a PLY file, channel-major.
        higher = colors[..., 3:].unflatten(-1, (3, -1)).transpose(-1, -2)
        sh = torch.cat([colors[..., None, :3], higher], dim=-2)
        log_scales, quats = shapes.split([3, 4], dim=-1)
        # The first bound changes nothing but keeps the gradient of an overflow from becoming NaN.
        scales = log_scales.clamp(max=15.0).exp().clamp(max=self.max_scale)
        return sh, scales, nn.functional.normalize(quats, dim=-1), torch.full_like(scales[..., 0], self.opacity)

    def scale_units(self, spacing: Tensor) -> Tensor:
        """√(fitted / N): N Gaussians cover the surface that as many as in a fit covered."""
        return torch.full_like(spacing, math.sqrt(self.fitted_num_gaussians / len(spacing)))
