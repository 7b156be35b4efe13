"""The variational bound of a diffusion model, term by term (DDPM, equation 5).

−log p(x_0) ≤ L_T + Σ L_{t−1} + L_0 with L_T = D(q(x_T | x_0) ‖ N(0, I)), L_{t−1} = E D(q(x_{t−1} | x_t, x_0) ‖
p(x_{t−1} | x_t)) and L_0 = −E log p(x_0 | x_1), where p(x_{t−1} | x_t) = N(μ̃_t(x_t, x̂_0(x_t)), σ_t² I) steps
towards the denoiser's guess x̂_0. Expectations are over the forward process and are estimated by drawing its noise.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from .diffusion import (
    forward_marginal,
    gaussian_kl,
    gaussian_nll,
    posterior,
    posterior_variances,
    schedule_betas,
)


@dataclass(frozen=True, eq=False)
class VariationalBound:
    """The terms of the bound for B samples, in nats, summed over a sample's dimensions.

    Args:
        prior: L_T [B].
        steps: [B, S] the L_{t−1}, each standing for its part of the schedule: their sum is that of all T − 1.
        reconstruction: L_0 [B], a density's: negative where the samples are known better than to a unit of length.
        timesteps: [B, S] where ``steps`` were evaluated, ascending.
        dimensions: numbers in a sample.
    """

    prior: Tensor
    steps: Tensor
    reconstruction: Tensor
    timesteps: Tensor
    dimensions: int

    @property
    def total(self) -> Tensor:
        """The bound on −log p(x_0) [B], in nats."""
        return self.prior + self.steps.sum(dim=1) + self.reconstruction

    @property
    def bits_per_dimension(self) -> Tensor:
        """The same [B] in bits for each of a sample's numbers."""
        return self.total / (self.dimensions * math.log(2))


def variational_bound(
    predict_clean: Callable[[Tensor, Tensor], Tensor],
    alphas_cumprod: Tensor,
    clean: Tensor,
    *,
    variances: str | Tensor = "large",
    num_steps: int | None = None,
    generator: torch.Generator | None = None,
) -> VariationalBound:
    """Evaluates the bound with one draw of the noise for every sample and timestep.

    Args:
        predict_clean: maps noisy samples x_t [B, ...] and timesteps [B] to guesses of x_0 [B, ...]; for a denoiser
            of another ``prediction_type`` see :func:`~diffgs_diffusers.functional.diffusion.predicted_clean`.
        alphas_cumprod: [T] of the scheduler.
        clean: x_0 [B, ...], in the space that is diffused, float32 or float64.
        variances: σ² of the steps back, as for :func:`step_variances`.
        num_steps: how many of the T − 1 steps are evaluated; None for all. Fewer: one is drawn, for each sample, in
            each of so many equal parts of the schedule and stands for its part, so that the sum stays unbiased.
        generator: draws noise and timesteps on its own device; None is a fixed seed on the CPU.

    Raises:
        ValueError: if a schedule has no step to evaluate, or ``num_steps`` is not between 1 and T − 1.

    Example:
        >>> def predict_clean(noisy, timesteps):  # doctest: +SKIP
        ...     output = unet(noisy, timesteps).sample
        ...     return predicted_clean(alphas_cumprod, noisy, output, timesteps, scheduler.config.prediction_type)
        >>> variational_bound(predict_clean, scheduler.alphas_cumprod, latents).bits_per_dimension  # doctest: +SKIP
    """
    generator = generator or torch.Generator().manual_seed(0)
    sigmas = step_variances(alphas_cumprod, variances)
    timesteps, weights = _drawn_timesteps(len(alphas_cumprod), num_steps, len(clean), generator)

    def term(at: Tensor) -> Tensor:
        at = at.to(clean.device)
        mean, variance = forward_marginal(alphas_cumprod, clean, at)
        noise = torch.randn(clean.shape, generator=generator, device=generator.device, dtype=clean.dtype)
        noisy = mean + variance.sqrt() * noise.to(clean.device)
        return step_term(alphas_cumprod, noisy, clean, predict_clean(noisy, at), at, sigmas)

    with torch.no_grad():
        reconstruction = term(timesteps.new_zeros(len(clean)))
        steps = torch.stack([term(at) for at in timesteps.T], dim=1)
        prior = prior_term(alphas_cumprod, clean)
    return VariationalBound(prior, steps * weights.to(steps), reconstruction, timesteps, clean[0].numel())


def prior_term(alphas_cumprod: Tensor, clean: Tensor) -> Tensor:
    """L_T [B] in nats: how far q(x_T | x_0) is from the standard normal that sampling starts with.

    Args:
        alphas_cumprod: [T].
        clean: x_0 [B, ...].
    """
    last = torch.full((len(clean),), len(alphas_cumprod) - 1)
    mean, variance = forward_marginal(alphas_cumprod, clean, last)
    return gaussian_kl(mean, variance, torch.zeros_like(mean), torch.ones_like(variance)).flatten(1).sum(dim=1)


def step_term(
    alphas_cumprod: Tensor, noisy: Tensor, clean: Tensor, guess: Tensor, timesteps: Tensor, variances: Tensor
) -> Tensor:
    """L_{t−1} [B] in nats for one x_t each, and L_0 at timestep 0.

    Args:
        alphas_cumprod: [T].
        noisy: x_t [B, ...].
        clean: x_0 [B, ...].
        guess: the denoiser's x̂_0 [B, ...].
        timesteps: [B] integers t.
        variances: σ² [T] of the steps back, > 0.
    """
    true_mean, true_variance = posterior(alphas_cumprod, noisy, clean, timesteps)
    mean, _ = posterior(alphas_cumprod, noisy, guess, timesteps)
    variance = variances[timesteps.cpu()].to(mean).reshape(true_variance.shape)
    is_first = (timesteps == 0).to(mean.device).reshape(true_variance.shape)
    # At timestep 0 the true step back is a point, whose divergence from a density is infinite: L_0 takes its place.
    divergence = gaussian_kl(true_mean, torch.where(is_first, variance, true_variance), mean, variance)
    terms = torch.where(is_first, gaussian_nll(clean, mean, variance), divergence)
    return terms.flatten(1).sum(dim=1)


def step_variances(alphas_cumprod: Tensor, variances: str | Tensor) -> Tensor:
    """σ² [T] of the steps back, float64 on the CPU.

    Args:
        alphas_cumprod: [T].
        variances: ``large`` is β, right for data of unit variance; ``small`` is β̃, right for a single point, where
            timestep 0, which has none, takes that of timestep 1 (diffusers' ``fixed_large`` and ``fixed_small``;
            DDPM, section 3.2); or [T] numbers > 0.

    Raises:
        ValueError: for another word, or numbers of another shape or not positive.
    """
    if isinstance(variances, Tensor):
        if variances.shape != alphas_cumprod.shape or not (variances > 0).all():
            raise ValueError(f"variances must be {list(alphas_cumprod.shape)} numbers above 0.")
        return variances.detach().cpu().double()
    if variances == "large":
        return schedule_betas(alphas_cumprod)
    if variances == "small":
        small = posterior_variances(alphas_cumprod)
        return torch.cat([small[1:2], small[1:]])
    raise ValueError(f"variances must be 'large', 'small' or a tensor, got {variances!r}")


def _drawn_timesteps(
    length: int, num_steps: int | None, count: int, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Timesteps [count, S] of 1 … T − 1, one in each of S equal parts, and the size [S] of the parts."""
    num_steps = length - 1 if num_steps is None else num_steps
    if not 1 <= num_steps <= length - 1:
        raise ValueError(f"num_steps must be between 1 and {length - 1}, got {num_steps}.")
    bounds = torch.linspace(1, length, num_steps + 1, dtype=torch.float64).round().long()
    sizes = bounds.diff()
    draws = torch.rand(count, num_steps, generator=generator, device=generator.device).cpu()
    return bounds[:-1] + (draws * sizes).long().clamp(max=sizes - 1), sizes
