"""Spacing of lattices, of tiny sets, and of lines, surfaces and volumes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.spatial import cKDTree

from diffgs_diffusers.functional.poisson_disk import progressive_poisson_disk
from diffgs_diffusers.functional.spacing import MOST_SPACING, coarse_spacing, even_spacing, local_spacing


def test_spacing_of_a_lattice_is_its_period_times_the_mean_over_neighbours():
    axis = np.arange(20) * 0.01
    lattice = np.stack([*np.meshgrid(axis, axis), np.zeros((20, 20))], axis=-1).reshape(-1, 3)
    inner = lattice[(lattice[:, :2] > 0.05).all(1) & (lattice[:, :2] < 0.14).all(1)]
    # Six neighbours of a square lattice: four at one period and two at sqrt(2).
    np.testing.assert_allclose(local_spacing(lattice, inner), 0.01 * np.sqrt((4 + 2 * 2) / 6), rtol=1e-5)


def test_spacing_survives_tiny_sets():
    assert local_spacing(np.zeros((1, 3))).shape == (1,)
    assert (local_spacing(np.zeros((3, 3))) > 0).all()


def test_spacing_is_that_of_a_search_point_by_point():
    means = np.random.default_rng(0).normal(size=(70_000, 3)).astype(np.float32)  # more than one group of queries
    distances, _ = cKDTree(means).query(means[:500], k=7)
    expected = np.sqrt((distances[:, 1:] ** 2).mean(axis=1))
    np.testing.assert_allclose(local_spacing(means)[:500], expected, rtol=1e-6)
    np.testing.assert_allclose(local_spacing(means, means[:500]), expected, rtol=1e-6)


def test_a_stray_point_has_no_more_than_three_times_the_median():
    means = torch.rand(500, 3, generator=torch.Generator().manual_seed(0))
    means[7] = 50.0
    spacing = even_spacing(means)
    assert spacing[7] == MOST_SPACING * torch.from_numpy(local_spacing(means.numpy())).median()
    assert (spacing[:7] < spacing[7]).all()


def ordered(points: torch.Tensor) -> torch.Tensor:
    return points[torch.from_numpy(progressive_poisson_disk(points.numpy(), len(points) // 2))]


def test_coarse_spacing_tells_a_line_a_surface_and_a_volume_apart():
    generator = torch.Generator().manual_seed(0)
    points = torch.rand(16_000, 3, generator=generator)
    ratios = []
    for filled in (1, 2, 3):
        means = ordered(points * torch.tensor([float(axis < filled) for axis in range(3)]))
        spacing = torch.from_numpy(local_spacing(means.numpy()))
        ratios.append((coarse_spacing(means) / spacing).median().item())
    assert ratios[0] > 1.5 * ratios[1] > 1.5 * 1.3 * ratios[2]


@pytest.mark.parametrize("count", [1, 3, 20])
def test_few_points_have_a_coarse_spacing_too(count):
    spacing = coarse_spacing(torch.rand(count, 3, generator=torch.Generator().manual_seed(0)))
    assert spacing.shape == (count,) and spacing.isfinite().all()
