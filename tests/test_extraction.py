"""Extraction from functions that are known in closed form: a sphere, written into a real VAE's heads' place."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from scipy.spatial import cKDTree

from diffgs_diffusers import extraction
from diffgs_diffusers.cameras import orbit_cameras
from diffgs_diffusers.extraction import EmptySurfaceError, extract_gaussians, gaussians_at, reconstruct_gaussians
from diffgs_diffusers.extraction_settings import EXTRACTIONS, ExtractionConfig
from diffgs_diffusers.functional.linear import linear
from diffgs_diffusers.models import GaussianVAE
from diffgs_diffusers.models.heads import FunctionHeads
from diffgs_diffusers.surface_points import constant_heads
from tests.factories import sphere_splats
from tests.tiny_models import tiny_vae, vae_with_surface

RADIUS = 0.35


class SphereHeads(FunctionHeads):
    """The three functions of a sphere that is red above and blue below."""

    def __init__(self, truncation: float) -> None:
        super().__init__()
        self.truncation = truncation

    def features(self, planes: torch.Tensor, query_points: torch.Tensor) -> torch.Tensor:
        return query_points

    def read_probability(self, features: torch.Tensor) -> torch.Tensor:
        return 1 - (features.norm(dim=-1) - RADIUS).abs() / self.truncation

    def raw_attributes(self, features: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return (features[..., 1:2] < 0).float(), torch.tensor([0.5, 0.5, 0.05]).expand(features.shape)

    def decode_attributes(self, colors: torch.Tensor, shapes: torch.Tensor) -> tuple[torch.Tensor, ...]:
        sh = torch.zeros(*colors.shape[:-1], 1, 3)
        sh[..., 0, 0] = colors[..., 0]
        quats = torch.tensor([1.0, 0, 0, 0]).expand(*shapes.shape[:-1], 4)
        return sh, shapes, quats, torch.full(shapes.shape[:-1], 0.9)

    def scale_units(self, spacing: torch.Tensor) -> torch.Tensor:
        return spacing


@pytest.fixture
def sphere_vae() -> GaussianVAE:
    vae = tiny_vae()
    vae.heads = SphereHeads(vae.config.truncation)
    return vae


PLANES = torch.zeros(3, 8, 16, 16)


@pytest.mark.parametrize("count", [1, 7, 1000, 30_000])
def test_exact_number_on_the_surface(sphere_vae, count):
    splats = extract_gaussians(sphere_vae, PLANES, count).validate()
    assert len(splats) == count
    assert (splats.means.norm(dim=1) - RADIUS).abs().max() < 0.004
    assert torch.equal(splats.sh0[:, 0, 0] > 0.5, splats.means[:, 1] < 0)


def test_a_surface_of_few_candidates_is_filled_up(sphere_vae):
    config = ExtractionConfig(min_candidates=1, oversampling=0.001)
    splats = extract_gaussians(sphere_vae, PLANES, 3000, config=config).validate()
    assert len(splats) == 3000
    assert (splats.means.norm(dim=1) - RADIUS).abs().max() < 0.03


def test_inference_mode(sphere_vae):
    expected = extract_gaussians(sphere_vae, PLANES, 50)
    with torch.inference_mode():
        found = extract_gaussians(sphere_vae, torch.zeros(3, 8, 16, 16), 50)
    assert torch.equal(found.to_tensor(), expected.to_tensor())


@pytest.mark.parametrize("name", ["even", "fast"])
def test_weights_of_inference_mode(name):
    """As those of a pipeline that was loaded in it; gradients of points are followed through them."""
    vae = vae_with_surface()
    planes = vae.decode(torch.randn(1, 4, vae.latent_length, generator=torch.Generator().manual_seed(0))).planes[0]
    expected = extract_gaussians(vae, planes, 50, config=EXTRACTIONS[name])
    with torch.inference_mode():
        for module in vae.heads.modules():
            for key, weight in module._parameters.items():
                module._parameters[key] = torch.nn.Parameter(weight.clone(), requires_grad=False)
    assert vae.heads.gaupf.proj_out.weight.is_inference()
    found = extract_gaussians(vae, planes, 50, config=EXTRACTIONS[name])
    assert torch.equal(found.to_tensor(), expected.to_tensor())


@pytest.mark.parametrize("name", ["even", "fast"])
def test_autocast(name):
    vae = vae_with_surface()
    planes = vae.decode(torch.randn(1, 4, vae.latent_length, generator=torch.Generator().manual_seed(0))).planes[0]
    with torch.autocast("cpu", torch.bfloat16):
        splats = extract_gaussians(vae, planes, 500, config=EXTRACTIONS[name]).validate()
    with torch.no_grad():
        heights = vae.heads.probability(planes[None], splats.means[None])[0]
    assert heights.median() > EXTRACTIONS[name].threshold


def test_the_heads_of_a_search_leave_those_of_the_model_alone():
    vae = vae_with_surface()
    before = {name: value.clone() for name, value in vae.heads.state_dict().items()}
    for precision in ("float32", "bfloat16"):
        constant = constant_heads(vae.heads, precision)
        assert not any(weight.requires_grad for weight in constant.parameters())
    assert all(weight.requires_grad for weight in vae.heads.parameters())
    after = vae.heads.state_dict()
    assert all(
        torch.equal(after[name], value) and after[name].dtype == value.dtype for name, value in before.items()
    )


def test_evenly_spread_with_scales_that_fit_the_count(sphere_vae):
    for count in (1000, 16_000):
        splats = extract_gaussians(sphere_vae, PLANES, count, config=ExtractionConfig(finest_spacing=0))
        nearest = cKDTree(splats.means.numpy()).query(splats.means.numpy(), k=2)[0][:, 1]
        ideal = RADIUS * (4 * torch.pi / count) ** 0.5
        assert nearest.min() > 0.5 * ideal
        expected = ExtractionConfig().relative_scale * 0.5 * 1.1 * ideal
        assert splats.scales[:, 0].median().item() == pytest.approx(expected, rel=0.1)


def test_same_seed_same_gaussians_and_chunks_change_nothing(sphere_vae):
    def run(**settings):
        generator = torch.Generator().manual_seed(7)
        config = ExtractionConfig(**settings)
        return extract_gaussians(sphere_vae, PLANES, 500, generator=generator, config=config).to_tensor()

    assert torch.equal(run(), run())
    torch.testing.assert_close(run(chunk_size=999), run())
    other = extract_gaussians(sphere_vae, PLANES, 500, generator=torch.Generator().manual_seed(8)).to_tensor()
    assert not torch.equal(other, run())


def test_the_first_gaussians_of_many_are_spread_over_everything(sphere_vae):
    splats = extract_gaussians(sphere_vae, PLANES, 8000)
    covering = cKDTree(splats.means[:800].numpy()).query(splats.means.numpy())[0].max()
    assert covering < 2 * RADIUS * (4 * torch.pi / 800) ** 0.5


def test_a_function_without_surface_is_an_error_of_its_own(sphere_vae):
    sphere_vae.heads.probability = lambda planes, points: (points * 0).sum(dim=-1) - 1
    with pytest.raises(EmptySurfaceError, match=r"stays below 0\.\d+ everywhere"):
        extract_gaussians(sphere_vae, PLANES, 10)


@pytest.mark.parametrize(
    ("planes", "count", "message"),
    [(PLANES, 0, "at least 1, got 0"), (PLANES, -5, "at least 1, got -5"), (PLANES[None], 5, r"\[3, C, R, R\]")],
)
def test_bad_arguments(sphere_vae, planes, count, message):
    with pytest.raises(ValueError, match=message):
        extract_gaussians(sphere_vae, planes, count)


def test_chunks_bound_what_is_asked_at_once(sphere_vae):
    largest = []
    inner = sphere_vae.heads.probability
    sphere_vae.heads.probability = lambda planes, points: (largest.append(points.shape[1]), inner(planes, points))[
        1
    ]
    extract_gaussians(sphere_vae, PLANES, 20_000, config=ExtractionConfig(chunk_size=2048))
    assert max(largest) == 2048


def test_attributes_at_given_centres_with_a_real_head(monkeypatch):
    monkeypatch.setattr(extraction, "_DECODED", 24)
    vae = tiny_vae(sh_degree=1)
    planes, means, units = torch.randn(3, 8, 16, 16), torch.rand(40, 3) - 0.5, torch.rand(40)
    splats = gaussians_at(vae, planes, means, chunk_size=16, units=units).validate()
    sh, scales, quats, opacities = vae.heads.attributes(planes[None], means[None])
    expected = (means, quats[0], scales[0] * units[:, None], opacities[0], sh[0, :, :1], sh[0, :, 1:])
    found = (splats.means, splats.quats, splats.scales, splats.opacities, splats.sh0, splats.shN)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other.detach(), rtol=1e-4, atol=1e-5)


def test_scales_can_be_made_larger(sphere_vae):
    normal, larger = (
        extract_gaussians(sphere_vae, PLANES, 300, config=ExtractionConfig(relative_scale=factor))
        for factor in (1.0, 1.5)
    )
    torch.testing.assert_close(larger.scales, normal.scales * 1.5)
    assert torch.equal(larger.means, normal.means)


def test_gaussians_grow_to_twice_their_size_at_most(sphere_vae):
    """And what one of them loses in opacity fits what it grows."""
    plain, grown = (
        extract_gaussians(sphere_vae, PLANES, 16_000, config=ExtractionConfig(finest_spacing=finest))
        for finest in (0.0, 0.55)  # two to five times the spacing of these points
    )
    torch.testing.assert_close(grown.scales, 2 * plain.scales)
    torch.testing.assert_close(grown.opacities, plain.opacities / 4**1.1)


def test_beyond_the_planes_cells_more_gaussians_draw_the_same_picture(sphere_vae):
    """As large as half a cell asks for, sharing their opacity: no outline grows and nothing becomes transparent."""
    cameras, cell = orbit_cameras(2, 96), 1.1 / 64
    tell, plain = sphere_vae.heads.raw_attributes, sphere_vae.heads.decode_attributes

    def discs(points, _):
        sh, scales, _, opacities = plain(*tell(points))
        x, y, z = torch.nn.functional.normalize(points, dim=-1).unbind(-1)
        return sh, scales * 1.4, torch.stack([1 + z, -y, x, 0 * x], dim=-1), opacities

    sphere_vae.heads.raw_attributes = lambda points: (points, points)
    sphere_vae.heads.decode_attributes = discs

    def alpha(count: int, finest_spacing: float) -> torch.Tensor:
        config = ExtractionConfig(finest_spacing=finest_spacing)
        splats = extract_gaussians(sphere_vae, torch.zeros(3, 8, 64, 64), count, config=config)
        if finest_spacing and count > 40_000:
            expected = config.relative_scale * 0.7 * finest_spacing * cell
            assert splats.scales.amax(dim=1).median().item() == pytest.approx(expected)
        return splats.render(cameras)[..., 3]

    few, many = (alpha(count, 0.5) for count in (20_000, 80_000))  # half a cell is the spacing of 20,000
    inside = many[few > 0.999]
    assert inside.min() > 0.97
    assert 0.95 < many.sum() / few.sum() < 1


@pytest.mark.parametrize("opacity", [0.05, 0.2])
def test_glass_is_as_dense_in_many_gaussians_as_in_few(sphere_vae, opacity, monkeypatch):
    """And would fade without what renderers leave out of faint ones."""
    cameras = orbit_cameras(2, 256)
    plain = sphere_vae.heads.decode_attributes

    def glass(*raw):
        sh, scales, quats, opacities = plain(*raw)
        return sh, scales.new_tensor([0.5, 0.5, 0.5]).expand_as(scales), quats, torch.full_like(opacities, opacity)

    sphere_vae.heads.decode_attributes = glass

    def density(count: int) -> float:
        """Mean optical depth of the middle of the sphere."""
        splats = extract_gaussians(sphere_vae, torch.zeros(3, 8, 64, 64), count)
        alpha = splats.render(cameras)[:, 98:158, 98:158, 3]
        return float(-(1 - alpha).log().mean())

    few, many = density(10_000), density(80_000)
    monkeypatch.setattr(extraction, "keep_glass", lambda splats, described: splats)
    few_faded, many_faded = density(10_000), density(80_000)
    assert 1 < few / few_faded < 1.15
    assert many / few > 0.8 > 0.75 > many_faded / few_faded


def test_what_is_opaque_keeps_the_opacity_that_it_shares(sphere_vae, monkeypatch):
    splats = extract_gaussians(sphere_vae, torch.zeros(3, 8, 64, 64), 80_000)
    monkeypatch.setattr(extraction, "keep_glass", lambda splats, described: splats)
    assert torch.equal(splats.opacities, extract_gaussians(sphere_vae, torch.zeros(3, 8, 64, 64), 80_000).opacities)


def test_a_stray_point_is_no_large_blob(sphere_vae):
    """A speck of probability far from the surface, large enough for a few points."""
    inner, speck = sphere_vae.heads.probability, torch.tensor([0.5, 0.5, 0.5])

    def probability(planes, points):
        return torch.maximum(inner(planes, points), 1 - (points - speck).norm(dim=-1) / 0.04)

    sphere_vae.heads.probability = probability
    splats = extract_gaussians(sphere_vae, PLANES, 3000)
    stray = (splats.means - speck).norm(dim=-1) < 0.05
    assert 0 < stray.sum() < 30
    assert splats.scales[stray].max() < 3.1 * splats.scales[~stray].max()


PEAK = """
import sys
from pathlib import Path
import torch
from diffgs_diffusers.extraction import extract_gaussians
from tests.test_extraction import PLANES, SphereHeads
from tests.tiny_models import tiny_vae, vae_with_surface

vae = tiny_vae()
vae.heads = SphereHeads(vae.config.truncation)
extract_gaussians(vae, PLANES, int(sys.argv[1])).save(sys.argv[2])
lines = Path("/proc/self/status").read_text().splitlines()
print(next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM")))
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="peak memory is read from /proc")
def test_peak_memory_grows_by_little_more_than_the_result(tmp_path):
    counts = (100_000, 600_000)
    peaks = []
    for count in counts:
        command = [sys.executable, "-c", PEAK, str(count), str(tmp_path / "a.ply")]
        peaks.append(int(subprocess.run(command, check=True, capture_output=True, text=True).stdout))
    result = 4 * (3 + 4 + 3 + 1 + 3)  # bytes of a Gaussian of SH degree 0
    assert (peaks[1] - peaks[0]) / (counts[1] - counts[0]) < 2.5 * result


def test_reconstruction_goes_through_encoder_and_decoder(sphere_vae):
    result = reconstruct_gaussians(sphere_vae, sphere_splats(300), 200)
    assert len(result.validate()) == 200


def test_fast_finds_the_same_surface(sphere_vae):
    splats = extract_gaussians(sphere_vae, PLANES, 3000, config=EXTRACTIONS["fast"]).validate()
    assert (splats.means.norm(dim=1) - RADIUS).abs().max() < 1e-4
    nearest = cKDTree(splats.means.numpy()).query(splats.means.numpy(), k=2)[0][:, 1]
    assert nearest.min() > 0.5 * RADIUS * (4 * torch.pi / 3000) ** 0.5


def test_bfloat16_is_for_the_search_alone(monkeypatch):
    """The last step of the points that are kept is one of float32, and so is what they look like."""
    vae = vae_with_surface()
    planes = vae.decode(torch.randn(1, 4, vae.latent_length, generator=torch.Generator().manual_seed(0))).planes[0]
    asked: dict[str, list[torch.dtype]] = {"relu": [], "swish": []}  # GauPF; GauCF and GauTF

    def noted(inputs, layer, activation="none"):
        values = linear(inputs, layer, activation)
        asked.get(activation, []).append(values.dtype)
        return values

    monkeypatch.setattr("diffgs_diffusers.models.heads.linear", noted)
    config = ExtractionConfig(precision="bfloat16", refinement_steps=2, min_candidates=2000, chunk_size=1024)
    fast = extract_gaussians(vae, planes, 1000, config=config).validate()
    assert asked["relu"][-1] == torch.float32
    unfolded = vae.config.head_layers - 1  # the planes have been through the first layer
    assert asked["relu"].count(torch.float32) == unfolded < len(asked["relu"])
    assert set(asked["swish"]) == {torch.float32} and fast.to_tensor().dtype == torch.float32

    asked["relu"].clear()
    even = extract_gaussians(vae, planes, 1000, config=ExtractionConfig(min_candidates=2000))
    assert set(asked["relu"]) == {torch.float32}
    height_fast, height_even = (vae.heads.probability(planes[None], splats.means[None]) for splats in (fast, even))
    assert height_fast.clamp(max=1).mean() > height_even.clamp(max=1).mean() - 0.02


def test_an_unknown_precision_is_refused():
    with pytest.raises(ValueError, match="`precision` must be one of float32, bfloat16, got 'float16'"):
        ExtractionConfig(precision="float16")
    with pytest.raises(ValueError, match="`refinement_steps` must be at least 1 in bfloat16, got 0"):
        ExtractionConfig(precision="bfloat16", refinement_steps=0)


@pytest.mark.parametrize("chunk_size", [0, -1])
def test_a_chunk_has_a_point_at_least(chunk_size):
    with pytest.raises(ValueError, match=f"`chunk_size` must be at least 1 or None, got {chunk_size}"):
        ExtractionConfig(chunk_size=chunk_size)
