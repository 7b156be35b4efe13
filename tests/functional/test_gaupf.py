from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.spatial import cKDTree

from diffgs_diffusers.functional.gaupf import QueryMix, core_distances, probability_targets, sample_queries
from diffgs_diffusers.functional.quaternions import quaternions_to_matrices
from tests.factories import random_splats, sphere_splats


def distances_of(splats, queries, **settings):
    tree = cKDTree(splats.means.numpy())
    return core_distances(queries, splats.means, splats.quats, splats.scales, tree, **settings)


def test_without_core_it_is_the_papers_distance_to_the_nearest_centre():
    splats, queries = random_splats(), torch.randn(100, 3)
    expected = torch.cdist(queries, splats.means).min(dim=1).values
    torch.testing.assert_close(distances_of(splats, queries, core=0), expected)


def test_core_distance_is_the_distance_to_the_nearest_oriented_box():
    """Against a dense search over points of every box."""
    splats, queries = random_splats(6), torch.randn(20, 3) * 0.3
    steps = torch.linspace(-1, 1, 41)
    grid = torch.stack(torch.meshgrid(steps, steps, steps, indexing="ij"), dim=-1).reshape(-1, 3)
    rotations = quaternions_to_matrices(splats.quats)
    boxes = splats.means[:, None] + (grid * splats.scales[:, None]) @ rotations.transpose(1, 2)
    expected = torch.cdist(queries, boxes.reshape(-1, 3)).min(dim=1).values
    found = distances_of(splats, queries, core=1.0)
    assert (found <= expected + 1e-6).all()
    torch.testing.assert_close(found, expected, atol=2e-3, rtol=0)


@pytest.mark.parametrize("count", [1, 16, 17, 300])
def test_no_core_is_overlooked(count):
    """Long boxes reach where other centres are nearer; counts fill leaves, open new ones and leave some empty."""
    splats = random_splats(count)
    scales = splats.scales * torch.tensor([1.0, 1.0, 8.0])
    queries = torch.rand(500, 3, generator=torch.Generator().manual_seed(1)) * 1.5 - 0.75
    offsets = queries[:, None, :] - splats.means
    local = (offsets[..., None] * quaternions_to_matrices(splats.quats)).sum(dim=-2)
    expected = (local.abs() - scales).clamp(min=0).norm(dim=-1).min(dim=1).values
    found = distances_of(replace(splats, scales=scales), queries)
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=1e-5)


def test_large_cores_grow_along_the_surface_only():
    disc = replace(random_splats(1), quats=torch.tensor([[1.0, 0, 0, 0]]), scales=torch.tensor([[0.2, 0.1, 0.01]]))
    beside, before = disc.means + torch.tensor([[0.5, 0, 0]]), disc.means + torch.tensor([[0, 0, 0.5]])
    found = distances_of(disc, torch.cat([beside, before]), core=2.0)
    torch.testing.assert_close(found, torch.tensor([0.5 - 0.4, 0.5 - 0.01]))


def test_a_sphere_of_flat_gaussians_has_the_distance_field_of_a_sphere():
    splats = sphere_splats(4000, radius=0.4)
    queries = torch.nn.functional.normalize(torch.randn(2000, 3), dim=1) * (0.4 + 0.01 * torch.randn(2000, 1))
    exact = (queries.norm(dim=1) - 0.4).abs()
    error = (distances_of(splats, queries, core=1.0) - exact).abs()
    assert error.mean() < 0.0015
    on_surface = exact < 0.002
    centre_error = (distances_of(splats, queries, core=0) - exact).abs()
    assert centre_error[on_surface].mean() > 4 * error[on_surface].mean(), "centres alone leave holes between them"


def test_from_the_limit_on_distances_are_infinite_and_the_others_as_without():
    splats, truncation = random_splats(300), 0.05
    queries = torch.rand(2000, 3, generator=torch.Generator().manual_seed(1)) * 1.5 - 0.75
    whole, limited = distances_of(splats, queries), distances_of(splats, queries, limit=truncation)
    assert torch.equal(limited, whole.where(whole < truncation, torch.inf))
    assert limited.isinf().any() and limited.isfinite().any()
    assert torch.equal(probability_targets(limited, truncation), probability_targets(whole, truncation))


def test_probability_is_linear_up_to_the_truncation():
    values = probability_targets(torch.tensor([0.0, 0.05, 0.2, 9.0]), truncation=0.2)
    torch.testing.assert_close(values, torch.tensor([1.0, 0.75, 0.0, 0.0]))


def test_queries_are_mixed_as_asked_and_stay_in_the_box():
    means = sphere_splats(1000).means
    mix = QueryMix(near_share=0.5, middle_share=0.25, near_sigma=0.002, middle_sigma=0.05, half_side=0.5)
    queries = sample_queries(means, 4000, mix, np.random.default_rng(0))
    assert queries.shape == (4000, 3) and queries.dtype == torch.float32 and queries.abs().max() <= 0.5
    distance = (queries.norm(dim=1) - 0.4).abs()
    assert distance[:2000].max() < 0.02
    assert 0.02 < distance[2000:3000].std() + distance[2000:3000].mean() < 0.1
    assert distance[3000:].mean() > 0.1
