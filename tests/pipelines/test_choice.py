"""Of several tries, the soundest, and of those for a picture one that looks like it."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from diffgs_diffusers import DiffGSPipeline, GaussianSplats, default_checkpoint, extract_gaussians, orbit_cameras
from diffgs_diffusers.data.object_views import picture
from diffgs_diffusers.functional.pictures import centered_on_white
from diffgs_diffusers.models import GaussianVAE
from diffgs_diffusers.pipelines.choice import chosen_candidate, cycle_error
from tests.factories import painted_ball

RED, FLAT = painted_ball((0.9, 0.1, 0.1), (1.0, 0.9, 0.6)), painted_ball((0.9, 0.1, 0.1), (1.0, 0.3, 1.0))
BLUE = painted_ball((0.1, 0.1, 0.9), (1.0, 0.9, 0.6))


@pytest.fixture(scope="module")
def vae() -> GaussianVAE:
    return GaussianVAE.from_pretrained(default_checkpoint(), subfolder="vae", torch_dtype=torch.float32).eval()


@pytest.fixture(scope="module")
def latents(vae: GaussianVAE) -> torch.Tensor:
    """[3, C, L] normalised, of the three balls."""
    with torch.no_grad():
        modes = [vae.encode(one).latent_dist.mode() for one in (RED, BLUE, FLAT)]
    return vae.normalize_latents(torch.cat(modes))


def noisy(latents: torch.Tensor, amount: float) -> torch.Tensor:
    noise = torch.randn(latents.shape, generator=torch.Generator().manual_seed(0))
    return latents + amount * noise


@pytest.mark.parametrize("index", [0, 1, 2])
def test_what_latents_say_that_no_object_is_the_encoder_does_not_find_again(
    vae: GaussianVAE, latents: torch.Tensor, index: int
) -> None:
    errors = []
    for amount in (0.0, 0.3, 0.6):
        tried = noisy(latents[index], amount)
        with torch.no_grad():
            planes = vae.decode(vae.denormalize_latents(tried[None])).planes[0]
        errors.append(cycle_error(vae, tried, extract_gaussians(vae, planes, 8192)))
    assert errors == sorted(errors) and errors[2] > 2 * errors[0]


def test_the_soundest_candidate_is_chosen(vae: GaussianVAE, latents: torch.Tensor) -> None:
    empty = torch.full_like(latents[0], 40.0)
    tries = [noisy(latents[0], 0.6), empty, latents[0], noisy(latents[0], 0.3)]
    assert chosen_candidate(vae, torch.stack(tries)) == 2
    assert chosen_candidate(vae, torch.stack(tries[:2])) == 0
    assert chosen_candidate(vae, torch.stack([empty, empty])) == 0, "all are empty"


def test_the_candidate_that_looks_most_like_a_picture_is_chosen(vae: GaussianVAE, latents: torch.Tensor) -> None:
    empty = torch.full_like(latents[:1], 40.0)
    cameras = orbit_cameras(1, 100, elevation=15, azimuth=75)
    for index, truth in enumerate((RED, BLUE, FLAT)):
        taken = centered_on_white(picture(truth, cameras))
        assert chosen_candidate(vae, torch.cat([latents, empty]), taken) == index


def test_of_those_that_look_like_it_the_one_that_the_others_are_like_is_chosen(
    vae: GaussianVAE, latents: torch.Tensor
) -> None:
    """Two that agree outvote a third one, though that looks most like the picture."""
    with torch.no_grad():
        orange = vae.encode(painted_ball((0.9, 0.6, 0.1), (1.0, 0.9, 0.6))).latent_dist.mode()
    orange = vae.normalize_latents(orange)[0]
    red, blue, _ = latents
    agreeing = [orange, noisy(orange, 0.04)]
    taken = centered_on_white(picture(RED, orbit_cameras(1, 100, elevation=15, azimuth=75)))
    assert chosen_candidate(vae, torch.stack([red, *agreeing]), taken) == 0, "the half of three is one: the likest"
    assert chosen_candidate(vae, torch.stack([blue, red, *agreeing, blue, blue]), taken) in (2, 3)


def made(pipe: DiffGSPipeline, noise: torch.Tensor, **options: Any) -> torch.Tensor:
    return pipe(num_inference_steps=2, output_type="latent", latents=noise, **options).gaussians


@pytest.mark.parametrize("condition", ["text", "picture"])
def test_the_pipeline_returns_one_of_its_candidates(pipe: DiffGSPipeline, condition: str) -> None:
    taken = picture(RED, orbit_cameras(1, 64))
    given: dict[str, Any] = {"prompt": "a red chair"} if condition == "text" else {"image": taken}
    noise = torch.randn(6, 4, 48, generator=torch.Generator().manual_seed(0))
    candidates = made(pipe, noise, **given, num_objects_per_prompt=6)
    chosen = made(pipe, noise, **given, num_objects_per_prompt=2, num_candidates=3)
    assert chosen.shape[0] == 2
    expected_picture = centered_on_white(taken) if condition == "picture" else None
    for row, group in zip(chosen, candidates.split(3), strict=True):
        errors = (group - row).abs().amax(dim=(1, 2))
        assert errors.argmin() == chosen_candidate(pipe.vae, group, expected_picture) and errors.min() < 1e-4


def test_candidates_of_an_object_follow_its_own_generator(pipe: DiffGSPipeline) -> None:
    options: dict[str, Any] = {"num_inference_steps": 2, "output_type": "latent", "num_candidates": 2}

    def seeded(*seeds: int) -> list[torch.Generator]:
        return [torch.Generator().manual_seed(seed) for seed in seeds]

    both = pipe(["a red chair", "a blue bed"], generator=seeded(3, 4), **options).gaussians
    (alone,) = pipe("a blue bed", generator=seeded(4), **options).gaussians
    torch.testing.assert_close(both[1], alone, atol=1e-4, rtol=0)


def test_a_part_is_kept_whichever_candidate_is_chosen(pipe: DiffGSPipeline) -> None:
    part = RED.first(50)
    options: dict[str, Any] = {"num_inference_steps": 2, "num_gaussians": 300, "num_candidates": 2}
    (whole,) = pipe(partial=part, generator=torch.Generator().manual_seed(0), **options).gaussians
    assert isinstance(whole, GaussianSplats) and len(whole) == 300
    assert torch.equal(whole.means[:50], part.means)


def test_candidates_are_for_a_condition_and_there_is_one_at_least(pipe: DiffGSPipeline) -> None:
    with pytest.raises(ValueError, match="`num_candidates` chooses among tries for one condition"):
        pipe(num_objects=2, num_candidates=2)
    with pytest.raises(ValueError, match="`num_candidates` must be at least 1"):
        pipe("a red chair", num_candidates=0)
