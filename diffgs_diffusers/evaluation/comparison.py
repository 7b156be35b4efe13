"""Splats beside splats: one object against its reference, or a set of objects against another."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol

import numpy as np
from scipy.spatial import cKDTree
from torch import Tensor, nn

from ..gaussians import GaussianSplats
from .image_distributions import LEAST_IMAGES, check_packages, streamed_image_distance
from .metrics import chamfer_distance, f_score
from .novelty import surface_points, visible_centers
from .reconstruction import compare_images
from .set_metrics import SET_POINTS, set_comparison
from .views import NUM_VIEWS, WHITE, evaluation_cameras

LEAST_OBJECTS = -(-LEAST_IMAGES // NUM_VIEWS)
HALF_SIDE = 0.6  # object units: the box of side 1, and some margin
_IMAGE_SIZE = 256


class ObjectSet(Protocol):
    """Objects in the box of side 1 around the origin, each with its render mode: a list, or one that reads them."""

    def __len__(self) -> int: ...

    def __iter__(self) -> Iterator[tuple[GaussianSplats, str]]: ...


def check_place(splats: GaussianSplats, name: str, least: int = 1) -> None:
    """Objects are compared as they stand, and lengths mean something in the unit box only.

    Args:
        splats: the object.
        name: of it, for messages.
        least: how many Gaussians must be seen.

    Raises:
        ValueError: if there are fewer, or one lies outside of the box, naming the object.
    """
    centers = visible_centers(splats)
    if len(centers) < least:
        raise ValueError(f"{name}: holds {len(centers)} Gaussians that can be seen, it takes at least {least}")
    farthest = float(np.abs(centers).max())
    if farthest > HALF_SIDE:
        raise ValueError(
            f"{name}: reaches {farthest:.3g} from the origin; objects are compared in a box of side 1 around it: "
            "move and scale them there (GaussianSplats.transform)"
        )


def pair_scores(
    reference: GaussianSplats, made: GaussianSplats, modes: tuple[str, str] = ("antialiased", "antialiased")
) -> dict[str, float]:
    """How like its reference an object is.

    Args:
        reference: in the box of side 1 around the origin.
        made: where the reference stands.
        modes: how each is rendered, as :meth:`GaussianSplats.render` takes it.

    Returns:
        ``psnr`` in dB and ``ssim``, means over eight views of 256² on white; ``chamfer`` in object units and
        ``f_score`` at 0.02 of the centres that can be seen.
    """
    images = compare_images(_views(made, _IMAGE_SIZE, modes[1]), _views(reference, _IMAGE_SIZE, modes[0]))
    ours, theirs = visible_centers(made), visible_centers(reference)
    trees = cKDTree(ours), cKDTree(theirs)
    return {
        "psnr": images.psnr,
        "ssim": images.ssim,
        "chamfer": chamfer_distance(ours, trees[1], trees[0]),
        "f_score": f_score(*trees),
    }


def set_scores(
    references: ObjectSet,
    made: ObjectSet,
    features: nn.Module | int | None,
    image_size: int,
    *,
    force: bool = False,
) -> dict[str, Any]:
    """How a set of objects is distributed beside another.

    Both sets are gone through twice, first for their points and then for their views, and no object is held longer
    than that takes.

    Args:
        references: what is compared with.
        made: what is compared.
        features: of images, as :func:`~diffgs_diffusers.evaluation.image_distributions.image_distance` takes them;
            None leaves FID and KID out.
        image_size: pixels of the renders for them.
        force: measure sets of fewer than 13 objects, whose figures mean little.

    Returns:
        ``num_references`` and ``num_generated``; ``compared``, how many of each are for the metrics that need equal
        sets: ``coverage``, ``mmd`` in object units and ``one_nna``; ``fid``, ``kid``, ``kid_std`` and the numbers
        of images that these are of.

    Raises:
        ValueError: for sets that are too small.
        ImportError: if what measures FID and KID is not installed.
    """
    check_set_sizes(len(references), len(made), force=force)
    check_packages(features)
    clouds, other_clouds = (
        [surface_points(splats, SET_POINTS) for splats, _ in objects] for objects in (made, references)
    )
    shapes = set_comparison(clouds, other_clouds)
    scores: dict[str, Any] = {"num_references": len(references), "num_generated": len(made)}
    scores |= {"compared": shapes.pop("count"), **shapes}
    if features is not None:
        views, others = (
            (_views(splats, image_size, mode) for splats, mode in objects) for objects in (made, references)
        )
        counts = NUM_VIEWS * len(made), NUM_VIEWS * len(references)
        distance = streamed_image_distance(views, others, counts, features, force=force)
        scores |= {"fid": distance.fid, "kid": distance.kid, "kid_std": distance.kid_std}
        scores |= {"num_reference_images": distance.num_others, "num_generated_images": distance.num_images}
    return scores


def check_set_sizes(num_references: int, num_generated: int, *, force: bool) -> None:
    """Raises ValueError for fewer than 13 objects of a set, or than 2 if forced."""
    least = 2 if force else LEAST_OBJECTS
    if min(num_references, num_generated) < least:
        raise ValueError(
            f"figures of {num_references} and {num_generated} objects mean little: take at least {least} of each"
        )


def _views(splats: GaussianSplats, size: int, mode: str) -> Tensor:
    """[8, H, W, 3] in [0, 1] on white."""
    cameras = evaluation_cameras(size)
    return splats.render(cameras, background=WHITE, rasterize_mode=mode)[..., :3].clamp(0, 1)
