"""What crowded Gaussians change by, and what tells a rod from a wall."""

from __future__ import annotations

import math

import pytest
import torch

from diffgs_diffusers.functional.gaupf import local_spacing
from diffgs_diffusers.functional.poisson_disk import progressive_poisson_disk
from diffgs_diffusers.functional.sharing import coarse_spacing, equal_sharing, log_crowding


def test_nothing_changes_where_gaussians_have_room():
    growth, share = equal_sharing(torch.tensor([0.5, 0.7, 3.0]), 0.5)
    assert torch.equal(growth, torch.zeros(3)) and torch.equal(share, torch.zeros(3))


def test_many_gaussians_absorb_about_as_much_as_one():
    """n = w² points at one place, each with its share of the opacity."""
    growth, share = equal_sharing(torch.tensor([0.5 / math.sqrt(2), 0.25]), 0.5)
    torch.testing.assert_close(growth.exp(), torch.tensor([math.sqrt(2), 2.0]))
    torch.testing.assert_close(share.exp(), torch.tensor([1 / 2**1.1, 1 / 4**1.1]))


def test_growth_ends_at_twice_the_size():
    growth, _ = equal_sharing(torch.tensor([0.25, 0.1, 0.001]), 0.5)
    torch.testing.assert_close(growth.exp(), torch.full((3,), 2.0))


def test_crowding_has_bounds():
    values = log_crowding(torch.tensor([1.0, 0.25, 1e-6]), 0.5, 8.0)
    torch.testing.assert_close(values.exp(), torch.tensor([1.0, 2.0, 8.0]))


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
