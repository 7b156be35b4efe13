"""Tables and the results file."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from diffgs_diffusers.evaluation.report import (
    conditions_markdown,
    guidance_markdown,
    markdown_table,
    text_markdown,
    update_json,
    vae_markdown,
)


def test_markdown_table_rounds_and_leaves_gaps() -> None:
    text = markdown_table(["a", "b", "c"], [["x", 0.12345, None], ["y", 20.0, 3]])
    assert text.splitlines() == ["| a | b | c |", "| :-- | --: | --: |", "| x | 0.1235 |  |", "| y | 20.00 | 3 |"]


def test_vae_markdown_has_a_row_for_each_split_and_count() -> None:
    row = {"num_objects": 3, "psnr": 25.0, "psnr_p10": 21.0, "ssim": 0.9, "ssim_p10": 0.8}
    lines = vae_markdown({"train": {"4096": row}, "test": {"4096": row}}).splitlines()
    assert lines[0] == "| split, Gaussians | objects | PSNR | PSNR p10 | SSIM | SSIM p10 |"
    assert lines[3] == "| test, 4096 | 3 | 25.00 | 21.00 | 0.9000 | 0.8000 |"
    with_lpips = vae_markdown({"test": {"4096": {**row, "lpips": 0.02, "lpips_p90": 0.03}}})
    assert with_lpips.splitlines()[0].endswith("| LPIPS | LPIPS p90 |")


def test_text_markdown_has_a_row_for_each_word() -> None:
    summary = {
        "color_accuracy": 0.75,
        "category_accuracy": 0.5,
        "category_accuracy_with_other": 0.25,
        "color_accuracy_by_color": {"red": 0.75},
        "category_accuracy_by_category": {"chair": 0.5},
    }
    assert text_markdown(summary).splitlines()[2:] == [
        "| all | 0.7500 | 0.5000 | 0.2500 |",
        "| red | 0.7500 |  |  |",
        "| chair |  | 0.5000 |  |",
    ]


def test_columns_are_those_that_were_measured() -> None:
    row = {"num_objects": 2, "psnr": 20.0, "ssim": 0.9, "chamfer": 0.01, "f_score": 0.5}
    lines = conditions_markdown(
        {"image": {"generated": row}, "partial": {"generated": {**row, "seam_psnr": 15.5}}}
    ).splitlines()
    assert lines[0] == "| from | objects | PSNR | SSIM | Chamfer | F-score | PSNR at the seam |"
    assert lines[2].endswith("| 0.5000 |  |")
    assert lines[3].endswith("| 0.5000 | 15.50 |")
    sweep = {"1": {"num_objects": 4, "color_accuracy": 0.5, "diversity": 0.1, "r_precision": 0.25}}
    assert guidance_markdown(sweep).splitlines() == [
        "| guidance | objects | colour right | R-precision | diversity |",
        "| :-- | --: | --: | --: | --: |",
        "| 1 | 4 | 0.5000 | 0.2500 | 0.1000 |",
    ]


def test_clip_has_columns_of_its_own() -> None:
    summary = {
        "color_accuracy": 0.75,
        "category_accuracy": 0.5,
        "category_accuracy_with_other": 0.25,
        "clip_score": 25.0,
        "r_precision": 0.125,
        "color_accuracy_by_color": {"red": 0.75},
        "category_accuracy_by_category": {},
    }
    assert text_markdown(summary).splitlines()[2:] == [
        "| all | 0.7500 | 0.5000 | 0.2500 | 25.00 | 0.1250 |",
        "| red | 0.7500 |  |  |  |  |",
    ]


def test_update_json_keeps_other_tables(tmp_path: Path) -> None:
    path = tmp_path / "results" / "table.json"
    update_json(path, {"vae": 1})
    update_json(path, {"text": 2, "vae": 3})
    assert json.loads(path.read_text(encoding="utf-8")) == {"text": 2, "vae": 3}
    assert [file.name for file in path.parent.iterdir()] == ["table.json"]


@pytest.mark.parametrize("content", ["{", "[1]"])
def test_update_json_refuses_other_files_and_leaves_them(tmp_path: Path, content: str) -> None:
    path = tmp_path / "table.json"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(ValueError, match=r"table\.json"):
        update_json(path, {"vae": 1})
    assert path.read_text(encoding="utf-8") == content
