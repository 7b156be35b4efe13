"""Furniture libraries: what their catalogue says, and that nothing outside of the archive is touched."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from diffgs_diffusers.data.catalogue import ArchiveResolver, read_catalogue

CHAIR = {"id": "Tiny#chair", "name": "Chair", "model": "/tiny/chair.obj"}


def test_an_entry_carries_what_the_catalogue_says(write_library: Callable[..., Path]) -> None:
    entry = {**CHAIR, "tags": "Tiny, Seat, SCPTS", "creator": "Ann", "modelRotation": "0 0 1 0 1 0 -1 0 0"}
    (read,) = read_catalogue(write_library([entry], {"tiny/chair.obj": ""}))
    assert (read.id, read.name, read.category, read.creator) == ("Tiny#chair", "Chair", "Living room", "Ann")
    assert read.tags == ("Seat",), "the names of libraries are no tags"
    assert read.licence == "CC-BY-3.0"
    assert read.size == (100.0, 50.0, 25.0), "width, height, depth: x, y, z"
    assert read.rotation == (0, 0, 1, 0, 1, 0, -1, 0, 0)
    assert read.model == "tiny/chair.obj"


def test_escapes_of_properties_files_are_read(write_library: Callable[..., Path]) -> None:
    entry = {**CHAIR, "name": "Bill 10\\u20ac\\: new"}
    (read,) = read_catalogue(write_library([entry], {"tiny/chair.obj": ""}))
    assert read.name == "Bill 10€: new"


@pytest.mark.parametrize(
    "model", ["/../chair.obj", "tiny/../../chair.obj", "C:\\models\\chair.obj", "..\\chair.obj"]
)
def test_a_model_outside_of_the_archive_is_refused(write_library: Callable[..., Path], model: str) -> None:
    with pytest.raises(ValueError, match="outside of the archive"):
        read_catalogue(write_library([{**CHAIR, "model": model}], {"tiny/chair.obj": ""}))


def test_a_member_outside_of_the_archive_is_refused(write_library: Callable[..., Path]) -> None:
    with pytest.raises(ValueError, match=r"'\.\./evil\.obj'"):
        read_catalogue(write_library([CHAIR], {"tiny/chair.obj": "", "../evil.obj": ""}))


def test_other_files_are_refused_with_what_is_missing(write_library: Callable[..., Path], tmp_path: Path) -> None:
    text = tmp_path / "text.sh3f"
    text.write_text("no zip")
    with pytest.raises(ValueError, match="not a readable zip"):
        read_catalogue(text)
    empty = tmp_path / "empty.sh3f"
    with zipfile.ZipFile(empty, "w") as archive:
        archive.writestr("readme.txt", "")
    with pytest.raises(ValueError, match="not a furniture library"):
        read_catalogue(empty)
    with pytest.raises(ValueError, match=r"Object #1 .* lacks model"):
        read_catalogue(write_library([{"id": "a", "name": "b"}], {}))


def test_the_resolver_looks_inside_the_archive_only(write_library: Callable[..., Path]) -> None:
    path = write_library([CHAIR], {"tiny/chair/wood.png": b"wood", "tiny/other.png": b"other"})
    with zipfile.ZipFile(path) as archive:
        resolver = ArchiveResolver(archive, "tiny/chair")
        assert resolver.get("Wood.PNG") == b"wood", "names are written in any case"
        assert resolver.get("../other.png") == b"other"
        assert resolver["C:\\Users\\ann\\wood.png"] == b"wood", "an absolute path means the file beside the model"
        for name in ("missing.png", "../../../etc/passwd", "/etc/passwd"):
            with pytest.raises(FileNotFoundError, match="is not in"):
                resolver.get(name)
