"""What crowded Gaussians change by."""

from __future__ import annotations

import math

import torch

from diffgs_diffusers.functional.sharing import equal_sharing, log_crowding


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


def test_what_is_thin_all_over_keeps_more_of_its_opacity():
    """From six times as crowded on; the layer of a wall never is, and bounds hold here, too."""
    _, share = equal_sharing(0.5 / torch.tensor([6.0, 9.0, 24.0, 1000.0]), 0.5)
    kept = (share + 2.2 * math.log(2)).exp()
    torch.testing.assert_close(kept, torch.tensor([1.0, 1.5, 4.0, 4.0]) ** 0.7)


def test_crowding_has_bounds():
    values = log_crowding(torch.tensor([1.0, 0.25, 1e-6]), 0.5, 8.0)
    torch.testing.assert_close(values.exp(), torch.tensor([1.0, 2.0, 8.0]))
