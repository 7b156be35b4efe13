"""Gaussian functions by torch's own operations, as the released code asks them.

The original's algorithm is measured on these: `grid_sample` on each plane, then one `linear` and one activation
after the other, in which torch follows every gradient that it is told to.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from diffgs_diffusers.functional.triplane import sample_planes
from diffgs_diffusers.models.original.heads import OriginalFunctionHeads, OriginalHead
from diffgs_diffusers.models.original.planes import plane_coordinates

_ACTIVATIONS = {"relu": nn.functional.relu, "swish": nn.functional.silu}


@dataclass(frozen=True)
class TorchFunctions:
    """One object's functions.

    Args:
        heads: of ours or of the original's form.
        planes: [3, C, R, R].
    """

    heads: Any
    planes: Tensor

    def probability(self, points: Tensor) -> Tensor:
        """GauPF [M] at points [M, 3]."""
        rows = self._features(points)
        if not self._is_original:
            return self._through(self.heads.gaupf, rows)[..., 0]
        values = _linear(self._through(self.heads.gaupf, rows), self.heads.gaupf_out)[..., 0]
        return (values.tanh() if self.heads.has_tanh else values).abs()

    def attributes(self, points: Tensor) -> list[Tensor]:
        """What colours and shapes at points [M, 3] are made of."""
        with torch.no_grad():
            rows = self._features(points)
            hidden = [self._through(head, rows) for head in (self.heads.gaucf, self.heads.gautf)]
            if not self._is_original:
                return hidden
            ends = ((0, self.heads.gaucf_out), (1, self.heads.scales_out), (1, self.heads.quats_out))
            return [_linear(hidden[index], layer) for index, layer in ends]

    @property
    def _is_original(self) -> bool:
        return isinstance(self.heads, OriginalFunctionHeads)

    def _features(self, points: Tensor) -> Tensor:
        padding = self.heads.padding
        if not self._is_original:
            return torch.cat([*sample_planes(self.planes[None], points[None], padding)[0], points], dim=-1)
        grid = plane_coordinates(points[None], padding)[0][:, None] * 2 - 1
        read = nn.functional.grid_sample(self.planes, grid, padding_mode="border", align_corners=True)
        return torch.cat([points, read[:, :, 0].sum(dim=0).T], dim=-1)

    def _through(self, head: Any, rows: Tensor) -> Tensor:
        """The hidden layers of either form, and the last one where it is the head's own."""
        hidden, layers = rows, _layers(head)
        for index, layer in enumerate(layers):
            if isinstance(head, OriginalHead) and head.has_skip and index == len(layers) // 2:
                hidden = torch.cat([rows, hidden], dim=-1)
            hidden = _ACTIVATIONS[head.activation](_linear(hidden, layer))
        return hidden if isinstance(head, OriginalHead) else _linear(hidden, head.proj_out)


def _layers(head: Any) -> list[Any]:
    found: Iterable[Any] = head.layers if isinstance(head, OriginalHead) else head.hidden_layers
    return list(found)


def _linear(inputs: Tensor, layer: Any) -> Tensor:
    return nn.functional.linear(inputs, layer.weight, layer.bias)
