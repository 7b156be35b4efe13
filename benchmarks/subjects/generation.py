"""Prompt to PLY: from nothing, with the model loaded, and what the parts take."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import torch

from ..model import PROMPT, generate_latents, load_pipeline
from ..processes import run_task
from ..settings import Settings
from ..statistics import growth_exponent, summarize
from ..table import OURS, Row, make_row
from ..timing import Sample, Stopwatch, alternate

COUNTS = (10_000, 20_000, 50_000, 100_000, 200_000, 500_000, 1_000_000)


def run(settings: Settings) -> Iterator[Row]:
    """Rows of the cold start, the warm one, the parts, and growth."""
    with tempfile.TemporaryDirectory() as folder:
        yield from _cold(settings, Path(folder))
        yield from _warm(settings, Path(folder))
    yield from _parts(settings)
    yield from _growth(settings)


def _cold(settings: Settings, folder: Path) -> Iterator[Row]:
    """The command in a process of its own, with and without the picture."""
    count = settings.pick((50_000,), (100,))[0]
    words = ["generate", PROMPT, "-o", str(folder / "cold.ply"), "--num-gaussians", str(count)]
    words += ["--steps", "1"] if settings.quick else []
    commands = {"without a picture": [*words, "--no-sheet"], "with a picture": words}
    commands = dict(list(commands.items())[: 1 if settings.quick else 2])
    competitors = {
        who: partial(run_task, "run_command", settings.threads, arguments=command)
        for who, command in commands.items()
    }
    # The first round fills the disk's cache and numba's.
    samples = alternate(competitors, **settings.timing, warm_up=not settings.quick)
    for who, own in samples.items():
        yield make_row("generation", f"cold start to a PLY of {count:,} Gaussians", f"{OURS}, {who}", own)


def _warm(settings: Settings, folder: Path) -> Iterator[Row]:
    """The same from a pipeline that is loaded."""
    pipe = load_pipeline()
    steps = {"num_inference_steps": 1} if settings.quick else {}

    def generate(count: int) -> None:
        splats = pipe(PROMPT, num_gaussians=count, generator=torch.Generator().manual_seed(0), **steps).gaussians[0]
        splats.save(folder / "warm.ply")

    for count in settings.pick((10_000, 50_000), (100,)):
        samples = alternate({OURS: partial(generate, count)}, **settings.timing)
        yield make_row("generation", f"warm, prompt to a PLY of {count:,} Gaussians", OURS, samples[OURS])


def _parts(settings: Settings) -> Iterator[Row]:
    """Encoding of the prompt, denoising steps with and without guidance, decoding to planes."""
    pipe = load_pipeline()
    latents = generate_latents(pipe, 1 if settings.quick else None)
    vae = pipe.vae
    steps = 2 if settings.quick else 10

    def denoise(guidance: float) -> Sample:
        generator = torch.Generator().manual_seed(0)
        watch = Stopwatch()
        pipe(PROMPT, num_inference_steps=steps, guidance_scale=guidance, generator=generator, output_type="latent")
        return watch.read(1 / steps)

    def encode() -> None:
        with torch.no_grad():
            pipe.encode_prompt(PROMPT)

    def decode() -> None:
        with torch.no_grad():
            vae.decode(vae.denormalize_latents(latents))

    competitors: dict[str, Callable[[], Any]] = {
        "text encoder": encode,
        "denoiser step, guided": partial(denoise, 3.0),
        "denoiser step, not guided": partial(denoise, 1.0),
        "latents to planes": decode,
    }
    samples = alternate(competitors, **settings.timing)
    for part, own in samples.items():
        yield make_row("generation", part, OURS, own)


def _growth(settings: Settings) -> Iterator[Row]:
    """Extraction and writing by number of Gaussians, each in a process of its own, and the exponents."""
    counts = settings.pick(COUNTS, (100, 200))
    steps = 1 if settings.quick else None
    competitors = {str(count): partial(_grow, count, steps, settings) for count in counts}
    rounds = min(settings.rounds, 5)
    samples = alternate(competitors, rounds=rounds, budget=settings.budget, warm_up=False)
    seconds, added = [], []
    for count in counts:
        own = samples[str(count)]
        seconds.append(summarize([one.seconds for one in own]).median)
        added.append(summarize([one.result for one in own]).median)
        figures: dict[str, float | str] = {"MB beyond the loaded model": added[-1] / 1e6}
        yield make_row("generation", f"latents to a PLY of {count:,} Gaussians", OURS, own, figures=figures)
    exponents = {"of time": growth_exponent(counts, seconds)}
    exponents["of memory beyond the loaded model"] = growth_exponent(counts, [max(one, 1.0) for one in added])
    case = f"exponent of growth, {counts[0]:,} to {counts[-1]:,} Gaussians"
    yield Row("generation", case, OURS, figures=exponents)


def _grow(count: int, steps: int | None, settings: Settings) -> Sample:
    """A child's own time, its peak, and what the peak grew by as result."""
    child = run_task("grow", settings.threads, here=settings.quick, num_gaussians=count, steps=steps)
    peak = child.peak_bytes or 0
    result = child.result
    return Sample(result["seconds"], result["cpu_seconds"], peak, peak - result["bytes_before"])
