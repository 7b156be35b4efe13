"""Pictures of the diffusion process: forward, reverse, in one jump, and its schedules."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import torch
from diffusers import DDPMScheduler

from diffgs_diffusers.evaluation.two_sample import energy_distance
from diffgs_diffusers.functional.diffusion import (
    forward_marginal,
    forward_step,
    gaussian_nll,
    posterior,
    schedule_betas,
    signal_to_noise,
)

from . import style
from .toy import linear_schedule, moons_sampled, two_moons

Numbers = dict[str, str]
SHOWN = (0, 99, 249, 499, 999)
KEPT = (999, 499, 249, 99)


def forward(folder: Path) -> Numbers:
    """Points under growing noise, and paths step by step inside the closed form's band."""
    alphas_cumprod, generator = linear_schedule(), torch.Generator().manual_seed(0)
    clean = two_moons().sample(1500, generator)
    figure, axes = style.panels(len(SHOWN) + 1, 1.9, width_ratios=[1] * len(SHOWN) + [1.9])
    for axis, timestep in zip(axes, SHOWN):
        mean, variance = forward_marginal(alphas_cumprod, clean, torch.full((len(clean),), timestep))
        noise = torch.randn(clean.shape, generator=generator, dtype=torch.float64)
        style.scatter(axis, mean + variance.sqrt() * noise, style.BLUE)
        axis.set_title(f"$t$ = {timestep}\n$\\bar\\alpha_t$ = {alphas_cumprod[timestep]:.3g}")
    paths, variance_gap = _paths(alphas_cumprod, 2.0, 2000, generator)
    at = torch.arange(len(alphas_cumprod))
    mean, variance = forward_marginal(alphas_cumprod, torch.full((len(at), 1), 2.0).double(), at)
    mean, deviation = mean[:, 0], variance[:, 0].sqrt()
    axes[-1].fill_between(
        at, mean - 2 * deviation, mean + 2 * deviation, color=style.BLUE, alpha=0.15, lw=0, label="closed form ± 2σ"
    )
    axes[-1].plot(at, mean, color=style.BLUE)
    axes[-1].plot(at, paths[:, :3], color=style.VERMILION, lw=0.5)
    axes[-1].set(xlabel="$t$", ylim=(-3.4, 5), title="step by step from $x_0$ = 2")
    axes[-1].legend(loc="upper right", fontsize=7, borderpad=0)
    style.save(figure, folder / "forward.png")
    return {
        "forward_variance_gap": f"1e{math.ceil(math.log10(variance_gap))}",
        "forward_path_mean": f"{paths[249].mean():.2f}",
        "forward_path_deviation": f"{paths[249].std():.2f}",
        "forward_mean": f"{mean[249]:.2f}",
        "forward_deviation": f"{deviation[249]:.2f}",
    }


def _paths(
    alphas_cumprod: torch.Tensor, start: float, count: int, generator: torch.Generator
) -> tuple[torch.Tensor, float]:
    """Paths [T, count] of the chain, and how far its carried variance is from the closed form's at most."""
    now = torch.full((count, 1), start, dtype=torch.float64)
    paths, carried, gap = [], torch.zeros(1, 1, dtype=torch.float64), 0.0
    for timestep in range(len(alphas_cumprod)):
        at = torch.tensor([timestep])
        mean, variance = forward_step(alphas_cumprod, now, at)
        now = mean + variance.sqrt() * torch.randn(now.shape, generator=generator, dtype=torch.float64)
        paths.append(now[:, 0])
        scale, added = forward_step(alphas_cumprod, torch.ones(1, 1, dtype=torch.float64), at)
        carried = scale**2 * carried + added
        gap = max(gap, float((carried - forward_marginal(alphas_cumprod, now[:1], at)[1]).abs()))
    return torch.stack(paths), gap


def reverse(folder: Path) -> Numbers:
    """Bayes' rule for one step, and all steps with the best denoiser."""
    coarse, timestep = linear_schedule(20), torch.tensor([7])
    clean, noisy = torch.tensor([[1.0]]).double(), torch.tensor([[-0.5]]).double()
    grid = torch.linspace(-6, 6, 20_001, dtype=torch.float64)[None]
    before = -gaussian_nll(grid, *forward_marginal(coarse, clean, timestep - 1))
    after = -gaussian_nll(noisy, *forward_step(coarse, grid, timestep))
    mean, variance = posterior(coarse, noisy, clean, timestep)
    brute = (before + after).softmax(dim=1)
    brute_mean = (brute * grid).sum()
    samples, states = moons_sampled(KEPT)
    figure, axes = style.panels(len(KEPT) + 2, 1.9, width_ratios=[2.1] + [1] * (len(KEPT) + 1))
    for values, color, label in (
        (before, style.ORANGE, "$q(x_{t-1}|x_0)$"),
        (after, style.GREEN, "$q(x_t|x_{t-1})$"),
        (-gaussian_nll(grid, mean, variance), style.BLUE, "$q(x_{t-1}|x_t,x_0)$"),
    ):
        heights = (values - values.max()).exp()[0]
        axes[0].plot(grid[0], heights, color=color, label=label)
    axes[0].set(xlabel="$x_{t-1}$", yticks=[], xlim=(-2.3, 2.6), ylim=(0, 1.6), title="one step back: Bayes’ rule")
    axes[0].legend(fontsize=8, ncols=2, loc="upper center", handlelength=1.2, columnspacing=0.8, borderpad=0)
    for axis, timestep_kept in zip(axes[1:], KEPT):
        style.scatter(axis, states[timestep_kept], style.BLUE)
        axis.set_title(f"$x_t$, $t$ = {timestep_kept}")
    style.scatter(axes[-1], samples, style.BLUE)
    axes[-1].set_title("$x_0$")
    style.save(figure, folder / "reverse.png")
    brute_deviation = (brute * (grid - brute_mean) ** 2).sum().sqrt()
    return {
        "posterior_mean": f"{mean.item():.4f}",
        "posterior_brute_mean": f"{brute_mean.item():.4f}",
        "posterior_deviation": f"{variance.sqrt().item():.4f}",
        "posterior_brute_deviation": f"{brute_deviation.item():.4f}",
    }


def one_jump(folder: Path) -> Numbers:
    """The guess of the clean sample at several timesteps beside the sample of all steps."""
    mixture, alphas_cumprod = two_moons(), linear_schedule()
    samples, states = moons_sampled(KEPT)
    data = mixture.sample(1500, torch.Generator().manual_seed(7))
    figure, axes = style.panels(len(KEPT) + 2, 1.75)
    numbers = {}
    for axis, timestep in zip(axes, KEPT):
        guess = mixture.best_guess(states[timestep], alphas_cumprod[timestep])
        numbers[f"jump_{timestep}"] = f"{energy_distance(guess.numpy(), data.numpy()):.2f}"
        style.scatter(axis, guess, style.VERMILION)
        axis.set_title(f"jump from $t$ = {timestep}")
    numbers["jump_all"] = f"{energy_distance(samples.numpy(), data.numpy()):.2f}"
    for axis, points, title, color in (
        (axes[-2], samples, "all 1000 steps", style.BLUE),
        (axes[-1], data, "data", style.GREY),
    ):
        style.scatter(axis, points, color)
        axis.set_title(title)
    style.save(figure, folder / "one_jump.png")
    return numbers


def schedules(folder: Path) -> Numbers:
    """β, ᾱ and the signal-to-noise ratio of the three schedules in use."""
    kinds = {
        "linear": ("linear (DDPM; the shipped checkpoint)", style.BLUE, "-", (1e-4, 0.02)),
        "scaled_linear": ("scaled linear (LDM)", style.ORANGE, "--", (0.00085, 0.012)),
        "squaredcos_cap_v2": ("cosine (DiffGS)", style.GREEN, "-.", (1e-4, 0.02)),
    }
    figure, axes = style.panels(3, 2.6)
    numbers = {}
    for name, (label, color, line, (start, end)) in kinds.items():
        scheduler = DDPMScheduler(beta_schedule=name, beta_start=start, beta_end=end)
        alphas_cumprod = scheduler.alphas_cumprod
        snr = signal_to_noise(alphas_cumprod)
        look = {"color": color, "ls": line, "label": label}
        axes[0].semilogy(schedule_betas(alphas_cumprod), **look)
        axes[1].plot(alphas_cumprod, **look)
        axes[2].plot(10 * snr.log10(), **look)
        numbers[f"half_{name}"] = str(int((snr < 1).nonzero()[0]))
        numbers[f"end_{name}"] = np.format_float_positional(
            alphas_cumprod[-1].sqrt().item(), precision=2, fractional=False, trim="-"
        )
    axes[0].set(title="noise added by a step, $\\beta_t$", xlabel="$t$")
    axes[1].set(title="signal left, $\\bar\\alpha_t$", xlabel="$t$")
    axes[2].set(title="signal to noise, dB", xlabel="$t$", ylim=(-55, 45))
    axes[2].axhline(0, color=style.GREY, lw=0.6)
    figure.legend(*axes[1].get_legend_handles_labels(), loc="outside lower center", ncols=3)
    style.save(figure, folder / "schedules.png")
    return numbers
