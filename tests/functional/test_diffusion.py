"""The Gaussians of the diffusion process: against Bayes' rule, diffusers' scheduler and torch.distributions."""

from __future__ import annotations

import pytest
import torch
from diffusers import DDPMScheduler
from torch import Tensor
from torch.distributions import Normal, kl_divergence

from diffgs_diffusers.functional.diffusion import (
    forward_marginal,
    forward_step,
    gaussian_kl,
    gaussian_nll,
    posterior,
    posterior_variances,
    predicted_clean,
    schedule_betas,
    signal_to_noise,
)

SCHEDULES = ("linear", "scaled_linear", "squaredcos_cap_v2")
STEPS = 50


def scheduler_of(beta_schedule: str, **options: object) -> DDPMScheduler:
    return DDPMScheduler(num_train_timesteps=STEPS, beta_schedule=beta_schedule, clip_sample=False, **options)


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("beta_schedule", SCHEDULES)
def test_betas_are_those_of_the_scheduler(beta_schedule: str) -> None:
    scheduler = scheduler_of(beta_schedule)
    torch.testing.assert_close(schedule_betas(scheduler.alphas_cumprod).float(), scheduler.betas, rtol=0, atol=3e-7)


@pytest.mark.parametrize("beta_schedule", SCHEDULES)
def test_step_after_step_ends_in_the_marginal(beta_schedule: str) -> None:
    """Mean and variance carried through q(x_t | x_{t−1}) one step at a time."""
    alphas_cumprod, clean = scheduler_of(beta_schedule).alphas_cumprod, normal(1, 3)
    mean, variance = clean, torch.zeros(1, 1, dtype=torch.float64)
    for step in range(STEPS):
        at = torch.tensor([step])
        scale, _ = forward_step(alphas_cumprod, torch.ones(1, 1, dtype=torch.float64), at)
        mean, added = forward_step(alphas_cumprod, mean, at)
        variance = scale**2 * variance + added
        expected_mean, expected_variance = forward_marginal(alphas_cumprod, clean, at)
        torch.testing.assert_close(mean, expected_mean)
        torch.testing.assert_close(variance, expected_variance)


def test_the_marginal_is_what_the_scheduler_adds() -> None:
    scheduler, clean, noise = scheduler_of("linear"), normal(4, 2, 3).float(), normal(4, 2, 3, seed=1).float()
    timesteps = torch.tensor([0, 7, 30, STEPS - 1])
    mean, variance = forward_marginal(scheduler.alphas_cumprod, clean, timesteps)
    torch.testing.assert_close(mean + variance.sqrt() * noise, scheduler.add_noise(clean, noise, timesteps))


@pytest.mark.parametrize("timestep", [1, 20, STEPS - 1])
def test_the_posterior_is_bayes_rule_on_a_grid(timestep: int) -> None:
    """q(x_{t−1} | x_t, x_0) ∝ q(x_t | x_{t−1}) q(x_{t−1} | x_0), summed by brute force over 200,001 values."""
    alphas_cumprod = scheduler_of("squaredcos_cap_v2").alphas_cumprod
    at, clean, noisy = torch.tensor([timestep]), torch.tensor([[0.7]]).double(), torch.tensor([[-0.4]]).double()
    grid = torch.linspace(-8, 8, 200_001, dtype=torch.float64)[None]
    before_mean, before_variance = forward_marginal(alphas_cumprod, clean, at - 1)
    next_mean, next_variance = forward_step(alphas_cumprod, grid, at)
    log_density = -gaussian_nll(grid, before_mean, before_variance) - gaussian_nll(noisy, next_mean, next_variance)
    weights = log_density.softmax(dim=1)
    mean, variance = posterior(alphas_cumprod, noisy, clean, at)
    brute_mean = (weights * grid).sum()
    assert mean.item() == pytest.approx(brute_mean.item(), abs=1e-6)
    assert variance.item() == pytest.approx((weights * (grid - brute_mean) ** 2).sum().item(), rel=1e-5)


def test_before_timestep_0_lies_the_clean_sample() -> None:
    clean, noisy = normal(2, 3), normal(2, 3, seed=1)
    mean, variance = posterior(scheduler_of("linear").alphas_cumprod, noisy, clean, torch.zeros(2).long())
    torch.testing.assert_close(mean, clean)
    assert variance.abs().max() == 0


@pytest.mark.parametrize("prediction_type", ["epsilon", "sample", "v_prediction"])
@pytest.mark.parametrize("timestep", [0, 1, 25, STEPS - 1])
def test_the_step_back_is_that_of_diffusers(prediction_type: str, timestep: int) -> None:
    """`DDPMScheduler.step` with and without its noise, for the same output of a model."""
    scheduler = scheduler_of("squaredcos_cap_v2", prediction_type=prediction_type)
    output, noisy, at = normal(2, 4).float(), normal(2, 4, seed=1).float(), torch.tensor([timestep, timestep])
    guess = predicted_clean(scheduler.alphas_cumprod, noisy, output, at, prediction_type)
    mean, variance = posterior(scheduler.alphas_cumprod, noisy, guess, at)
    stepped = scheduler.step(output, timestep, noisy, generator=torch.Generator().manual_seed(3))
    torch.testing.assert_close(guess, stepped.pred_original_sample, rtol=1e-4, atol=1e-5)
    drawn = torch.randn(2, 4, generator=torch.Generator().manual_seed(3))
    # diffusers adds nothing at the last step, and rounds ᾱ to float32 between the formulas.
    torch.testing.assert_close(stepped.prev_sample, mean + variance.sqrt() * drawn, rtol=1e-4, atol=1e-4)


def test_every_prediction_says_the_same_clean_sample() -> None:
    scheduler, clean, noise = scheduler_of("linear"), normal(3, 5), normal(3, 5, seed=1)
    at = torch.tensor([0, 20, STEPS - 1])
    noisy = scheduler.add_noise(clean, noise, at)
    outputs = {"epsilon": noise, "sample": clean, "v_prediction": scheduler.get_velocity(clean, noise, at)}
    for prediction_type, output in outputs.items():
        guess = predicted_clean(scheduler.alphas_cumprod, noisy, output, at, prediction_type)
        torch.testing.assert_close(guess, clean, rtol=1e-5, atol=1e-6)


def test_an_unknown_prediction_type_is_named() -> None:
    value = normal(1, 2)
    with pytest.raises(ValueError, match="got 'noise'"):
        predicted_clean(scheduler_of("linear").alphas_cumprod, value, value, torch.zeros(1).long(), "noise")


def test_kl_and_density_are_those_of_torch() -> None:
    mean, other_mean = normal(100), normal(100, seed=1)
    variance, other_variance = normal(100, seed=2).exp(), normal(100, seed=3).exp()
    p, q = Normal(mean, variance.sqrt()), Normal(other_mean, other_variance.sqrt())
    torch.testing.assert_close(gaussian_kl(mean, variance, other_mean, other_variance), kl_divergence(p, q))
    torch.testing.assert_close(gaussian_nll(other_mean, mean, variance), -p.log_prob(other_mean))


def test_small_and_large_variances_are_those_of_diffusers() -> None:
    scheduler = scheduler_of("linear")
    large = scheduler_of("linear", variance_type="fixed_large")
    small = posterior_variances(scheduler.alphas_cumprod)
    for timestep in (1, 10, STEPS - 1):
        assert small[timestep].item() == pytest.approx(scheduler._get_variance(timestep).item(), rel=1e-3)
        betas = schedule_betas(scheduler.alphas_cumprod)
        assert betas[timestep].item() == pytest.approx(large._get_variance(timestep).item(), rel=1e-3)


def test_signal_to_noise_is_the_ratio_of_the_marginals_squares() -> None:
    alphas_cumprod, at = scheduler_of("linear").alphas_cumprod, torch.arange(STEPS)
    mean, variance = forward_marginal(alphas_cumprod, torch.ones(STEPS, 1, dtype=torch.float64), at)
    torch.testing.assert_close(signal_to_noise(alphas_cumprod), (mean**2 / variance)[:, 0])
