"""The model card's tables: what ``scripts/write_model_card_tables.py`` makes of the figures that are committed."""

from __future__ import annotations

import json
import runpy
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
script = runpy.run_path(str(ROOT / "scripts" / "write_model_card_tables.py"))
main, filled, TABLE = script["main"], script["filled"], script["TABLE"]
CARD = (ROOT / "model_card.md").read_text(encoding="utf-8")
RESULTS = json.loads((ROOT / "docs" / "results" / "furniture.json").read_text(encoding="utf-8"))


def test_the_card_says_what_was_measured() -> None:
    assert {match["name"] for match in TABLE.finditer(CARD)} >= {"vae", "text", "conditions", "sets"}
    assert main(["--check"]) == 0


def test_figures_reach_their_cells_and_the_rest_stays(tmp_path: Path) -> None:
    card, results = tmp_path / "card.md", tmp_path / "results.json"
    splits = ("train", "validation", "test", "all")
    row = {"psnr": 25.123, "ssim": 0.9, "num_objects": 2}
    table = {split: {"10000": row, "4096": {**row, "psnr": 20.0}, "true centres": row} for split in splits}
    results.write_text(json.dumps({"vae": table}), encoding="utf-8")
    text = "Before.\n\n<!-- table: {} -->\n{}<!-- end of table -->\n\nAfter.\n"
    card.write_text(text.format("vae", "| old |\n") + text.format("bound", "| kept |\n"), encoding="utf-8")
    assert main(["--card", str(card), "--results", str(results), "--check"]) == 1
    assert "| old |" in card.read_text(encoding="utf-8")
    assert main(["--card", str(card), "--results", str(results)]) == 0
    lines = card.read_text(encoding="utf-8").splitlines()
    assert lines[3] == "| PSNR / SSIM | true centres | 4,096 | 10,000 |"
    assert lines[5] == "| train | 25.12 / 0.900 | 20.00 / 0.900 | 25.12 / 0.900 |"
    assert (lines[0], lines[-1], "| kept |" in lines, "| old |" in lines) == ("Before.", "After.", True, False)
    assert main(["--card", str(card), "--results", str(results), "--check"]) == 0


def test_a_table_that_nobody_knows_is_named() -> None:
    with pytest.raises(ValueError, match="There is no table 'speed'; choose from vae, "):
        filled("<!-- table: speed -->\n<!-- end of table -->", {})
