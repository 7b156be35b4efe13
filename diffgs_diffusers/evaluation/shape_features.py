"""What images say about shape: silhouettes and histograms of edge directions."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

_CELL = 8  # pixels
_DIRECTIONS = 9


def shape_features(views: Tensor) -> Tensor:
    """Coarse silhouettes, and edge directions of silhouette and brightness, view after view.

    Args:
        views: [B, C, 2, H, W] silhouette and brightness in [0, 1] from C fixed cameras; H and W multiples of 8.

    Returns:
        [B, C · 19 · H · W / 64].
    """
    silhouettes, brightness = views.flatten(0, 1).unbind(dim=1)
    parts = [
        F.avg_pool2d(silhouettes[:, None], _CELL).flatten(1),
        edge_histograms(silhouettes),
        edge_histograms(brightness),
    ]
    return torch.cat([part.unflatten(0, views.shape[:2]).flatten(1) for part in parts], dim=1)


def edge_histograms(images: Tensor) -> Tensor:
    """Histograms of oriented gradients (Dalal and Triggs 2005), cells normalised with their neighbours.

    Directions are counted without sign and shared linearly between the two nearest of nine bins.

    Args:
        images: [B, H, W], H and W multiples of 8.

    Returns:
        [B, 9 · H · W / 64].
    """
    across = F.pad(images[:, :, 2:] - images[:, :, :-2], (1, 1))
    down = F.pad(images[:, 2:] - images[:, :-2], (0, 0, 1, 1))
    strength = (across**2 + down**2).sqrt()
    position = torch.atan2(down, across) % math.pi / math.pi * _DIRECTIONS
    lower, share = position.floor().long() % _DIRECTIONS, position % 1.0
    votes = images.new_zeros(len(images), _DIRECTIONS, *images.shape[1:])
    votes.scatter_add_(1, lower[:, None], (strength * (1 - share))[:, None])
    votes.scatter_add_(1, (lower + 1)[:, None] % _DIRECTIONS, (strength * share)[:, None])
    cells = F.avg_pool2d(votes, _CELL)
    energy = (cells**2).sum(dim=1, keepdim=True)
    nearby = F.avg_pool2d(F.pad(energy, (1, 1, 1, 1), mode="replicate"), 3, 1)
    return (cells / (nearby.sqrt() + 0.02)).flatten(1)
