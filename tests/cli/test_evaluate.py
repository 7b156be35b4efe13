"""``diffgs evaluate``: files and folders, and what is refused before anything is read."""

from __future__ import annotations

import json
import weakref
from collections.abc import Callable
from pathlib import Path

import pytest

from diffgs_diffusers import GaussianSplats
from diffgs_diffusers.cli import evaluate, main
from diffgs_diffusers.io import load_splats, save_splats
from tests.factories import sphere_splats


@pytest.fixture
def splats(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder: spheres of growing size in ``small`` (2) and ``many`` (13), and files beside them."""
    monkeypatch.chdir(tmp_path)
    for folder, count in (("small", 2), ("many", 13)):
        Path(folder).mkdir()
        for index in range(count):
            save_splats(sphere_splats(200, 0.2 + 0.02 * index), f"{folder}/{index}.ply")
    save_splats(sphere_splats(200, 0.4), "a.ply")
    save_splats(sphere_splats(200, 0.36), "b.ply")
    save_splats(sphere_splats(200, 4.0), "large.ply")
    Path("empty").mkdir()
    return tmp_path


def test_files_are_compared_with_the_reference(splats: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", "a.ply", "a.ply", "b.ply", "--json", "scores.json"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "| beside a.ply | PSNR, dB | SSIM | Chamfer | F-score |"
    assert lines[2] == "| a.ply | 60.00 | 1.00 | 0.0000 | 1.00 |"
    scores = json.loads(Path("scores.json").read_text(encoding="utf-8"))
    assert list(scores) == ["a.ply", "b.ply"]
    assert scores["b.ply"]["chamfer"] == pytest.approx(0.04, rel=0.1)


def test_folders_are_compared_as_sets(splats: Path, model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", "many", "many", "--model", str(model), "--json", "sets.json"]) == 0
    row = json.loads(Path("sets.json").read_text(encoding="utf-8"))["many"]
    assert (row["coverage"], row["mmd"], row["compared"], row["num_generated_images"]) == (1.0, 0.0, 13, 104)
    assert abs(row["fid"]) < 1e-3
    assert main(["evaluate", "many", "small", "--force", "--features", "none"]) == 0
    assert "| small | 13 | 2 | 2 |" in capsys.readouterr().out


def test_objects_of_a_folder_are_let_go_one_by_one(
    splats: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    objects, alive = [], []

    def load(path: Path) -> GaussianSplats:
        found = load_splats(path)
        objects.append(weakref.ref(found))
        alive.append(sum(one() is not None for one in objects))
        return found

    monkeypatch.setattr(evaluate, "load_splats", load)
    assert main(["evaluate", "many", "many", "--model", str(model)]) == 0
    assert len(objects) == 2 * 2 * 13  # points and views of both sets
    assert max(alive) <= 2  # one being read while the one before is still at hand


def test_folders_are_compared_file_by_file(splats: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", "small", "small", "--pairs"]) == 0
    assert "| small, mean of 2 | 60.00 | 1.00 | 0.0000 | 1.00 |" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["a.ply"], "GENERATED"),
        (["nowhere.ply", "a.ply"], "input nowhere.ply: there is no such file"),
        (["a.ply", "a.obj"], "input a.obj: there is no such file"),
        (["a.ply", "many"], "input many: is a folder, a.ply is a file"),
        (["many", "a.ply"], "input a.ply: is no folder, the reference is one"),
        (["many", "empty"], "input empty: holds no splats"),
        (["many", "small"], "of 13 and 2 objects mean little: take at least 13 of each, pass --force"),
        (["many", "small", "--pairs"], "must hold files of the same names, each once; 10 is in one of them only"),
        (["a.ply", "large.ply"], "large.ply: reaches "),
        (["a.ply", "b.ply", "--json", "scores.txt"], "the suffix must be one of .json"),
        (["a.ply", "b.ply", "--json", "nowhere/a.json"], "folder nowhere does not exist"),
        (["many", "many", "--model", "./nowhere"], "no model folder nowhere"),
        (["many", "many", "--features", "eyes"], "invalid choice: 'eyes'"),
    ],
)
def test_bad_use_is_one_line(splats: Path, fails: Callable[..., str], arguments: list[str], message: str) -> None:
    before = sorted(splats.rglob("*"))
    assert message in fails("evaluate", *arguments)
    assert sorted(splats.rglob("*")) == before
