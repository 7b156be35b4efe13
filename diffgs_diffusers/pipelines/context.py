"""What a pipeline is given besides texts - pictures, partial objects, point clouds - checked, then as tokens."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from transformers import CLIPImageProcessor, CLIPVisionModel

from ..functional.pictures import centered_on_white, load_picture
from ..gaussians import GaussianSplats
from ..io import load_points
from ..models import Condition, ConditionEncoder
from ..models.condition_encoder import POINT_KINDS, points_features, splats_features

T = TypeVar("T")
COLOR_TOLERANCE = 1e-3


@dataclass(frozen=True)
class Context:
    """The inputs of a call, read and checked; every list is empty or has one entry, or one for each object.

    Args:
        images: pictures, each with its object in the middle.
        parts: partial objects.
        clouds: points [N, 3] with colours [N, 3] in [0, 1], or None for unknown ones.
    """

    images: list[Image.Image] = field(default_factory=list)
    parts: list[GaussianSplats] = field(default_factory=list)
    clouds: list[tuple[Tensor, Tensor | None]] = field(default_factory=list)

    def counts(self) -> dict[str, int]:
        """How many were given of each kind that was given."""
        counts = {"image": len(self.images), "partial": len(self.parts), "points": len(self.clouds)}
        return {name: count for name, count in counts.items() if count}


def read_context(image: Any, partial: Any, points: Any, half_side: float) -> Context:
    """Reads what a call was given.

    Args:
        image: a picture as :func:`~diffgs_diffusers.functional.pictures.load_picture` takes it, or a list of them.
        partial: :class:`GaussianSplats` or a path of a file of them, or a list.
        points: [N, 3] positions, or [N, 6] with RGB in [0, 1] behind them, as array, tensor or the path of a file;
            or a list of those.
        half_side: half the side of the box that the objects live in.

    Raises:
        TypeError, ValueError, OSError: naming the argument and what is wrong.
    """
    if partial is not None and points is not None:
        raise ValueError("Pass `partial` or `points`, not both: each says where the object is.")
    return Context(
        _read_each("image", image, lambda one, name: centered_on_white(load_picture(one, name))),
        read_objects("partial", partial, half_side),
        _read_each("points", points, lambda one, name: _read_cloud(one, name, half_side)),
    )


def encode_context(
    context: Context,
    count: int,
    condition_types: list[str],
    encoder: ConditionEncoder | None,
    image_encoder: CLIPVisionModel | None,
    image_processor: CLIPImageProcessor | None,
    device: torch.device,
) -> Condition | None:
    """The condition that a call's context makes for each of ``count`` objects; None if there is none."""
    found: list[Condition] = []
    if encoder is None:
        return None
    if context.images and image_encoder is not None and image_processor is not None:
        pixels = image_processor(images=context.images, return_tensors="pt").pixel_values.to(device)
        states = image_encoder(pixels.to(image_encoder.dtype)).last_hidden_state
        tokens = Condition.of_type(encoder.project_images(states), condition_types.index("image"))
        found.append(replace(tokens, aligned=encoder.places_of_images(pixels)))
    features = {
        "partial": [splats_features(one) for one in context.parts],
        "points": [points_features(*one) for one in context.clouds],
    }
    for name, rows in features.items():
        if rows:
            kinds = torch.full((len(rows),), POINT_KINDS.index(name), device=encoder.device)
            found.append(Condition.of_places(encoder(encoder.prepare_features(rows), kinds)))
    return Condition.joined([one.expand(count) for one in found]) if found else None


def read_objects(name: str, value: Any, half_side: float) -> list[GaussianSplats]:
    """Objects that a call was given, on the CPU.

    Args:
        name: of the argument.
        value: :class:`GaussianSplats` or a path of a file of them, or a list; None gives an empty one.
        half_side: half the side of the box that they must lie in.

    Raises:
        TypeError, ValueError, OSError: naming the argument and what is wrong.
    """
    return _read_each(name, value, lambda one, name: _read_object(one, name, half_side))


def _read_each(name: str, value: Any, read: Callable[[Any, str], T]) -> list[T]:
    if value is None:
        return []
    if not isinstance(value, list):
        return [read(value, name)]
    if not value:
        raise ValueError(f"`{name}` is an empty list: pass at least one, or leave it out.")
    return [read(one, f"{name}[{index}]") for index, one in enumerate(value)]


def _read_object(value: Any, name: str, half_side: float) -> GaussianSplats:
    splats = GaussianSplats.load(value) if isinstance(value, str | Path) else value
    if not isinstance(splats, GaussianSplats):
        raise TypeError(
            f"`{name}` must be GaussianSplats or the path of a file of them, got {type(value).__name__}."
        )
    if len(splats) == 0:
        raise ValueError(f"`{name}` holds no Gaussian: leave it out to generate from noise alone.")
    try:
        splats = splats.detach().to("cpu", torch.float32).validate()
    except ValueError as error:
        raise ValueError(f"`{name}`: {error}") from error
    _check_inside(splats.means, name, half_side)
    return splats


def _read_cloud(value: Any, name: str, half_side: float) -> tuple[Tensor, Tensor | None]:
    if isinstance(value, str | Path):
        positions, colors = load_points(value)
        _check_inside(positions, name, half_side)
        return positions, colors
    if not isinstance(value, np.ndarray | Tensor):
        raise TypeError(f"`{name}` must be an array, a tensor or the path of a file, got {type(value).__name__}.")
    values = torch.as_tensor(value).detach().to("cpu", torch.float32)
    if values.ndim != 2 or values.shape[1] not in (3, 6):
        raise ValueError(f"`{name}` must be [N, 3] or, with colours, [N, 6], got {list(values.shape)}.")
    if len(values) == 0:
        raise ValueError(f"`{name}` holds no point: leave it out to generate without.")
    bad = int((~values.isfinite()).any(dim=1).sum())
    if bad:
        raise ValueError(f"`{name}` is NaN or infinite in {bad} of {len(values)} points.")
    _check_inside(values[:, :3], name, half_side)
    if values.shape[1] == 3:
        return values, None
    colors = values[:, 3:]
    if colors.min() < -COLOR_TOLERANCE or colors.max() > 1 + COLOR_TOLERANCE:
        raise ValueError(f"`{name}`: colours must lie between 0 and 1, they reach {colors.max():g}; divide by 255?")
    return values[:, :3], colors.clamp(0, 1)


def _check_inside(means: Tensor, name: str, half_side: float) -> None:
    farthest = float(means.abs().max())
    if farthest > half_side:
        raise ValueError(
            f"`{name}` reaches {farthest:.3g} from the origin: objects live in a box of side 1 around it (up −y). "
            "Move and scale it to where it belongs in the whole object."
        )
