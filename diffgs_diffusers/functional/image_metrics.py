"""Distances between images."""

from __future__ import annotations

from torch import Tensor


def psnr(images: Tensor, references: Tensor, ceiling: float = 60.0) -> Tensor:
    """Peak signal-to-noise ratio of each image, in dB, for values in [0, 1].

    Args:
        images: [B, H, W, D].
        references: [B, H, W, D].
        ceiling: value given to equal images, whose ratio is infinite.

    Returns:
        [B].
    """
    error = (images - references).pow(2).flatten(1).mean(dim=1)
    return (-10 * error.clamp(min=1e-12).log10()).clamp(max=ceiling)
