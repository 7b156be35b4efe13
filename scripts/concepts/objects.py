"""Pictures of 3D objects: latents, denoising, the three functions, the octree."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.collections import LineCollection, PolyCollection
from scipy.spatial import cKDTree
from torch import Tensor

from diffgs_diffusers import DiffGSPipeline, orbit_cameras
from diffgs_diffusers.extraction import EmptySurfaceError
from diffgs_diffusers.extraction_settings import ExtractionConfig
from diffgs_diffusers.functional.gaupf import core_distances, probability_targets
from diffgs_diffusers.functional.image_metrics import psnr
from diffgs_diffusers.functional.octree import Cells, surface_cells
from diffgs_diffusers.functional.spherical_harmonics import SH_C0
from diffgs_diffusers.functional.triplane import sequence_to_planes

from . import style
from .scene import PROMPT, SEED, STEPS, generated, picture

Numbers = dict[str, str]
SHOWN_STEPS = (0, 4, 8, 12, 16, STEPS - 1)
_GRID = 160  # points along a side of a slice


@torch.no_grad()
def latent(folder: Path, pipe: DiffGSPipeline) -> Numbers:
    """An object, the latent planes that the VAE makes of it, and what it decodes from them."""
    splats = generated(pipe, PROMPT, SEED).splats
    posterior = pipe.vae.encode(splats).latent_dist
    latents = pipe.vae.normalize_latents(posterior.mode())
    restored = pipe.decode_latents(latents, len(splats), torch.Generator().manual_seed(0))[0]
    planes = sequence_to_planes(latents, pipe.vae.latent_resolution)[0]
    figure, axes = style.panels(5, 2.1)
    axes[0].imshow(picture(splats))
    axes[0].set_title(f"{len(splats):,} Gaussians")
    for axis, plane, name in zip(axes[1:4], planes, ("xz", "xy", "yz")):
        axis.imshow((plane[:3].permute(1, 2, 0) / 5 + 0.5).clamp(0, 1).numpy())
        axis.set_title(f"latent plane {name}")
    axes[4].imshow(picture(restored))
    axes[4].set_title("decoded")
    for axis in axes:
        style.bare(axis)
    style.save(figure, folder / "latent.png")
    cameras = orbit_cameras(4, 128)
    images = [one.render(cameras, background=(1.0, 1.0, 1.0)).clamp(0, 1) for one in (splats, restored)]
    per_gaussian = splats.to_tensor().shape[1]
    return {
        "object_gaussians": f"{len(splats):,}",
        "object_numbers": f"{len(splats) * per_gaussian:,}",
        "numbers_per_gaussian": str(per_gaussian),
        "latent_numbers": f"{latents.numel():,}",
        "latent_ratio": f"{len(splats) * per_gaussian / latents.numel():.0f}",
        "latent_channels": str(latents.shape[1]),
        "latent_side": str(pipe.vae.latent_resolution),
        "reconstruction_psnr": f"{psnr(*images).mean():.1f}",
        "posterior_deviation_share": f"{100 * _posterior_share(pipe, posterior):.0f}",
    }


def _posterior_share(pipe: DiffGSPipeline, posterior: Any) -> float:
    """Mean of the posterior's standard deviations as a share of the latents' own spread."""
    deviations = (0.5 * posterior.logvar).exp().mean(dim=2)
    return float((deviations / torch.tensor(pipe.vae.config.latents_std)).mean())


def denoising(folder: Path, pipe: DiffGSPipeline) -> Numbers:
    """The denoiser's guess of the object in several of its steps, decoded."""
    way = generated(pipe, PROMPT, SEED)
    figure, axes = style.panels(len(SHOWN_STEPS), 1.9)
    for axis, step in zip(axes, SHOWN_STEPS):
        style.bare(axis)
        axis.set_title(f"step {step + 1}, $t$ = {way.timesteps[step]}")
        try:
            splats = pipe.decode_latents(way.guesses[step][None], 20_000, torch.Generator().manual_seed(0))[0]
        except EmptySurfaceError:
            axis.text(0.5, 0.5, "no surface yet", ha="center", transform=axis.transAxes)
            continue
        axis.imshow(picture(splats))
    style.save(figure, folder / "denoising.png")
    final = way.guesses[-1]
    errors = [float((guess - final).square().mean()) for guess in way.guesses]
    return {f"guess_error_{step + 1}": f"{errors[step]:.2f}" for step in SHOWN_STEPS[:-1]} | {"steps": str(STEPS)}


def _slice() -> tuple[Tensor, tuple[float, float, float, float]]:
    """Points of the plane x = 0, [G², 3], rows along y (up is −y), columns along z; and the picture's extent."""
    axis = (torch.arange(_GRID) + 0.5) / _GRID * 1.1 - 0.55
    y, z = torch.meshgrid(axis, axis, indexing="ij")
    return torch.stack([torch.zeros_like(y), y, z], dim=-1).reshape(-1, 3), (-0.55, 0.55, 0.55, -0.55)


@torch.no_grad()
def functions(folder: Path, pipe: DiffGSPipeline) -> Numbers:
    """GauPF of an object's Gaussians, and the three functions that the decoder makes of its latents, in a slice."""
    made, config = generated(pipe, PROMPT, SEED), pipe.vae.config
    points, extent = _slice()
    tree = cKDTree(made.splats.means.numpy())
    parts = (made.splats.means, made.splats.quats, made.splats.scales, tree)
    paper = probability_targets(core_distances(points, *parts, core=0.0), 0.2)
    ours = probability_targets(core_distances(points, *parts, core=config.core), config.truncation)
    planes = pipe.vae.decode(pipe.vae.denormalize_latents(made.latents)).planes
    decoded = pipe.vae.heads.probability(planes, points[None])[0].clamp(0, 1)
    sh, scales, _, _ = pipe.vae.heads.attributes(planes, points[None])
    near = decoded > 0.2
    rgb = (sh[0, :, 0] * SH_C0 + 0.5).clamp(0, 1)
    flatness = (scales[0].amin(dim=1) / scales[0].amax(dim=1)).where(near, torch.nan)
    figure, axes = style.panels(5, 2.5)
    for axis, values, title in (
        (axes[0], paper, "GauPF of the paper\nto centres, δ = 0.2"),
        (axes[1], ours, f"GauPF of ours\nto cores, δ = {config.truncation}"),
        (axes[2], decoded, "decoded GauPF\nat the same points"),
    ):
        shown = axis.imshow(values.reshape(_GRID, _GRID).numpy(), cmap="cividis", vmin=0, vmax=1, extent=extent)
        axis.set_title(title)
    shown_rgb = torch.where(near[:, None], rgb, torch.ones(3)).reshape(_GRID, _GRID, 3)
    axes[3].imshow(shown_rgb.numpy(), extent=extent)
    axes[3].set_title("GauCF\ncolour, where p > 0.2")
    axes[4].imshow(flatness.reshape(_GRID, _GRID).numpy(), cmap="cividis", vmin=0, vmax=1, extent=extent)
    axes[4].set_title("GauTF\nthinnest / widest axis")
    figure.colorbar(shown, ax=axes, shrink=0.6, ticks=[0, 0.5, 1])
    for axis in axes:
        style.bare(axis, frame="#cccccc")
    style.save(figure, folder / "functions.png")
    surface = ours > 0
    return {
        "truncation": f"{config.truncation:g}",
        "core": f"{config.core:g}",
        "gaupf_error": f"{(decoded - ours)[surface].abs().mean():.2f}",
        "gaupf_far_error": f"{(decoded - ours)[~surface].abs().mean():.4f}",
        "flatness": f"{flatness.nanmedian():.2f}",
    }


def octree(folder: Path, pipe: DiffGSPipeline) -> Numbers:
    """Cells kept level by level, a step uphill from points in them, and the centres that extraction ends with."""
    made, vae = generated(pipe, PROMPT, SEED), pipe.vae
    with torch.no_grad():
        planes = vae.decode(vae.denormalize_latents(made.latents)).planes
    asked = 0

    @torch.no_grad()
    def probability(points: Tensor) -> Tensor:
        nonlocal asked
        asked += len(points)
        return torch.cat([vae.heads.probability(planes, part[None])[0] for part in points.split(4096)])

    def search(start: int, depth: int) -> Cells:
        nonlocal asked
        asked, options = 0, {"threshold": ExtractionConfig.threshold, "slope": 1 / vae.config.truncation}
        half_side = (1 + vae.config.padding) / 2
        return surface_cells(probability, half_side=half_side, start_resolution=start, depth=depth, **options)

    figure, axes = style.panels(6, 1.9)
    for axis, depth in zip(axes, range(3)):
        cells = search(ExtractionConfig.start_resolution, depth)
        _draw_cells(axis, cells)
        axis.set_title(f"{ExtractionConfig.start_resolution * 2**depth}³: {len(cells.centers):,} cells")
    kept = search(ExtractionConfig.start_resolution, ExtractionConfig.octree_depth)
    full = (ExtractionConfig.start_resolution * 2**ExtractionConfig.octree_depth) ** 3
    numbers = {"octree_asked": f"{asked:,}", "octree_full": f"{full:,}", "octree_kept": f"{len(kept.centers):,}"}
    _draw_steps(axes[3], vae, planes, kept)
    axes[3].set_title("a step uphill")
    in_slice = made.splats.means[made.splats.means[:, 0].abs() < kept.side / 2]
    axes[4].scatter(in_slice[:, 2], in_slice[:, 1], s=0.6, lw=0, color=style.BLUE)
    axes[4].set_title("centres in the slice")
    for axis in axes[:5]:
        axis.set(xlim=(-0.55, 0.55), ylim=(0.55, -0.55), aspect="equal")
        style.bare(axis, frame="#cccccc")
    axes[5].imshow(picture(made.splats))
    axes[5].set_title(f"{len(made.splats):,} Gaussians")
    style.bare(axes[5])
    style.save(figure, folder / "octree.png")
    return numbers | {"original_asked": f"{_asked_by_rank() / 1e6:.2f}"}


def _asked_by_rank() -> int:
    """Questions of the original octree: 16³ cells; the top fifth of each level is divided by 4 an axis, thrice."""
    cells = total = 16**3
    for _ in range(3):
        cells = (cells - int(0.8 * cells)) * 4**3
        total += cells
    return total


def _draw_cells(axis: Any, cells: Cells) -> None:
    """Those cells that the plane x = 0 cuts."""
    cut = cells.centers[cells.centers[:, 0].abs() <= cells.side / 2 + 1e-6]
    corners = cut[:, [2, 1]].numpy() - cells.side / 2
    squares = np.unique(corners.round(6), axis=0)[:, None] + cells.side * np.array([[0, 0], [1, 0], [1, 1], [0, 1]])
    axis.add_collection(
        PolyCollection(squares, facecolors="#9cc4e0", edgecolors="white", linewidths=6 * cells.side)
    )


def _draw_steps(axis: Any, vae: Any, planes: Tensor, cells: Cells) -> None:
    """q + (1 − p) δ ∇p / |∇p| from random points in the cells of the slice."""
    generator = torch.Generator().manual_seed(0)
    cut = cells.centers[cells.centers[:, 0].abs() <= cells.side / 2 + 1e-6]
    chosen = cut[torch.randint(len(cut), (260,), generator=generator)]
    points = (chosen + (torch.rand(260, 3, generator=generator) - 0.5) * cells.side).requires_grad_()
    values = vae.heads.probability(planes, points[None])[0]
    (gradient,) = torch.autograd.grad(values.sum(), points)
    length = (1 - values).clamp(min=0) * vae.config.truncation
    steps = (torch.nn.functional.normalize(gradient, dim=1) * length[:, None]).detach()
    start, end = (place[:, [2, 1]].numpy() for place in (points.detach(), points.detach() + steps))
    axis.add_collection(LineCollection(np.stack([start, end], axis=1), colors=style.GREY, linewidths=0.7))
    axis.scatter(*end.T, s=3, lw=0, color=style.VERMILION, zorder=2)
