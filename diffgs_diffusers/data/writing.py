"""Writing a dataset folder so that an interrupt at any moment leaves it valid and work can go on."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from ..io.atomic import atomic_write
from .captions import compose_caption, dominant_colors
from .colors import nearest_color_name
from .dataset import FORMAT_VERSION, ObjectRecord, object_path
from .nouns import category_of, names_for, noun_of
from .preparation import PreparationSettings, PreparedObject
from .sources import ObjectSource
from .splits import split_objects

# Near-identical objects that would otherwise be a tenth of all that is drawn.
_REPEATED = re.compile(r"\b(plug|switch|socket|banknote|parking slot|arrow|crossing)\b")
REPEATED_WEIGHT = 0.2


def open_dataset(root: Path, settings: PreparationSettings, overwrite: bool) -> None:
    """Creates the folder, or checks that an existing one was made with the same settings.

    Raises:
        ValueError: if it was not, and may not be overwritten.
    """
    wanted = {"format_version": FORMAT_VERSION, "settings": json.loads(json.dumps(asdict(settings)))}
    path = root / "dataset.json"
    if path.is_file() and not overwrite:
        present = json.loads(path.read_text())
        if present != wanted:
            raise ValueError(
                f"{root} was prepared with other settings. Pass --overwrite to begin anew, or another --output_dir."
            )
    for folder in ("objects", "records"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    if overwrite:
        for stale in (*root.glob("records/*.json"), *root.glob("objects/*.safetensors")):
            stale.unlink()
    _write_text(path, json.dumps(wanted, indent=2) + "\n")


def is_done(root: Path, source: ObjectSource) -> bool:
    """Whether an object was prepared, or left out, by an earlier run."""
    return _record_path(root, source.id).is_file()


def write_object(root: Path, source: ObjectSource, prepared: PreparedObject) -> None:
    """Stores an object; its record comes last and says that all is there."""
    from safetensors.torch import save

    splats = prepared.splats
    names = ("means", "quats", "scales", "opacities", "sh0")
    tensors = {name: getattr(splats, name).contiguous() for name in names}
    if splats.shN.shape[1]:
        tensors["shN"] = splats.shN.contiguous()
    tensors["material_ids"] = torch.from_numpy(prepared.material_ids)
    with atomic_write(object_path(root, source.id)) as stream:
        stream.write(save(tensors, metadata={"rasterize_mode": "antialiased"}))
    measured = {
        "status": "ok",
        "num_gaussians": len(splats),
        "psnr": round(prepared.psnr, 3),
        "psnr_256": round(prepared.psnr_256, 3),
        "materials": prepared.materials,
    }
    _write_text(_record_path(root, source.id), json.dumps(measured) + "\n")


def write_left_out(root: Path, source: ObjectSource, reason: str) -> None:
    """Notes why an object is not in the dataset."""
    _write_text(_record_path(root, source.id), json.dumps({"status": "left_out", "reason": reason}) + "\n")


def write_metadata(root: Path, sources: Sequence[ObjectSource], seed: int) -> list[ObjectRecord]:
    """Joins what was measured with names, captions and splits into ``metadata.jsonl``.

    Splits are drawn over all sources, finished or not: an object's split never depends on the state of the run.

    Returns:
        The records written, in the order of the sources.
    """
    nouns = [noun_of(source.name) for source in sources]
    categories = [category_of(noun) for noun in nouns]
    splits = split_objects([source.id for source in sources], categories, seed)
    records = []
    for source, noun, category, split in zip(sources, nouns, categories, splits):
        path = _record_path(root, source.id)
        if path.is_file():
            records.append(_record(source, noun, category, split, json.loads(path.read_text())))
    _write_text(root / "metadata.jsonl", "".join(json.dumps(asdict(record)) + "\n" for record in records))
    return records


def _record(source: ObjectSource, noun: str, category: str, split: str, measured: dict[str, Any]) -> ObjectRecord:
    entry = source.entry
    materials = [
        {**material, "color": nearest_color_name(material["rgb"])} for material in measured.get("materials", [])
    ]
    return ObjectRecord(
        id=source.id,
        name=source.name,
        noun=noun,
        caption=compose_caption(noun, dominant_colors(materials, category)),
        names=names_for(noun),
        category=category,
        catalogue_category="" if entry is None else entry.category,
        tags=[] if entry is None else list(entry.tags),
        creator="" if entry is None else entry.creator,
        licence="unknown" if entry is None else entry.licence,
        split=split,
        weight=REPEATED_WEIGHT if _REPEATED.search(noun) else 1.0,
        **{**measured, "materials": materials},
    )


def _record_path(root: Path, object_id: str) -> Path:
    return root / "records" / f"{object_id}.json"


def _write_text(path: Path, text: str) -> None:
    with atomic_write(path) as stream:
        stream.write(text.encode())
