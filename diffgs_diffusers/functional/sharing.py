"""How Gaussians that lie closer together than their functions' finest detail stand for one together.

Functions that are read off planes say nothing finer than a cell. Where more points than that lie, each is drawn
larger than their spacing asks for, and they share the opacity that one of them would have.
"""

from __future__ import annotations

from torch import Tensor

# The exponent of the number of points that share an opacity. At 1, n Gaussians at one place absorb about as much as
# one would; a little more, as the points fill a layer in which more of them find a place.
SHARING = 1.1
MOST_WIDENING = 2.0  # times a Gaussian's own size: on a thin rod, wider ones would stand out on both sides
# Only things that are thin all over are so small that their points crowd more than this. What fitted Gaussians
# covered beyond the line of their centres, smaller ones have to cover by more opacity.
_THIN = 6.0
_MOST_THIN = 4.0  # times as crowded as that; from there on nothing changes
_FIRMNESS = 0.7  # exponent of how much more crowded


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
    return growth, -2 * SHARING * growth + _FIRMNESS * log_crowding(spacing, finest / _THIN, _MOST_THIN)
