"""DDPM on the plane: new points like a given set, in under two minutes on one CPU core.

    python examples/ddpm_points_2d.py [--data moons|spiral|rings] [--output_dir FOLDER] [--seed 0] [--steps 2000]

Trains the project's own denoiser with diffusers' DDPM scheduler as training/train_ldm.py does with latents; only
the data are small. One sample is one point, written as the sequence of its two coordinates: [C, L] = [1, 2]. The
U-Net then has two positions, x and y, on its finer level and one, the pair, on its coarser level; convolutions,
attention and the halving between the levels are where the coordinates meet.

Prints the energy distance from samples to points that training has not seen and the p-value of the permutation test
that both come from one distribution, the same for the untrained denoiser, and writes a picture of all three. Needs
matplotlib, which the extra `dev` brings.
"""

from __future__ import annotations

import argparse
import math
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from diffusers import DDPMScheduler
from matplotlib.figure import Figure
from torch import Tensor

from diffgs_diffusers import UNet1DConditionModel
from diffgs_diffusers.evaluation.two_sample import energy_distance, permutation_test
from diffgs_diffusers.training.averaging import AveragedWeights
from diffgs_diffusers.training.objectives_diffusion import diffusion_loss, sample_timesteps

TRAINING_POINTS = 10_000
HELD_OUT_POINTS = 1000
DATA_SETS = ("moons", "spiral", "rings")


@dataclass(frozen=True)
class Verdict:
    """How far samples are from held-out points.

    Args:
        distance: energy distance, in the unit of the standardised points.
        p_value: that samples and held-out points come from one distribution.
    """

    distance: float
    p_value: float

    def __str__(self) -> str:
        return f"energy distance {self.distance:.3f}, p = {self.p_value:.3f}"


def draw_points(name: str, count: int, generator: np.random.Generator, jitter: bool = True) -> Tensor:
    """[count, 2] points about a set's curves, or on them without jitter; about zero mean and unit variance."""
    turn = generator.uniform(0, 1, count)
    if name == "moons":
        is_lower = generator.random(count) < 0.5
        angle = np.pi * turn
        points = np.stack([np.cos(angle), np.sin(angle)], axis=1)
        points[is_lower] = [1.0, 0.5] - points[is_lower]
        center, size, spread = [0.5, 0.25], [0.87, 0.50], 0.08
    elif name == "spiral":
        angle = 3 * np.pi * np.sqrt(turn)
        points = angle[:, None] / (3 * np.pi) * np.stack([np.cos(angle), np.sin(angle)], axis=1)
        center, size, spread = [-0.045, 0.203], [0.507, 0.448], 0.02
    elif name == "rings":
        angle, radius = 2 * np.pi * turn, np.where(generator.random(count) < 0.4, 0.4, 1.0)
        points = radius[:, None] * np.stack([np.cos(angle), np.sin(angle)], axis=1)
        center, size, spread = [0.0, 0.0], [0.58, 0.58], 0.05
    else:
        raise ValueError(f"data must be one of {', '.join(DATA_SETS)}, got {name!r}.")
    points = points + generator.normal(0, spread, points.shape) * jitter
    return torch.from_numpy((points - center) / size).float()


def make_denoiser(seed: int) -> UNet1DConditionModel:
    """A small denoiser of [1, 2]: two levels, self-attention on the finer one."""
    torch.manual_seed(seed)
    return UNet1DConditionModel(
        sample_size=2,
        in_channels=1,
        block_out_channels=(32, 64),
        layers_per_block=1,
        attention_levels=(True, False),
        attention_head_dim=32,
        cross_attention_dim=32,
        norm_num_groups=8,
    )


def make_scheduler(prediction_type: str) -> DDPMScheduler:
    """100 steps of the cosine schedule; points are not confined to [−1, 1]."""
    return DDPMScheduler(
        num_train_timesteps=100,
        beta_schedule="squaredcos_cap_v2",
        prediction_type=prediction_type,
        clip_sample=False,
    )


def train(
    unet: UNet1DConditionModel,
    scheduler: DDPMScheduler,
    points: Tensor,
    steps: int,
    seed: int,
    batch_size: int = 256,
    learning_rate: float = 2e-3,
) -> None:
    """DDPM, algorithm 1: noise a batch, predict, step down the squared error. Leaves the averaged weights."""
    generator = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.AdamW(unet.parameters(), lr=learning_rate, weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min(1.0, (step + 1) / 100) * 0.5 * (1 + math.cos(math.pi * step / steps))
    )
    average = AveragedWeights(unet, decay=0.995)
    unet.train()
    for step in range(steps):
        chosen = torch.randint(len(points), (batch_size,), generator=generator)
        clean = points[chosen][:, None]
        noise = torch.randn(clean.shape, generator=generator)
        timesteps = sample_timesteps(scheduler, batch_size, generator)
        loss = diffusion_loss(unet, scheduler, clean, noise, timesteps)["loss"]
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        schedule.step()
        average.update()
        if (step + 1) % max(1, steps // 5) == 0:
            print(f"step {step + 1} of {steps}: loss {loss.item():.3f}", flush=True)
    with average.applied():
        averaged = {name: value.clone() for name, value in unet.state_dict().items()}
    unet.load_state_dict(averaged)


@torch.no_grad()
def sample(unet: UNet1DConditionModel, scheduler: DDPMScheduler, count: int, seed: int) -> Tensor:
    """DDPM, algorithm 2: from noise, all steps back. Returns [count, 2]."""
    generator = torch.Generator().manual_seed(seed)
    unet.eval()
    points = torch.randn(count, 1, 2, generator=generator)
    scheduler.set_timesteps(scheduler.config.num_train_timesteps)
    for timestep in scheduler.timesteps:
        output = unet(points, timestep).sample
        points = scheduler.step(output, timestep, points, generator=generator).prev_sample
    return points[:, 0]


def judge(samples: Tensor, held_out: Tensor) -> Verdict:
    """Samples beside points that training has not seen."""
    points, others = samples.numpy(), held_out.numpy()
    return Verdict(energy_distance(points, others), permutation_test(points, others))


def draw(panels: dict[str, Tensor], path: Path) -> None:
    """Writes the sets of points side by side."""
    figure = Figure(figsize=(3.2 * len(panels), 3.4), layout="constrained")
    for axes, (title, points) in zip(figure.subplots(1, len(panels), sharex=True, sharey=True), panels.items()):
        axes.scatter(*points.T, s=3, linewidths=0, alpha=0.6, color="#0072B2")
        axes.set(title=title, aspect="equal", xlim=(-3, 3), ylim=(-3, 3))
    figure.savefig(path, dpi=100)


def run(
    data: str, seed: int, steps: int, prediction_type: str = "v_prediction"
) -> tuple[dict[str, Tensor], dict[str, Verdict]]:
    """Trains and samples; returns held-out points and samples, and what the test says of the samples."""
    generator = np.random.default_rng(seed)
    points = draw_points(data, TRAINING_POINTS, generator)
    held_out = draw_points(data, HELD_OUT_POINTS, generator)
    unet, scheduler = make_denoiser(seed), make_scheduler(prediction_type)
    untrained = sample(unet, scheduler, HELD_OUT_POINTS, seed + 1)
    train(unet, scheduler, points, steps, seed)
    trained = sample(unet, scheduler, HELD_OUT_POINTS, seed + 1)
    panels = {"held-out points": held_out, "samples": trained, "samples of the untrained": untrained}
    return panels, {"trained": judge(trained, held_out), "untrained": judge(untrained, held_out)}


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", choices=DATA_SETS, default="moons", help="the set of points")
    parser.add_argument("--output_dir", type=Path, default=Path("outputs/points"), help="where points.png goes")
    parser.add_argument("--seed", type=int, default=0, help="of the data, the weights, the noise")
    parser.add_argument("--steps", type=int, default=2000, help="training steps")
    parser.add_argument(
        "--prediction_type",
        choices=("epsilon", "sample", "v_prediction"),
        default="v_prediction",
        help="what the denoiser predicts: the noise, the point, or what lies between; the last one untrained, its "
        "output 0, draws a standard normal, where the noise, untrained, explodes",
    )
    return parser


def main() -> None:
    args = build_parser().parse_args()
    if args.steps < 1:
        raise SystemExit(f"--steps must be at least 1, got {args.steps}.")
    start = time.perf_counter()
    panels, verdicts = run(args.data, args.seed, args.steps, args.prediction_type)
    for name, verdict in verdicts.items():
        print(f"{name}: {verdict} against {HELD_OUT_POINTS} held-out points")
    args.output_dir.mkdir(parents=True, exist_ok=True)
    draw(panels, args.output_dir / "points.png")
    print(f"{args.output_dir / 'points.png'} after {time.perf_counter() - start:.0f} s")


if __name__ == "__main__":
    main()
