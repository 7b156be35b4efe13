"""What a completion looks like where kept Gaussians and added ones meet."""

from __future__ import annotations

from dataclasses import replace

import torch
from scipy.spatial import cKDTree
from torch import Tensor

from ..cameras import Cameras
from ..functional.spherical_harmonics import rgb_to_sh0
from ..gaussians import GaussianSplats
from .metrics import F_SCORE_DISTANCE


def near_seam(truth: GaussianSplats, kept: Tensor, distance: float = F_SCORE_DISTANCE) -> Tensor:
    """Which Gaussians of an object lie near the other side of a cut.

    Args:
        truth: the whole object, N Gaussians.
        kept: [N] bool, which of them are the part.
        distance: what counts as near, object units.

    Returns:
        [N] bool; none where one side is empty.
    """
    near = torch.zeros_like(kept)
    if bool(kept.all()) or not bool(kept.any()):
        return near
    means = truth.means.detach().cpu().numpy()
    sides = kept.cpu().numpy()
    for side in (sides, ~sides):
        found, _ = cKDTree(means[~side]).query(means[side], distance_upper_bound=distance)
        near[torch.from_numpy(side).nonzero()[:, 0]] = torch.from_numpy(found <= distance)
    return near


def seam_weights(truth: GaussianSplats, near: Tensor, cameras: Cameras) -> Tensor:
    """How much of each pixel the seam covers, in [0, 1], [C, H, W]: what hides the seam counts as hiding it.

    Args:
        truth: the whole object.
        near: [N] bool from :func:`near_seam`.
        cameras: C views.
    """
    white = rgb_to_sh0(near.to(truth.means)[:, None].expand(-1, 3))[:, None]
    marked = replace(truth, sh0=white, shN=truth.shN[:, :0])
    return marked.render(cameras, background=(0.0, 0.0, 0.0))[..., 0].clamp(0, 1)


def seam_psnr(images: Tensor, target: Tensor, weights: Tensor, ceiling: float = 60.0) -> float | None:
    """PSNR in dB of all views together, over the pixels of the seam.

    A gap, an overlap or a jump of colour between what is kept and what is added shows here, and hardly in the mean
    over whole pictures. Beside it belongs the same of an object of which nothing is kept, which has no seam.

    Args:
        images: [C, H, W, 3] in [0, 1].
        target: [C, H, W, 3] of the whole object.
        weights: [C, H, W] from :func:`seam_weights`.
        ceiling: value given to equal images.

    Returns:
        None where the seam is seen in no view.
    """
    total = float(weights.sum())
    if total < 1:  # not one whole pixel
        return None
    error = ((images - target).square().mean(dim=-1) * weights).sum() / total
    return float((-10 * error.clamp(min=1e-12).log10()).clamp(max=ceiling))
