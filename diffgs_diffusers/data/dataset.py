"""The dataset folder: objects as Gaussians with their captions and credits.

``dataset.json`` (format and settings) · ``metadata.jsonl`` (one object per line, those left out too) ·
``objects/<id>.safetensors`` (the Gaussians and their material ids) · ``records/<id>.json`` (what was measured).
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from ..gaussians import GaussianSplats

FORMAT_VERSION = 1
SPLITS = ("train", "validation", "test")


class SampleKey(Protocol):
    """Which object, and the seed of everything random about the sample."""

    index: int
    seed: int


@dataclass(frozen=True)
class ObjectRecord:
    """What is known about one object.

    Args:
        id: file name without suffix.
        name: as its source calls it.
        noun: what a caption calls it.
        caption: the plain caption.
        names: the noun, and a coarser one that is true as well.
        category: chair, table, sofa, lamp, bed, cabinet, plant, …, other.
        catalogue_category: the source's own.
        tags: the source's own.
        creator: who made the model.
        licence: of the model.
        split: "train", "validation" or "test".
        status: "ok" or "left_out".
        reason: why it was left out, else empty.
        num_gaussians: N.
        psnr: mean dB at half resolution over views unseen in the fit, on white.
        psnr_256: the same at full resolution (256² by default).
        weight: how often to draw the object relative to others; near-identical ones have less.
        materials: of each material ``index``, ``rgb`` [3] before shading, ``color`` (its name) and ``share`` of the
            visible surface.
    """

    id: str
    name: str
    noun: str
    caption: str
    names: list[str] = field(default_factory=list)
    category: str = "other"
    catalogue_category: str = ""
    tags: list[str] = field(default_factory=list)
    creator: str = ""
    licence: str = "unknown"
    split: str = "train"
    status: str = "ok"
    reason: str = ""
    num_gaussians: int = 0
    psnr: float = 0.0
    psnr_256: float = 0.0
    weight: float = 1.0
    materials: list[dict[str, Any]] = field(default_factory=list)

    @staticmethod
    def from_dict(values: dict[str, Any]) -> ObjectRecord:
        """A record from a line of the metadata; keys that this version does not know are ignored."""
        known = {entry.name for entry in fields(ObjectRecord)}
        return ObjectRecord(**{key: value for key, value in values.items() if key in known})


class GaussianObjectDataset:
    """The usable objects of a dataset folder.

    Args:
        root: the folder.
        split: "train", "validation", "test", or None for all.

    Raises:
        FileNotFoundError: if the folder is not a dataset.
        ValueError: if the split is unknown or the format is newer than this package.
    """

    def __init__(self, root: str | Path, split: str | None = "train"):
        if split is not None and split not in SPLITS:
            raise ValueError(f"Unknown split {split!r}; choose one of {', '.join(SPLITS)}, or None for all.")
        self.root = Path(root)
        self.settings = read_settings(self.root)
        records = read_records(self.root)
        self.records = [record for record in records if record.status == "ok" and split in (None, record.split)]

    def __len__(self) -> int:
        return len(self.records)

    def splats(self, index: int) -> GaussianSplats:
        """The Gaussians of one object, every prefix of them evenly spread."""
        return read_object(self.root, self.records[index].id)[0]

    def material_ids(self, index: int) -> Tensor:
        """[N] int64 index of each Gaussian's material."""
        return read_object(self.root, self.records[index].id)[1]


def read_settings(root: str | Path) -> dict[str, Any]:
    """The contents of ``dataset.json``; raises as :class:`GaussianObjectDataset`."""
    path = Path(root) / "dataset.json"
    if not path.is_file():
        raise FileNotFoundError(
            f"{root} is not a dataset: it has no dataset.json. Run training/prepare_data.py first."
        )
    settings = json.loads(path.read_text())
    if settings.get("format_version") != FORMAT_VERSION:
        raise ValueError(
            f"{path} has format {settings.get('format_version')}, this version reads format {FORMAT_VERSION}."
        )
    return dict(settings)


def read_records(root: str | Path) -> list[ObjectRecord]:
    """All records of a dataset, those left out as well."""
    path = Path(root) / "metadata.jsonl"
    if not path.is_file():
        raise FileNotFoundError(f"{root} has no metadata.jsonl. Run training/prepare_data.py again to complete it.")
    return [ObjectRecord.from_dict(json.loads(line)) for line in path.read_text().splitlines() if line]


def object_path(root: str | Path, object_id: str) -> Path:
    """Where an object's Gaussians are stored."""
    return Path(root) / "objects" / f"{object_id}.safetensors"


def read_object(root: str | Path, object_id: str) -> tuple[GaussianSplats, Tensor]:
    """Gaussians and material ids [N] int64 of one object."""
    from safetensors.torch import load_file

    tensors = load_file(str(object_path(root, object_id)))
    material_ids = tensors.pop("material_ids").to(torch.int64)
    return GaussianSplats(**tensors), material_ids
