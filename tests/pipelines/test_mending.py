"""Generated objects passed through the VAE: nearer to what they should be, and only where that is wanted."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from diffgs_diffusers import DiffGSPipeline, GaussianSplats, default_checkpoint
from diffgs_diffusers.functional.spacing import local_spacing
from diffgs_diffusers.models import GaussianVAE, OriginalGaussianVAE
from diffgs_diffusers.pipelines.mending import default_mending_steps, mend_latents
from tests.factories import sphere_splats

QUICK: dict[str, Any] = {"num_inference_steps": 2}


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def vae() -> GaussianVAE:
    return GaussianVAE.from_pretrained(default_checkpoint(), subfolder="vae", torch_dtype=torch.float32).eval()


def num_pieces(splats: GaussianSplats) -> int:
    """Parts that hang together, of 20 Gaussians at least."""
    means = splats.means.numpy()
    pairs = cKDTree(means).query_pairs(3 * float(np.median(local_spacing(means))), output_type="ndarray")
    graph = coo_matrix((np.ones(len(pairs)), pairs.T), shape=(len(means), len(means)))
    return int((np.bincount(connected_components(graph)[1]) >= 20).sum())


@pytest.mark.parametrize("prompt", ["a wooden table", "a black office chair"])
def test_legs_that_a_denoiser_breaks_are_whole_again(prompt: str) -> None:
    pipe = DiffGSPipeline.from_pretrained(default_checkpoint())
    pipe.set_progress_bar_config(disable=True)
    latents = pipe(prompt, generator=seeded(), output_type="latent").gaussians
    broken, whole = (pipe.decode_latents(latents, 16_000, seeded(), mending_steps=steps)[0] for steps in (0, 1))
    assert num_pieces(whole) <= 0.5 * num_pieces(broken)


def test_an_empty_object_stays_as_it_is(vae: GaussianVAE) -> None:
    empty = torch.full((1, vae.config.latent_channels, vae.latent_length), 40.0)
    assert torch.equal(mend_latents(vae, empty, 2), empty)


def test_unless_told_otherwise_what_is_told_no_places_is_mended_once(pipe: DiffGSPipeline) -> None:
    points = torch.rand(50, 3) - 0.5
    for given, steps in (
        ({"prompt": "a red chair"}, 1),
        ({}, 1),
        ({"points": points}, 0),
        ({"gaussians": sphere_splats(40)}, 0),
    ):
        latents = pipe(**given, **QUICK, generator=seeded(), output_type="latent").gaussians
        results = {
            count: pipe(**given, **QUICK, generator=seeded(), num_gaussians=64, mending_steps=count).gaussians[0]
            for count in (None, 0, 1)
        }
        assert torch.equal(results[None].to_tensor(), results[steps].to_tensor())
        assert not torch.equal(results[0].to_tensor(), results[1].to_tensor())
        generator = seeded()
        pipe(**given, **QUICK, generator=generator, output_type="latent")
        (decoded,) = pipe.decode_latents(latents, 64, generator, mending_steps=steps)
        assert torch.equal(decoded.to_tensor(), results[None].to_tensor())


def test_an_original_vae_is_left_alone() -> None:
    sizes = {"plane_channels": 4, "plane_resolution": 8, "point_channels": 4, "unet_channels": 2, "unet_depth": 2}
    vae = OriginalGaussianVAE(**sizes, latent_channels=6, block_channels=(6, 6), head_channels=16)
    assert default_mending_steps(vae) == 0


@pytest.mark.parametrize(("wrong", "error"), [(-1, ValueError), (0.5, TypeError), (True, TypeError)])
def test_steps_are_checked_before_any_work(pipe: DiffGSPipeline, wrong: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match="`mending_steps` must be"):
        pipe("a red chair", mending_steps=wrong)
    with pytest.raises(error, match="`mending_steps` must be"):
        pipe.decode_latents(torch.zeros(1, 4, 48), 10, mending_steps=wrong)
