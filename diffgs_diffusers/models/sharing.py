"""What crowded Gaussians change by, told by what the functions' planes hold around them."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..functional.sharing import equal_sharing, log_crowding
from .heads import FunctionHead

_MOST_CROWDING = 8.0  # from here on nothing changes with the spacing
_NUM_LOCAL = 6
# The squared error that it learns from favours fog where the planes are unsure, and a denoiser's planes are unsure
# more often. Where it asks for less opacity, half of that keeps legs and edges solid, and most of the gain.
_CAUTION = 0.5


class SharingHead(nn.Module):
    """Corrects :func:`~diffgs_diffusers.functional.sharing.equal_sharing`, which one exponent rules.

    Rods, glass and surfaces that the planes describe badly share in other ways than a clean wall, and how thick the
    layer of points is differs from place to place. Two small networks add up: one knows a few numbers about a
    Gaussian and its neighbours, which mean the same for every object; the other knows what the planes hold there,
    too. New weights change nothing; in eval mode what was learned takes only half as much opacity away.

    Args:
        feature_channels: width of the features of a point, the point itself included.
        hidden_channels: width of both networks' hidden layers.
        num_layers: their hidden layers.
        feature_noise: standard deviation of noise on the standardised features in training: there are few objects
            to learn from.
    """

    features_mean: Tensor
    features_std: Tensor

    def __init__(
        self, feature_channels: int, hidden_channels: int, num_layers: int = 2, feature_noise: float = 0.15
    ) -> None:
        super().__init__()
        self.feature_noise = feature_noise
        self.register_buffer("features_mean", torch.zeros(feature_channels))
        self.register_buffer("features_std", torch.ones(feature_channels))
        self.from_neighbours = FunctionHead(_NUM_LOCAL, hidden_channels, num_layers, 2, "swish")
        self.from_planes = FunctionHead(feature_channels + _NUM_LOCAL, hidden_channels, num_layers, 2, "swish")
        for network in (self.from_neighbours, self.from_planes):
            nn.init.zeros_(network.proj_out.weight)
            nn.init.zeros_(network.proj_out.bias)

    @torch.no_grad()
    def standardize_(self, features: Tensor) -> None:
        """Brings features to zero mean and unit variance over the rows [M, F] of ``features``."""
        self.features_mean.copy_(features.mean(dim=0))
        self.features_std.copy_(features.std(dim=0) + 1e-3)

    def forward(
        self, features: Tensor, spacing: Tensor, coarse: Tensor, scales: Tensor, opacities: Tensor, finest: float
    ) -> tuple[Tensor, Tensor]:
        """
        Args:
            features: [M, F] what the planes hold at each centre.
            spacing: [M] local spacing of the centres, in cells of the planes.
            coarse: [M] as :func:`~diffgs_diffusers.functional.spacing.coarse_spacing` has it, in cells.
            scales: [M, 3] standard deviations before they change, in local spacings.
            opacities: [M] before they change, in [0, 1].
            finest: spacing below which centres are crowded, in cells.

        Returns:
            logarithms [M] of the factors of scales and of opacities, 0 where nothing is crowded.
        """
        known = (features - self.features_mean) / self.features_std
        if self.training:
            known = known + self.feature_noise * torch.randn_like(known)
        numbers = [
            (spacing.log() + 1.5)[:, None],
            0.3 * torch.logit(opacities, 1e-3)[:, None],
            ((coarse / spacing).log() - 1.6)[:, None],
            0.5 * scales.log().clamp(-4, 1),
        ]
        local = torch.cat(numbers, dim=-1).to(known.dtype)  # all about as large as standardised features
        told = self.from_neighbours(local) + self.from_planes(torch.cat([known, local], dim=-1))
        fade, widen = told.unbind(dim=-1)
        if not self.training:
            fade = torch.where(fade > 0, _CAUTION * fade, fade)
        growth, share = equal_sharing(spacing, finest)
        crowding = log_crowding(spacing, finest, _MOST_CROWDING)
        return growth + 0.4 * widen.tanh() * crowding, share - 1.2 * fade.tanh() * crowding
