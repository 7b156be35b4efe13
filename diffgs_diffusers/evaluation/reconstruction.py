"""The VAE table: objects through the Gaussian VAE and back, at several numbers of Gaussians."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..cameras import Cameras
from ..extraction import EmptySurfaceError, gaussians_at
from ..extraction_settings import default_extraction, find_extraction
from ..gaussians import GaussianSplats
from ..latent_refinement import refine_latents
from ..models.autoencoder_gaussian import GaussianVAE
from ..original_extraction import extract
from .metrics import psnr, ssim
from .views import evaluation_cameras, render_on_white

TRUE_CENTERS = "true centres"
PerceptualDistance = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class ImageScores:
    """Means over the views of one object.

    Args:
        psnr: dB.
        ssim: 1 for equal images.
        lpips: 0 for equal images; None where its weights are absent.
    """

    psnr: float
    ssim: float
    lpips: float | None = None


def compare(
    splats: GaussianSplats | None, target: Tensor, cameras: Cameras, lpips: PerceptualDistance | None = None
) -> ImageScores:
    """Renders an object on white and compares it with `target` [C, H, W, 3]; None counts as an empty image."""
    images = torch.ones_like(target) if splats is None else render_on_white(splats.to("cpu"), cameras)
    return compare_images(images, target, lpips)


def compare_images(images: Tensor, target: Tensor, lpips: PerceptualDistance | None = None) -> ImageScores:
    """The scores of views [C, H, W, 3] in [0, 1] beside those that they should be."""
    perceptual = float(lpips(images, target).mean()) if lpips is not None else None
    return ImageScores(float(psnr(images, target).mean()), float(ssim(images, target).mean()), perceptual)


@torch.no_grad()
def reconstruction_scores(
    vae: GaussianVAE,
    splats: GaussianSplats,
    counts: Sequence[int],
    *,
    size: int = 256,
    lpips: PerceptualDistance | None = None,
    refinement_steps: int = 0,
    picture_steps: int = 0,
) -> dict[str, ImageScores]:
    """Scores of one object: its attributes at the true centres, then extracted at each count.

    Args:
        vae: in eval mode, float32.
        splats: the fitted object, whose renders are the reference.
        counts: numbers of Gaussians to extract.
        size: pixels of the renders.
        lpips: perceptual distance, if its weights are present.
        refinement_steps: of :func:`~diffgs_diffusers.latent_refinement.refine_latents`.
        picture_steps: of the same.
    """
    cameras = evaluation_cameras(size)
    target = render_on_white(splats, cameras)
    latents = vae.normalize_latents(vae.encode(splats).latent_dist.mode())[0]
    latents = refine_latents(vae, splats, latents, refinement_steps, picture_steps)
    planes = vae.decode(vae.denormalize_latents(latents[None])).planes[0]
    config = find_extraction(default_extraction(refinement_steps + picture_steps))
    scores = {TRUE_CENTERS: compare(gaussians_at(vae, planes, splats.means.to(planes)), target, cameras, lpips)}
    for count in counts:
        extracted: GaussianSplats | None
        try:
            extracted = extract(vae, planes, count, config=config)
        except EmptySurfaceError:
            extracted = None
        scores[f"{count}"] = compare(extracted, target, cameras, lpips)
    return scores


def summarize(objects: Iterable[dict[str, ImageScores]]) -> dict[str, dict[str, float | int]]:
    """Mean and 10th percentile over objects, for each row of the table."""
    every = list(objects)
    rows: dict[str, dict[str, float | int]] = {}
    for name in every[0] if every else ():
        values = [scores[name] for scores in every]
        rows[name] = {"num_objects": len(values)}
        for metric in ("psnr", "ssim", "lpips"):
            numbers = [getattr(value, metric) for value in values]
            if None not in numbers:
                worst = 90 if metric == "lpips" else 10
                rows[name][metric] = float(np.mean(numbers))
                rows[name][f"{metric}_p{worst}"] = float(np.percentile(numbers, worst))
    return rows
