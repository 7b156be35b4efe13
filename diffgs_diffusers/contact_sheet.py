"""Pictures of an object from all sides: a sheet of views, or an animation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, BinaryIO

import torch

from .cameras import orbit_cameras
from .gaussians import GaussianSplats

if TYPE_CHECKING:
    from PIL.Image import Image

WHITE = (1.0, 1.0, 1.0)


def turntable_sheet(
    splats: GaussianSplats,
    num_views: int = 8,
    size: int = 256,
    columns: int = 4,
    background: Sequence[float] | None = WHITE,
    *,
    elevation: float = 20.0,
    rasterize_mode: str = "antialiased",
) -> Image:
    """One picture with views from all around, row by row, the first from the front right.

    Args:
        splats: the object, in the frame of ``docs/conventions.md``.
        num_views: ≥ 1, evenly spaced on a circle.
        size: width and height of a view in pixels.
        columns: views in a row, ≥ 1; fewer if there are fewer views.
        background: sRGB in [0, 1]; None leaves it transparent.
        elevation: of the cameras, degrees above the horizon.
        rasterize_mode: ``"antialiased"`` or ``"classic"``.

    Returns:
        RGB, or RGBA where the background is transparent; tiles without a view are background.

    Raises:
        ValueError: if a count is below 1 or the elevation is out of range.
    """
    if columns < 1:
        raise ValueError(f"`columns` must be at least 1, got {columns}.")
    views = turntable_frames(
        splats, num_views, size, background, elevation=elevation, rasterize_mode=rasterize_mode
    )
    from PIL import Image

    columns = min(columns, num_views)
    rows = -(-num_views // columns)
    blank = (0, 0, 0, 0) if background is None else tuple(round(255 * value) for value in background)
    sheet = Image.new(views[0].mode, (columns * size, rows * size), blank)
    for index, view in enumerate(views):
        sheet.paste(view, (index % columns * size, index // columns * size))
    return sheet


def turntable_frames(
    splats: GaussianSplats,
    num_views: int = 36,
    size: int = 256,
    background: Sequence[float] | None = WHITE,
    *,
    elevation: float = 20.0,
    rasterize_mode: str = "antialiased",
) -> list[Image]:
    """The views of one turn about the object, one picture each; arguments as in :func:`turntable_sheet`."""
    from PIL import Image

    cameras = orbit_cameras(num_views, size, elevation=elevation, device=splats.device)
    frames = []
    for index in range(num_views):  # one at a time: memory does not grow with the number of views
        with torch.no_grad():
            rgba = splats.render(cameras.select(slice(index, index + 1)), background, rasterize_mode)[0]
        if background is None:
            # Rendered colours are premultiplied by alpha; PNG stores them straight.
            rgba = torch.cat([rgba[..., :3] / rgba[..., 3:].clamp_min(1e-6), rgba[..., 3:]], dim=-1)
        else:
            rgba = rgba[..., :3]
        frames.append(Image.fromarray((rgba.clamp(0, 1) * 255).round().to(torch.uint8).cpu().numpy()))
    return frames


def save_gif(frames: Sequence[Image], stream: BinaryIO, *, seconds: float = 3.0) -> None:
    """Writes an endless animation.

    Args:
        frames: RGB pictures of one size, at least one.
        stream: binary, for writing.
        seconds: length of one round.

    Raises:
        ValueError: if there is no frame.
    """
    if not frames:
        raise ValueError("An animation needs at least one frame.")
    # Viewers round frames shorter than 20 ms up to 100 ms.
    duration = max(20, round(1000 * seconds / len(frames)))
    frames[0].save(
        stream, format="GIF", save_all=True, append_images=frames[1:], duration=duration, loop=0, optimize=False
    )
