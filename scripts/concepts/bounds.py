"""Pictures of what training minimises: reparameterised gradients, KL and ELBO, the bound of a diffusion model."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from diffgs_diffusers.functional.diffusion import gaussian_kl, gaussian_nll
from diffgs_diffusers.functional.variational_bound import VariationalBound, variational_bound
from diffgs_diffusers.models.distributions import DiagonalGaussian

from . import style
from .toy import linear_schedule, two_moons

Numbers = dict[str, str]


def reparameterisation(folder: Path) -> Numbers:
    """Samples made of noise, and the gradient of E(z − 1)² by way of the sample and by way of the density."""
    mean = torch.tensor(0.5, dtype=torch.float64, requires_grad=True)
    deviation, count = 0.6, 20_000
    logvar = torch.full((count, 1), 2 * math.log(deviation), dtype=torch.float64)
    samples = DiagonalGaussian(mean.expand(count, 1), logvar).sample(torch.Generator().manual_seed(0))[:, 0]
    through = _per_sample_gradients(samples, mean)
    values = samples.detach()
    scores = (values - 1) ** 2 * (values - 0.5) / deviation**2
    figure, axes = style.panels(2, 2.3, width_ratios=[1, 1.4])
    grid = torch.linspace(-2, 3, 300, dtype=torch.float64)
    density = (-gaussian_nll(grid, torch.tensor(0.5), torch.tensor(deviation**2))).exp()
    axes[0].hist(values, bins=60, range=(-2, 3), density=True, color=style.BLUE, alpha=0.35, label="μ + σε")
    axes[0].plot(grid, density, color=style.BLUE, label="N(0.5, 0.6²)")
    axes[0].set(title="20,000 samples, made of N(0, 1)", yticks=[], xlabel="$z$", ylim=(0, 0.95))
    axes[0].legend(loc="upper left")
    bins = np.linspace(-9, 7, 120)
    axes[1].hist(through, bins=bins, density=True, color=style.BLUE, alpha=0.6, label="through the sample")
    axes[1].hist(scores, bins=bins, density=True, color=style.ORANGE, alpha=0.6, label="through the density")
    axes[1].axvline(-1, color="black", lw=1, ls=":", label="true gradient")
    axes[1].set(title="estimates of d/dμ E(z − 1)², one sample each", yticks=[], ylim=(0, 0.8))
    axes[1].legend(loc="upper left")
    style.save(figure, folder / "reparameterisation.png")
    return {
        "gradient_through_mean": f"{through.mean():.2f}",
        "gradient_through_deviation": f"{through.std():.2f}",
        "gradient_score_mean": f"{scores.mean():.2f}",
        "gradient_score_deviation": f"{scores.std():.2f}",
        "gradient_samples_ratio": f"{(scores.var() / through.var()).item():.0f}",
    }


def _per_sample_gradients(samples: Tensor, mean: Tensor) -> Tensor:
    """Of (z − 1)² in the mean, for each sample: the chain rule through z, whose derivative autograd gives."""
    (total,) = torch.autograd.grad(samples.sum(), mean)
    return 2 * (samples.detach() - 1) * total / len(samples)


def evidence(folder: Path) -> Numbers:
    """A VAE small enough to be solved: z ~ N(0, 1), x | z ~ N(2z, 0.5²), and its ELBO for one x."""
    weight, noise, x = 2.0, 0.5, torch.tensor(1.5, dtype=torch.float64)
    log_p = -gaussian_nll(x, torch.tensor(0.0), torch.tensor(weight**2 + noise**2)).item()
    best_variance = noise**2 / (weight**2 + noise**2)
    best_mean = weight * x.item() / (weight**2 + noise**2)
    means = torch.linspace(-0.1, 1.5, 200, dtype=torch.float64)
    figure, axes = style.panels(3, 2.5)
    grid = torch.linspace(-3, 3, 200, dtype=torch.float64)
    for deviation, color in ((1.0, style.BLUE), (0.5, style.ORANGE), (0.2, style.GREEN)):
        posterior = DiagonalGaussian(grid[:, None], torch.full((200, 1), 2 * math.log(deviation)).double())
        axes[0].plot(grid, posterior.kl(), color=color, label=f"σ = {deviation:g}")
    axes[0].set(title="KL(N(μ, σ²) ‖ N(0, 1)), nats", xlabel="μ", ylim=(0, 6))
    axes[0].legend(loc="upper center")
    for deviation, color in ((best_variance**0.5, style.BLUE), (0.5, style.ORANGE), (0.1, style.GREEN)):
        bound = elbo(x, means, torch.tensor(deviation**2), weight, noise)
        axes[1].plot(means, bound, color=color, label=f"σ = {deviation:.2f}")
    axes[1].axhline(log_p, color="black", lw=1, ls=":", label="log p(x)")
    axes[1].set(title="ELBO of q = N(μ, σ²), nats", xlabel="μ", ylim=(-8, -0.5))
    axes[1].legend(loc="lower center", fontsize=8)
    counts = (1, 2, 4, 8, 16, 32, 64)
    averages = _averages_before_the_log(x, weight, noise, counts)
    axes[2].semilogx(counts, averages, "o-", color=style.VERMILION, base=2, ms=4, label="E log of the mean of K")
    axes[2].axhline(log_p, color="black", lw=1, ls=":", label="log p(x)")
    axes[2].set(title="Jensen: log of a mean ≥ mean of logs", xlabel="K samples of q inside the log", xticks=counts)
    axes[2].set_xticklabels([str(count) for count in counts])
    axes[2].legend(loc="lower right", fontsize=8)
    style.save(figure, folder / "elbo.png")
    wrong_mean, wrong_variance = torch.tensor(best_mean - 0.3), torch.tensor(0.25)
    gap = log_p - elbo(x, wrong_mean, wrong_variance, weight, noise).item()
    kl = gaussian_kl(wrong_mean, wrong_variance, torch.tensor(best_mean), torch.tensor(best_variance)).item()
    best = elbo(x, torch.tensor(best_mean).double(), torch.tensor(best_variance), weight, noise).item()
    return {
        "log_p": f"{log_p:.3f}",
        "best_elbo": f"{best:.3f}",
        "wrong_elbo": f"{log_p - gap:.3f}",
        "elbo_gap": f"{gap:.3f}",
        "posterior_kl": f"{kl:.3f}",
        "jensen_1": f"{averages[0]:.2f}",
        "jensen_64": f"{averages[-1]:.2f}",
    }


def elbo(x: Tensor, mean: Tensor, variance: Tensor, weight: float, noise: float) -> Tensor:
    """E_q log p(x | z) − KL(q ‖ p(z)) for q = N(mean, variance), x | z ~ N(weight · z, noise²), in closed form."""
    spread = gaussian_nll(x, weight * mean, torch.tensor(noise**2)) + weight**2 * variance / (2 * noise**2)
    return -spread - gaussian_kl(mean, variance, torch.tensor(0.0), torch.tensor(1.0))


def _averages_before_the_log(x: Tensor, weight: float, noise: float, counts: tuple[int, ...]) -> list[float]:
    """E log (1/K) Σ p(x, z_k) / q(z_k) for a q that is wrong: K = 1 is the ELBO, K → ∞ the evidence."""
    mean, variance = torch.tensor(0.4).double(), torch.tensor(0.25).double()
    noises = torch.randn(20_000, max(counts), generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    z = mean + variance.sqrt() * noises
    log_joint = -gaussian_nll(x, weight * z, torch.tensor(noise**2)) - gaussian_nll(
        z, torch.tensor(0.0), torch.tensor(1.0)
    )
    log_weights = log_joint + gaussian_nll(z, mean, variance)
    return [float((log_weights[:, :k].logsumexp(dim=1) - math.log(k)).mean()) for k in counts]


def diffusion_bound(folder: Path) -> Numbers:
    """The bound's terms along the schedule, and its total beside −log p for more and more steps."""
    mixture = two_moons()
    clean = mixture.sample(400, torch.Generator().manual_seed(3))
    exact = mixture.nll(clean).mean().item()

    def bound_of(steps: int, error: float = 0.0) -> VariationalBound:
        alphas_cumprod = linear_schedule(steps)

        def predict_clean(noisy: Tensor, timesteps: Tensor) -> Tensor:
            return (1 - error) * mixture.best_guess(noisy, alphas_cumprod[timesteps])

        return variational_bound(predict_clean, alphas_cumprod, clean)

    counts = (20, 50, 100, 200, 400, 1000)
    bounds = [bound_of(steps) for steps in counts]
    whole, worse = bounds[-1], bound_of(1000, error=0.05)
    totals = [bound.total.mean().item() for bound in bounds]
    errors = [float((bound.total - mixture.nll(clean)).std() / len(clean) ** 0.5) for bound in bounds]
    figure, axes = style.panels(2, 2.6)
    for bound, color, label in (
        (whole, style.BLUE, "best denoiser"),
        (worse, style.VERMILION, "its guesses 5 % too small"),
    ):
        smooth = torch.nn.functional.avg_pool1d(bound.steps.mean(dim=0)[None, None], 9, 9)[0, 0]
        axes[0].loglog(np.arange(len(smooth)) * 9 + 5, smooth, color=color, label=label)
    axes[0].set(xlabel="$t$", title="$L_{t-1}$, nats a step")
    axes[0].legend()
    spread = [2 * error for error in errors]
    axes[1].errorbar(counts, totals, spread, fmt="o-", color=style.BLUE, ms=4, capsize=3, label="bound, ± 2 errors")
    axes[1].set_xscale("log")
    axes[1].axhline(exact, color="black", lw=1, ls=":", label="exact −log p(x)")
    axes[1].set(xlabel="steps $T$", title="the bound closes in, nats", xticks=counts)
    axes[1].set_xticklabels([str(count) for count in counts])
    axes[1].minorticks_off()
    axes[1].legend()
    style.save(figure, folder / "bound.png")
    return {
        "exact_nll": f"{exact:.2f}",
        "bound_prior": f"{1000 * whole.prior.mean():.2f}",
        "bound_steps": f"{whole.steps.sum(dim=1).mean():.2f}",
        "bound_reconstruction": f"{whole.reconstruction.mean():.2f}",
        "bound_total": f"{totals[-1]:.2f}",
        "bound_error": f"{errors[-1]:.2f}",
        "bound_total_20": f"{totals[0]:.2f}",
        "bound_worse": f"{worse.total.mean():.2f}",
    }
