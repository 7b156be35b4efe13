from __future__ import annotations

import numpy as np
import pytest
import torch

from diffgs_diffusers.data.function_samples import FunctionSampling, function_sample
from diffgs_diffusers.functional.quaternions import quaternions_to_matrices
from diffgs_diffusers.training.objectives_vae import VAELossWeights, probability_loss, shape_loss, vae_loss
from tests.factories import random_splats, sphere_splats
from tests.tiny_models import tiny_vae

SAMPLING = FunctionSampling(num_queries=256, num_centers=64, encoder_gaussians=128)


def batch_of(*objects, seed: int = 0) -> dict[str, torch.Tensor]:
    samples = [
        function_sample(one, SAMPLING, np.random.default_rng(seed), truncation=0.06, core=1.0, sh_degree=0)
        for one in objects
    ]
    return {name: torch.stack([sample[name] for sample in samples]) for name in samples[0]}


def test_a_sample_says_what_is_true_of_the_object():
    splats = sphere_splats(1500, radius=0.4)
    sample = function_sample(splats, SAMPLING, np.random.default_rng(0), truncation=0.1, core=1.0, sh_degree=0)
    exact = (1 - (sample["query_points"].norm(dim=1) - 0.4).abs() / 0.1).clamp(min=0)
    assert (sample["probability"] - exact).abs().mean() < 0.02
    assert (sample["centers"].norm(dim=1) - 0.4).abs().max() < 0.08
    # Scales are in local spacings: the lattice's Gaussians have half a spacing, whatever the sphere's size.
    torch.testing.assert_close(sample["scales"][:, 0], torch.full((64,), 0.5 / 1.1), atol=0.06, rtol=0)
    assert sample["features"].shape == (128, 13)


@pytest.mark.parametrize(("along", "across"), [(0.5, 0.0), (0.0, 0.3), (0.4, 0.2)])
def test_attributes_are_asked_for_around_centres_and_across_the_surface(across, along):
    splats = sphere_splats(2000, radius=0.4)
    sampling = FunctionSampling(64, 4000, 64, center_jitter=across, normal_jitter=along)
    sample = function_sample(splats, sampling, np.random.default_rng(0), truncation=0.1, core=1.0, sh_degree=0)
    spacing = 1.1 * 0.4 * (4 * np.pi / 2000) ** 0.5
    heights = (sample["centers"].norm(dim=1) - 0.4) / spacing
    assert heights.std().item() == pytest.approx(np.hypot(along, across), abs=0.03)


def test_samples_repeat_with_their_seed():
    first, second, other = batch_of(random_splats()), batch_of(random_splats()), batch_of(random_splats(), seed=1)
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert not torch.equal(first["query_points"], other["query_points"])


def test_probability_loss_is_a_hinge_beyond_the_truncation():
    target = torch.tensor([0.0, 0.0, 0.5])
    assert probability_loss(torch.tensor([-3.0, 0.0, 0.5]), target) == 0
    assert probability_loss(torch.tensor([0.3, -1.0, 0.2]), target).item() == pytest.approx(
        2 * 0.3 * (1 + 3 * 0.3) / 3
    )


def test_shape_loss_ignores_how_a_covariance_is_written_and_sees_what_it_is():
    quats = torch.nn.functional.normalize(torch.randn(20, 4), dim=-1)
    scales = torch.rand(20, 3) + 0.1
    assert shape_loss(scales, quats, scales, -quats).item() == pytest.approx(0, abs=1e-6)
    assert shape_loss(scales * 1.5, quats, scales, quats) > 0.05
    disc = torch.tensor([[1.0, 1.0, 0.1]])
    turn = torch.tensor([[0.6, 0.0, 0.0, 0.8]])  # about the disc's own normal
    tilt = torch.tensor([[0.6, 0.8, 0.0, 0.0]])
    upright = torch.tensor([[1.0, 0.0, 0.0, 0.0]])
    assert quaternions_to_matrices(turn)[0, 0, 0] < 0
    assert shape_loss(disc, turn, disc, upright).item() == pytest.approx(0, abs=1e-6)
    assert shape_loss(disc, tilt, disc, upright) > 0.3


def test_loss_is_the_weighted_sum_of_its_named_terms():
    weights = VAELossWeights(probability=2.0, color=0.5, shape=0.1, opacity=3.0, kl=0.01)
    terms = vae_loss(tiny_vae(), batch_of(random_splats()), weights)
    expected = sum(
        getattr(weights, name) * terms[name] for name in ("probability", "color", "shape", "opacity", "kl")
    )
    torch.testing.assert_close(terms["loss"], expected)


def test_a_few_steps_learn_a_sphere():
    torch.manual_seed(0)
    vae = tiny_vae().train()
    batch = batch_of(sphere_splats(1500), sphere_splats(1500, radius=0.3, rgb=(0.1, 0.2, 0.9)))
    optimizer = torch.optim.AdamW(vae.parameters(), lr=5e-3)
    generator = torch.Generator().manual_seed(0)
    before = vae_loss(vae, batch, VAELossWeights(), generator)
    for _ in range(60):
        terms = vae_loss(vae, batch, VAELossWeights(), generator)
        optimizer.zero_grad()
        terms["loss"].backward()
        optimizer.step()
    after = vae_loss(vae, batch, VAELossWeights())
    assert after["color"] < 0.3 * before["color"]
    assert after["probability"] < 0.7 * before["probability"]
