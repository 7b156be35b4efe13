"""The examples do what they say."""

from __future__ import annotations

import re
import runpy
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from examples import ddpm_points_2d

ROOT = Path(__file__).parents[1]


def test_samples_of_the_plane_pass_the_test_that_those_of_the_untrained_fail(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """1000 samples beside 1000 held-out points, the whole command with fewer training steps."""
    script, output = ROOT / "examples/ddpm_points_2d.py", tmp_path / "made"
    monkeypatch.setattr(sys, "argv", [str(script), "--steps", "800", "--output_dir", str(output)])
    runpy.run_path(str(script), run_name="__main__")
    printed = capsys.readouterr().out
    verdicts = dict(re.findall(r"^(trained|untrained): .* p = ([\d.]+) against 1000", printed, flags=re.MULTILINE))
    assert float(verdicts["trained"]) > 0.05, printed
    assert float(verdicts["untrained"]) < 0.01, printed
    with Image.open(output / "points.png") as picture:
        assert picture.width > 600


@pytest.mark.parametrize("name", ddpm_points_2d.DATA_SETS)
def test_sets_of_points_are_standardised_and_repeat_with_their_seed(name: str) -> None:
    points = ddpm_points_2d.draw_points(name, 50_000, np.random.default_rng(0))
    assert points.mean(dim=0).abs().max() < 0.03
    assert (points.std(dim=0) - 1).abs().max() < 0.03
    again = ddpm_points_2d.draw_points(name, 50_000, np.random.default_rng(0))
    assert bool((points == again).all())


def test_an_unknown_set_is_named() -> None:
    with pytest.raises(ValueError, match="one of moons, spiral, rings, got 'cube'"):
        ddpm_points_2d.draw_points("cube", 3, np.random.default_rng(0))


def test_no_training_is_no_training(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["ddpm_points_2d.py", "--steps", "0"])
    with pytest.raises(SystemExit, match="at least 1, got 0"):
        ddpm_points_2d.main()
