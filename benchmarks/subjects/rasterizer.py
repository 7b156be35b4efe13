"""Drawing and its gradients: our kernels beside dense and tile-wise torch, on one and two threads."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial

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
from ..scenes import sphere_scene
from ..settings import Settings, available_cores
from ..statistics import paired_ratio
from ..table import OURS, Row, make_row
from ..timing import Sample, alternate, torch_threads

COUNTS = (1_000, 4_000, 32_000, 200_000)
SIZES = (128, 256, 512, 1024)
MOST_BYTES = 2_000_000_000
DENSE, TILES = "torch, dense", "torch, tile by tile"
Competitors = dict[tuple[str, int], Callable[[], None]]


def run(settings: Settings) -> Iterator[Row]:
    """Rows of every number of Gaussians, image size, direction and number of threads."""
    threads = settings.pick([count for count in (1, 2) if count <= available_cores()], (1, 2))
    for count in settings.pick(COUNTS, (300,)):
        for size in settings.pick(SIZES, (32,)):
            scene = sphere_scene(count, size)
            for backward in (False, True):
                yield from _case(scene, backward, threads, settings)


def _case(scene: TorchScene, backward: bool, threads: Sequence[int], settings: Settings) -> Iterator[Row]:
    direction = "forward and backward" if backward else "forward"
    case = f"{len(scene.means):,} Gaussians, {scene.width}², {direction}"
    needed = {
        DENSE: dense_bytes(len(scene.means), scene.width * scene.height, backward),
        TILES: tile_bytes(scene, backward),
    }
    rasterizers: dict[str, Rasterizer] = {OURS: rasterize_ours, DENSE: rasterize_dense, TILES: rasterize_tiles}
    run_one = _forward_and_backward if backward else _forward
    competitors = {
        f"{who} {count}": partial(_on_threads, count, run_one, rasterize, scene)
        for who, rasterize in rasterizers.items()
        if needed.get(who, 0) <= MOST_BYTES
        for count in threads
    }
    samples = alternate(competitors, **settings.timing)
    for count in threads:
        ours = samples[f"{OURS} {count}"]
        name = f"{case}, {count} thread{'s' if count > 1 else ''}"
        for who in rasterizers:
            own = samples.get(f"{who} {count}")
            if own is None:
                yield Row("rasterizer", name, who, note=f"left out: would need {needed[who] / 1e9:.1f} GB")
            else:
                figures = _speed_up(samples[f"{who} {threads[0]}"], own) if count > threads[0] else {}
                yield make_row("rasterizer", name, who, own, ours=None if who == OURS else ours, figures=figures)


def _speed_up(alone: list[Sample], shared: list[Sample]) -> dict[str, float]:
    ratio = paired_ratio([one.seconds for one in alone], [one.seconds for one in shared])
    return {"times as fast as one thread": ratio}


def rasterize_ours(scene: TorchScene) -> tuple[torch.Tensor, torch.Tensor]:
    """Our front door, with the results of :func:`rasterize_dense`."""
    colors, alphas, _ = rasterization(
        scene.means, scene.quats, scene.scales, scene.opacities, scene.colors,
        scene.viewmat[None], scene.K[None], scene.width, scene.height,
    )  # fmt: skip
    return colors[0], alphas[0, ..., 0]


def _on_threads(
    count: int, function: Callable[[Rasterizer, TorchScene], None], rasterize: Rasterizer, scene: TorchScene
) -> None:
    with torch_threads(count):
        function(rasterize, scene)


def _forward(rasterize: Rasterizer, scene: TorchScene) -> None:
    with torch.no_grad():
        rasterize(scene)


def _forward_and_backward(rasterize: Rasterizer, scene: TorchScene) -> None:
    scene = with_gradients(scene)
    colors, alphas = rasterize(scene)
    (colors.square().sum() + alphas.sum()).backward()


def with_gradients(scene: TorchScene) -> TorchScene:
    """The scene with leaves that gather gradients in place of its Gaussians."""
    names = ("means", "quats", "scales", "opacities", "colors")
    leaves = {name: getattr(scene, name).detach().clone().requires_grad_() for name in names}
    return replace(scene, **leaves)
