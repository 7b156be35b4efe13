"""The latents folder: what the Gaussian VAE makes of a dataset, and the captions of every version.

``latents.json`` (format, settings, ``latents_mean`` and ``latents_std``) · ``metadata.jsonl`` (one
:class:`LatentRecord` per line) · ``objects/<id>.safetensors``: ``mean`` [V, C, L] and, if asked for, ``logvar``,
half precision, and ``views`` [V, N, H, W, 3] uint8 with their ``sides`` [V, N, 2], of V versions of the object; the
record is in the header too, so that a broken-off run can go on.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from ..io.atomic import atomic_write

FORMAT_VERSION = 2
SETTINGS_NAME = "latents.json"
METADATA_NAME = "metadata.jsonl"


@dataclass(frozen=True)
class LatentRecord:
    """What is known about the latents of one object.

    Args:
        id: of the object, and name of the file.
        split: "train", "validation" or "test".
        category: the coarse category.
        weight: how often to draw the object relative to others.
        captions: of each version, one or more captions that are true of it.
        plain_captions: captions without a colour, true of all versions.
    """

    id: str
    split: str
    category: str
    weight: float
    captions: list[list[str]]
    plain_captions: list[str]


def latent_path(root: str | Path, object_id: str) -> Path:
    """Where the latents of an object are stored."""
    return Path(root) / "objects" / f"{object_id}.safetensors"


def write_latents(
    root: str | Path,
    record: LatentRecord,
    mean: Tensor,
    logvar: Tensor | None = None,
    pictures: tuple[Tensor, Tensor] | None = None,
) -> None:
    """Stores the latents of one object, whole or not at all.

    Args:
        root: the latents folder.
        record: with captions for each of the V versions.
        mean: [V, C, L] posterior means, not normalised.
        logvar: [V, C, L] posterior log variances.
        pictures: views [V, N, H, W, 3] uint8, and the sides that they are taken from, [V, N, 2] degrees.

    Raises:
        ValueError: if the captions do not fit the versions or a value does not fit half precision.
    """
    if len(record.captions) != len(mean) or not all(record.captions):
        raise ValueError(f"{record.id}: {len(mean)} versions need as many lists of captions, none of them empty.")
    tensors = {"mean": mean.half().contiguous()}
    if logvar is not None:
        tensors["logvar"] = logvar.half().contiguous()
    if not all(torch.isfinite(tensor).all() for tensor in tensors.values()):
        raise ValueError(f"{record.id}: latents are not finite in half precision; check the VAE on this object.")
    if pictures is not None:
        tensors["views"], tensors["sides"] = pictures
    path = latent_path(root, record.id)
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path) as stream:
        stream.write(save(tensors, metadata={"record": json.dumps(asdict(record))}))


def read_latents(root: str | Path, object_id: str) -> tuple[LatentRecord, dict[str, Tensor]]:
    """Record and tensors (``mean``, perhaps ``logvar``, ``views`` and ``sides``) of one object.

    Raises:
        OSError: if the file is missing or damaged.
    """
    path = latent_path(root, object_id)
    try:
        with safe_open(str(path), framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no iterator)
            record = LatentRecord(**json.loads(file.metadata()["record"]))
    except (SafetensorError, OSError, KeyError, TypeError, json.JSONDecodeError) as error:
        raise OSError(
            f"{path} cannot be read ({error}): delete it and run training/encode_latents.py again."
        ) from error
    return record, tensors


def write_index(root: str | Path, object_ids: Sequence[str], settings: dict[str, Any]) -> dict[str, Any]:
    """Completes a latents folder: writes ``metadata.jsonl`` and, last, ``latents.json``.

    Args:
        root: the latents folder, with the latents of all objects.
        object_ids: in the order of the dataset.
        settings: how the latents were made.

    Returns:
        what ``latents.json`` holds: the settings, and ``latents_mean`` and ``latents_std`` [C] of the train split.
    """
    root = Path(root)
    statistics = ChannelStatistics()
    records = []
    for object_id in object_ids:
        record, tensors = read_latents(root, object_id)
        records.append(record)
        if record.split == "train":
            statistics.add(tensors["mean"])
    mean, std = statistics.result()
    content = {**settings, "format_version": FORMAT_VERSION, "latents_mean": mean, "latents_std": std}
    lines = "".join(json.dumps(asdict(record)) + "\n" for record in records)
    with atomic_write(root / METADATA_NAME) as stream:
        stream.write(lines.encode())
    with atomic_write(root / SETTINGS_NAME) as stream:
        stream.write((json.dumps(content, indent=2) + "\n").encode())
    return content


class ChannelStatistics:
    """Mean and standard deviation per latent channel, in float64, one object at a time."""

    def __init__(self) -> None:
        self.count = 0
        self.sum: Tensor | float = 0.0
        self.sum_of_squares: Tensor | float = 0.0

    def add(self, latents: Tensor) -> None:
        """Adds latents [V, C, L]."""
        values = latents.double().transpose(0, 1).flatten(1)
        self.count += values.shape[1]
        self.sum = self.sum + values.sum(1)
        self.sum_of_squares = self.sum_of_squares + values.square().sum(1)

    def result(self) -> tuple[list[float], list[float]]:
        """Mean [C] and standard deviation [C].

        Raises:
            ValueError: if nothing was added or a channel never changes.
        """
        if self.count == 0:
            raise ValueError("There are no training latents: the dataset has no object in its train split.")
        mean = torch.as_tensor(self.sum) / self.count
        variance = torch.as_tensor(self.sum_of_squares) / self.count - mean.square()
        if not (variance > 1e-8).all():
            raise ValueError(f"Latent channels without variance {variance.tolist()}: train the VAE longer.")
        return mean.tolist(), variance.sqrt().tolist()


class LatentDataset:
    """The latents of a split, normalised, in memory.

    Args:
        root: the latents folder.
        split: "train", "validation" or "test".

    Raises:
        FileNotFoundError: if the folder is not complete.
        ValueError: if its format is not ours or the split is empty.
    """

    def __init__(self, root: str | Path, split: str = "train") -> None:
        self.root = Path(root)
        self.settings = read_latent_settings(root)
        lines = (self.root / METADATA_NAME).read_text(encoding="utf-8").splitlines()
        records = [LatentRecord(**json.loads(line)) for line in lines]
        self.records = [record for record in records if record.split == split]
        if not self.records:
            raise ValueError(
                f"{root} has no latents of the {split!r} split: its dataset has no such object. Prepare more, or "
                "train with --validation_steps 0 where none is held out."
            )
        self._tensors = [read_latents(root, record.id)[1] for record in self.records]
        self.mean = torch.tensor(self.settings["latents_mean"])[:, None]
        self.std = torch.tensor(self.settings["latents_std"])[:, None]

    def __len__(self) -> int:
        return len(self.records)

    @property
    def latent_shape(self) -> tuple[int, int]:
        """(C, L) of one latent."""
        return tuple(self._tensors[0]["mean"].shape[1:])  # type: ignore[return-value]  # two by the format

    def latents(self, index: int, version: int, noise: Tensor | None = None) -> Tensor:
        """Normalised latents [C, L], float32.

        Args:
            index: which object.
            version: which of its versions.
            noise: [C, L] standard normal, draws from the posterior; None takes its mean.

        Raises:
            ValueError: if noise is given and the folder has no log variances.
        """
        tensors = self._tensors[index]
        value = tensors["mean"][version].float()
        if noise is not None:
            if "logvar" not in tensors:
                raise ValueError(f"{self.root} has no log variances: run encode_latents.py with --save_logvar.")
            value = value + (0.5 * tensors["logvar"][version].float()).exp() * noise
        return (value - self.mean) / self.std

    @property
    def num_views(self) -> int:
        """Pictures of each version.

        Raises:
            ValueError: if the folder has none.
        """
        if "views" not in self._tensors[0]:
            raise ValueError(f"{self.root} has no pictures: run encode_latents.py with --view_size.")
        return self._tensors[0]["views"].shape[1]

    def view(self, index: int, version: int, number: int) -> Tensor:
        """One of the :attr:`num_views` pictures of a version, [H, W, 3] uint8."""
        return self._tensors[index]["views"][version, number]

    def side(self, index: int, version: int, number: int) -> Tensor:
        """Where a picture was taken from, [2]: elevation and azimuth in degrees."""
        return self._tensors[index]["sides"][version, number]


def read_latent_settings(root: str | Path) -> dict[str, Any]:
    """What ``latents.json`` holds; raises as :class:`LatentDataset`."""
    path = Path(root) / SETTINGS_NAME
    if not path.is_file():
        raise FileNotFoundError(f"{root} has no {SETTINGS_NAME}: run training/encode_latents.py to its end.")
    settings = dict(json.loads(path.read_text(encoding="utf-8")))
    if settings.get("format_version") != FORMAT_VERSION:
        raise ValueError(
            f"{path} has format {settings.get('format_version')}, this version reads format {FORMAT_VERSION}."
        )
    return settings


def all_captions(record: LatentRecord) -> list[str]:
    """Every caption of every version, with repetitions."""
    return [text for texts in record.captions for text in texts] + record.plain_captions
