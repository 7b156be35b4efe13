"""Latents that are made better for one object."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch

from diffgs_diffusers.cameras import orbit_cameras
from diffgs_diffusers.data.function_samples import FunctionSampling, FunctionTargets
from diffgs_diffusers.extraction import extract_gaussians
from diffgs_diffusers.extraction_settings import SHARP
from diffgs_diffusers.hub import default_checkpoint
from diffgs_diffusers.latent_refinement import refine_latents
from diffgs_diffusers.models import GaussianVAE
from diffgs_diffusers.training.objectives_pictures import PictureSampling
from diffgs_diffusers.training.objectives_vae import VAELossWeights, function_terms, weighted_sum
from tests.factories import painted_ball, sphere_splats
from tests.tiny_models import tiny_vae, vae_with_surface

WHITE = (1.0, 1.0, 1.0)

OBJECT = sphere_splats(200)


@pytest.fixture(scope="module")
def vae() -> GaussianVAE:
    torch.manual_seed(0)
    return tiny_vae().eval()


@pytest.fixture(scope="module")
def latents(vae: GaussianVAE) -> torch.Tensor:
    with torch.no_grad():
        return vae.normalize_latents(vae.encode(OBJECT).latent_dist.mode())[0]


def error(vae: GaussianVAE, latents: torch.Tensor) -> float:
    """Of the functions, at points that no refinement asked about."""
    config = vae.config
    targets = FunctionTargets(
        OBJECT, FunctionSampling(), truncation=config.truncation, core=config.core, sh_degree=config.sh_degree
    )
    sample = {name: value[None] for name, value in targets.sample(np.random.default_rng(99)).items()}
    with torch.no_grad():
        planes = vae.decode(vae.denormalize_latents(latents[None])).planes
        outputs = vae.heads(planes, sample["query_points"], sample["centers"])
        return float(weighted_sum(function_terms(outputs, sample), VAELossWeights()))


def test_the_functions_come_nearer_to_the_object(vae: GaussianVAE, latents: torch.Tensor) -> None:
    errors = [error(vae, refine_latents(vae, OBJECT, latents, steps)) for steps in (0, 10, 40)]
    assert errors[2] < errors[1] < errors[0] * 0.95
    assert errors[0] == pytest.approx(error(vae, latents))


def test_the_same_seed_gives_the_same_latents(vae: GaussianVAE, latents: torch.Tensor) -> None:
    first, same, other = (refine_latents(vae, OBJECT, latents, 3, seed=seed) for seed in (0, 0, 1))
    assert torch.equal(first, same) and not torch.equal(first, other)


def test_the_model_and_what_was_given_stay_as_they_are(vae: GaussianVAE, latents: torch.Tensor) -> None:
    weights = {name: value.clone() for name, value in vae.state_dict().items()}
    given = latents.clone()
    with torch.inference_mode():
        refined = refine_latents(vae, OBJECT, latents, 2)
    assert not refined.requires_grad and torch.equal(latents, given)
    assert all(torch.equal(value, weights[name]) for name, value in vae.state_dict().items())
    assert all(value.requires_grad and value.grad is None for value in vae.parameters())


def test_weights_of_inference_mode(vae: GaussianVAE, latents: torch.Tensor) -> None:
    with torch.inference_mode():
        loaded = tiny_vae().eval()
        loaded.load_state_dict(vae.state_dict())
    assert loaded.heads.gaupf.proj_out.weight.is_inference()
    assert torch.equal(refine_latents(loaded, OBJECT, latents, 2), refine_latents(vae, OBJECT, latents, 2))


def test_nothing_is_said_about_it(
    vae: GaussianVAE, latents: torch.Tensor, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    refine_latents(vae, OBJECT, latents, 1)
    assert not caplog.records and capfd.readouterr() == ("", "")


def test_half_precision_is_refined_in_single(vae: GaussianVAE, latents: torch.Tensor) -> None:
    half = copy.deepcopy(vae).to(torch.bfloat16)
    found = refine_latents(half, OBJECT, latents, 2)
    expected = refine_latents(copy.deepcopy(half).float(), OBJECT, latents, 2)
    assert half.dtype == torch.bfloat16 and found.dtype == torch.float32
    assert torch.equal(found, expected)


def test_harmonics_that_the_vae_does_not_know_change_nothing(vae: GaussianVAE, latents: torch.Tensor) -> None:
    shiny = OBJECT.with_sh_degree(2)
    shiny.shN[:] = 1.0
    assert torch.equal(refine_latents(vae, shiny, latents, 2), refine_latents(vae, OBJECT, latents, 2))


def test_no_fewer_than_no_steps(vae: GaussianVAE, latents: torch.Tensor) -> None:
    assert torch.equal(refine_latents(vae, OBJECT, latents, 0), latents)
    with pytest.raises(ValueError, match="must not be negative, got -1"):
        refine_latents(vae, OBJECT, latents, -1)
    with pytest.raises(ValueError, match="`picture_steps` must not be negative, got -2"):
        refine_latents(vae, OBJECT, latents, 1, -2)


def test_pictures_come_nearer_to_the_object(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the shipped model, in views that no refinement saw."""
    vae = GaussianVAE.from_pretrained(default_checkpoint(), subfolder="vae", torch_dtype=torch.float32).eval()
    ball, cameras = painted_ball((0.2, 0.5, 0.9), (0.9, 0.5, 0.7)), orbit_cameras(6, 64)
    with torch.no_grad():
        latents = vae.normalize_latents(vae.encode(ball).latent_dist.mode())[0]
    sampling, errors = PictureSampling(counts=(2000, 8000), size=64), []
    for weight in (0.0, 0.2):  # the same steps, without what pictures say and with it
        monkeypatch.setattr("diffgs_diffusers.latent_refinement._PICTURE_WEIGHT", weight)
        refined = refine_latents(vae, ball, latents, 4, 12, pictures=sampling)
        with torch.no_grad():
            planes = vae.decode(vae.denormalize_latents(refined[None])).planes[0]
        drawn = extract_gaussians(vae, planes, 4000, config=SHARP).render(cameras, background=WHITE)
        errors.append(float((drawn - ball.render(cameras, background=WHITE)).square().mean()))
    assert errors[1] < 0.8 * errors[0]


def test_every_step_is_told() -> None:
    vae, told = vae_with_surface(), []
    latents = torch.randn(4, vae.latent_length, generator=torch.Generator().manual_seed(0))
    sampling = PictureSampling(counts=(50,), size=16, num_views=1)
    refine_latents(vae, OBJECT, latents, 2, 3, pictures=sampling, on_step=lambda: told.append(1))
    assert len(told) == 5


def test_an_object_without_a_surface_is_refined_by_its_functions(vae: GaussianVAE, latents: torch.Tensor) -> None:
    """GauPF of untrained heads reaches the threshold nowhere."""
    sampling = PictureSampling(counts=(50,), size=16, num_views=1)
    refined = refine_latents(vae, OBJECT, latents, 0, 2, pictures=sampling)
    assert torch.isfinite(refined).all() and not torch.equal(refined, latents)
