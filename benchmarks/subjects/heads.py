"""The function heads: queries per second, and how near matrix products of that precision come to the peak.

They are asked as extraction asks them: cell by cell, in parts that stay in the cache, each thread its own. It folds
GauPF's first layer into the planes: that is counted with the products that it has unfolded, as answers count. GauCF
and GauTF are asked for what their heads make of a point, which extraction decodes for tens of thousands at once.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from diffgs_diffusers.functional.octree import Cells, surface_cells
from diffgs_diffusers.functional.plane_lookup import cell_by_cell
from diffgs_diffusers.functional.threads import map_parts
from diffgs_diffusers.surface_points import constant_heads, points_at_once, random_points

from ..flops import count_flops, square_gemm
from ..machine import measured_peak
from ..settings import Settings
from ..statistics import summarize
from ..table import Row, make_row
from ..timing import alternate
from .extraction import SIZES, Functions, make_functions

PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16}
GEMM, FOLDED = "GEMM", "GauPF, folded"
PARTS = 16
Competitor = Callable[[], Any]
Question = Callable[[Tensor], Any]


def run(settings: Settings) -> Iterator[Row]:
    """Rows of both sizes and precisions: heads with and without their lookup, GauPF folded, its gradient."""
    for sizes, words in SIZES.items():
        for precision, dtype in PRECISIONS.items():
            functions = constant(make_functions(sizes, settings.quick), precision)
            (part,) = settings.pick((points_at_once(functions.vae.heads),), (16,))
            case = f"{words}, {precision}, {PARTS} × {part:,} points"
            yield from _case(case, functions, part, dtype, settings)


def constant(functions: Functions, precision: Any) -> Functions:
    """A copy of the functions with heads and planes as an extraction in this precision has them."""
    vae = copy.deepcopy(functions.vae)
    vae.heads = constant_heads(vae.heads, precision)
    return Functions(vae, cell_by_cell(functions.planes))


def _case(case: str, functions: Functions, part: int, dtype: torch.dtype, settings: Settings) -> Iterator[Row]:
    points, _ = random_points(_all_cells(functions), PARTS * part, torch.Generator().manual_seed(0))
    product, operations = square_gemm(settings.pick((2048,), (64,))[0], dtype)
    asked = _asked(functions, points.split(part), dtype)
    flops = {who: PARTS * count_flops(partial(function, inputs[0])) for who, (function, inputs) in asked.items()}
    flops[FOLDED] = flops["GauPF"]
    competitors: dict[str, Competitor] = {GEMM: product}
    competitors |= {who: partial(map_parts, *each, points.device) for who, each in asked.items()}
    samples = alternate(competitors, **settings.timing)
    yield make_row("heads", case, GEMM, samples[GEMM], figures={"GFLOP/s": _rate(samples[GEMM], operations / 1e9)})
    # Whatever its neighbours do, a processor's peak is what it has once reached; so is a head's.
    peak = max(_best(samples[GEMM], operations), measured_peak(dtype, settings))
    for who in list(competitors)[1:]:
        figures: dict[str, float | str] = {"queries/s": _rate(samples[who], len(points))}
        if "gradient" not in who:
            median, best = _rate(samples[who], flops[who]), _best(samples[who], flops[who])
            figures |= {"GFLOP/s": median / 1e9, "of the peak": f"{best / peak:.0%} (median {median / peak:.0%})"}
        yield make_row("heads", case, who, samples[who], figures=figures)


def _all_cells(functions: Functions) -> Cells:
    """The box's cells, all of them, in the order in which an octree finds them."""
    return surface_cells(
        lambda centers: torch.ones(len(centers)),
        half_side=(1 + functions.vae.config.padding) / 2,
        start_resolution=16,
        depth=1,
        threshold=0.0,
        slope=0.0,
    )


def _asked(
    functions: Functions, parts: Sequence[Tensor], dtype: torch.dtype
) -> dict[str, tuple[Question, Sequence[Tensor]]]:
    """What is asked in this precision, and of which parts."""
    heads, planes = functions.vae.heads, functions.planes[None]
    folded = heads.probability_of(functions.planes)

    def raw_attributes(points: Tensor) -> tuple[Tensor, Tensor]:
        return heads.raw_attributes(heads.features(planes, points[None]))

    with torch.no_grad():
        features = [heads.features(planes, part[None]) for part in parts]
    asked: dict[str, tuple[Question, Sequence[Tensor]]] = {
        "GauPF's head alone": (partial(_without_gradient, heads.read_probability), features),
        "GauPF": (partial(_without_gradient, functions.probability), parts),
        FOLDED: (partial(_without_gradient, folded), parts),
        "GauPF and its gradient": (partial(_with_gradient, functions.probability), parts),
        "GauPF, folded, and its gradient": (partial(_with_gradient, folded), parts),
    }
    if dtype != torch.float32:  # no extraction asks the other two in less
        return asked
    return asked | {
        "GauCF's and GauTF's heads alone": (partial(_without_gradient, heads.raw_attributes), features),
        "GauCF and GauTF": (partial(_without_gradient, raw_attributes), parts),
    }


def _without_gradient(function: Question, inputs: Tensor) -> None:
    with torch.no_grad():
        function(inputs)


def _with_gradient(function: Callable[[Tensor], Tensor], points: Tensor) -> None:
    with torch.enable_grad():
        leaf = points.clone().requires_grad_()
        torch.autograd.grad(function(leaf).sum(), leaf)


def _rate(samples: list[Any], amount: float) -> float:
    """How much of something is done in a second."""
    return amount / summarize([sample.seconds for sample in samples]).median


def _best(samples: list[Any], amount: float) -> float:
    """The most that was done in a second."""
    return amount / min(sample.seconds for sample in samples)
