"""The original's extraction against counts that are known, a sphere, and a slow search of every cell."""

from __future__ import annotations

import pytest
import torch

from diffgs_diffusers.extraction import extract_gaussians
from diffgs_diffusers.extraction_settings import ExtractionConfig, OriginalExtractionConfig, find_extraction
from diffgs_diffusers.models import OriginalGaussianVAE
from diffgs_diffusers.original_extraction import extract, extract_original, refined_copies, search_levels
from tests.tiny_models import QUICK_VAE_SIZES, tiny_vae

RADIUS = 0.4
SMALL = OriginalExtractionConfig(splits=(4, 2, 2), batch_size=100)


def sphere(points: torch.Tensor) -> torch.Tensor:
    return (1 - (points.norm(dim=-1) - RADIUS).abs() / 0.2).clamp(min=0)


@pytest.fixture(scope="module")
def vae() -> OriginalGaussianVAE:
    torch.manual_seed(0)
    sizes = {"plane_channels": 4, "plane_resolution": 8, "point_channels": 4, "unet_channels": 2, "unet_depth": 2}
    sizes |= {"latent_channels": 6, "block_channels": (6, 6), "head_channels": 16}
    vae = OriginalGaussianVAE(**sizes).eval()
    for head in (vae.heads.gaupf_out, vae.heads.gaucf_out, vae.heads.scales_out):
        torch.nn.init.normal_(head.weight)
    return vae.requires_grad_(False)


@pytest.fixture(scope="module")
def planes(vae) -> torch.Tensor:
    return torch.randn(3, 4, 8, 8, generator=torch.Generator().manual_seed(1)).tanh()


def test_the_released_numbers_are_the_defaults():
    config = OriginalExtractionConfig()
    kept = [1, 820, 10_496, 134_349]
    assert [cells * splits**3 for cells, splits in zip(kept, config.splits)] == [4096, 52_480, 671_744, 8_598_336]
    assert config.num_cells == 8_598_336 and config.num_cells >= 650_000


def test_each_level_keeps_the_best_fifth_of_all_its_cells():
    levels = list(search_levels(sphere, SMALL))
    assert [len(level) for level in levels] == [64, 13 * 8, 21 * 8]
    assert len(levels[-1]) == SMALL.num_cells
    axis = (torch.arange(4) + 0.5) / 2 - 1
    every = torch.stack(torch.meshgrid(axis, axis, axis, indexing="ij"), dim=-1).reshape(-1, 3)
    assert sorted(map(tuple, levels[0].tolist())) == sorted(map(tuple, every.tolist()))
    for level in levels:
        values = sphere(level)
        assert (values.diff() >= 0).all(), "the most probable last"
    parents = levels[0][-13:]
    distances = (levels[1][:, None] - parents).abs().amax(dim=2)
    assert torch.equal(distances.amin(dim=1), torch.full((104,), 0.125)), "each in the middle of an eighth of one"


def test_copies_climb_by_the_sign_of_the_gradient_and_stay_near():
    centers = torch.nn.functional.normalize(torch.randn(500, 3), dim=1) * (RADIUS + 0.01)
    calls: list[int] = []

    def counted(points: torch.Tensor) -> torch.Tensor:
        calls.append(len(points))
        return sphere(points)

    config = OriginalExtractionConfig(batch_size=128)
    copies = refined_copies(counted, centers, config, torch.Generator().manual_seed(3))
    resting = OriginalExtractionConfig(refinement_steps=0)
    jittered = refined_copies(sphere, centers, resting, torch.Generator().manual_seed(3))
    assert sum(calls) == 20 * 500 and max(calls) == 128
    assert (copies - centers).abs().max() <= 1e-3 + 1e-7
    assert (copies - jittered).abs().max() <= 20 * 1e-5 + 1e-6
    # outside the sphere, so all of them move inwards
    assert (copies.norm(dim=1) <= jittered.norm(dim=1) + 1e-7).all()
    assert copies.norm(dim=1).mean() < jittered.norm(dim=1).mean() - 1e-4


def test_gaussians_are_cells_and_copies_with_the_originals_opacity_and_scales(vae, planes):
    splats = extract_original(vae, planes, 81, config=SMALL).validate()
    cells = list(search_levels(lambda points: vae.heads.probability(planes[None], points[None])[0], SMALL))[-1]
    assert torch.equal(splats.means[:41], cells[-41:])
    assert (splats.means[41:] - cells[-41:][:40]).abs().max() <= 1e-3 + 1e-7
    assert torch.equal(splats.opacities, torch.full((81,), 0.95))
    sh, scales, quats, _ = vae.heads.attributes(planes[None], splats.means[None])
    torch.testing.assert_close(splats.scales.log(), 0.9 * scales[0].log())
    torch.testing.assert_close(splats.quats, quats[0])
    torch.testing.assert_close(splats.colors, sh[0])
    assert splats.sh_degree == 3


def test_the_seed_decides(vae, planes):
    first, again, other = (
        extract_original(vae, planes, 10, config=SMALL, generator=torch.Generator().manual_seed(seed)).means
        for seed in (1, 1, 2)
    )
    assert torch.equal(first, again) and not torch.equal(first, other)


def test_more_than_the_octree_has_is_refused(vae, planes):
    assert len(extract_original(vae, planes, 2 * SMALL.num_cells, config=SMALL)) == 336
    with pytest.raises(ValueError, match=r"at most 336, .* got 337"):
        extract_original(vae, planes, 337, config=SMALL)
    with pytest.raises(ValueError, match="at least 1, got 0"):
        extract_original(vae, planes, 0, config=SMALL)


def test_settings_decide_the_way(vae, planes):
    even = ExtractionConfig(threshold=0.0, start_resolution=4, octree_depth=0, min_candidates=64)
    assert torch.equal(
        extract(vae, planes, 32, config=even).means, extract_gaussians(vae, planes, 32, config=even).means
    )
    assert torch.equal(
        extract(vae, planes, 32, config=SMALL).means, extract_original(vae, planes, 32, config=SMALL).means
    )
    assert find_extraction("original") == OriginalExtractionConfig()
    assert find_extraction("even") == ExtractionConfig()
    with pytest.raises(ValueError, match=r"one of even, fast, sharp, original, .* got 'odd'"):
        find_extraction("odd")
    with pytest.raises(TypeError, match="got int"):
        find_extraction(3)


def test_fewer_gaussians_of_the_even_way_are_larger(vae, planes):
    """Scales were learned with 100,000 Gaussians: a quarter of them must each cover four times the area."""
    spacing = torch.rand(25_000)
    assert vae.heads.scale_units(spacing).unique().item() == pytest.approx(2.0)
    assert tiny_vae(**QUICK_VAE_SIZES).heads.scale_units(spacing) is spacing, "ours are relative already"


def test_overflowing_scales_have_a_finite_gradient(vae):
    heads = vae.heads
    features = torch.randn(1, 5, 7, requires_grad=True)
    before = heads.scales_out.bias.clone()
    with torch.no_grad():
        heads.scales_out.bias.fill_(1000.0)
    try:
        scales = heads.read_attributes(features)[1]
        scales.sum().backward()
    finally:
        with torch.no_grad():
            heads.scales_out.bias.copy_(before)
    assert torch.equal(scales, torch.full((1, 5, 3), 0.2))
    assert features.grad is not None and features.grad.isfinite().all()
