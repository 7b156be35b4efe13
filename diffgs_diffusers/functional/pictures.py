"""Pictures of one object, from wherever they come, brought to one form: on white, in the middle, square."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError

MARGIN = 0.1  # of the square's side, left free on every side of the object
MOST_PIXELS = 1024  # along a side; no CLIP sees more
LEAST_PIXELS = 8
# Of 255: a border that varies less is a background, what differs more stands before it.
_UNIFORM = 6
LEAST_DIFFERENCE = 16


def load_picture(image: Any, name: str = "image") -> Image.Image:
    """A picture as PIL has it, RGB or RGBA, of at most 1024 pixels along its longer side.

    Args:
        image: a PIL image of any mode; a path; an array [H, W], [H, W, 1], [H, W, 3] or [H, W, 4]; or a tensor
            [1, H, W], [3, H, W] or [4, H, W]; uint8, or floating point in [0, 1].
        name: of the argument, for errors.

    Raises:
        TypeError: for anything else.
        ValueError: naming what is wrong: a file that is no picture, a shape, values, fewer than 8 pixels a side.
        FileNotFoundError: if there is no such file.
    """
    if isinstance(image, str | Path):
        image = _from_file(Path(image), name)
    elif isinstance(image, torch.Tensor):
        if image.ndim != 3 or image.shape[0] not in (1, 3, 4):
            raise ValueError(f"`{name}` as a tensor must be [1, 3 or 4, H, W], got {list(image.shape)}.")
        image = _from_array(image.detach().cpu().movedim(0, -1).numpy(), name)
    elif isinstance(image, np.ndarray):
        image = _from_array(image, name)
    elif not isinstance(image, Image.Image):
        raise TypeError(f"`{name}` must be a PIL image, a path, an array or a tensor, got {type(image).__name__}.")
    if min(image.size) < LEAST_PIXELS:
        raise ValueError(
            f"`{name}` has {image.width}×{image.height} pixels; at least {LEAST_PIXELS} a side are needed."
        )
    image = image.copy()
    if image.mode.startswith("I") or image.mode == "F":  # 16 and 32 bits a pixel: PIL would cut, not scale
        values = np.asarray(image, dtype=np.float64)
        image = Image.fromarray((255 * values / max(values.max(), 1)).clip(0, 255).astype(np.uint8))
    transparent = "A" in image.getbands() or "transparency" in image.info
    image = image.convert("RGBA" if transparent else "RGB")
    image.thumbnail((MOST_PIXELS, MOST_PIXELS), Image.Resampling.LANCZOS)
    return image


def centered_on_white(image: Image.Image) -> Image.Image:
    """The object of a picture in the middle of a white square, with a margin of a tenth on every side.

    The object is what is not transparent; in a picture without transparency, what differs from a border of one
    colour, which then is the square's colour too. Where neither tells it apart, the whole picture is padded.

    Args:
        image: RGB or RGBA, as :func:`load_picture` gives it.

    Raises:
        ValueError: if the picture is transparent everywhere.
    """
    background: tuple[int, ...] = (255, 255, 255)
    if image.mode == "RGBA":
        box = image.getchannel("A").point(lambda value: 255 * (value > LEAST_DIFFERENCE)).getbbox()
        if box is None:
            raise ValueError("The image is transparent everywhere: there is no object in it.")
        opaque = Image.new("RGB", image.size, background)
        opaque.paste(image, mask=image.getchannel("A"))
        image = opaque
    else:
        pixels = np.asarray(image, dtype=np.int16)
        border = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])
        color = np.median(border, axis=0)
        box = None
        if np.abs(border - color).mean() <= _UNIFORM:
            background = tuple(int(value) for value in color)
            rows, columns = np.nonzero(np.abs(pixels - color).max(axis=2) > LEAST_DIFFERENCE)
            if len(rows):
                box = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
    part = image.crop(box) if box is not None else image
    side = max(1, round(max(part.size) / (1 - 2 * MARGIN)))
    square = Image.new("RGB", (side, side), background)
    square.paste(part, ((side - part.width) // 2, (side - part.height) // 2))
    return square


def centered_renders(views: torch.Tensor, size: int, background: torch.Tensor) -> torch.Tensor:
    """What :func:`centered_on_white` makes of pictures, of many renders at once.

    Args:
        views: [C, H, H, 4] RGBA with premultiplied colour, as rendered without a background.
        size: S, pixels along a side of the results.
        background: [3] colour of the squares.

    Returns:
        [C, S, S, 3]; a view that shows nothing is all background.
    """
    seen = views[..., 3] > LEAST_DIFFERENCE / 255
    side = views.shape[1]
    left, right = _ends(seen.any(dim=1))
    top, bottom = _ends(seen.any(dim=2))
    half = torch.maximum(right - left, bottom - top) / (1 - 2 * MARGIN) / 2
    steps = (2 * torch.arange(size, device=views.device) + 1) / size - 1  # pixel centres, of a square from −1 to 1
    columns, rows = (
        2 / side * (middle[:, None] + half[:, None] * steps) - 1
        for middle in ((left + right) / 2, (top + bottom) / 2)
    )
    grid = torch.stack(torch.broadcast_tensors(columns[:, None, :], rows[:, :, None]), dim=-1)
    beside = views[..., :3] - views[..., 3:] * background  # 0 where nothing is, as beyond the border
    moved = torch.nn.functional.grid_sample(beside.movedim(-1, 1), grid, align_corners=False)
    return moved.movedim(1, -1) + background


def _ends(seen: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Where rows [C, N] of booleans begin and end to be true, [C] each; all of a row that never is."""
    count = seen.shape[1]
    first = seen.int().argmax(dim=1)
    last = count - seen.flip(1).int().argmax(dim=1)
    return first.float(), last.float()


def _from_file(path: Path, name: str) -> Image.Image:
    if not path.is_file():
        raise FileNotFoundError(f"`{name}`: there is no file {path}.")
    try:
        with Image.open(path) as image:
            image.load()
            return image
    except (UnidentifiedImageError, OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise ValueError(f"`{name}`: {path} is no picture that can be read ({error}).") from error


def _from_array(values: np.ndarray, name: str) -> Image.Image:
    if values.ndim == 2:
        values = values[:, :, None]
    if values.ndim != 3 or values.shape[2] not in (1, 3, 4) or 0 in values.shape:
        raise ValueError(f"`{name}` as an array must be [H, W] or [H, W, 1, 3 or 4], got {list(values.shape)}.")
    if np.issubdtype(values.dtype, np.floating):
        if not (np.isfinite(values).all() and values.min() >= -1e-3 and values.max() <= 1 + 1e-3):
            raise ValueError(f"`{name}` must hold finite values between 0 and 1, or be uint8.")
        values = (values.astype(np.float32).clip(0, 1) * 255).round().astype(np.uint8)
    if values.dtype != np.uint8:
        raise ValueError(f"`{name}` must be uint8 or floating point, got {values.dtype}.")
    return Image.fromarray(values[:, :, 0] if values.shape[2] == 1 else np.ascontiguousarray(values))
