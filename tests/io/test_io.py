"""Choice of the format by suffix, and files that appear whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from diffgs_diffusers.gaussians import GaussianSplats
from diffgs_diffusers.io import atomic_write, load_splats, read_rasterize_mode, save_splats
from tests.factories import random_splats


@pytest.mark.parametrize("name", ["a.obj", "a", "a.ply.gz"])
def test_an_unknown_suffix_lists_the_known_ones(tmp_path: Path, name: str) -> None:
    for call in (load_splats, read_rasterize_mode, lambda path: save_splats(random_splats(1), path)):
        with pytest.raises(ValueError, match=r"suffix.*stored as \.ply"):
            call(tmp_path / name)
    assert list(tmp_path.iterdir()) == []


def test_suffixes_are_read_in_any_case(tmp_path: Path) -> None:
    random_splats(2).save(tmp_path / "A.PLY")
    assert len(GaussianSplats.load(str(tmp_path / "A.PLY"))) == 2


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="nowhere does not exist"):
        save_splats(random_splats(1), tmp_path / "nowhere" / "a.ply")


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_a_write_that_fails_leaves_the_older_file_alone(tmp_path: Path, error: type[BaseException]) -> None:
    path = tmp_path / "a.bin"
    path.write_bytes(b"older")
    with pytest.raises(error), atomic_write(path) as stream:
        stream.write(b"half of it")
        raise error
    assert path.read_bytes() == b"older"
    assert list(tmp_path.iterdir()) == [path]


def test_a_write_replaces_the_older_file_through_a_link(tmp_path: Path) -> None:
    path, link = tmp_path / "a.bin", tmp_path / "link.bin"
    path.write_bytes(b"older")
    link.symlink_to(path)
    with atomic_write(link) as stream:
        stream.write(b"newer")
        assert path.read_bytes() == b"older"
    assert path.read_bytes() == b"newer"
    assert link.is_symlink()
    assert len(list(tmp_path.iterdir())) == 2


def test_a_name_may_be_as_long_as_the_file_system_allows(tmp_path: Path) -> None:
    path = tmp_path / ("a" * 251 + ".ply")
    with atomic_write(path) as stream:
        stream.write(b"content")
    assert path.read_bytes() == b"content"


def test_new_files_have_the_usual_permissions(tmp_path: Path) -> None:
    (tmp_path / "plain").write_bytes(b"")
    with atomic_write(tmp_path / "atomic") as stream:
        stream.write(b"")
    assert os.stat(tmp_path / "atomic").st_mode == os.stat(tmp_path / "plain").st_mode
