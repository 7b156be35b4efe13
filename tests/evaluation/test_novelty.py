"""Nearest objects and their distances, for point sets whose distances are known."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from diffgs_diffusers.evaluation.novelty import ReferenceSet, distance_summary, surface_points
from diffgs_diffusers.gaussians import GaussianSplats
from tests.evaluation.primitives import colored, sphere_points

SPHERES = [sphere_points(600, radius) for radius in (0.2, 0.3, 0.45)]


def test_concentric_spheres_are_their_radii_apart() -> None:
    neighbors = ReferenceSet(SPHERES).leave_one_out()
    assert [neighbor.index for neighbor in neighbors] == [1, 0, 1]
    assert [neighbor.distance for neighbor in neighbors] == pytest.approx([0.1, 0.1, 0.15], abs=0.005)


def test_a_copy_is_found_at_distance_zero() -> None:
    neighbor = ReferenceSet(SPHERES).nearest(SPHERES[2])
    assert (neighbor.index, neighbor.distance) == (2, 0.0)


def test_candidates_do_not_hide_the_nearest() -> None:
    """Sorting out by a few points finds what comparing everything finds."""
    generator = np.random.default_rng(0)
    clouds = [generator.normal(size=(256, 3)) * generator.uniform(0.2, 1.0, 3) for _ in range(24)]
    few, all_of_them = ReferenceSet(clouds, num_candidates=6), ReferenceSet(clouds, num_candidates=24)
    pairs = list(zip(few.leave_one_out(), all_of_them.leave_one_out()))
    assert np.mean([a.index == b.index for a, b in pairs]) > 0.8
    assert max(a.distance / b.distance for a, b in pairs) < 1.1


def test_surface_points_are_visible_even_and_exact_in_number() -> None:
    splats = colored(np.concatenate([sphere_points(500), np.zeros((50, 3))]), (0.5, 0.5, 0.5))
    opacities = splats.opacities.clone()
    opacities[500:] = 0.01
    hidden = GaussianSplats(splats.means, splats.quats, splats.scales, opacities, splats.sh0)
    points = surface_points(hidden, 64)
    assert points.shape == (64, 3)
    np.testing.assert_allclose(np.linalg.norm(points, axis=1), 0.4, atol=1e-6)
    gaps = torch.cdist(torch.from_numpy(points), torch.from_numpy(points)).fill_diagonal_(9).amin(dim=1)
    assert gaps.min() > 0.5 * gaps.mean()
    assert len(surface_points(hidden, 1000)) == 500
    with pytest.raises(ValueError, match="100 visible"):
        surface_points(splats[:100])


def test_empty_sets_are_refused() -> None:
    with pytest.raises(ValueError, match="no object"):
        ReferenceSet([])
    with pytest.raises(ValueError, match="no other object"):
        ReferenceSet(SPHERES[:1]).leave_one_out()


def test_distance_summary() -> None:
    summary = distance_summary(list(range(11)))
    assert summary == {"mean": 5.0, "median": 5.0, "p10": 1.0, "min": 0.0}
