"""``python -m benchmarks --quick`` on every subject, and its arguments."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from benchmarks.__main__ import main
from benchmarks.settings import Settings
from benchmarks.subjects import SUBJECTS, run_subject
from benchmarks.table import HEADER
from tests.factories import random_splats

ROOT = Path(__file__).parents[2]
EXPECTED = {
    "generation": ["cold start", "warm", "denoiser step, guided", "latents to planes", "exponent of growth"],
    "heads": ["original's sizes, float32", "original's sizes, bfloat16", "shipped model, bfloat16"],
    "extraction": ["original's sizes, 200", "original's sizes, 400 Gaussians as released", "shipped model, 200"],
    "rasterizer": ["forward, 1 thread", "forward and backward, 2 threads"],
    "fit": ["Gaussians to"],
    "training": ["VAE", "denoiser"],
    "io": ["write a PLY", "read a PLY", "start of a process"],
}


@pytest.fixture(autouse=True)
def same_threads():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("subject", SUBJECTS)
def test_a_quick_run_writes_a_valid_table(subject, tmp_path, capsys):
    main(["--quick", "--threads=1", f"--subjects={subject}", f"--output={tmp_path}"])
    page = (tmp_path / "benchmarks.md").read_text(encoding="utf-8")
    assert page == capsys.readouterr().out[:-1]
    lines = [line for line in page.splitlines() if line.startswith("|")]
    assert {line.replace("\\|", "").count("|") for line in lines} == {len(HEADER) + 1}
    content = json.loads((tmp_path / "results" / "benchmarks.json").read_text(encoding="utf-8"))[subject]
    assert len(content["rows"]) == len(lines) - 2
    cases = [row["case"] for row in content["rows"]]
    for part in EXPECTED[subject]:
        assert any(part in case for case in cases), part
    assert all(row["seconds"]["median"] > 0 for row in content["rows"] if row["seconds"])
    assert str(tmp_path) not in page and str(ROOT) not in page


def test_every_subject_is_listed(capsys):
    main(["--list"])
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == list(SUBJECTS) == list(EXPECTED)
    with pytest.raises(KeyError, match="no subject 'nonsense'"):
        next(run_subject("nonsense", Settings()))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--quick"], "--quick needs --output"),
        (["--subjects=heads,nonsense"], "no subject nonsense: there are generation"),
        (["--threads=0"], "threads and rounds must be at least 1"),
        (["--fraction=2"], "fraction must be above 0"),
    ],
)
def test_bad_use_ends_with_one_line(words, message, capsys):
    with pytest.raises(SystemExit):
        main(words)
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("sh_degree", [0, 3])
def test_gsply_writes_and_reads_the_same_gaussians(sh_degree, tmp_path):
    from benchmarks.subjects.io import read_with_gsply, write_with_gsply
    from diffgs_diffusers.io import load_splats

    splats = random_splats(50, sh_degree)
    write_with_gsply(splats, tmp_path / "a.ply")
    for found in (load_splats(tmp_path / "a.ply"), read_with_gsply(tmp_path / "a.ply")):
        torch.testing.assert_close(found.to_tensor(), splats.to_tensor(), rtol=1e-5, atol=1e-5)


def test_benchmarks_stay_out_of_the_wheel():
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert '[tool.hatch.build.targets.wheel]\npackages = ["diffgs_diffusers"]\n' in text
    package = ROOT / "diffgs_diffusers"
    assert not [path for path in package.rglob("*.py") if "import benchmarks" in path.read_text(encoding="utf-8")]
