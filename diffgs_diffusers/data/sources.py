"""Finding the objects to prepare: furniture libraries, mesh files and folders of views."""

from __future__ import annotations

import posixpath
import re
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from .catalogue import ArchiveResolver, CatalogueEntry, read_catalogue
from .mesh import MESH_SUFFIXES, SurfaceMesh, load_mesh
from .normalization import normalize_mesh

TRANSFORMS_NAMES = ("transforms_train.json", "transforms.json")


@dataclass(frozen=True)
class ObjectSource:
    """One object that is yet to be read.

    Args:
        id: unique, fit for a file name.
        name: for people.
        path: the mesh, the library, or the folder of views.
        entry: the library's description, for an object of one.
    """

    id: str
    name: str
    path: Path
    entry: CatalogueEntry | None = None

    @property
    def is_views(self) -> bool:
        """Whether the object is given by pictures instead of a mesh."""
        return self.path.is_dir()

    def load(self) -> SurfaceMesh:
        """The mesh in the world frame.

        Raises:
            ValueError: if it cannot be read or has no faces.
        """
        if self.entry is None:
            return normalize_mesh(load_mesh(self.path))
        with zipfile.ZipFile(self.path) as archive:
            try:
                data = archive.read(self.entry.model)
            except KeyError as error:
                raise ValueError(f"{self.path} lacks the model {self.entry.model!r} of {self.id}.") from error
            resolver = ArchiveResolver(archive, posixpath.dirname(self.entry.model))
            suffix = posixpath.splitext(self.entry.model)[1].lstrip(".").lower()
            mesh = load_mesh(data, file_type=suffix, resolver=resolver)
        return normalize_mesh(mesh, size=self.entry.size, rotation=self.entry.rotation)


def find_sources(paths: Sequence[str | Path]) -> list[ObjectSource]:
    """All objects in libraries, meshes and folders, in a fixed order with unique ids.

    Args:
        paths: `.sh3f` files, mesh files, folders of either (searched to any depth), or folders of views with a
            `transforms.json` or `transforms_train.json`.

    Raises:
        FileNotFoundError: if a path does not exist.
        ValueError: if a path holds no object, or a library is broken.
    """
    sources: list[ObjectSource] = []
    for path in map(Path, paths):
        if not path.exists():
            raise FileNotFoundError(f"The source {path} does not exist.")
        found = _in_folder(path) if path.is_dir() else _in_file(path)
        if not found:
            raise ValueError(
                f"{path} holds no object: expected .sh3f libraries, meshes ({', '.join(MESH_SUFFIXES)}) or "
                "transforms.json with views."
            )
        sources += found
    return _with_unique_ids(sources)


def _in_folder(folder: Path) -> list[ObjectSource]:
    if any((folder / name).is_file() for name in TRANSFORMS_NAMES):
        return [ObjectSource(_slug(folder.name), folder.name, folder)]
    found: list[ObjectSource] = []
    for path in sorted(folder.iterdir()):
        found += _in_folder(path) if path.is_dir() else _in_file(path)
    return found


def _in_file(path: Path) -> list[ObjectSource]:
    suffix = path.suffix.lower()
    if suffix == ".sh3f":
        entries = read_catalogue(path)
        return [ObjectSource(_slug(entry.id), entry.name, path, entry) for entry in entries]
    if suffix in MESH_SUFFIXES:
        return [ObjectSource(_slug(path.stem), re.sub(r"[_\-]+", " ", path.stem), path)]
    return []


def _slug(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-") or "object"


def _with_unique_ids(sources: list[ObjectSource]) -> list[ObjectSource]:
    seen: dict[str, int] = {}
    unique = []
    for source in sources:
        count = seen[source.id] = seen.get(source.id, 0) + 1
        object_id = source.id if count == 1 else f"{source.id}-copy-{count}"
        unique.append(ObjectSource(object_id, source.name, source.path, source.entry))
    return unique
