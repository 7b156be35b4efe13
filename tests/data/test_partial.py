from __future__ import annotations

import numpy as np
import pytest
import torch

from diffgs_diffusers.data.partial import CUTS, half_space, one_chunk, random_part, seen_from_one_side
from tests.factories import random_splats, sphere_splats


def test_a_chunk_is_an_eighth_of_the_box():
    splats = sphere_splats(4000)
    kept = splats.select(one_chunk(splats, np.random.default_rng(0)))
    assert 450 < len(kept) < 550
    assert (kept.means.sign() == kept.means.sign()[0]).all()


def test_all_chunks_come_up_and_nearly_empty_ones_do_not():
    splats = sphere_splats(4000)
    drawn = [one_chunk(splats, np.random.default_rng(seed)) for seed in range(100)]
    assert len({tuple(splats.means[mask].mean(dim=0).sign().tolist()) for mask in drawn}) == 8
    flat = splats.select(splats.means[:, 0] > 0)  # its box is half as wide, and its chunks are all filled
    few = flat.select(torch.cat([torch.arange(len(flat)), torch.tensor([0])]))
    assert all(one_chunk(few, np.random.default_rng(seed)).sum() >= 0.02 * len(few) for seed in range(20))


def test_a_half_space_keeps_what_is_on_one_side():
    splats = random_splats(1000)
    for seed in range(10):
        mask = half_space(splats, np.random.default_rng(seed))
        assert 0.12 <= mask.float().mean() <= 0.76
        normal = splats.means[mask].mean(dim=0) - splats.means[~mask].mean(dim=0)
        heights = splats.means @ normal
        assert (heights[mask] > heights[~mask].median()).float().mean() > 0.95


@pytest.mark.parametrize("seed", range(5))
def test_a_scan_sees_the_near_half_of_a_sphere(seed):
    splats = sphere_splats(8000)
    mask = seen_from_one_side(splats, np.random.default_rng(seed))
    direction = torch.nn.functional.normalize(splats.means[mask].mean(dim=0), dim=0)
    assert direction[1] < 0.3  # from the side or from above
    heights = (splats.means @ direction) / 0.4
    assert mask[heights > 0.4].float().mean() > 0.98
    assert mask[heights < -0.4].float().mean() < 0.02


@pytest.mark.parametrize("name", CUTS)
def test_a_part_of_anything_is_something_and_repeats_with_its_seed(name):
    for splats in (random_splats(1), random_splats(7), sphere_splats(500)):
        masks = [CUTS[name](splats, np.random.default_rng(3)) for _ in range(2)]
        assert masks[0].any() and torch.equal(*masks)


def test_random_parts_are_cut_in_every_way():
    splats = sphere_splats(3000)
    sizes = [len(random_part(splats, np.random.default_rng(seed))) for seed in range(30)]
    assert 0 < min(sizes) < 600 and max(sizes) > 1300
