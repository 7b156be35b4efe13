"""Fitting Gaussians to views as the data are made, with our rasteriser and with torch's in its place."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext
from functools import partial
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor

from diffgs_diffusers.cameras import Cameras, orbit_cameras
from diffgs_diffusers.data.refinement import RefinementSettings, ViewPyramid, fit_psnr, refine
from diffgs_diffusers.functional.spacing import local_spacing
from diffgs_diffusers.gaussians import GaussianSplats

from ..baselines.torch_rasterizer import TorchScene, rasterize_tiles
from ..scenes import colorful_sphere
from ..settings import Settings
from ..table import OURS, Row, make_row
from ..timing import Sample, Stopwatch, alternate

TILES = "torch, tile by tile"
VIEWS = 24
STEPS = {OURS: 200, TILES: 4}  # the baseline's steps are alike; two hundred of them would take minutes


def run(settings: Settings) -> Iterator[Row]:
    """Rows of one fit with both rasterisers; times are those of all its steps."""
    count, size = settings.pick(((8_192, 128),), ((200, 32),))[0]
    target = colorful_sphere(count)
    views = view_pyramid(target, size, settings.pick((VIEWS,), (2,))[0])
    start, spacing = perturbed(target)
    steps = settings.pick((STEPS,), (dict.fromkeys(STEPS, 2),))[0]
    whole = steps[OURS]
    competitors = {
        who: partial(fit, who, start, spacing, views, number, whole / number) for who, number in steps.items()
    }
    samples = alternate(competitors, **settings.timing)
    case = f"{count:,} Gaussians to {size}² and half of it, {whole} steps"
    for who, own in samples.items():
        figures: dict[str, float | str] = {}
        note = f"{steps[who]} steps made, time extrapolated"
        if steps[who] == whole:
            before, after = (fit_psnr(splats, views.cameras, views.fine) for splats in (start, own[-1].result))
            figures, note = {"PSNR before": f"{before:.1f} dB", "PSNR after": f"{after:.1f} dB"}, ""
        yield make_row(
            "fit", case, who, own, ours=None if who == OURS else samples[OURS], figures=figures, note=note
        )


def view_pyramid(target: GaussianSplats, size: int, count: int) -> ViewPyramid:
    """What the fits shall look like."""
    cameras = orbit_cameras(count, size)
    fine, coarse = (_images(target, one) for one in (cameras, cameras.resized(size // 2, size // 2)))
    return ViewPyramid(cameras, fine, coarse)


@torch.no_grad()
def _images(target: GaussianSplats, cameras: Cameras) -> Tensor:
    return target.render(cameras)


def perturbed(target: GaussianSplats) -> tuple[GaussianSplats, Tensor]:
    """The target in grey and with other sizes, and the spacing of its centres: a rough start, as surfels are."""
    generator = torch.Generator().manual_seed(1)
    factors = torch.empty_like(target.scales).uniform_(0.6, 1.6, generator=generator)
    grey = GaussianSplats(
        target.means,
        target.quats,
        target.scales * factors,
        target.opacities,
        torch.zeros_like(target.sh0),
    )
    return grey, torch.from_numpy(local_spacing(target.means.numpy()))


def fit(who: str, start: GaussianSplats, spacing: Tensor, views: ViewPyramid, steps: int, scale: float) -> Sample:
    """The package's own fit, with torch's rasteriser in the place of ours if asked for; time times ``scale``."""
    swapped: Any = nullcontext()
    if who == TILES:
        swapped = patch("diffgs_diffusers.data.refinement.rasterization", rasterize_as_torch)
    watch = Stopwatch()
    with swapped:
        generator = torch.Generator().manual_seed(0)
        result = refine(start, spacing, views, RefinementSettings(iterations=steps), generator)
    return watch.read(scale, result)


def rasterize_as_torch(
    means: Tensor,
    quats: Tensor,
    scales: Tensor,
    opacities: Tensor,
    colors: Tensor,
    viewmats: Tensor,
    Ks: Tensor,
    width: int,
    height: int,
    rasterize_mode: str,
) -> tuple[Tensor, Tensor, None]:
    """One camera by :func:`rasterize_tiles`, which has the classic mode only: the same work but for a factor."""
    scene = TorchScene(means, quats, scales, opacities, colors, viewmats[0], Ks[0], width, height)
    images, alphas = rasterize_tiles(scene)
    return images[None], alphas[None, ..., None], None
