"""How the pictures look, and how they are written."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import torch
from matplotlib.figure import Figure
from PIL import Image

# Okabe & Ito: told apart by every kind of colour vision.
BLUE, VERMILION, GREEN, ORANGE, PURPLE, GREY = "#0072B2", "#D55E00", "#009E73", "#E69F00", "#CC79A7", "#777777"
WIDTH = 9.0  # inches
DPI = 130

matplotlib.rcParams.update(
    {
        "font.size": 9,
        "axes.titlesize": 9,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "legend.frameon": False,
        "lines.linewidth": 1.6,
        "mathtext.fontset": "cm",
    }
)


def panels(columns: int, height: float, rows: int = 1, width: float = WIDTH, **options: Any) -> tuple[Figure, Any]:
    """A figure and its axes, [columns] or [rows, columns]."""
    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.subplots(rows, columns, **options)


def save(figure: Figure, path: Path) -> None:
    """Writes a figure as a small PNG."""
    buffer = io.BytesIO()
    figure.savefig(buffer, dpi=DPI)
    save_image(Image.open(buffer), path)


def save_image(image: Image.Image, path: Path) -> None:
    """Writes a picture with a palette, a third of the size; coverage keeps the colours of thin lines."""
    reduced = image.convert("RGB").quantize(256, method=Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)
    reduced.save(path, optimize=True)


def bare(axes: Any, frame: str | None = None) -> None:
    """No ticks, and no frame or a thin one: for pictures."""
    axes.set(xticks=[], yticks=[])
    for side in axes.spines.values():
        side.set(visible=frame is not None, color=frame, lw=0.8)


def scatter(
    axes: Any, points: torch.Tensor | np.ndarray, color: str, limit: float = 3.0, size: float = 2.0
) -> None:
    """Points [N, 2] of the plane on equal axes without ticks."""
    axes.scatter(*np.asarray(points).T, s=size, linewidths=0, alpha=0.6, color=color)
    axes.set(xlim=(-limit, limit), ylim=(-limit, limit), aspect="equal")
    bare(axes, frame="#cccccc")
