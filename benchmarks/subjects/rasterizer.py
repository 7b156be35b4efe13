"""Drawing and its gradients: our kernels beside dense and tile-wise torch, on one and two threads."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from functools import cache, partial

import torch

from diffgs_diffusers.rendering import rasterization

from ..baselines.torch_rasterizer import (
    Rasterizer,
    TorchScene,
    dense_bytes,
    rasterize_dense,
    rasterize_tiles,
    tile_bytes,
)
from ..neighbour import Neighbour
from ..scenes import sphere_scene
from ..settings import Settings, available_cores
from ..statistics import paired_ratio
from ..table import OURS, Row, make_row
from ..timing import Sample, alternate, least_disturbed, torch_threads

COUNTS = (1_000, 4_000, 32_000, 200_000)
SIZES = (128, 256, 512, 1024)
MOST_BYTES = 2_000_000_000
DENSE, TILES = "torch, dense", "torch, tile by tile"
GAIN = "times as fast as one thread"
BESIDE = "ours, beside a process that does the same"


def run(settings: Settings) -> Iterator[Row]:
    """Rows of every number of Gaussians, image size, direction and number of threads."""
    threads = settings.pick([count for count in (1, 2) if count <= available_cores()], (1, 2))
    with Neighbour(_drawing) if len(threads) > 1 else nullcontext() as neighbour:
        for count in settings.pick(COUNTS, (300,)):
            for size in settings.pick(SIZES, (32,)):
                scene = sphere_scene(count, size)
                for backward in (False, True):
                    yield from _case(scene, backward, threads, settings, neighbour)


def _case(
    scene: TorchScene, backward: bool, threads: Sequence[int], settings: Settings, neighbour: Neighbour | None
) -> Iterator[Row]:
    direction = "forward and backward" if backward else "forward"
    case = f"{len(scene.means):,} Gaussians, {scene.width}², {direction}"
    needed = {
        DENSE: dense_bytes(len(scene.means), scene.width * scene.height, backward),
        TILES: tile_bytes(scene, backward),
    }
    rasterizers: dict[str, Rasterizer] = {OURS: rasterize_ours, DENSE: rasterize_dense, TILES: rasterize_tiles}
    run_one = _forward_and_backward if backward else _forward
    competitors: dict[str, Callable[[], Sample | None]] = {
        f"{who} {count}": partial(_on_threads, count, run_one, rasterize, scene)
        for who, rasterize in rasterizers.items()
        if needed.get(who, 0) <= MOST_BYTES
        for count in threads
    }
    samples = alternate(competitors, **settings.timing)
    gains: dict[str, list[Sample]] = {}
    if neighbour:
        drawing = partial(run_one, rasterize_ours, scene)
        work = (len(scene.means), scene.width, backward)
        turns = {f"{OURS} {count}": partial(_alone, count, drawing) for count in threads}
        gains = alternate(turns | {BESIDE: partial(_beside, neighbour, work, drawing)}, **settings.timing)
    for count in threads:
        mine = samples[f"{OURS} {count}"]
        name = f"{case}, {count} thread{'s' if count > 1 else ''}"
        for who in rasterizers:
            own = samples.get(f"{who} {count}")
            if own is None:
                yield Row("rasterizer", name, who, note=f"left out: would need {needed[who] / 1e9:.1f} GB")
            else:
                alone = samples[f"{who} {threads[0]}"]
                figures: dict[str, float] = {}
                if count > threads[0]:
                    figures = _own_gains(gains, count) if who == OURS else {GAIN: _gain(alone, own)}
                yield make_row("rasterizer", name, who, own, ours=None if who == OURS else mine, figures=figures)


def _own_gains(samples: Mapping[str, list[Sample]], count: int) -> dict[str, float]:
    alone = samples[f"{OURS} 1"]
    return {GAIN: _gain(alone, samples[f"{OURS} {count}"]), "two processes": 2 * _gain(alone, samples[BESIDE])}


def _gain(alone: list[Sample], shared: list[Sample]) -> float:
    return paired_ratio([one.seconds for one in alone], [one.seconds for one in shared])


def _alone(threads: int, drawing: Callable[[], None]) -> Sample:
    with torch_threads(threads):
        return least_disturbed(drawing)


def _beside(neighbour: Neighbour, work: tuple[int, int, bool], drawing: Callable[[], None]) -> Sample:
    with neighbour.working(*work):
        return _alone(1, drawing)


def _drawing(count: int, size: int, backward: bool) -> Callable[[], None]:
    """What a neighbour does: our rasteriser on the scene of `_case`."""
    return partial(_forward_and_backward if backward else _forward, rasterize_ours, sphere_scene(count, size))


def rasterize_ours(scene: TorchScene) -> tuple[torch.Tensor, torch.Tensor]:
    """Our front door, with the results of :func:`rasterize_dense`."""
    colors, alphas, _ = rasterization(
        scene.means, scene.quats, scene.scales, scene.opacities, scene.colors,
        scene.viewmat[None], scene.K[None], scene.width, scene.height,
    )  # fmt: skip
    return colors.squeeze(0), alphas.squeeze((0, -1))


def _on_threads(
    count: int, function: Callable[[Rasterizer, TorchScene], None], rasterize: Rasterizer, scene: TorchScene
) -> None:
    with torch_threads(count):
        function(rasterize, scene)


def _forward(rasterize: Rasterizer, scene: TorchScene) -> None:
    with torch.no_grad():
        rasterize(scene)


def _forward_and_backward(rasterize: Rasterizer, scene: TorchScene) -> None:
    # The images' gradients are given: a loss is torch's work, not a rasteriser's.
    torch.autograd.backward(rasterize(with_gradients(scene)), _image_gradients(scene.height, scene.width))


@cache
def _image_gradients(height: int, width: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(height, width, 3, generator=generator), torch.randn(height, width, generator=generator)


def with_gradients(scene: TorchScene) -> TorchScene:
    """The scene with leaves that gather gradients in place of its Gaussians."""
    names = ("means", "quats", "scales", "opacities", "colors")
    leaves = {name: getattr(scene, name).detach().requires_grad_() for name in names}
    return replace(scene, **leaves)
