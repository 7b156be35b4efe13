"""Augmentation that keeps captions true: other colours by material, the mirror image, other proportions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..functional.jacobi import stretch_gaussians
from ..functional.spherical_harmonics import rgb_to_sh0, sh0_to_rgb, sh_bases
from ..gaussians import GaussianSplats
from .captions import compose_caption, dominant_colors
from .colors import COLOR_NAMES, random_shade
from .dataset import ObjectRecord
from .shading import lit

RECOLOR_PROBABILITY = 0.7
SECOND_RECOLOR_PROBABILITY = 0.4
MIRROR_PROBABILITY = 0.5
COARSE_NOUN_PROBABILITY = 0.25
AXIS_SCALING = 0.15  # natural logarithm of the largest change of a side
# What is known by its colours: a blue apple or a green face would teach nonsense.
COLORS_THAT_STAY = frozenset({"person", "food", "plant", "animal", "road"})
_LUMA = np.array([0.2126, 0.7152, 0.0722])


def augment(
    splats: GaussianSplats,
    record: ObjectRecord,
    material_ids: Tensor,
    generator: np.random.Generator,
    recolor: bool = True,
    mirror: bool = True,
    axis_scaling: bool = True,
) -> tuple[GaussianSplats, str]:
    """A variant of an object and a caption that is true of it.

    Args:
        splats: N Gaussians of the object.
        record: its metadata.
        material_ids: [N] index of each Gaussian's material.
        generator: draws everything.
        recolor: allow other colours (people, food, plants, animals and road signs keep theirs).
        mirror: allow the mirror image, left and right exchanged.
        axis_scaling: allow other proportions; the result has a longest side of 1 again.

    Returns:
        The splats and the caption.
    """
    materials: Sequence[dict[str, Any]] = record.materials
    if recolor and record.category not in COLORS_THAT_STAY and generator.random() < RECOLOR_PROBABILITY:
        splats, materials = recolor_dominant(splats, materials, material_ids, generator)
    if mirror and generator.random() < MIRROR_PROBABILITY:
        splats = mirror_x(splats)
    if axis_scaling:
        factors = np.exp(generator.uniform(-AXIS_SCALING, AXIS_SCALING, 3))
        splats = scale_axes(splats, torch.as_tensor(factors, dtype=splats.dtype, device=splats.device))
    coarse = len(record.names) > 1 and generator.random() < COARSE_NOUN_PROBABILITY
    noun = record.names[1] if coarse else record.noun
    return splats, compose_caption(noun, dominant_colors(materials, record.category), generator)


def recolor_dominant(
    splats: GaussianSplats,
    materials: Sequence[dict[str, Any]],
    material_ids: Tensor,
    generator: np.random.Generator,
) -> tuple[GaussianSplats, list[dict[str, Any]]]:
    """Gives all materials of the dominant colour a new one, and sometimes those of the second colour another.

    Args:
        splats: N Gaussians.
        materials: ``index``, ``rgb``, ``color`` and ``share`` of each.
        material_ids: [N].
        generator: draws the colours.

    Returns:
        The splats and their materials with the new ``rgb`` and ``color``.
    """
    changed = [dict(material) for material in materials]
    by_share: dict[str, float] = {}
    for material in materials:
        by_share[material["color"]] = by_share.get(material["color"], 0.0) + material["share"]
    ranked = sorted(by_share, key=lambda name: -by_share[name])
    count = 2 if generator.random() < SECOND_RECOLOR_PROBABILITY else 1
    names = list(COLOR_NAMES)
    for old in ranked[:count]:
        new = names[generator.integers(len(names))]
        target = random_shade(new, generator)
        for material in changed:
            if material["color"] == old and not material.get("changed"):
                splats = recolor_material(splats, material_ids == material["index"], material["rgb"], target)
                material.update(rgb=target.tolist(), color=new, changed=True)
    return splats, [{key: value for key, value in material.items() if key != "changed"} for material in changed]


def recolor_material(
    splats: GaussianSplats, mask: Tensor, rgb: Sequence[float], target: np.ndarray | Sequence[float]
) -> GaussianSplats:
    """Paints some Gaussians in another colour under the same light.

    The brightness of each Gaussian relative to its material (its shading and the pattern of a texture) is kept.

    Args:
        splats: N Gaussians.
        mask: [N] which of them to paint.
        rgb: [3] the material's present colour before shading, sRGB in [0, 1].
        target: [3] its new one.
    """
    material_luma = float(lit(np.asarray(rgb)) @ _LUMA)
    luma = torch.as_tensor(_LUMA, dtype=splats.dtype, device=splats.device)
    colors = sh0_to_rgb(splats.sh0)
    brightness = ((colors @ luma) / material_luma).clamp(0.3, 1.5)[..., None]
    painted = torch.as_tensor(lit(np.asarray(target)), dtype=splats.dtype, device=splats.device) * brightness
    # a bright spot on a dark material must not wash the new colour out to white
    painted = painted / painted.amax(dim=-1, keepdim=True).clamp(min=1.0)
    sh0 = torch.where(mask[:, None, None], rgb_to_sh0(painted), splats.sh0)
    shN = torch.where(mask[:, None, None], torch.zeros_like(splats.shN), splats.shN)
    return replace(splats, sh0=sh0, shN=shN)


def mirror_x(splats: GaussianSplats) -> GaussianSplats:
    """The mirror image with left and right exchanged: x → −x.

    A mirrored rotation R becomes M R M with M = diag(−1, 1, 1), as the Gaussian itself is symmetric about its axes.
    """
    sign = splats.means.new_tensor([-1.0, 1.0, 1.0])
    quats = splats.quats * splats.quats.new_tensor([1.0, 1.0, -1.0, -1.0])
    shN = splats.shN
    if shN.shape[1]:
        shN = shN * _mirror_signs(splats.sh_degree).to(shN)[1:, None]
    return replace(splats, means=splats.means * sign, quats=quats, shN=shN)


def _mirror_signs(sh_degree: int) -> Tensor:
    """[K] sign of each harmonic under x → −x, read off at a direction where none of them vanishes."""
    direction = torch.tensor([[0.36, 0.48, 0.8]], dtype=torch.float64)
    mirrored = direction * torch.tensor([-1.0, 1.0, 1.0], dtype=torch.float64)
    return (sh_bases(direction, sh_degree) * sh_bases(mirrored, sh_degree)).sign()[0]


def scale_axes(splats: GaussianSplats, factors: Tensor) -> GaussianSplats:
    """Stretches splats along the world's axes and scales the result back to a longest side of 1.

    Scales come out in falling order, quaternions with w ≥ 0.

    Args:
        splats: N Gaussians, on the CPU.
        factors: [3], > 0.
    """
    box = (splats.means.amax(dim=0) - splats.means.amin(dim=0)).clamp(min=1e-9)
    factors = factors * (box.amax() / (box * factors).amax())
    quats, scales = stretch_gaussians(splats.quats, splats.scales.clamp(min=1e-8), factors)
    return replace(splats, means=splats.means * factors, quats=quats, scales=scales)
