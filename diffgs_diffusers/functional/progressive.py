"""How the Gaussians of a progressive order, whose first n are spread evenly, change with n."""

from __future__ import annotations

import torch
from torch import Tensor

from .sharing import SHARING
from .spacing import even_spacing

_OPAQUE = 0.95  # what a Gaussian that shares its opacity with nobody has, about


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
