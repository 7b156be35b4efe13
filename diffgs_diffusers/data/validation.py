"""Checking a dataset folder, and saying in a table what is in it."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .dataset import ObjectRecord, object_path, read_object, read_records, read_settings


@dataclass(frozen=True)
class DatasetReport:
    """The result of a check.

    Args:
        records: all records.
        problems: what is wrong, a line each.
        checksum: SHA-256 over all object files in the order of their ids.
    """

    records: list[ObjectRecord]
    problems: list[str]
    checksum: str

    @property
    def valid(self) -> bool:
        return not self.problems

    def table(self) -> str:
        """For people."""
        lines = [summarize(self.records), f"checksum      {self.checksum}"]
        lines += [f"PROBLEM       {problem}" for problem in self.problems]
        return "\n".join([*lines, "the dataset is sound" if self.valid else "the dataset is NOT sound"])


def validate_dataset(root: str | Path) -> DatasetReport:
    """Reads every object and checks that it can be drawn and agrees with its record.

    Raises:
        FileNotFoundError: if the folder is not a dataset.
    """
    read_settings(root)
    records = read_records(root)
    problems, digest = [], hashlib.sha256()
    for record in sorted(records, key=lambda record: record.id):
        if record.status != "ok":
            continue
        path = object_path(root, record.id)
        if not path.is_file():
            problems.append(f"{record.id}: {path.name} is missing")
            continue
        digest.update(path.read_bytes())
        problem = _check(root, record)
        if problem:
            problems.append(f"{record.id}: {problem}")
    ids = {record.id for record in records if record.status == "ok"}
    strays = [path.stem for path in sorted((Path(root) / "objects").glob("*.safetensors")) if path.stem not in ids]
    problems += [f"{stray}: has no record" for stray in strays]
    return DatasetReport(records, problems, digest.hexdigest())


def summarize(records: Sequence[ObjectRecord]) -> str:
    """Counts, PSNR and reasons as aligned lines."""
    good = [record for record in records if record.status == "ok"]
    lines = [f"objects       {len(good)} ok, {len(records) - len(good)} left out"]
    if good:
        for label, values in (
            ("PSNR, half", [record.psnr for record in good]),
            ("PSNR, full", [record.psnr_256 for record in good]),
        ):
            low, mean = np.percentile(values, 10), np.mean(values)
            lines.append(f"{label:<13} mean {mean:.2f} dB, 10th percentile {low:.2f}, worst {min(values):.2f}")
    for label, counter in (
        ("splits", Counter(record.split for record in good)),
        ("categories", Counter(record.category for record in good)),
    ):
        lines.append(f"{label:<13} " + ", ".join(f"{name} {count}" for name, count in counter.most_common()))
    lines += [f"left out      {record.id}: {record.reason}" for record in records if record.status != "ok"]
    return "\n".join(lines)


def _check(root: str | Path, record: ObjectRecord) -> str | None:
    from safetensors import SafetensorError

    try:
        splats, material_ids = read_object(root, record.id)
        splats.validate()
    except (SafetensorError, ValueError, KeyError, TypeError, OSError) as error:
        return str(error)
    if len(splats) != record.num_gaussians or len(material_ids) != len(splats):
        return f"{len(splats)} Gaussians, {len(material_ids)} material ids; the record says {record.num_gaussians}"
    known = {material["index"] for material in record.materials}
    if not set(material_ids.unique().tolist()) <= known:
        return "a material id that the record does not list"
    return None
