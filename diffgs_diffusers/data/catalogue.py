"""Reading Sweet Home 3D furniture libraries (`.sh3f`): a zip with a properties file and one model per object.

Nothing is unpacked: every file is read from the archive by name, and a name that leaves the archive is an error.
"""

from __future__ import annotations

import posixpath
import re
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

PROPERTIES_NAME = "PluginFurnitureCatalog.properties"
LICENCES = {
    "public domain": "CC0-1.0",
    "attribution 3.0 united states": "CC-BY-3.0-US",
    "attribution 3.0": "CC-BY-3.0",
}


@dataclass(frozen=True)
class CatalogueEntry:
    """One object of a library, as its catalogue describes it.

    Args:
        id: unique within the library.
        name: as written in the catalogue.
        category: the catalogue's own category.
        tags: words of the catalogue, without the library's name.
        creator: who made the model.
        licence: SPDX-like identifier of the library's licence.
        model: path of the model inside the archive.
        size: width, height and depth in centimetres (x, y and z of the model, y up).
        rotation: row-major 3×3 matrix that is applied to the model before it is measured.
    """

    id: str
    name: str
    category: str
    tags: tuple[str, ...]
    creator: str
    licence: str
    model: str
    size: tuple[float, float, float]
    rotation: tuple[float, ...] = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0)


class ArchiveResolver:
    """Finds the files that a model in a zip names: materials and textures, inside the archive only.

    Args:
        archive: the open zip.
        folder: the model's folder in it.
    """

    def __init__(self, archive: zipfile.ZipFile, folder: str):
        self._archive = archive
        self._folder = folder
        self._names = {name.lower(): name for name in archive.namelist()}

    def get(self, name: str) -> bytes:
        """The bytes of a file next to the model.

        Absolute paths (authors leave those of their own machine behind) are looked up by their last part.

        Raises:
            FileNotFoundError: if the archive does not hold it.
        """
        cleaned = name.strip().replace("\\", "/")
        for candidate in (cleaned, posixpath.basename(cleaned)):
            path = posixpath.normpath(posixpath.join(self._folder, candidate)).lower()
            if path in self._names:
                return self._archive.read(self._names[path])
        raise FileNotFoundError(f"{name!r} is not in {self._archive.filename}.")

    def __getitem__(self, name: str) -> bytes:
        return self.get(name)

    def keys(self) -> list[str]:
        """Names of all files, relative to the archive's root."""
        return list(self._names.values())

    def namespaced(self, namespace: str) -> ArchiveResolver:
        """A resolver for a folder below this one."""
        return ArchiveResolver(self._archive, posixpath.join(self._folder, namespace))


def read_catalogue(path: str | Path) -> list[CatalogueEntry]:
    """The entries of a `.sh3f` file, in the order of its catalogue.

    Raises:
        ValueError: if the file is not such a library, or names a path outside of itself.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
            if PROPERTIES_NAME not in names:
                raise ValueError(f"{path} holds no {PROPERTIES_NAME}: it is not a furniture library.")
            properties = _parse_properties(archive.read(PROPERTIES_NAME).decode("latin-1"))
    except zipfile.BadZipFile as error:
        raise ValueError(f"{path} is not a readable zip archive ({error}).") from error
    for name in names:
        inner_path(name, path)
    return _entries(properties, path)


def inner_path(name: str, archive: str | Path) -> str:
    """A path inside an archive, normalised and without its leading slash.

    Raises:
        ValueError: if the path leaves the archive.
    """
    cleaned = posixpath.normpath(name.replace("\\", "/").lstrip("/"))
    if cleaned.startswith("..") or re.match(r"^[A-Za-z]:", cleaned):
        raise ValueError(f"{archive} names {name!r}, a path outside of the archive: refuse to read this file.")
    return cleaned


def _parse_properties(text: str) -> dict[str, str]:
    lines = [line.strip() for line in text.splitlines()]
    pairs = [line.split("=", 1) for line in lines if "=" in line and not line.startswith(("#", "!"))]
    return {key.strip(): _unescape(value.strip()) for key, value in pairs}


def _unescape(value: str) -> str:
    decoded = re.sub(r"\\u([0-9a-fA-F]{4})", lambda match: chr(int(match.group(1), 16)), value)
    return re.sub(r"\\(.)", r"\1", decoded)


def _entries(properties: dict[str, str], path: str | Path) -> list[CatalogueEntry]:
    numbers = sorted(int(key.split("#")[1]) for key in properties if re.fullmatch(r"id#\d+", key))
    library = properties.get("name", Path(path).stem)
    licence = _licence_of(properties.get("license", ""))
    entries = []
    for number in numbers:
        fields = {key.split("#")[0]: value for key, value in properties.items() if key.endswith(f"#{number}")}
        missing = [key for key in ("id", "name", "model", "width", "height", "depth") if key not in fields]
        if missing:
            raise ValueError(f"Object #{number} of {path} lacks {', '.join(missing)}.")
        entries.append(_entry(fields, library, licence, path))
    return entries


def _entry(fields: dict[str, str], library: str, licence: str, path: str | Path) -> CatalogueEntry:
    noise = {library.lower(), "blend swap", "scpts", ""}
    tags = tuple(tag.strip() for tag in fields.get("tags", "").split(",") if tag.strip().lower() not in noise)
    rotation: Sequence[float] = CatalogueEntry.rotation
    if "modelRotation" in fields:
        rotation = [float(value) for value in fields["modelRotation"].split()]
        if len(rotation) != 9:
            raise ValueError(f"modelRotation of {fields['id']!r} in {path} must hold 9 numbers.")
    return CatalogueEntry(
        id=fields["id"],
        name=fields["name"],
        category=fields.get("category", ""),
        tags=tags,
        creator=fields.get("creator", ""),
        licence=licence,
        model=inner_path(fields["model"], path),
        size=(float(fields["width"]), float(fields["height"]), float(fields["depth"])),
        rotation=tuple(rotation),
    )


def _licence_of(text: str) -> str:
    for words, identifier in LICENCES.items():
        if words in text.lower():
            return identifier
    return text or "unknown"
