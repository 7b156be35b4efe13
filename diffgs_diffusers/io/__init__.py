"""Splats on disk: one module per file format, chosen by the suffix of the file's name."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .atomic import atomic_write

if TYPE_CHECKING:
    from ..gaussians import GaussianSplats

SUPPORTED_SUFFIXES = (".ply", ".spz")

__all__ = [
    "SUPPORTED_SUFFIXES",
    "atomic_write",
    "check_suffix",
    "load_splats",
    "read_rasterize_mode",
    "save_splats",
]


def check_suffix(path: str | Path) -> str:
    """The suffix of a file that holds splats, in lower case.

    Raises:
        ValueError: listing the supported suffixes if this is not one.
    """
    suffix = Path(path).suffix.lower()
    if suffix not in SUPPORTED_SUFFIXES:
        given = f"the suffix {suffix!r}" if suffix else "no suffix"
        raise ValueError(f"{path}: has {given}; splats are stored as {', '.join(SUPPORTED_SUFFIXES)}.")
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
