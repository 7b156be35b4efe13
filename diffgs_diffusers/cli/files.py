"""``diffgs render``, ``diffgs convert`` and ``diffgs info``: what is done with files of splats."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..io import SUPPORTED_SUFFIXES, atomic_write, load_splats, read_rasterize_mode, save_splats
from .paths import check_input, check_output

if TYPE_CHECKING:
    from ..gaussians import GaussianSplats

# What other programs fit and draw when a file does not say.
FOREIGN_MODE = "classic"
SHEET_VIEWS = 8
ANIMATION_VIEWS = 36
# All views are in memory until the file is written.
MAX_PIXELS = 2**28


def run_render(options: argparse.Namespace) -> None:
    """Draws a file of splats as a sheet of views or an animation.

    Raises:
        ValueError, OSError: saying what is wrong, before any file is written.
    """
    source = Path(options.file)
    output = source.with_suffix(".png") if options.output is None else Path(options.output)
    check_input(source, SUPPORTED_SUFFIXES)
    check_output(output, (".png", ".gif"))
    animated = output.suffix.lower() == ".gif"
    if animated and options.background is None:
        raise ValueError("--background transparent: needs a .png, as animations here have opaque frames")
    views = options.views or (ANIMATION_VIEWS if animated else SHEET_VIEWS)
    if views * options.size**2 > MAX_PIXELS:
        raise ValueError(
            f"--views {views} --size {options.size}: more than {MAX_PIXELS} pixels; ask for fewer or smaller views"
        )
    mode = options.rasterize_mode or read_rasterize_mode(source) or FOREIGN_MODE
    splats = load_splats(source)

    from ..contact_sheet import save_gif, turntable_frames, turntable_sheet

    shared = {"background": options.background, "elevation": options.elevation, "rasterize_mode": mode}
    with atomic_write(output) as stream:
        if animated:
            save_gif(turntable_frames(splats, views, options.size, **shared), stream)
        else:
            sheet = turntable_sheet(splats, views, options.size, options.columns, **shared)
            sheet.save(stream, format="PNG")
    print(f"{output}: {views} views of {len(splats)} Gaussians, {mode}")


def run_convert(options: argparse.Namespace) -> None:
    """Writes splats in another format; the render mode they were made for goes along.

    Raises:
        ValueError, OSError: saying what is wrong, before any file is written.
    """
    source, output = Path(options.input), Path(options.output)
    check_input(source, SUPPORTED_SUFFIXES)
    check_output(output, SUPPORTED_SUFFIXES)
    splats = load_splats(source)
    save_splats(splats, output, rasterize_mode=read_rasterize_mode(source) or FOREIGN_MODE)
    print(f"{output}: {len(splats)} Gaussians, SH degree {splats.sh_degree}")


def run_info(options: argparse.Namespace) -> None:
    """Prints what a file holds.

    Raises:
        ValueError, OSError: if it cannot be read.
    """
    path = Path(options.file)
    check_input(path, SUPPORTED_SUFFIXES)
    facts = describe(load_splats(path))
    facts = {"file": str(path), "bytes": path.stat().st_size, "rasterize_mode": read_rasterize_mode(path), **facts}
    if options.json:
        print(json.dumps(facts))
        return
    width = max(map(len, facts))
    for name, value in facts.items():
        print(f"{name.replace('_', ' '):{width}}  {_as_text(value)}")


def describe(splats: GaussianSplats) -> dict[str, Any]:
    """Counts, bounds [3] and statistics of splats; bounds and statistics are None where there are none.

    Statistics are minimum, median and maximum, after activation, scales over all three axes.
    """
    facts: dict[str, Any] = {"num_gaussians": len(splats), "sh_degree": splats.sh_degree}
    filled = len(splats) > 0
    facts["bounds_min"] = splats.means.amin(dim=0).tolist() if filled else None
    facts["bounds_max"] = splats.means.amax(dim=0).tolist() if filled else None
    for name, values in (("opacity", splats.opacities), ("scale", splats.scales)):
        statistics = {"min": values.min(), "median": values.median(), "max": values.max()} if filled else None
        facts[name] = statistics and {key: float(value) for key, value in statistics.items()}
    return facts


def _as_text(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {_as_text(one)}" for key, one in value.items())
    if isinstance(value, list):
        return "  ".join(_as_text(one) for one in value)
    if isinstance(value, float):
        return f"{value:.4g}"
    return "unknown" if value is None else str(value)
