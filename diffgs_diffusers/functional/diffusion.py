"""The Gaussians of a diffusion process in closed form (DDPM: Ho et al. 2020, section 2).

Timesteps are those of diffusers' schedulers, t = 0 … T − 1: timestep t is the papers' step t + 1, and before
timestep 0 lies the clean sample. Every function takes ``alphas_cumprod`` [T], which any of diffusers' DDPM or DDIM
schedulers has: ᾱ_t, the share of the variance of x_t that is signal. α_t = ᾱ_t / ᾱ_{t−1} and β_t = 1 − α_t follow.
"""

from __future__ import annotations

import torch
from torch import Tensor


def forward_step(alphas_cumprod: Tensor, previous: Tensor, timesteps: Tensor) -> tuple[Tensor, Tensor]:
    """q(x_t | x_{t−1}) = N(√α_t x_{t−1}, β_t I) (DDPM, equation 2).

    Args:
        alphas_cumprod: [T].
        previous: x_{t−1} [B, ...]; at timestep 0 the clean samples.
        timesteps: [B] integers t.

    Returns:
        mean [B, ...] and variance, which broadcasts to it.
    """
    betas = schedule_betas(alphas_cumprod)
    return _at((1 - betas).sqrt(), timesteps, previous) * previous, _at(betas, timesteps, previous)


def forward_marginal(alphas_cumprod: Tensor, clean: Tensor, timesteps: Tensor) -> tuple[Tensor, Tensor]:
    """q(x_t | x_0) = N(√ᾱ_t x_0, (1 − ᾱ_t) I), all steps up to t at once (DDPM, equation 4).

    Args:
        alphas_cumprod: [T].
        clean: x_0 [B, ...].
        timesteps: [B] integers t.

    Returns:
        mean [B, ...] and variance, which broadcasts to it.
    """
    signal = _on_cpu(alphas_cumprod)
    return _at(signal.sqrt(), timesteps, clean) * clean, _at(1 - signal, timesteps, clean)


def posterior(alphas_cumprod: Tensor, noisy: Tensor, clean: Tensor, timesteps: Tensor) -> tuple[Tensor, Tensor]:
    """q(x_{t−1} | x_t, x_0) = N(μ̃_t(x_t, x_0), β̃_t I), the step back if the end were known (DDPM, equations 6–7).

    μ̃_t = √ᾱ_{t−1} β_t / (1 − ᾱ_t) · x_0 + √α_t (1 − ᾱ_{t−1}) / (1 − ᾱ_t) · x_t. A denoiser's guess of x_0 in its
    place gives the mean of the ancestral sampler's step.

    Args:
        alphas_cumprod: [T].
        noisy: x_t [B, ...].
        clean: x_0 [B, ...].
        timesteps: [B] integers t; at t = 0 the mean is x_0 and the variance 0.

    Returns:
        mean [B, ...] and variance, which broadcasts to it.
    """
    signal, before = _on_cpu(alphas_cumprod), _before(alphas_cumprod)
    betas = schedule_betas(alphas_cumprod)
    of_clean = before.sqrt() * betas / (1 - signal)
    of_noisy = (1 - betas).sqrt() * (1 - before) / (1 - signal)
    mean = _at(of_clean, timesteps, clean) * clean + _at(of_noisy, timesteps, noisy) * noisy
    return mean, _at(posterior_variances(alphas_cumprod), timesteps, noisy)


def posterior_variances(alphas_cumprod: Tensor) -> Tensor:
    """β̃ [T], float64 on the CPU: β̃_t = (1 − ᾱ_{t−1}) / (1 − ᾱ_t) · β_t, and 0 at t = 0 (DDPM, equation 7)."""
    return (1 - _before(alphas_cumprod)) / (1 - _on_cpu(alphas_cumprod)) * schedule_betas(alphas_cumprod)


def schedule_betas(alphas_cumprod: Tensor) -> Tensor:
    """β [T], float64 on the CPU: the variance of the noise that each step adds, 1 − ᾱ_t / ᾱ_{t−1}."""
    return 1 - _on_cpu(alphas_cumprod) / _before(alphas_cumprod)


def signal_to_noise(alphas_cumprod: Tensor) -> Tensor:
    """SNR [T], float64 on the CPU: ᾱ / (1 − ᾱ), for data of unit variance (Kingma et al. 2021, equation 2)."""
    signal = _on_cpu(alphas_cumprod)
    return signal / (1 - signal)


def predicted_clean(
    alphas_cumprod: Tensor, noisy: Tensor, model_output: Tensor, timesteps: Tensor, prediction_type: str
) -> Tensor:
    """The guess of x_0 [B, ...] in a denoiser's output: x_t = √ᾱ x_0 + √(1−ᾱ) ε solved for it (DDPM, equation 15).

    Args:
        alphas_cumprod: [T].
        noisy: x_t [B, ...].
        model_output: [B, ...], of x_t.
        timesteps: [B] integers t.
        prediction_type: what the output is, as in a scheduler's configuration: ``epsilon``, ``sample`` (x_0 itself)
            or ``v_prediction``, √ᾱ ε − √(1−ᾱ) x_0 (Salimans & Ho 2022).

    Raises:
        ValueError: If the prediction type is unknown.
    """
    if prediction_type == "sample":
        return model_output
    signal = _on_cpu(alphas_cumprod)
    keep, noise = _at(signal.sqrt(), timesteps, noisy), _at((1 - signal).sqrt(), timesteps, noisy)
    if prediction_type == "epsilon":
        return (noisy - noise * model_output) / keep
    if prediction_type == "v_prediction":
        return keep * noisy - noise * model_output
    raise ValueError(f"prediction_type must be epsilon, sample or v_prediction, got {prediction_type!r}")


def gaussian_kl(mean: Tensor, variance: Tensor, other_mean: Tensor, other_variance: Tensor) -> Tensor:
    """D(N(mean, variance) ‖ N(other_mean, other_variance)) in nats for each dimension; all four broadcast.

    The dimensions of a diagonal Gaussian add up.
    """
    ratio = variance / other_variance
    return 0.5 * ((mean - other_mean).square() / other_variance + ratio - 1 - ratio.log())


def gaussian_nll(value: Tensor, mean: Tensor, variance: Tensor) -> Tensor:
    """−log N(value; mean, variance) in nats for each dimension; all three broadcast."""
    return 0.5 * ((value - mean).square() / variance + (2 * torch.pi * variance).log())


def _on_cpu(alphas_cumprod: Tensor) -> Tensor:
    """In double precision, which not every device has: differences of numbers near 1 are formed from it."""
    return alphas_cumprod.detach().cpu().double()


def _before(alphas_cumprod: Tensor) -> Tensor:
    """ᾱ_{t−1} [T]: 1, the clean sample, before timestep 0."""
    signal = _on_cpu(alphas_cumprod)
    return torch.cat([signal.new_ones(1), signal[:-1]])


def _at(values: Tensor, timesteps: Tensor, like: Tensor) -> Tensor:
    """Values [T] at timesteps [B] in the form [B, 1, …] that broadcasts to ``like`` [B, ...]."""
    chosen = values[timesteps.cpu()].to(like)
    return chosen.reshape(-1, *[1] * (like.ndim - 1))
