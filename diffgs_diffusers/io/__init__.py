"""Splats and point clouds on disk: one module per file format, chosen by the suffix of the file's name."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .atomic import atomic_write

if TYPE_CHECKING:
    from torch import Tensor

    from ..gaussians import GaussianSplats

SUPPORTED_SUFFIXES = (".ply", ".spz")
POINT_SUFFIXES = (".ply", ".npy", ".xyz", ".txt")

__all__ = [
    "POINT_SUFFIXES",
    "SUPPORTED_SUFFIXES",
    "atomic_write",
    "check_suffix",
    "load_points",
    "load_splats",
    "read_rasterize_mode",
    "save_splats",
]


def check_suffix(path: str | Path, suffixes: Sequence[str] = SUPPORTED_SUFFIXES, content: str = "splats") -> str:
    """The suffix of a file that holds ``content``, in lower case.

    Raises:
        ValueError: listing ``suffixes`` if this is not one of them.
    """
    suffix = Path(path).suffix.lower()
    if suffix not in suffixes:
        given = f"the suffix {suffix!r}" if suffix else "no suffix"
        raise ValueError(f"{path}: has {given}; {content} are stored as {', '.join(suffixes)}.")
    return suffix


def save_splats(splats: GaussianSplats, path: str | Path, *, rasterize_mode: str = "antialiased") -> None:
    """Writes splats in the format of the file's suffix; the file appears whole or not at all.

    Args:
        splats: N Gaussians.
        path: the file; its folder must exist.
        rasterize_mode: ``"antialiased"`` or ``"classic"``, the mode that the splats were made for.

    Raises:
        ValueError: if the suffix or the mode is unknown or a value cannot be drawn.
        FileNotFoundError: if the folder does not exist.
    """
    module, name = _module(path)
    if rasterize_mode not in ("antialiased", "classic"):
        raise ValueError(f"`rasterize_mode` must be 'antialiased' or 'classic', got {rasterize_mode!r}.")
    getattr(module, f"write_{name}")(path, splats, rasterize_mode=rasterize_mode)


def load_splats(path: str | Path) -> GaussianSplats:
    """Reads splats in the format of the file's suffix.

    Returns:
        Float32 on the CPU.

    Raises:
        ValueError: if the suffix is unknown or the file's content is wrong.
        OSError: if it cannot be opened.
    """
    module, name = _module(path)
    return getattr(module, f"read_{name}")(path)


def load_points(path: str | Path) -> tuple[Tensor, Tensor | None]:
    """Reads a point cloud in the format of the file's suffix; see :func:`~diffgs_diffusers.io.points.read_points`.

    Returns:
        positions [N, 3] and RGB [N, 3] in [0, 1], or None for a file without colours; float32 on the CPU.

    Raises:
        ValueError: if the suffix is unknown or the file's content is wrong.
        OSError: if it cannot be opened.
    """
    from .points import read_points

    return read_points(path)


def read_rasterize_mode(path: str | Path) -> str | None:
    """``"antialiased"`` or ``"classic"``, as the file says its splats were made for; None if it does not say.

    Raises:
        ValueError: if the suffix is unknown or the file's header is wrong.
        OSError: if it cannot be opened.
    """
    return _module(path)[0].read_rasterize_mode(path)


def _module(path: str | Path) -> tuple[Any, str]:
    """The module of the file's format, loaded when it is needed, and the format's name."""
    name = check_suffix(path)[1:]
    return import_module(f".{name}", __name__), name
