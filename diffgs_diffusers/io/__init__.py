"""Splats on disk: one module per file format, chosen by the suffix of the file's name."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from .atomic import atomic_write

if TYPE_CHECKING:
    from ..gaussians import GaussianSplats

SUPPORTED_SUFFIXES = (".ply",)

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
        ValueError: if the suffix is unknown or a value cannot be drawn.
        FileNotFoundError: if the folder does not exist.
    """
    check_suffix(path)
    from .ply import write_ply

    write_ply(path, splats, rasterize_mode=rasterize_mode)


def load_splats(path: str | Path) -> GaussianSplats:
    """Reads splats in the format of the file's suffix.

    Returns:
        Float32 on the CPU.

    Raises:
        ValueError: if the suffix is unknown or the file's content is wrong.
        OSError: if it cannot be opened.
    """
    check_suffix(path)
    from .ply import read_ply

    return read_ply(path)


def read_rasterize_mode(path: str | Path) -> str | None:
    """``"antialiased"`` or ``"classic"``, as the file says its splats were made for; None if it does not say.

    Raises:
        ValueError: if the suffix is unknown or the file's header is wrong.
        OSError: if it cannot be opened.
    """
    check_suffix(path)
    from .ply import read_rasterize_mode as read_ply_rasterize_mode

    return read_ply_rasterize_mode(path)
