"""How the Gaussians of a progressive order, whose first n are spread evenly, change with n."""

from __future__ import annotations

import torch
from torch import Tensor

from .gaupf import local_spacing
from .sharing import SHARING

MOST_SPACING = 3.0  # times the median: on a thin line it is twice, beyond lies a stray point, to be drawn small
_OPAQUE = 0.95  # what a Gaussian that shares its opacity with nobody has, about


def even_spacing(means: Tensor) -> Tensor:
    """[N] local spacing of centres [N, 3], that of stray ones kept within three times the median."""
    spacing = torch.from_numpy(local_spacing(means.detach().cpu().numpy())).to(means)
    return spacing.clamp(max=MOST_SPACING * spacing.median())


def prefix_changes(means: Tensor, opacities: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """What makes the first n of N Gaussians cover the surface that all of them cover.

    Each has to stand for as many as its spacing has grown, squared. In a dense set, neighbours that overlap share
    the opacity that one of them would have: so it is opaque first, and grows by what is then left.

    Args:
        means: [N, 3], in progressive order.
        opacities: [N].
        count: n, from 1 to N.

    Returns:
        factors [n] for scales, ≥ 1, and opacities [n].
    """
    ratio = (even_spacing(means[:count]) / even_spacing(means)[:count]).clamp(min=1)
    before = opacities[:count].clamp(min=1e-6)
    after = torch.maximum(before, (before * ratio ** (2 * SHARING)).clamp(max=_OPAQUE))
    growth = ratio * (before / after) ** (1 / (2 * SHARING))
    return growth.clamp(min=1), after
