"""Errors of pictures, and which way planes should change."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from diffgs_diffusers.extraction import drawn_gaussians, extract_gaussians
from diffgs_diffusers.extraction_settings import SHARP, ExtractionConfig
from diffgs_diffusers.functional.spacing import coarse_spacing, even_spacing
from diffgs_diffusers.models import GaussianVAE
from diffgs_diffusers.models.constant import constant_copy
from diffgs_diffusers.models.sharing import SharingHead
from diffgs_diffusers.surface_points import surface_points
from diffgs_diffusers.training.objectives_pictures import (
    PictureObjective,
    PictureSampling,
    log_error,
    random_background,
)
from tests.factories import sphere_splats
from tests.tiny_models import vae_with_surface

OBJECT = sphere_splats(200)
SMALL = PictureSampling(counts=(300,), size=32, num_views=3, num_followed=10**6)
CROWDED = replace(SHARP, finest_spacing=3.0)  # most points lie closer together than that


def sharing_vae() -> GaussianVAE:
    """The VAE of all tests here, with a surface and a head that says something about crowded Gaussians."""
    vae = vae_with_surface()
    features = vae.heads.features(torch.zeros(1, 3, 8, 16, 16), torch.zeros(1, 1, 3)).shape[-1]
    vae.sharing = SharingHead(features, 16)
    with torch.no_grad():
        for network in (vae.sharing.from_neighbours, vae.sharing.from_planes):
            network.proj_out.weight.normal_(std=0.1, generator=torch.Generator().manual_seed(1))
    return constant_copy(vae.eval())


VAE = sharing_vae()


@pytest.fixture
def planes() -> torch.Tensor:
    latents = torch.randn(1, 4, VAE.latent_length, generator=torch.Generator().manual_seed(0))
    return VAE.decode(VAE.denormalize_latents(latents)).planes[0].detach()


def objective(
    planes: torch.Tensor, sampling: PictureSampling = SMALL, config: ExtractionConfig = CROWDED
) -> PictureObjective:
    found = PictureObjective(VAE, OBJECT, config, sampling)
    found.search(planes, torch.Generator().manual_seed(0))
    return found


def gradient(
    planes: torch.Tensor, sampling: PictureSampling = SMALL, config: ExtractionConfig = CROWDED
) -> torch.Tensor:
    leaf = planes.clone().requires_grad_()
    objective(planes, sampling, config)(leaf, np.random.default_rng(0)).backward()
    assert leaf.grad is not None
    return leaf.grad


@pytest.mark.parametrize("config", [SHARP, CROWDED])
def test_what_is_drawn_is_what_is_extracted(planes: torch.Tensor, config: ExtractionConfig) -> None:
    means = surface_points(VAE, planes, 300, torch.Generator().manual_seed(0), config)
    spacing = even_spacing(means)
    is_crowded = (spacing < config.finest_spacing * (1 + VAE.config.padding) / planes.shape[-1]).float().mean()
    assert is_crowded > 0.5 if config is CROWDED else is_crowded < 0.5
    drawn = drawn_gaussians(VAE, planes, means, spacing, config, coarse_spacing(means))
    assert torch.equal(drawn.to_tensor(), extract_gaussians(VAE, planes, 300, config=config).to_tensor())


@pytest.mark.parametrize("config", [SHARP, CROWDED])
def test_the_value_and_its_gradient(planes: torch.Tensor, config: ExtractionConfig) -> None:
    """Against differences of the value, along the gradient and along chance."""
    ask, found = objective(planes, config=config), gradient(planes, config=config)
    for direction in (found / found.norm(), torch.randn(planes.shape, generator=torch.Generator().manual_seed(5))):
        ends = [float(ask(planes + step * direction, np.random.default_rng(0))) for step in (-2e-3, 2e-3)]
        assert (ends[1] - ends[0]) / 4e-3 == pytest.approx(float((found * direction).sum()), rel=0.05, abs=2e-3)


def test_the_object_itself_is_no_error(planes: torch.Tensor) -> None:
    same = extract_gaussians(VAE, planes, 300, config=SHARP)
    ask = PictureObjective(VAE, same, SHARP, SMALL)
    ask.search(planes, torch.Generator().manual_seed(0))
    assert float(ask(planes, np.random.default_rng(0))) == pytest.approx(np.log(1e-5), abs=0.01)


def test_some_gaussians_say_what_all_say(planes: torch.Tensor) -> None:
    """In the mean over what is drawn: two hundred and fifty turns of forty Gaussians."""
    whole = gradient(planes)
    few = replace(SMALL, num_followed=40)
    leaf, ask = planes.clone().requires_grad_(), objective(planes, few)
    for _ in range(250):
        # The views' random numbers come first, so they are the same; the choice follows.
        ask(leaf, _Followed(0)).backward()
    assert leaf.grad is not None
    assert torch.nn.functional.cosine_similarity(leaf.grad.flatten(), whole.flatten(), dim=0) > 0.95
    assert float(leaf.grad.norm() / 250) == pytest.approx(float(whole.norm()), rel=0.15)


class _Followed(np.random.Generator):
    """Draws views as from one seed, and choices of Gaussians from another that is new each time."""

    _turn = 0

    def __init__(self, seed: int) -> None:
        super().__init__(np.random.PCG64(seed))
        _Followed._turn += 1
        self._choices = np.random.default_rng(_Followed._turn)

    def choice(self, *words, **options):  # type: ignore[no-untyped-def, override]
        return self._choices.choice(*words, **options)


def test_counts_take_turns(planes: torch.Tensor) -> None:
    ask = objective(planes, replace(SMALL, counts=(20, 300)))
    first, second, third = (float(ask(planes, np.random.default_rng(0))) for _ in range(3))
    assert first == third != second


def test_planes_without_a_surface_have_no_pictures() -> None:
    empty = torch.zeros(3, 8, 16, 16)
    vae = vae_with_surface()
    vae.heads.gaupf.proj_out.bias.data -= 100
    ask = PictureObjective(constant_copy(vae), OBJECT, SHARP, SMALL)
    ask.search(empty, torch.Generator().manual_seed(0))
    assert float(ask(empty, np.random.default_rng(0))) == 0


def test_asked_where_no_gradients_are_followed(planes: torch.Tensor) -> None:
    with torch.no_grad():
        found = objective(planes)(planes, np.random.default_rng(0))
    assert float(found) == float(objective(planes)(planes, np.random.default_rng(0)))


@pytest.mark.parametrize("wrong", [{"counts": ()}, {"counts": (10, 0)}, {"size": 0}, {"num_views": 0}])
def test_numbers_below_one_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="must be at least 1"):
        PictureSampling(**wrong)


def test_errors_are_those_of_a_decibel() -> None:
    dark, gray = torch.zeros(1, 4, 4, 3), torch.full((1, 4, 4, 3), 0.1)
    assert float(log_error(dark, gray)) == pytest.approx(np.log(0.01 + 1e-5))
    backgrounds = [random_background(np.random.default_rng(seed)) for seed in range(200)]
    assert 110 < sum(background == (1.0, 1.0, 1.0) for background in backgrounds) < 170
