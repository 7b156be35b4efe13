"""Our modules against outputs of the public repository's own, at the sizes of tests/fixtures/original."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from diffusers.schedulers import scheduling_ddpm

from diffgs_diffusers import DiffGSPipeline, GaussianSplats, OriginalDDPMScheduler, OriginalGaussianVAE
from diffgs_diffusers.conversion import convert_checkpoint
from diffgs_diffusers.extraction import extract_gaussians, reconstruct_gaussians
from diffgs_diffusers.extraction_settings import OriginalExtractionConfig
from diffgs_diffusers.functional.spherical_harmonics import num_sh_bases
from tests.factories import sphere_splats
from tests.original_checkpoints import SIZES, STAGE_1_SIZES, values, write_checkpoint

CLOSE = {"atol": 2e-5, "rtol": 0.0}


@pytest.fixture(scope="module", params=STAGE_1_SIZES)
def stage1(request, tmp_path_factory) -> tuple[OriginalGaussianVAE, dict[str, torch.Tensor]]:
    """A converted VAE, and what the original makes of the same inputs with the same weights."""
    folder = tmp_path_factory.mktemp("stage1")
    convert_checkpoint(folder / "vae", write_checkpoint(folder / "run", request.param, 1))
    vae = OriginalGaussianVAE.from_pretrained(str(folder / "vae")).eval().requires_grad_(False)
    return vae, values(request.param)


@pytest.fixture(scope="module", params=SIZES)
def stage2(request, tmp_path_factory) -> tuple[DiffGSPipeline, dict[str, torch.Tensor]]:
    """A converted pipeline, and what the original makes of the same inputs with the same weights."""
    folder = tmp_path_factory.mktemp("stage2")
    checkpoints = [write_checkpoint(folder / f"run{stage}", request.param, stage) for stage in (1, 2)]
    convert_checkpoint(folder / "pipeline", checkpoints[0], stage2=checkpoints[1])
    pipe = DiffGSPipeline.from_pretrained(folder / "pipeline")
    pipe.unet.requires_grad_(False)
    return pipe, values(request.param)


def test_planes_of_the_encoder(stage1):
    vae, expected = stage1
    planes = vae.point_encoder(expected["gaussians"])
    torch.testing.assert_close(planes.flatten(1, 2), expected["planes"], **CLOSE)


def test_latents(stage1):
    vae, expected = stage1
    posterior = vae.encode(expected["gaussians"]).latent_dist
    assert posterior.mean.shape == (len(expected["mu"]), vae.config.latent_channels, vae.latent_length)
    torch.testing.assert_close(posterior.mean[..., 0], expected["mu"], **CLOSE)
    torch.testing.assert_close(posterior.logvar[..., 0], expected["logvar"], **CLOSE)


def test_splats_are_read_as_the_values_that_a_file_stores(stage1):
    vae, expected = stage1
    raw = expected["gaussians"][0]
    if raw.shape[1] == 3:
        anything = GaussianSplats(
            means=raw,
            quats=torch.eye(4)[:1].expand(len(raw), 4),
            scales=torch.full_like(raw, 0.01),
            opacities=torch.ones(len(raw)),
            sh0=torch.rand(len(raw), 1, 3),
            shN=torch.zeros(len(raw), 0, 3),
        )
        mean = vae.encode(anything).latent_dist.mean
        torch.testing.assert_close(mean[..., 0], expected["mu"], **CLOSE)
        return
    # The original does not normalise quaternions, and splats have unit ones.
    raw = torch.cat([raw[:, :55], torch.nn.functional.normalize(raw[:, 55:], dim=1)], dim=1)
    higher = torch.stack([raw[:, 6 + 15 * channel : 21 + 15 * channel] for channel in range(3)], dim=2)
    splats = GaussianSplats(
        means=raw[:, :3],
        quats=raw[:, 55:],
        scales=raw[:, 52:55].exp(),
        opacities=1 / (1 + (-raw[:, 51]).exp()),
        sh0=raw[:, None, 3:6],
        shN=higher,
    )
    from_splats = vae.encode([splats]).latent_dist.mean
    torch.testing.assert_close(from_splats, vae.encode(raw[None]).latent_dist.mean, **CLOSE)


def test_decoded_planes(stage1):
    vae, expected = stage1
    planes = vae.decode(expected["mu"][..., None]).planes
    assert planes.shape[1] == 3
    if "decoded" in expected:
        torch.testing.assert_close(planes.flatten(1, 2), expected["decoded"], **CLOSE)


def test_functions_at_points(stage1):
    vae, expected = stage1
    planes, points = vae.decode(expected["mu"][..., None]).planes, expected["query_points"]
    functions = vae.query(planes, points)
    torch.testing.assert_close(functions.probability, expected["probability"][..., 0], **CLOSE)
    torch.testing.assert_close(functions.scales, expected["scales"], **CLOSE)
    torch.testing.assert_close(functions.quats, expected["quats"], **CLOSE)
    assert functions.sh.shape[-2:] == (num_sh_bases(3), 3)
    assert expected["scales"].max() > 0.19, "the greatest scale is reached, or nearly"
    for channel in range(3):
        band0, others = expected["colors"][..., channel], expected["colors"][..., 3 + 15 * channel :][..., :15]
        stored = torch.cat([band0[..., None], others], dim=-1)
        torch.testing.assert_close(functions.sh[..., channel], stored, atol=5e-5, rtol=0.0)
    assert functions.opacities.unique().item() == pytest.approx(1 / (1 + math.exp(-2.9444)), abs=1e-5)


def test_objects_and_positions_alone_become_gaussians(stage1, monkeypatch):
    vae, expected = stage1
    # Random weights describe no surface: lifted, all of the box is one.
    lifted = torch.full_like(vae.heads.gaupf_out.bias, 2.0)
    monkeypatch.setitem(vae.heads.gaupf_out._parameters, "bias", torch.nn.Parameter(lifted))
    assert len(reconstruct_gaussians(vae, sphere_splats(300), 60).validate()) == 60
    planes = vae.decode(vae.encode(expected["gaussians"][:1]).latent_dist.mode()).planes[0]
    assert len(extract_gaussians(vae, planes, 60).validate()) == 60


def test_the_denoiser(stage2):
    pipe, expected = stage2
    output = pipe.unet(expected["sample"][..., None], expected["timesteps"]).sample
    torch.testing.assert_close(output[..., 0], expected["denoised"], **CLOSE)


def test_the_betas(stage2):
    pipe, expected = stage2
    torch.testing.assert_close(pipe.scheduler.betas, expected["betas"], atol=1e-7, rtol=0.0)


@pytest.mark.parametrize("noisy", ["noisy", "sample"])
def test_the_mean_of_the_posterior(stage2, monkeypatch, noisy):
    pipe, expected = stage2
    assert isinstance(pipe.scheduler, OriginalDDPMScheduler)
    pipe.scheduler.set_timesteps(1000)
    monkeypatch.setattr(scheduling_ddpm, "randn_tensor", lambda shape, **_: torch.zeros(shape))
    means = expected["posterior_mean" if noisy == "noisy" else "posterior_mean_any"]
    for row, timestep in enumerate(expected["timesteps"].tolist()):
        clean, at = expected["clean"][row : row + 1], expected[noisy][row : row + 1]
        mean = pipe.scheduler.step(clean, timestep, at).prev_sample
        torch.testing.assert_close(mean, means[row : row + 1], **CLOSE)


def test_the_variance_of_the_posterior(stage2):
    pipe, expected = stage2
    pipe.scheduler.set_timesteps(1000)
    timesteps = expected["timesteps"][1:]  # at 0 no noise is added
    log_variances = torch.stack([pipe.scheduler._get_variance(int(t)).log() for t in timesteps])
    torch.testing.assert_close(log_variances.float(), expected["posterior_logvar"][1:, 0], **CLOSE)


def test_a_thousand_steps_with_the_same_noise(stage2, monkeypatch):
    pipe, expected = stage2
    noise = iter(expected["sampler_noise"][1:, ..., None])
    monkeypatch.setattr(scheduling_ddpm, "randn_tensor", lambda shape, **_: next(noise))
    states = []

    def keep(pipe, step, timestep, tensors):
        states.append(tensors["latents"][..., 0])
        return {}

    pipe.set_progress_bar_config(disable=True)
    final = pipe(
        latents=expected["sampler_noise"][0][..., None],
        num_inference_steps=1000,
        output_type="latent",
        callback_on_step_end=keep,
    ).gaussians
    assert next(noise, None) is None
    torch.testing.assert_close(final[..., 0], expected["sampler_states"][-1], atol=1e-3, rtol=0.0)
    seen = torch.stack(states)[expected["sampler_state_steps"].long()]
    torch.testing.assert_close(seen, expected["sampler_states"], atol=1e-3, rtol=0.0)


def test_a_pipeline_generates(stage2, tmp_path: Path):
    pipe, _ = stage2
    latents = torch.zeros(1, pipe.unet.config.in_channels, 1)
    small = OriginalExtractionConfig(splits=(4, 2, 2))
    (splats,) = pipe(latents=latents, num_inference_steps=2, num_gaussians=101, extraction=small).gaussians
    assert len(splats.validate()) == 101
    splats.save(tmp_path / "object.ply")
    assert len(GaussianSplats.load(tmp_path / "object.ply")) == 101


def test_a_pipeline_whose_functions_have_a_surface_spreads_gaussians_over_it(stage2, monkeypatch):
    pipe, _ = stage2
    # Random weights describe no surface: lifted, all of the box is one.
    lifted = torch.full_like(pipe.vae.heads.gaupf_out.bias, 2.0)
    monkeypatch.setitem(pipe.vae.heads.gaupf_out._parameters, "bias", torch.nn.Parameter(lifted))
    (splats,) = pipe(num_inference_steps=2, num_gaussians=90).gaussians
    assert len(splats.validate()) == 90 and splats.sh_degree == 3
