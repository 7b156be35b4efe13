"""Are samples copies? The distance to the nearest training object, beside that between training objects."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy.spatial import cKDTree

from ..functional.poisson_disk import progressive_poisson_disk
from ..gaussians import GaussianSplats
from .metrics import chamfer_distance

NUM_POINTS = 2048
LEAST_POINTS = 128


def visible_centers(splats: GaussianSplats) -> np.ndarray:
    """[M, 3] float64 centres of the Gaussians that can be seen: opacity of at least 0.1."""
    return splats.means[splats.opacities >= 0.1].detach().cpu().numpy().astype(np.float64)


def surface_points(splats: GaussianSplats, num_points: int = NUM_POINTS) -> np.ndarray:
    """[P, 3] evenly spread visible centres, P ≤ num_points; the first ones are spread evenly too.

    Raises:
        ValueError: if fewer than 128 Gaussians can be seen.
    """
    centers = visible_centers(splats)
    if len(centers) < LEAST_POINTS:
        raise ValueError(
            f"An object with {len(centers)} visible Gaussians has no {LEAST_POINTS} centres to compare."
        )
    return centers[progressive_poisson_disk(centers, min(num_points, len(centers)))]


@dataclass(frozen=True)
class Neighbor:
    """The nearest object of a set.

    Args:
        index: which.
        distance: Chamfer distance in object units.
    """

    index: int
    distance: float


class ReferenceSet:
    """Objects to compare with.

    Chamfer distances over 128 points sort out candidates; the nearest is found among them with all points.

    Args:
        clouds: [P, 3] point sets from :func:`surface_points`, P ≥ 128 each.
        num_candidates: objects compared with all points.
    """

    def __init__(self, clouds: Sequence[np.ndarray], num_candidates: int = 16) -> None:
        if not clouds:
            raise ValueError("There is no object to compare with.")
        self.trees = [cKDTree(cloud) for cloud in clouds]
        self.num_candidates = num_candidates
        self._coarse = torch.from_numpy(np.stack([cloud[:LEAST_POINTS] for cloud in clouds]))

    def nearest(self, cloud: np.ndarray, exclude: int | None = None) -> Neighbor:
        """The object nearest to a point set.

        Args:
            cloud: [P, 3], P ≥ 128.
            exclude: an object that does not count, such as the one that the points are from.
        """
        distances = torch.cdist(self._coarse, torch.from_numpy(cloud[:LEAST_POINTS]))
        coarse = distances.amin(dim=2).mean(dim=1) + distances.amin(dim=1).mean(dim=1)
        order = [int(index) for index in coarse.argsort() if int(index) != exclude][: self.num_candidates]
        if not order:
            raise ValueError("There is no other object to compare with.")
        tree = cKDTree(cloud)
        found = [Neighbor(index, chamfer_distance(cloud, self.trees[index], tree)) for index in order]
        return min(found, key=lambda neighbor: neighbor.distance)

    def leave_one_out(self) -> list[Neighbor]:
        """For each object the nearest of the others."""
        return [self.nearest(np.asarray(tree.data), exclude=index) for index, tree in enumerate(self.trees)]


def distance_summary(distances: Sequence[float]) -> dict[str, float]:
    """Mean, median, 10th percentile and minimum; NaN where nothing was measured."""
    values = np.asarray(distances if len(distances) else [np.nan])
    return {
        "mean": float(values.mean()),
        "median": float(np.median(values)),
        "p10": float(np.percentile(values, 10)),
        "min": float(values.min()),
    }
