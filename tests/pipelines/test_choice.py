"""Of several objects, the one that looks most like a picture."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from diffgs_diffusers import DiffGSPipeline, default_checkpoint, orbit_cameras
from diffgs_diffusers.data.object_views import picture
from diffgs_diffusers.functional.pictures import centered_on_white
from diffgs_diffusers.models import GaussianVAE
from diffgs_diffusers.pipelines.choice import likeness, most_alike
from tests.factories import painted_ball

RED, FLAT = painted_ball((0.9, 0.1, 0.1), (1.0, 0.9, 0.6)), painted_ball((0.9, 0.1, 0.1), (1.0, 0.3, 1.0))
BLUE = painted_ball((0.1, 0.1, 0.9), (1.0, 0.9, 0.6))


@pytest.mark.parametrize(("elevation", "azimuth"), [(20.0, 130.0), (3.0, 318.0), (40.0, 41.0)])
def test_the_side_that_a_picture_was_taken_from_is_found(elevation: float, azimuth: float) -> None:
    taken = centered_on_white(picture(RED, orbit_cameras(1, 100, elevation=elevation, azimuth=azimuth)))
    found = likeness(RED, taken)
    assert abs((found.azimuth - azimuth + 180) % 360 - 180) < 8
    assert abs(found.elevation - elevation) < 12
    assert found.error < 0.004
    assert likeness(BLUE, taken).error > 5 * found.error
    assert likeness(FLAT, taken).error > 5 * found.error


def test_another_background_changes_nothing() -> None:
    cameras = orbit_cameras(1, 100, elevation=20, azimuth=60)
    on_grey = RED.render(cameras, background=(0.5, 0.5, 0.5))[0, ..., :3].clamp(0, 1).numpy()
    from diffgs_diffusers.functional.pictures import load_picture

    assert likeness(RED, centered_on_white(load_picture(on_grey))).error < 0.004


def test_the_candidate_that_looks_most_like_a_picture_is_chosen() -> None:
    vae = GaussianVAE.from_pretrained(default_checkpoint(), subfolder="vae", torch_dtype=torch.float32).eval()
    with torch.no_grad():
        latents = torch.cat([vae.encode(one).latent_dist.mode() for one in (RED, BLUE, FLAT)])
    empty = torch.full_like(latents[:1], 50.0)
    cameras = orbit_cameras(1, 100, elevation=15, azimuth=75)
    for index, truth in enumerate((RED, BLUE, FLAT)):
        assert most_alike(vae, torch.cat([latents, empty]), centered_on_white(picture(truth, cameras))) == index


def test_of_those_that_look_like_it_the_one_that_the_others_are_like_is_chosen() -> None:
    """Two that agree outvote a third one, though that looks most like the picture."""
    vae = GaussianVAE.from_pretrained(default_checkpoint(), subfolder="vae", torch_dtype=torch.float32).eval()
    with torch.no_grad():
        other = painted_ball((0.9, 0.6, 0.1), (1.0, 0.9, 0.6))
        red, blue, orange = (vae.encode(one).latent_dist.mode() for one in (RED, BLUE, other))
    noise = torch.randn(red.shape, generator=torch.Generator().manual_seed(0))
    agreeing = [orange, orange + 0.05 * noise]
    taken = centered_on_white(picture(RED, orbit_cameras(1, 100, elevation=15, azimuth=75)))
    assert most_alike(vae, torch.cat([red, *agreeing]), taken) == 0, "the half of three is one: the likest"
    assert most_alike(vae, torch.cat([blue, red, *agreeing, blue, blue]), taken) in (2, 3)
    assert most_alike(vae, torch.full_like(torch.cat(agreeing), 50.0), taken) == 0, "all are empty"


def test_the_pipeline_returns_one_of_its_candidates(pipe: DiffGSPipeline) -> None:
    taken = picture(RED, orbit_cameras(1, 64))
    noise = torch.randn(6, 4, 48, generator=torch.Generator().manual_seed(0))
    options: dict[str, Any] = {"num_inference_steps": 2, "output_type": "latent", "latents": noise}
    candidates = pipe(image=taken, num_objects_per_prompt=6, **options).gaussians
    chosen = pipe(image=taken, num_objects_per_prompt=2, num_candidates=3, **options).gaussians
    assert chosen.shape[0] == 2
    for row, group in zip(chosen, candidates.split(3), strict=True):
        errors = (group - row).abs().amax(dim=(1, 2))
        expected = most_alike(pipe.vae, pipe.vae.denormalize_latents(group), centered_on_white(taken))
        assert errors.argmin() == expected and errors.min() < 1e-4


def test_candidates_of_an_object_follow_its_own_generator(pipe: DiffGSPipeline) -> None:
    taken = [picture(RED, orbit_cameras(1, 64)), picture(BLUE, orbit_cameras(1, 64))]
    options: dict[str, Any] = {"num_inference_steps": 2, "output_type": "latent", "num_candidates": 2}

    def seeded(*seeds: int) -> list[torch.Generator]:
        return [torch.Generator().manual_seed(seed) for seed in seeds]

    both = pipe(image=taken, generator=seeded(3, 4), **options).gaussians
    (alone,) = pipe(image=taken[1], generator=seeded(4), **options).gaussians
    torch.testing.assert_close(both[1], alone, atol=1e-4, rtol=0)


def test_there_is_nothing_to_choose_by_without_a_picture(pipe: DiffGSPipeline, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="`num_candidates` chooses by a picture"):
        pipe("a red chair", num_candidates=2)
    with pytest.raises(ValueError, match="`num_candidates` must be at least 1"):
        pipe("a red chair", num_candidates=0)
