"""How Gaussians that lie closer together than their functions' finest detail stand for one together.

Functions that are read off planes say nothing finer than a cell. Where more points than that lie, each is drawn
larger than their spacing asks for, and they share the opacity that one of them would have.
"""

from __future__ import annotations

import torch
from scipy.spatial import cKDTree
from torch import Tensor

# The exponent of the number of points that share an opacity. At 1, n Gaussians at one place absorb about as much as
# one would; a little more, as the points fill a layer in which more of them find a place.
SHARING = 1.1
MOST_WIDENING = 2.0  # times a Gaussian's own size: on a thin rod, wider ones would stand out on both sides
_COARSE = 16  # one point in so many
_NEIGHBOURS = 4


def log_crowding(spacing: Tensor, finest: float, most: float) -> Tensor:
    """log(finest / spacing) between 0 and log(most), in the shape of ``spacing``."""
    return (finest / spacing).clamp(1, most).log()


def equal_sharing(spacing: Tensor, finest: float) -> tuple[Tensor, Tensor]:
    """What crowded Gaussians change by when nothing more is known about them.

    Args:
        spacing: [N] local spacing of their centres.
        finest: the spacing below which they are crowded, in the same unit.

    Returns:
        logarithms [N] of the factors of scales, ≥ 0, and of opacities, ≤ 0.
    """
    growth = log_crowding(spacing, finest, MOST_WIDENING)
    return growth, -2 * SHARING * growth


def coarse_spacing(means: Tensor) -> Tensor:
    """[N] distance from centres [N, 3] in progressive order to the fourth nearest of the first sixteenth.

    Beside the local spacing it says what the points fill: it is about four times that on a surface, more along a
    rod, less in a volume.
    """
    points = means.detach().cpu().numpy()
    few = points[: max(len(points) // _COARSE, min(_NEIGHBOURS, len(points)))]
    neighbours = min(_NEIGHBOURS, len(few))
    distances, _ = cKDTree(few).query(points, k=[neighbours])
    return torch.from_numpy(distances[:, 0]).to(means)
