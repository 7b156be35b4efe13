"""Objects of known shape and colour, made of a few hundred Gaussians."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file

from diffgs_diffusers.data.captions import compose_caption
from diffgs_diffusers.data.colors import COLOR_NAMES
from diffgs_diffusers.data.dataset import FORMAT_VERSION, ObjectRecord
from diffgs_diffusers.functional.spherical_harmonics import SH_C0
from diffgs_diffusers.gaussians import GaussianSplats


def colored(means: np.ndarray, rgb: np.ndarray | tuple[float, ...], scale: float = 0.02) -> GaussianSplats:
    """Round opaque Gaussians at [N, 3] means with sRGB colours [3] or [N, 3] in [0, 1]."""
    count = len(means)
    colors = torch.from_numpy(np.broadcast_to(np.asarray(rgb, np.float32), (count, 3)).copy())
    return GaussianSplats(
        means=torch.from_numpy(np.asarray(means, np.float32)),
        quats=torch.tensor([[1.0, 0.0, 0.0, 0.0]]).repeat(count, 1),
        scales=torch.full((count, 3), scale),
        opacities=torch.full((count,), 0.95),
        sh0=((colors - 0.5) / SH_C0)[:, None],
    )


def sphere_points(count: int = 600, radius: float = 0.4) -> np.ndarray:
    """[count, 3] even points on a sphere (golden spiral)."""
    index = np.arange(count) + 0.5
    height = 1 - 2 * index / count
    angle = np.pi * (1 + 5**0.5) * index
    ring = np.sqrt(1 - height**2)
    return radius * np.stack([ring * np.cos(angle), height, ring * np.sin(angle)], axis=1)


def box_points(sides: tuple[float, float, float], step: float = 0.035) -> np.ndarray:
    """[N, 3] a grid over the volume of a box about the origin."""
    axes = [np.arange(-side / 2, side / 2 + 1e-6, step) for side in sides]
    return np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)


def shaded(rgb: tuple[float, float, float], means: np.ndarray) -> np.ndarray:
    """[N, 3] a colour under light from above: between 65 % and 100 % of it."""
    height = (means[:, 1] - means[:, 1].min()) / max(np.ptp(means[:, 1]), 1e-6)
    return np.asarray(rgb)[None] * (1.0 - 0.35 * height)[:, None]


def write_dataset(root: Path, objects: Sequence[tuple[str, str, str, GaussianSplats]]) -> Path:
    """A dataset folder of objects given as (noun, colour name, split, splats), each of one material."""
    (root / "objects").mkdir(parents=True)
    (root / "dataset.json").write_text(json.dumps({"format_version": FORMAT_VERSION}), encoding="utf-8")
    lines = []
    for index, (noun, color, split, splats) in enumerate(objects):
        tensors = {name: getattr(splats, name) for name in ("means", "quats", "scales", "opacities", "sh0")}
        tensors["material_ids"] = torch.zeros(len(splats), dtype=torch.int16)
        save_file(tensors, root / "objects" / f"object-{index}.safetensors")
        rgb = [value / 255 for value in COLOR_NAMES[color]]
        record = ObjectRecord(
            id=f"object-{index}",
            name=noun,
            noun=noun,
            caption=compose_caption(noun, [color]),
            names=[noun],
            category=noun,
            split=split,
            num_gaussians=len(splats),
            materials=[{"index": 0, "rgb": rgb, "color": color, "share": 1.0}],
        )
        lines.append(json.dumps(asdict(record)) + "\n")
    (root / "metadata.jsonl").write_text("".join(lines), encoding="utf-8")
    return root


def toy_objects(splits: Sequence[str]) -> list[tuple[str, str, str, GaussianSplats]]:
    """Red, blue and white tables (flat boxes) and lamps (spheres) in each of the splits."""
    shapes = {"table": box_points((1.0, 0.1, 0.8), 0.05), "lamp": sphere_points(400)}
    return [
        (noun, color, split, colored(points, np.array(COLOR_NAMES[color]) / 255, 0.03))
        for split in splits
        for noun, points in shapes.items()
        for color in ("red", "blue", "white")
    ]
