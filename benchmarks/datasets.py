"""Datasets made up for a training step, in the layouts of prepare_data.py and of encode_latents.py."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors.torch import save_file

from diffgs_diffusers.data.latents import LatentRecord, write_index, write_latents

from .scenes import colorful_sphere


def write_objects(folder: Path, num_objects: int, num_gaussians: int) -> None:
    """A dataset of fitted objects, all for training.

    Args:
        folder: new.
        num_objects: of it.
        num_gaussians: of each object.
    """
    (folder / "objects").mkdir(parents=True)
    lines = []
    for index in range(num_objects):
        splats = colorful_sphere(num_gaussians)
        names = ("means", "quats", "scales", "opacities", "sh0")
        tensors = {name: getattr(splats, name).contiguous() for name in names}
        tensors["material_ids"] = torch.zeros(num_gaussians, dtype=torch.int16)
        save_file(tensors, str(folder / "objects" / f"sphere_{index}.safetensors"))
        record = {
            "id": f"sphere_{index}",
            "name": "Sphere",
            "names": ["sphere"],
            "noun": "sphere",
            "caption": "a red sphere",
            "category": "other",
            "split": "train",
            "weight": 1.0,
            "materials": [{"index": 0, "rgb": [0.8, 0.1, 0.1], "color": "red", "share": 1.0}],
            "num_gaussians": num_gaussians,
        }
        lines.append(json.dumps(record) + "\n")
    (folder / "metadata.jsonl").write_text("".join(lines), encoding="utf-8")
    (folder / "dataset.json").write_text('{"format_version": 1}', encoding="utf-8")


def write_random_latents(folder: Path, num_objects: int, shape: tuple[int, int]) -> None:
    """A latents folder, all for training.

    Args:
        folder: new.
        num_objects: of it.
        shape: (C, L) of a latent.
    """
    generator = torch.Generator().manual_seed(0)
    names = [f"object_{index}" for index in range(num_objects)]
    for name in names:
        record = LatentRecord(name, "train", "other", 1.0, [["a red chair"], ["a blue chair"]], ["a chair"])
        write_latents(folder, record, torch.randn(2, *shape, generator=generator))
    write_index(folder, names, {})
