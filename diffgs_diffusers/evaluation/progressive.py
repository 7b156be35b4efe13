"""The first n Gaussians of a larger result beside n that are extracted at once."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from ..extraction import EmptySurfaceError, extract_gaussians
from ..gaussians import GaussianSplats
from ..models.autoencoder_gaussian import GaussianVAE
from .reconstruction import ImageScores, compare
from .views import evaluation_cameras, render_on_white

DIRECT, PREFIX, FITTED = "extracted at once", "splats[:n]", "splats.first(n)"
WAYS = (DIRECT, PREFIX, FITTED)


@torch.no_grad()
def progressive_scores(
    vae: GaussianVAE, splats: GaussianSplats, counts: Sequence[int], whole: int, *, size: int = 256
) -> dict[str, ImageScores]:
    """Scores of one object, encoded and extracted, under "n, way" for each count and each of ``WAYS``.

    Args:
        vae: in eval mode, float32.
        splats: the fitted object, whose renders are the reference.
        counts: numbers of Gaussians, less than ``whole``.
        whole: how many the larger result has.
        size: pixels of the renders.
    """
    cameras = evaluation_cameras(size)
    target = render_on_white(splats, cameras)
    planes = vae.decode(vae.encode(splats).latent_dist.mode()).planes[0]

    def extracted(count: int) -> GaussianSplats | None:
        try:
            return extract_gaussians(vae, planes, count)
        except EmptySurfaceError:
            return None

    large = extracted(whole)
    scores = {f"{whole}, {DIRECT}": compare(large, target, cameras)}
    for count in counts:
        made = {
            DIRECT: extracted(count),
            PREFIX: None if large is None else large[:count],
            FITTED: None if large is None else large.first(count),
        }
        scores |= {f"{count}, {way}": compare(one, target, cameras) for way, one in made.items()}
    return scores
