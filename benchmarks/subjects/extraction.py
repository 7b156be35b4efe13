"""Planes to Gaussians: ours and the original's algorithm, on functions of the original's sizes and of ours."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from diffgs_diffusers.extraction import extract_gaussians, gaussians_at
from diffgs_diffusers.extraction_settings import EXTRACTIONS, ExtractionConfig, OriginalExtractionConfig
from diffgs_diffusers.models import GaussianVAE

from ..baselines.original_extraction import RankedCells, place_gaussians, search
from ..baselines.original_functions import make_original_functions
from ..baselines.torch_functions import TorchFunctions
from ..model import shipped_functions
from ..processes import run_task
from ..quality import chamfer_distance, dense_surface, distance_to, mean_probability, picture_psnr
from ..settings import Settings
from ..statistics import paired_ratio
from ..table import OURS, Row, make_row
from ..timing import Sample, alternate

COUNTS = (10_000, 50_000, 350_000, 1_000_000)
RELEASED_COUNT = 1_300_000  # what the original always makes
MOST_FOR_PEAK = 350_000  # memory takes a run of its own; a million is seen in the growth of `generation`
SIZES = {"original": "the original's sizes", "ours": "the shipped model"}
FAST = f"{OURS}, fast"
CONFIGS = {OURS: EXTRACTIONS["even"], FAST: EXTRACTIONS["fast"]}
ORIGINAL = "original's algorithm"
SEARCH = "search"


@dataclass(frozen=True)
class Functions:
    """One object's Gaussian functions.

    Args:
        vae: a VAE, or what stands for it, for :func:`~diffgs_diffusers.extraction.extract_gaussians`.
        planes: [3, C, R, R].
    """

    vae: Any
    planes: Tensor

    def probability(self, points: Tensor) -> Tensor:
        """GauPF [M] at points [M, 3]."""
        return self.vae.heads.probability(self.planes[None], points[None])[0]

    @property
    def plain(self) -> TorchFunctions:
        """The same functions by torch's own operations."""
        return TorchFunctions(self.vae.heads, self.planes)


def make_functions(sizes: str, quick: bool) -> Functions:
    """The functions of a key of ``SIZES``; small ones for a quick run."""
    if sizes == "ours":
        return Functions(*shipped_functions())
    return Functions(*(make_original_functions(16, 32, 16) if quick else make_original_functions()))


@dataclass(frozen=True)
class OriginalRun:
    """How the original's extraction is measured.

    Args:
        config: its numbers.
        fraction: of the queries that are made.
    """

    config: OriginalExtractionConfig
    fraction: float


def original_run(quick: bool, fraction: float) -> OriginalRun:
    """The original's numbers; small ones for a quick run."""
    if quick:
        return OriginalRun(OriginalExtractionConfig(splits=(8, 2, 2)), 0.5)
    return OriginalRun(OriginalExtractionConfig(), fraction)


def ours(functions: Functions, count: int, who: str = OURS) -> Tensor:
    """The centres [count, 3] of a key of ``CONFIGS``; the rest, kept for all rounds, would take GBs."""
    config = CONFIGS[who]
    assert isinstance(config, ExtractionConfig)
    return extract_gaussians(functions.vae, functions.planes, count, config=config).means


@torch.no_grad()
def original_search(functions: Functions, how: OriginalRun) -> RankedCells:
    """The original's octree."""
    return search(functions.plain.probability, how.config, how.fraction)


@torch.no_grad()
def original_rest(functions: Functions, cells: RankedCells, count: int, how: OriginalRun) -> Sample:
    """Its refinement and attributes."""
    return place_gaussians(functions.plain.probability, functions.plain.attributes, cells, count, how.config)


def run(settings: Settings) -> Iterator[Row]:
    """Rows of both sizes and every count, ours and the original's, the latter also as it was released."""
    for sizes, words in SIZES.items():
        yield from _compare(sizes, words, settings)


def _compare(sizes: str, words: str, settings: Settings) -> Iterator[Row]:
    functions = make_functions(sizes, settings.quick)
    how = original_run(settings.quick, settings.fraction)
    counts = tuple(settings.pick(COUNTS, (200,)))
    released = settings.pick((RELEASED_COUNT,), (400,))[0]
    samples = _measure(functions, how, (*counts, released), settings)
    reference = dense_surface(
        functions.probability,
        half_side=(1 + functions.vae.config.padding) / 2,
        truncation=functions.vae.config.truncation,
        count=settings.pick((100_000,), (500,))[0],
    )
    centres = _original_centres(functions, how, counts)
    for count in counts:
        case = f"{words}, {count:,} Gaussians"
        own, original = samples[f"{OURS} {count}"], _whole(samples, count)
        for who in CONFIGS:
            found = samples[f"{who} {count}"]
            peak = _peak(settings, "extract_ours", sizes, count, who=who) if count <= MOST_FOR_PEAK else None
            figures = _quality(functions, found[-1].result, reference, whole=True)
            beside = None if who == OURS else own
            yield make_row("extraction", case, who, found, ours=beside, peak_bytes=peak, figures=figures)
        yield _original_row(case, original, own, functions, reference, how, centres.get(count))
    peak = _peak(settings, "extract_original", sizes, released, fraction=how.fraction)
    case = f"{words}, {released:,} Gaussians as released"
    whole = _whole(samples, released)
    yield _original_row(case, whole, None, functions, reference, how, peak_bytes=peak)
    for who in CONFIGS:
        ratios: dict[str, float | str] = {
            f"{count:,}": _cpu_ratio(whole, samples[f"{who} {count}"]) for count in counts
        }
        yield Row("extraction", f"CPU time of {case}, beside so many of ours", who, figures=ratios)


def _original_centres(functions: Functions, how: OriginalRun, counts: tuple[int, ...]) -> dict[int, Tensor]:
    """Centres that the original's whole algorithm finds: for their quality alone, so our faster heads are asked."""
    cells = search(functions.probability, how.config)
    return {
        count: place_gaussians(functions.probability, lambda points: None, cells, count, how.config).result
        for count in counts
        if count <= MOST_FOR_PEAK
    }


def _cpu_ratio(values: list[Sample], others: list[Sample]) -> float:
    """How many times as much processor time the values took, round by round."""
    return paired_ratio(*([one.cpu_seconds or math.nan for one in samples] for samples in (values, others)))


def _peak(settings: Settings, task: str, sizes: str, count: int, **options: float | str) -> int | None:
    """Most memory of a process that only extracts."""
    options |= {"quick": settings.quick, "num_gaussians": count}
    return run_task(task, settings.threads, here=settings.quick, sizes=sizes, **options).peak_bytes


def _measure(
    functions: Functions, how: OriginalRun, counts: tuple[int, ...], settings: Settings
) -> dict[str, list[Sample]]:
    """Samples of ours and of the original's parts; its search, which all counts share, is made once a round."""
    searched: list[RankedCells] = []

    def search_once() -> Sample:
        searched[:] = [original_search(functions, how)]
        return searched[0].cost

    def rest(count: int) -> Sample:
        return original_rest(functions, searched[0], count, how)

    competitors: dict[str, Callable[[], Any]] = {SEARCH: search_once}
    for count in counts[:-1]:
        for who in CONFIGS:
            competitors[f"{who} {count}"] = partial(ours, functions, count, who)
    for count in counts:
        competitors[f"{ORIGINAL} {count}"] = partial(rest, count)
    for who in CONFIGS:
        ours(functions, 100, who)  # loads the kernels; a warm-up round would take minutes
    whole = how.fraction == 1
    rounds = 1 if whole else settings.rounds
    return alternate(competitors, rounds=rounds, budget=settings.budget, warm_up=False)


def _whole(samples: dict[str, list[Sample]], count: int) -> list[Sample]:
    """The original's search and what follows it, round by round."""
    pairs = zip(samples[SEARCH], samples[f"{ORIGINAL} {count}"])
    return [first.followed_by(second) for first, second in pairs]


def _original_row(
    case: str,
    samples: list[Sample],
    own: list[Sample] | None,
    functions: Functions,
    reference: Tensor,
    how: OriginalRun,
    centres: Tensor | None = None,
    peak_bytes: int | None = None,
) -> Row:
    note = f"batches of {how.config.batch_size:,} points (released: 1,048,576)"
    if how.fraction < 1:
        note += f"; {how.fraction:.3g} of the queries made, time extrapolated"
    if centres is not None:
        note += "; centres from a run with all of them"
    is_whole = centres is not None or how.fraction == 1
    figures = _quality(functions, samples[-1].result if centres is None else centres, reference, is_whole)
    return make_row(
        "extraction", case, ORIGINAL, samples, ours=own, peak_bytes=peak_bytes, figures=figures, note=note
    )


def _quality(functions: Functions, means: Tensor, reference: Tensor, whole: bool) -> dict[str, float | str]:
    """How good the centres are; a share of them has no coverage that could be compared."""
    figures: dict[str, float | str] = {
        "GauPF at centres": f"{mean_probability(functions.probability, means):.4f}",
        "mean distance to the surface": distance_to(means, reference),
    }
    if whole:
        figures["Chamfer distance"] = chamfer_distance(means, reference)
    if whole and isinstance(functions.vae, GaussianVAE):  # random functions show nothing
        drawn = [gaussians_at(functions.vae, functions.planes, points) for points in (means, reference)]
        figures["PSNR in dB to the dense surface"] = picture_psnr(*drawn)
    return figures
