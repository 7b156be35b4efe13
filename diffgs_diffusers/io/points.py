"""Point clouds on disk: positions, and colours where the file has them."""

from __future__ import annotations

from array import array
from pathlib import Path
from tokenize import TokenError

import numpy as np
import torch
from torch import Tensor

from . import POINT_SUFFIXES, check_suffix
from .ply_header import read_header
from .ply_table import read_table

POSITIONS = ("x", "y", "z")
COLORS = ("red", "green", "blue")
WIDTHS = (3, 6)
# Colours that other programs computed may lie beyond their range by a rounding error.
COLOR_TOLERANCE = 1e-3
_SEPARATORS = str.maketrans(",;", "  ")


def read_points(path: str | Path) -> tuple[Tensor, Tensor | None]:
    """Reads a point cloud in the format of the file's suffix.

    - ``.ply``: vertices with x, y, z and perhaps red, green, blue; of any format and property types.
    - ``.npy``: an array [N, 3], or [N, 6] with RGB behind the positions.
    - ``.xyz``, ``.txt``: 3 or 6 columns apart by spaces, commas or semicolons; ``#`` begins a comment.

    Colours are in [0, 1], or in [0, 255]: those of PLY's type uchar, and whole numbers of which one exceeds 1.

    Args:
        path: the file.

    Returns:
        positions [N, 3] in the frame of the file, N ≥ 1, and RGB [N, 3] in [0, 1] or None; float32 on the CPU.

    Raises:
        ValueError: naming the file and what is wrong with it.
        OSError: if it cannot be opened.
    """
    suffix = check_suffix(path, POINT_SUFFIXES, "points")
    try:
        if suffix == ".ply":
            return _checked(*_read_ply(path))
        return _checked(_read_npy(path) if suffix == ".npy" else _read_text(path))
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def _read_ply(path: str | Path) -> tuple[np.ndarray, bool]:
    """[N, 3 or 6], and whether the colours are bytes."""
    with open(path, "rb") as stream:
        header = read_header(stream)
        vertices = next((one for one in header.elements if one.name == "vertex"), None)
        if vertices is None:
            raise ValueError("has no element 'vertex', so it holds no points.")
        types = {one.name: one.type for one in vertices.properties}
        missing = [name for name in POSITIONS if name not in types]
        if missing:
            raise ValueError(f"the vertices lack {', '.join(missing)}.")
        colors = [name for name in COLORS if name in types]
        if colors and len(colors) < len(COLORS):
            raise ValueError(f"of red, green and blue the vertices have only {' and '.join(colors)}.")
        table = read_table(stream, header, vertices)
    values = np.empty((vertices.count, len(POSITIONS) + len(colors)))
    for column, name in enumerate((*POSITIONS, *colors)):
        values[:, column] = table[name]
    return values, bool(colors) and all(types[name] == "u1" for name in colors)


def _read_npy(path: str | Path) -> np.ndarray:
    """[N, 3 or 6]. The file is mapped, not read: nothing is allocated on a header's word."""
    try:
        values = np.lib.format.open_memmap(path, mode="r")
    except (OverflowError, SyntaxError, TokenError, TypeError, ValueError) as error:
        reason = (str(error).splitlines() or [""])[0]
        raise ValueError(f"is no whole .npy file of numbers; it may be cut short ({reason}).") from error
    if values.dtype.kind not in "fiu":
        raise ValueError(f"holds {values.dtype}, where points are real numbers.")
    if values.ndim != 2 or values.shape[1] not in WIDTHS:
        raise ValueError(f"has the shape {list(values.shape)}; points are [N, 3], or [N, 6] with colours.")
    return values


def _read_text(path: str | Path) -> np.ndarray:
    """[N, 3 or 6]."""
    values, width = array("d"), 0
    with open(path, encoding="utf-8-sig", errors="replace") as stream:
        for number, line in enumerate(stream, start=1):
            words = line.split("#")[0].translate(_SEPARATORS).split()
            if not words:
                continue
            width = width or len(words)
            if width not in WIDTHS:
                raise ValueError(f"line {number} has {width} columns; points have 3, or 6 with colours.")
            if len(words) != width:
                raise ValueError(
                    f"line {number} has {len(words)} columns, and those before it {width}; it may be cut short."
                )
            for word in words:
                try:
                    values.append(float(word))
                except ValueError:
                    raise ValueError(f"line {number} has {word[:20]!r}, which is not a number.") from None
    return np.array(values).reshape(-1, width or WIDTHS[0])


def _checked(values: np.ndarray, of_bytes: bool = False) -> tuple[Tensor, Tensor | None]:
    """Positions and colours of [N, 3 or 6] values."""
    if len(values) == 0:
        raise ValueError("holds no points.")
    with np.errstate(over="ignore"):  # doubles beyond float32 become infinite and are reported below
        values = values.astype(np.float32)
    bad = int(np.count_nonzero(~np.isfinite(values).all(axis=1)))
    if bad:
        raise ValueError(f"is NaN or infinite in {bad} of {len(values)} points.")
    positions, colors = torch.from_numpy(values[:, :3].copy()), values[:, 3:]
    if colors.shape[1] == 0:
        return positions, None
    low, high = float(colors.min()), float(colors.max())
    most = 255 if of_bytes or (high > 1 and (colors == colors.round()).all()) else 1
    if low < -COLOR_TOLERANCE or high > most + COLOR_TOLERANCE:
        raise ValueError(
            "colours must lie between 0 and 1, or be whole numbers from 0 to 255; "
            f"they reach from {low:g} to {high:g}."
        )
    return positions, torch.from_numpy((colors / most).clip(0, 1))
