"""The three function heads: GauPF, GauCF and GauTF as MLPs on triplane features (DiffGS, section 3.3)."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn

from ..functional.folded_lookup import FoldedLookup, can_fold
from ..functional.linear import linear
from ..functional.plane_lookup import plane_features
from ..functional.spherical_harmonics import SH_C0, num_sh_bases


@dataclass(frozen=True)
class GaussianFunctions:
    """The three functions' values at query points.

    Args:
        probability: [B, M] GauPF. Unbounded while training (a hinge on its excess keeps gradients alive beyond
            the truncation); clamp to [0, 1] to read it.
        sh: [B, M, K, 3] GauCF, colour coefficients.
        scales: [B, M, 3] GauTF, standard deviations in units of :meth:`FunctionHeads.scale_units`, > 0.
        quats: [B, M, 4] GauTF, wxyz, unit.
        opacities: [B, M] GauTF, in [0, 1].
    """

    probability: Tensor
    sh: Tensor
    scales: Tensor
    quats: Tensor
    opacities: Tensor


class FunctionHead(nn.Module):
    """An MLP from what is known about a point, mostly plane features, to raw values.

    Args:
        in_channels: width of what is known about a point.
        hidden_channels: width of the hidden layers.
        num_layers: hidden layers.
        out_channels: raw values per point.
        activation: between the layers, of :func:`~diffgs_diffusers.functional.linear.linear`.
    """

    def __init__(
        self, in_channels: int, hidden_channels: int, num_layers: int, out_channels: int, activation: str
    ) -> None:
        super().__init__()
        self.activation = activation
        widths = [in_channels] + [hidden_channels] * num_layers
        self.hidden_layers = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(widths))
        self.proj_out = nn.Linear(widths[-1], out_channels)

    def forward(self, features: Tensor) -> Tensor:
        return self.after(0, features.to(self.proj_out.weight.dtype))

    def after(self, num_layers: int, hidden: Tensor) -> Tensor:
        """Raw values from what the first ``num_layers`` layers made."""
        for layer in self.hidden_layers[num_layers:]:
            assert isinstance(layer, nn.Linear)
            hidden = linear(hidden, layer, self.activation)
        return linear(hidden, self.proj_out).float()


class FunctionHeads(nn.Module, ABC):
    """GauPF, GauCF and GauTF over one set of planes.

    A subclass says what is read of the planes (``features``) and what each function makes of it.

    Attributes:
        has_absolute_scales: whether GauTF's scales are lengths of the objects it learned from, and not relative to
            how far points lie apart.
    """

    has_absolute_scales = False

    @abstractmethod
    def features(self, planes: Tensor, query_points: Tensor) -> Tensor:
        """[B, M, F] what a head sees of each point [B, M, 3] of planes [B, 3, C, R, R]."""

    @abstractmethod
    def read_probability(self, features: Tensor) -> Tensor:
        """GauPF [B, M] from :meth:`features`."""

    @abstractmethod
    def raw_attributes(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """What GauCF's and GauTF's heads make of :meth:`features`: [..., values] each."""

    @abstractmethod
    def decode_attributes(self, colors: Tensor, shapes: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """What :meth:`raw_attributes` means, as :meth:`attributes` returns it; for many points at once."""

    def read_attributes(self, features: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """GauCF and GauTF from :meth:`features`, as :meth:`attributes` returns them."""
        return self.decode_attributes(*self.raw_attributes(features))

    @abstractmethod
    def scale_units(self, spacing: Tensor) -> Tensor:
        """[N] in object units, what a scale of 1 means where N points have the local spacing [N]."""

    def probability(self, planes: Tensor, query_points: Tensor) -> Tensor:
        """GauPF [B, M], unbounded."""
        return self.read_probability(self.features(planes, query_points))

    def probability_of(self, planes: Tensor) -> Callable[[Tensor], Tensor]:
        """GauPF [M] of one object's planes [3, C, R, R] as a function of points [M, 3] alone.

        For many questions: what planes and weights decide is worked out once. They must not change afterwards.
        """
        return lambda points: self.probability(planes[None], points[None])[0]

    def attributes(self, planes: Tensor, query_points: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """GauCF and GauTF: sh [B, M, K, 3], scales [B, M, 3], quats [B, M, 4], opacities [B, M]."""
        return self.read_attributes(self.features(planes, query_points))

    def forward(self, planes: Tensor, query_points: Tensor, centers: Tensor | None = None) -> GaussianFunctions:
        """GauPF at ``query_points``, GauCF and GauTF at ``centers`` (the same points by default)."""
        if centers is None:
            features = self.features(planes, query_points)
            return GaussianFunctions(self.read_probability(features), *self.read_attributes(features))
        # One lookup for both: its backward pass touches every cell of the planes.
        features = self.features(planes, torch.cat([query_points, centers], dim=1))
        asked, described = features.split([query_points.shape[1], centers.shape[1]], dim=1)
        return GaussianFunctions(self.read_probability(asked), *self.read_attributes(described))


class GaussianFunctionHeads(FunctionHeads):
    """Heads of one MLP for each function.

    The features of the three planes are joined, not summed: a sum cannot tell which plane saw what.

    Args:
        plane_channels: C of the planes.
        hidden_channels: width of the heads.
        num_layers: hidden layers of each head.
        sh_degree: degree of the colours.
        padding: how far planes reach beyond the unit box.
    """

    def __init__(
        self, plane_channels: int, hidden_channels: int, num_layers: int, sh_degree: int, padding: float
    ) -> None:
        super().__init__()
        self.sh_degree, self.padding = sh_degree, padding
        sizes = (3 * plane_channels + 3, hidden_channels, num_layers)
        # GauPF is asked a hundred times as often as the others, so it has the cheaper activation.
        self.gaupf = FunctionHead(*sizes, 1, "relu")
        self.gaucf = FunctionHead(*sizes, 3 * num_sh_bases(sh_degree), "swish")
        self.gautf = FunctionHead(*sizes, 8, "swish")
        with torch.no_grad():
            # Scales start at the half spacing of a fresh surfel, rotations at the identity.
            self.gautf.proj_out.bias.copy_(torch.tensor([-0.7, -0.7, -0.7, 1.0, 0.0, 0.0, 0.0, 3.0]))

    def features(self, planes: Tensor, query_points: Tensor) -> Tensor:
        """[B, M, 3C + 3] what a head sees of each point, rounded already where the heads are in bfloat16."""
        return plane_features(planes, query_points, self.padding, self.gaupf.proj_out.weight.dtype)

    def read_probability(self, features: Tensor) -> Tensor:
        return self.gaupf(features)[..., 0]

    def probability_of(self, planes: Tensor) -> Callable[[Tensor], Tensor]:
        """As of any heads; on the CPU, with weights that follow no gradient, the first layer is folded."""
        if not self.gaupf.hidden_layers:
            return super().probability_of(planes)
        first = self.gaupf.hidden_layers[0]
        assert isinstance(first, nn.Linear)
        if not can_fold(planes, first.weight):
            return super().probability_of(planes)
        lookup = FoldedLookup(planes, first.weight, first.bias, self.padding, self.gaupf.activation)
        return lambda points: self.gaupf.after(1, lookup(points))[:, 0]

    def raw_attributes(self, features: Tensor) -> tuple[Tensor, Tensor]:
        return self.gaucf(features), self.gautf(features)

    def decode_attributes(self, colors: Tensor, shapes: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        sh = colors.unflatten(-1, (-1, 3)) / (2 * SH_C0)
        log_scales, quats, logit_opacities = shapes.split([3, 4, 1], dim=-1)
        scales = log_scales.clamp(-7.0, 3.0).exp()
        return sh, scales, nn.functional.normalize(quats, dim=-1), logit_opacities[..., 0].sigmoid()

    def scale_units(self, spacing: Tensor) -> Tensor:
        """The spacing itself."""
        return spacing
