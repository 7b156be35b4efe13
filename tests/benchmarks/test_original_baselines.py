"""The original's extraction and functions, against spheres and counts that are known."""

from __future__ import annotations

import pytest
import torch

from benchmarks.baselines.original_extraction import place_gaussians, search
from benchmarks.baselines.original_functions import TRUNCATION, make_original_functions
from benchmarks.baselines.torch_functions import TorchFunctions
from benchmarks.flops import count_flops
from benchmarks.quality import chamfer_distance, dense_surface, distance_to, mean_probability
from diffgs_diffusers.extraction import extract_gaussians
from diffgs_diffusers.extraction_settings import OriginalExtractionConfig
from diffgs_diffusers.functional.spherical_harmonics import SH_C0
from tests.tiny_models import tiny_vae

RADIUS = 0.4
SMALL = OriginalExtractionConfig(splits=(8, 4, 4))


def sphere(points: torch.Tensor) -> torch.Tensor:
    return (1 - (points.norm(dim=-1) - RADIUS).abs() / 0.2).clamp(min=0)


def counted(calls: list[int]):
    def probability(points: torch.Tensor) -> torch.Tensor:
        calls.append(len(points))
        return sphere(points)

    return probability


def test_a_sphere_is_found():
    cells = search(sphere, SMALL)
    side = 2 / 128
    best = cells.best(2000)
    assert len(best) == 2000
    assert (best.norm(dim=1) - RADIUS).abs().max() < side / 2
    octants = (best > 0).long() @ torch.tensor([4, 2, 1])
    assert octants.unique(return_counts=True)[1].min() > 200, "on all sides of the sphere"
    on_grid = (best / side - 0.5) - (best / side - 0.5).round()
    assert on_grid.abs().max() < 1e-3


def test_the_released_sizes_give_the_known_counts():
    calls: list[int] = []
    config = OriginalExtractionConfig(splits=(16, 4, 4), batch_size=10**9)
    cells = search(counted(calls), config)
    assert calls == [4096, 52_480, 671_744]
    assert cells.queries == sum(calls)
    assert len(cells.centers) == 671_744


def test_a_fraction_costs_a_fraction_and_finds_the_same_surface():
    calls: list[int] = []
    part = search(counted(calls), SMALL, fraction=0.05)
    whole = search(sphere, SMALL)
    assert part.queries == whole.queries == 512 + 6592 + 84_416
    assert calls[:2] == [512, 6592] and sum(calls) < 512 + 6592 + 0.051 * 84_416
    assert len(part.best(4000)) == 200
    sample = place_gaussians(sphere, lambda points: None, part, 4000, SMALL)
    assert sample.result.shape == (200, 3)
    worst = [(cells.best(4000).norm(dim=1) - RADIUS).abs().max().item() for cells in (part, whole)]
    assert worst[0] == pytest.approx(worst[1], rel=0.3)


@pytest.fixture(scope="module")
def functions():
    return make_original_functions(plane_channels=16, width=128, resolution=16)


def probability_of(functions):
    vae, planes = functions
    return lambda points: vae.heads.probability(planes[None], points[None])[0]


def test_random_functions_have_a_surface_that_ours_finds_too(functions):
    probability = probability_of(functions)
    splats = extract_gaussians(*functions, 3000).validate()
    assert splats.sh_degree == 3
    assert mean_probability(probability, splats.means) > 0.95
    radii = splats.means.norm(dim=1)
    assert 0.15 < radii.mean() < 0.55
    # a tent in 1 / δ: half a δ inside and outside of the surface it is about one half
    inside, outside = splats.means * (1 - TRUNCATION / 2 / radii[:, None]), splats.means * 1.0
    outside = outside * (1 + TRUNCATION / 2 / radii[:, None])
    for points in (inside, outside):
        assert 0.3 < mean_probability(probability, points) < 0.7


def test_the_released_head_does_the_known_work():
    vae, planes = make_original_functions()
    points = torch.zeros(1, 10, 3)
    expected = 2 * (259 * 512 + 6 * 512 * 512 + 771 * 512 + 512)
    assert count_flops(lambda: vae.heads.probability(planes[None], points)) == 10 * expected


def test_a_dense_sphere_and_distances_to_it():
    reference = dense_surface(sphere, half_side=0.55, truncation=0.2, count=20_000)
    assert reference.shape == (20_000, 3)
    assert (reference.norm(dim=1) - RADIUS).abs().max() < 1e-4
    shifted = reference * (1 + 0.05 / RADIUS)
    assert distance_to(shifted, reference) == pytest.approx(0.05, rel=0.02)
    assert chamfer_distance(reference, reference) == 0
    # half of the sphere is near the whole, but the whole is not near the half
    half = reference[reference[:, 0] > 0]
    assert distance_to(half, reference) == 0 and chamfer_distance(half, reference) > 0.05
    with pytest.raises(ValueError, match="there is no surface"):
        dense_surface(lambda points: sphere(points) * 0 + 0.1, half_side=0.5, truncation=0.2, count=5)


def test_functions_by_torch_s_own_operations_are_the_same_functions() -> None:
    functions, planes = make_original_functions(8, 16, 16)
    vae = tiny_vae()
    points = (torch.rand(200, 3, generator=torch.Generator().manual_seed(0)) - 0.5) * 1.3
    for heads, cells in ((functions.heads, planes), (vae.heads, torch.randn(3, 8, 16, 16).tanh())):
        plain = TorchFunctions(heads, cells)
        with torch.no_grad():
            expected = heads.probability(cells[None], points[None])[0]
            torch.testing.assert_close(plain.probability(points), expected, rtol=1e-4, atol=1e-4)
        sh, scales, *_ = heads.attributes(cells[None], points[None])
        colors, shapes = plain.attributes(points)[:2]
        if heads is vae.heads:
            torch.testing.assert_close(colors / (2 * SH_C0), sh[0].flatten(1), rtol=1e-4, atol=1e-4)
            torch.testing.assert_close(shapes[:, :3].clamp(-7, 3).exp(), scales[0], rtol=1e-4, atol=1e-4)
        else:
            torch.testing.assert_close(colors[:, :3], sh[0, :, 0], rtol=1e-4, atol=1e-4)
            torch.testing.assert_close(shapes.exp().clamp(max=0.2), scales[0], rtol=1e-4, atol=1e-4)
