"""The variational bound where the answer is known: data that are Gaussian, whose best denoiser is a formula."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from diffgs_diffusers.functional.diffusion import (
    forward_marginal,
    gaussian_nll,
    posterior_variances,
    schedule_betas,
)
from diffgs_diffusers.functional.variational_bound import (
    prior_term,
    step_term,
    step_variances,
    variational_bound,
)


def alphas_cumprod_of(steps: int, beta_end: float = 0.2) -> Tensor:
    return (1 - torch.linspace(0.001, beta_end, steps, dtype=torch.float64)).cumprod(0)


def best_denoiser(alphas_cumprod: Tensor, deviation: float) -> Callable[[Tensor, Tensor], Tensor]:
    """E[x_0 | x_t] for x_0 ~ N(0, deviation² I): linear in x_t."""

    def predict_clean(noisy: Tensor, timesteps: Tensor) -> Tensor:
        signal = alphas_cumprod[timesteps].to(noisy)[:, None]
        return signal.sqrt() * deviation**2 / (signal * deviation**2 + 1 - signal) * noisy

    return predict_clean


def exact_step_variances(alphas_cumprod: Tensor, deviation: float) -> Tensor:
    """Var[x_{t−1} | x_t] for the same data: β_t Var[x_{t−1}] / Var[x_t]."""
    signal = alphas_cumprod
    before = torch.cat([signal.new_ones(1), signal[:-1]])
    return (1 - signal / before) * (before * deviation**2 + 1 - before) / (signal * deviation**2 + 1 - signal)


def gaussian_data(count: int, deviation: float, dimensions: int = 3) -> Tensor:
    generator = torch.Generator().manual_seed(5)
    return torch.randn(count, dimensions, generator=generator, dtype=torch.float64) * deviation


def exact_nll(clean: Tensor, deviation: float) -> Tensor:
    return gaussian_nll(clean, torch.zeros(()).double(), torch.tensor(deviation**2).double()).sum(dim=1)


def expected_bound(predict_clean: Callable, alphas_cumprod: Tensor, clean: Tensor, variances: Tensor) -> Tensor:
    """The bound [B] of numbers [B, 1] without drawing.

    A linear denoiser's terms are quadratic in the noise, and a quadratic's mean over N(0, 1) is that over −1 and 1.
    """
    total = prior_term(alphas_cumprod, clean)
    for step in range(len(alphas_cumprod)):
        at = torch.full((len(clean),), step)
        mean, variance = forward_marginal(alphas_cumprod, clean, at)
        for noise in (-1, 1):
            noisy = mean + noise * variance.sqrt()
            total = total + step_term(alphas_cumprod, noisy, clean, predict_clean(noisy, at), at, variances) / 2
    return total


def test_the_bound_of_the_right_model_of_unit_gaussians_is_the_likelihood() -> None:
    """p = q then, for every single sample: reverse steps of data of unit variance have variance β."""
    alphas_cumprod, clean = alphas_cumprod_of(100), gaussian_data(50, 1.0, 1)
    large = step_variances(alphas_cumprod, "large")
    bound = expected_bound(best_denoiser(alphas_cumprod, 1.0), alphas_cumprod, clean, large)
    torch.testing.assert_close(bound, exact_nll(clean, 1.0), rtol=0, atol=1e-9)


@pytest.mark.parametrize("deviation", [0.3, 2.0])
def test_with_the_exact_variances_only_the_prior_separates_bound_and_likelihood(deviation: float) -> None:
    """−log q = bound − log q(x_T) / N(x_T; 0, I) on average: over the data, D(q(x_T) ‖ N(0, I)) is lost."""
    alphas_cumprod = alphas_cumprod_of(60, 0.1)
    clean = torch.tensor([[-deviation], [deviation]]).double()  # the mean of a quadratic over the data, as above
    exact = exact_step_variances(alphas_cumprod, deviation)
    bound = expected_bound(best_denoiser(alphas_cumprod, deviation), alphas_cumprod, clean, exact)
    end = alphas_cumprod[-1] * deviation**2 + 1 - alphas_cumprod[-1]
    gap = 0.5 * (end - 1 - end.log())
    assert (bound - exact_nll(clean, deviation)).mean().item() == pytest.approx(gap.item(), rel=1e-6)
    assert gap > 1e-4


@pytest.mark.parametrize("variances", ["large", "small"])
@pytest.mark.parametrize("deviation", [0.3, 2.0])
def test_it_is_a_bound_and_a_worse_denoiser_has_a_worse_one(variances: str, deviation: float) -> None:
    alphas_cumprod = alphas_cumprod_of(60)
    clean = torch.tensor([[-deviation], [deviation]]).double()
    best, chosen = best_denoiser(alphas_cumprod, deviation), step_variances(alphas_cumprod, variances)
    excess = expected_bound(best, alphas_cumprod, clean, chosen) - exact_nll(clean, deviation)
    assert excess.mean() > 0
    worse = expected_bound(lambda noisy, at: best(noisy, at) + 0.3, alphas_cumprod, clean, chosen)
    assert (worse - exact_nll(clean, deviation)).mean() > excess.mean()


def test_the_bound_tightens_with_the_number_of_steps() -> None:
    clean, gaps = torch.tensor([[-0.3], [0.3]]).double(), []
    for steps in (10, 100, 1000):
        alphas_cumprod = alphas_cumprod_of(steps, beta_end=min(20 / steps, 0.9))
        large = step_variances(alphas_cumprod, "large")
        bound = expected_bound(best_denoiser(alphas_cumprod, 0.3), alphas_cumprod, clean, large)
        gaps.append((bound - exact_nll(clean, 0.3)).mean())
    assert gaps[0] > 3 * gaps[1] > 9 * gaps[2] > 0


@pytest.mark.parametrize("variances", ["large", "small"])
def test_drawn_noise_estimates_the_expected_bound(variances: str) -> None:
    alphas_cumprod, clean = alphas_cumprod_of(40), gaussian_data(4000, 0.5, 1)
    denoiser = best_denoiser(alphas_cumprod, 0.5)
    drawn = variational_bound(denoiser, alphas_cumprod, clean, variances=variances).total
    expected = expected_bound(denoiser, alphas_cumprod, clean, step_variances(alphas_cumprod, variances))
    error = drawn - expected
    assert error.mean().abs() < 4 * error.std() / math.sqrt(len(error))
    assert error.std() > 0.1


def test_some_steps_estimate_the_sum_of_all() -> None:
    alphas_cumprod, clean = alphas_cumprod_of(50), gaussian_data(6000, 0.5)
    denoiser = best_denoiser(alphas_cumprod, 0.5)
    whole = variational_bound(denoiser, alphas_cumprod, clean, variances="small")
    some = variational_bound(denoiser, alphas_cumprod, clean, variances="small", num_steps=7)
    assert tuple(some.steps.shape) == tuple(some.timesteps.shape) == (6000, 7)
    assert whole.timesteps[0].tolist() == list(range(1, 50))
    assert some.timesteps.min() == 1
    assert some.timesteps.max() == 49
    error = some.steps.sum(dim=1) - whole.steps.sum(dim=1)
    assert error.mean().abs() < 4 * error.std() / math.sqrt(len(error))


def test_a_step_is_the_weighted_error_of_the_guess() -> None:
    """DDPM, equation 8: with the true variance only the means differ, by β_t √ᾱ_{t−1} / (1 − ᾱ_t) of the error."""
    alphas_cumprod = alphas_cumprod_of(50)
    clean, guess, noisy = gaussian_data(3, 1.0, 4), gaussian_data(3, 0.7, 4) + 1, gaussian_data(3, 1.3, 4)
    small = step_variances(alphas_cumprod, "small")
    terms = step_term(alphas_cumprod, noisy, clean, guess, torch.tensor([20, 20, 20]), small)
    signal, before = alphas_cumprod[20], alphas_cumprod[19]
    weight = before.sqrt() * (1 - signal / before) / (1 - signal)
    expected = (weight * (clean - guess)).square().sum(dim=1) / (2 * posterior_variances(alphas_cumprod)[20])
    torch.testing.assert_close(terms, expected)


def test_the_first_step_is_a_density() -> None:
    alphas_cumprod, clean = alphas_cumprod_of(50), gaussian_data(3, 1.0, 4)
    beta = schedule_betas(alphas_cumprod)
    terms = step_term(alphas_cumprod, clean, clean, clean + 0.01, torch.zeros(3).long(), beta)
    expected = torch.distributions.Normal(clean + 0.01, beta[0].sqrt()).log_prob(clean).sum(dim=1)
    torch.testing.assert_close(terms, -expected)


def test_the_prior_term_vanishes_when_nothing_is_left_of_the_sample() -> None:
    clean = gaussian_data(4, 1.0)
    assert prior_term(torch.tensor([0.5, 1e-12]), clean).max() < 1e-9
    half = prior_term(torch.tensor([0.9, 0.5]), clean)
    expected = 0.5 * (0.5 * clean.square() + 0.5 - 1 - math.log(0.5)).sum(dim=1)
    torch.testing.assert_close(half, expected, rtol=1e-6, atol=1e-6)


def test_bits_are_nats_by_ln_2_and_dimensions() -> None:
    alphas_cumprod, clean = alphas_cumprod_of(10), gaussian_data(2, 1.0)
    bound = variational_bound(best_denoiser(alphas_cumprod, 1.0), alphas_cumprod, clean)
    torch.testing.assert_close(bound.bits_per_dimension, bound.total / 3 / math.log(2))
    assert bound.dimensions == 3


@pytest.mark.parametrize("num_steps", [0, 10])
def test_a_wrong_number_of_steps_is_refused(num_steps: int) -> None:
    with pytest.raises(ValueError, match="between 1 and 9"):
        variational_bound(
            lambda noisy, at: noisy, alphas_cumprod_of(10), gaussian_data(1, 1.0), num_steps=num_steps
        )


@pytest.mark.parametrize("variances", ["medium", torch.ones(3), torch.zeros(10)])
def test_wrong_variances_are_refused(variances: object) -> None:
    with pytest.raises(ValueError, match="variances must be"):
        step_variances(alphas_cumprod_of(10), variances)  # type: ignore[arg-type]
