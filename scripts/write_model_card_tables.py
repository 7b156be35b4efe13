"""Fills the tables of the model card from the figures that ``training/evaluate.py`` wrote.

python scripts/write_model_card_tables.py           # docs/results/furniture.json into model_card.md
python scripts/write_model_card_tables.py --check   # fails where they differ

Between ``<!-- table: NAME -->`` and ``<!-- end of table -->`` stands the table NAME; the text around it is not
touched. A table whose figures are not there is left as it is.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from diffgs_diffusers.data.dataset import SPLITS
from diffgs_diffusers.evaluation.report import (
    bound_markdown,
    conditions_markdown,
    functions_markdown,
    guidance_markdown,
    markdown_table,
    progressive_markdown,
)
from diffgs_diffusers.evaluation.tables.reconstructions import ALL
from diffgs_diffusers.io.atomic import atomic_write

ROOT = Path(__file__).parents[1]
TABLE = re.compile(r"(<!-- table: (?P<name>\w+) -->\n)(?P<rows>.*?)(<!-- end of table -->)", flags=re.DOTALL)


def vae_table(table: Mapping[str, Any], names: Sequence[str] = (*SPLITS, ALL)) -> str:
    """A row for each entry, a column for each number of Gaussians: PSNR / SSIM, LPIPS if measured."""
    columns = list(next(iter(table.values())))
    counts = sorted((name for name in columns if name.isdigit()), key=int)
    ordered = [*(name for name in columns if not name.isdigit()), *counts]
    metrics = {"psnr": ".2f", "ssim": ".3f"}
    if all("lpips" in row for entries in table.values() for row in entries.values()):
        metrics["lpips"] = ".3f"
    rows = [
        [split, *(" / ".join(format(table[split][name][m], f) for m, f in metrics.items()) for name in ordered)]
        for split in names
    ]
    titles = [f"{int(name):,}" if name.isdigit() else name for name in ordered]
    return markdown_table([" / ".join(m.upper() for m in metrics), *titles], rows)


def text_table(results: Mapping[str, Any]) -> str:
    """Shares of right answers, of all and by the category that was asked."""
    text = results["text"]
    categories = sorted(text["category_accuracy_by_category"])
    by_category = [f"{text['category_accuracy_by_category'][name]:.0%}" for name in categories]
    rows = [
        ["category right", f"{text['category_accuracy']:.1%}", *by_category],
        ['category right, "other" allowed', f"{text['category_accuracy_with_other']:.1%}"],
        ["colour right", f"{text['color_accuracy']:.1%}"],
    ]
    if "clip_score" in text:
        rows += [["CLIP score", f"{text['clip_score']:.1f}"], ["R-precision", f"{text['r_precision']:.1%}"]]
    width = 2 + len(categories)
    return markdown_table(["", "all", *categories], [row + [None] * (width - len(row)) for row in rows])


def sets_table(results: Mapping[str, Any]) -> str:
    """Samples, training and held-out objects beside each other: shapes, and renders where there were enough."""
    shapes, images = results["novelty"]["shapes"], results["novelty"]["images"]
    rows: list[list[Any]] = []
    for name, row in shapes.items():
        seen = images.get(name)
        by_image = [None] * 3
        if seen:
            counts = f"{seen['num_images']}, {seen['num_others']}"
            by_image = [counts, f"{seen['fid']:.2f}", f"{seen['kid']:.4f} ± {seen['kid_std']:.4f}"]
        rows.append([name, row["count"], row["coverage"], row["mmd"], row["one_nna"], *by_image])
    return markdown_table(
        ["sets", "objects of each", "coverage", "MMD", "1-NNA", "images of each", "FID", "KID"], rows
    )


def split_first(table: Mapping[str, Any]) -> dict[str, Any]:
    """Rows in the order of the splits, which the results file, sorted by name, does not keep."""
    splits = ("train", "validation", "test")
    return dict(sorted(table.items(), key=lambda item: splits.index(item[0].split(",")[0])))


def number_first(table: Mapping[str, Any]) -> dict[str, Any]:
    """Rows in the order of the number that they begin with."""
    return dict(sorted(table.items(), key=lambda item: float(item[0].split(",")[0])))


def generated_first(table: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Of each condition, what was generated before its baselines."""
    return {
        condition: dict(sorted(rows.items(), key=lambda item: not item[0].startswith("generated")))
        for condition, rows in table.items()
    }


WRITERS: dict[str, tuple[str, Callable[[Mapping[str, Any]], str]]] = {
    "vae": ("vae", lambda results: vae_table(results["vae"])),
    "refined": ("refined", lambda results: vae_table(results["refined"])),
    "training": ("training", lambda results: vae_table(results["training"], ("as encoded", "refined"))),
    "functions": ("functions", lambda results: functions_markdown(split_first(results["functions"]))),
    "progressive": ("progressive", lambda results: progressive_markdown(number_first(results["progressive"]))),
    "text": ("text", text_table),
    "guidance": ("guidance", lambda results: guidance_markdown(number_first(results["guidance"]))),
    "conditions": ("conditions", lambda results: conditions_markdown(generated_first(results["conditions"]))),
    "sets": ("novelty", sets_table),
    "bound": ("bound", lambda results: bound_markdown(split_first(results["bound"]))),
}


def filled(card: str, results: Mapping[str, Any]) -> str:
    """The card with every table made anew whose figures are there.

    Raises:
        ValueError: if the card asks for a table that nobody knows.
    """

    def table(match: re.Match[str]) -> str:
        name = match["name"]
        if name not in WRITERS:
            raise ValueError(f"There is no table {name!r}; choose from {', '.join(WRITERS)}.")
        key, write = WRITERS[name]
        rows = write(results) + "\n" if key in results else match["rows"]
        return f"{match[1]}{rows}{match[4]}"

    return TABLE.sub(table, card)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", type=Path, default=ROOT / "docs" / "results" / "furniture.json")
    parser.add_argument("--card", type=Path, default=ROOT / "model_card.md")
    parser.add_argument(
        "--check", action="store_true", help="change nothing; exit with 1 if something would change"
    )
    args = parser.parse_args(argv)
    before = args.card.read_text(encoding="utf-8")
    after = filled(before, json.loads(args.results.read_text(encoding="utf-8")))
    if args.check:
        if after != before:
            print(
                f"{args.card.name} is not what {args.results.name} says: run this without --check", file=sys.stderr
            )
        return int(after != before)
    with atomic_write(args.card) as stream:
        stream.write(after.encode("utf-8"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
