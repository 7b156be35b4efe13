"""Data for which the best denoiser is a formula: a mixture of many small Gaussians along two moons."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from diffusers import DDPMScheduler
from torch import Tensor

from diffgs_diffusers.functional.diffusion import posterior
from examples.ddpm_points_2d import draw_points

SPREAD = 0.1


@dataclass(frozen=True)
class Mixture:
    """Equal parts of N(center, spread² I).

    Args:
        centers: [K, D], float64.
        spread: standard deviation of each part.
    """

    centers: Tensor
    spread: float

    def sample(self, count: int, generator: torch.Generator) -> Tensor:
        """[count, D]."""
        chosen = torch.randint(len(self.centers), (count,), generator=generator)
        noise = torch.randn(count, self.centers.shape[1], generator=generator, dtype=torch.float64)
        return self.centers[chosen] + self.spread * noise

    def nll(self, points: Tensor) -> Tensor:
        """−log p [N] of points [N, D], in nats."""
        squares = torch.cdist(points, self.centers).square()
        variance, dimensions = self.spread**2, self.centers.shape[1]
        constant = math.log(len(self.centers)) + dimensions / 2 * math.log(2 * math.pi * variance)
        return constant - (-squares / (2 * variance)).logsumexp(dim=1)

    def best_guess(self, noisy: Tensor, signal: Tensor) -> Tensor:
        """E[x_0 | x_t], [N, D], where ᾱ is ``signal``, a number or [N]: what the best denoiser returns."""
        signal = signal.to(noisy).expand(len(noisy))[:, None]
        variance = signal * self.spread**2 + 1 - signal
        squares = torch.cdist(noisy / signal.sqrt(), self.centers).square() * signal
        means = (-squares / (2 * variance)).softmax(dim=1) @ self.centers
        return means + signal.sqrt() * self.spread**2 / variance * (noisy - signal.sqrt() * means)


def two_moons(count: int = 400) -> Mixture:
    """Parts along the moons of the 2-D example."""
    return Mixture(draw_points("moons", count, np.random.default_rng(0), jitter=False).double(), SPREAD)


def linear_schedule(steps: int = 1000) -> Tensor:
    """ᾱ [steps], float64: the schedule of DDPM and the shipped checkpoint, or much the same in fewer steps."""
    scale = 1000 / steps
    scheduler = DDPMScheduler(
        num_train_timesteps=steps,
        beta_start=1e-4 * scale,
        beta_end=min(0.02 * scale, 0.999),
        beta_schedule="linear",
    )
    return scheduler.alphas_cumprod.double()


@lru_cache
def moons_sampled(keep: tuple[int, ...], count: int = 1500) -> tuple[Tensor, dict[int, Tensor]]:
    """Samples [count, 2] by all 1000 steps back with the best denoiser, and the x_t at the timesteps to keep."""
    mixture, alphas_cumprod, generator = two_moons(), linear_schedule(), torch.Generator().manual_seed(1)
    noisy = torch.randn(count, 2, generator=generator, dtype=torch.float64)
    kept = {}
    for timestep in reversed(range(len(alphas_cumprod))):
        if timestep in keep:
            kept[timestep] = noisy
        guess = mixture.best_guess(noisy, alphas_cumprod[timestep])
        mean, variance = posterior(alphas_cumprod, noisy, guess, torch.full((count,), timestep))
        noisy = mean + variance.sqrt() * torch.randn(mean.shape, generator=generator, dtype=torch.float64)
    return noisy, kept
