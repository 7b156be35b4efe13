"""``diffgs reconstruct``."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from diffgs_diffusers import DiffGSPipeline, GaussianSplats
from diffgs_diffusers.cli import main
from tests.factories import sphere_splats

OBJECT = sphere_splats(80)
SMALL = ("--num-gaussians", "60", "--refinement-steps", "2", "--picture-steps", "0")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder, with an object and a cloud of its points in it."""
    monkeypatch.chdir(tmp_path)
    OBJECT.save("ball.ply")
    np.save("scan.npy", OBJECT.means.numpy())
    return tmp_path


def test_an_object_comes_out_as_the_pipeline_makes_it(
    model: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["reconstruct", "ball.ply", "--model", str(model), *SMALL]) == 0
    assert capsys.readouterr().out == "ball-reconstructed.ply: 60 Gaussians, from 80 Gaussians\n"
    made = GaussianSplats.load("ball-reconstructed.ply")
    pipe = DiffGSPipeline.from_pretrained(model)
    steps = {"refinement_steps": 2, "picture_steps": 0}
    (expected,) = pipe.reconstruct(GaussianSplats.load("ball.ply"), 60, torch.Generator().manual_seed(0), **steps)
    torch.testing.assert_close(made.to_tensor(), expected.to_tensor(), atol=1e-4, rtol=1e-4)
    assert (folder / "ball-reconstructed.png").is_file()


def test_refined_as_the_pipeline_does_it_by_default(model: Path, folder: Path, few_pictures: None) -> None:
    assert main(["reconstruct", "ball.ply", "--model", str(model), "--num-gaussians", "60", "--no-sheet"]) == 0
    made = GaussianSplats.load("ball-reconstructed.ply")
    pipe = DiffGSPipeline.from_pretrained(model)
    (expected,) = pipe.reconstruct(GaussianSplats.load("ball.ply"), 60, torch.Generator().manual_seed(0))
    torch.testing.assert_close(made.to_tensor(), expected.to_tensor(), atol=1e-3, rtol=1e-3)


def test_points_are_taken_for_flat_gaussians(model: Path, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["reconstruct", "scan.npy", "--points", "-o", "made.spz", "--no-sheet", "--model", str(model), *SMALL]
    assert main(words) == 0
    assert "made.spz: 60 Gaussians, from 80 points" in capsys.readouterr().out
    assert len(GaussianSplats.load("made.spz")) == 60 and not (folder / "made.png").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["missing.ply"], "input missing.ply: there is no such file"),
        (["scan.npy"], "the suffix must be one of"),
        (["ball.ply", "-o", "ball.ply"], "is an input too and would be replaced"),
        (["ball.ply", "-o", "made.txt"], "the suffix must be one of"),
        (["ball.ply", "--refinement-steps", "-1"], "must be at least 0, got -1"),
        (["ball.ply", "--picture-steps", "-1"], "must be at least 0, got -1"),
        (["ball.ply", "--model", "no/such/folder"], "no/such/folder"),
    ],
)
def test_mistakes_are_answered_before_any_work(
    folder: Path, fails: Callable[..., str], words: list[str], message: str
) -> None:
    before = sorted(folder.iterdir())
    assert message in fails("reconstruct", *words)
    assert sorted(folder.iterdir()) == before
