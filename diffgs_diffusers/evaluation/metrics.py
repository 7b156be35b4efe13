"""Distances between images and between point sets."""

from __future__ import annotations

import numpy as np
import torch
from scipy.spatial import cKDTree
from torch import Tensor

from ..functional.image_metrics import psnr

__all__ = ["chamfer_distance", "f_score", "psnr", "ssim"]

F_SCORE_DISTANCE = 0.02  # object units, about the spacing of 8k Gaussians

_WINDOW, _SIGMA = 11, 1.5
_C1, _C2 = 0.01**2, 0.03**2


def ssim(images: Tensor, references: Tensor) -> Tensor:
    """Structural similarity of each image (Wang et al. 2004), for values in [0, 1].

    Gaussian window of 11 pixels with σ = 1.5, K₁ = 0.01, K₂ = 0.03; the mean over channels and over the positions
    where the window lies inside the image.

    Args:
        images: [B, H, W, D].
        references: [B, H, W, D].

    Returns:
        [B], 1 for equal images.

    Raises:
        ValueError: if the shapes differ or an image is smaller than the window.
    """
    if images.shape != references.shape or images.ndim != 4 or min(images.shape[1:3]) < _WINDOW:
        raise ValueError(
            f"SSIM compares [B, H, W, D] images of one shape and at least {_WINDOW} pixels a side, got "
            f"{list(images.shape)} and {list(references.shape)}."
        )
    x, y = images.movedim(-1, 1).double(), references.movedim(-1, 1).double()
    # One call for all five moments: filtering is linear and channel-wise.
    moments = _gaussian_means(torch.cat([x, y, x * x, y * y, x * y], dim=1))
    mean_x, mean_y, mean_xx, mean_yy, mean_xy = moments.chunk(5, dim=1)
    covariance = mean_xy - mean_x * mean_y
    variances = mean_xx - mean_x**2 + mean_yy - mean_y**2
    luminance = (2 * mean_x * mean_y + _C1) / (mean_x**2 + mean_y**2 + _C1)
    similarity = luminance * (2 * covariance + _C2) / (variances + _C2)
    return similarity.flatten(1).mean(dim=1).to(images.dtype)


def _gaussian_means(images: Tensor) -> Tensor:
    """[B, D, H, W] → [B, D, H − 10, W − 10]: weighted means over the window, one axis after the other."""
    offsets = torch.arange(_WINDOW, dtype=images.dtype, device=images.device) - _WINDOW // 2
    weights = torch.exp(-(offsets**2) / (2 * _SIGMA**2))
    weights = weights / weights.sum()
    channels = images.shape[1]
    kernel = weights.expand(channels, 1, _WINDOW)
    rows = torch.nn.functional.conv2d(images, kernel[..., None], groups=channels)
    return torch.nn.functional.conv2d(rows, kernel[:, :, None], groups=channels)


def chamfer_distance(points: np.ndarray, others: np.ndarray | cKDTree, points_tree: cKDTree | None = None) -> float:
    """Symmetric Chamfer distance: the mean of both mean distances to the nearest point of the other set.

    Args:
        points: [N, 3], object units.
        others: [M, 3], or a tree over them.
        points_tree: tree over `points`, if there is one already.

    Returns:
        object units (not squared).
    """
    tree = others if isinstance(others, cKDTree) else cKDTree(others)
    forward = tree.query(points)[0].mean()
    backward = (points_tree or cKDTree(points)).query(tree.data)[0].mean()
    return float(forward + backward) / 2


def f_score(points: cKDTree, others: cKDTree, distance: float = F_SCORE_DISTANCE) -> float:
    """Harmonic mean of the shares of either set that lie near the other (Knapitsch et al. 2017).

    Args:
        points: tree over [N, 3], object units.
        others: tree over [M, 3].
        distance: what counts as near.

    Returns:
        in [0, 1].
    """
    precision = float((others.query(points.data)[0] <= distance).mean())
    recall = float((points.query(others.data)[0] <= distance).mean())
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0
