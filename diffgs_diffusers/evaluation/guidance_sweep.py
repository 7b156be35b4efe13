"""What guidance trades: objects that follow their prompt more closely differ less from each other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..gaussians import GaussianSplats
from .novelty import LEAST_POINTS, surface_points, visible_centers
from .set_metrics import pairwise_chamfer

_POINTS = 1024


def diversity(groups: Mapping[str, Sequence[GaussianSplats | None]]) -> float:
    """How much the objects of one prompt differ: the Chamfer distance of two of them, in object units.

    The mean over all pairs of a prompt, then over prompts; objects that are empty or hardly there do not count.

    Args:
        groups: the objects of each prompt.

    Returns:
        NaN where no prompt has two objects.
    """
    means = []
    for objects in groups.values():
        clouds = [
            surface_points(one, _POINTS)
            for one in objects
            if one is not None and len(visible_centers(one)) >= LEAST_POINTS
        ]
        if len(clouds) > 1:
            distances = pairwise_chamfer(clouds, clouds)
            means.append(float(distances[np.triu_indices(len(clouds), 1)].mean()))
    return float(np.mean(means)) if means else float("nan")


def sweep_row(
    summary: Mapping[str, Any], groups: Mapping[str, Sequence[GaussianSplats | None]]
) -> dict[str, float]:
    """One guidance scale: shares of the text grid's summary, and the diversity of its objects."""
    names = (
        "num_objects",
        "color_accuracy",
        "category_accuracy",
        "category_accuracy_with_other",
        "clip_score",
        "r_precision",
    )
    empty = sum(one is None for objects in groups.values() for one in objects)
    row = {name: summary[name] for name in names if name in summary}
    return {**row, "diversity": diversity(groups), "num_empty": empty}
