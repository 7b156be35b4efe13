"""Results as Markdown tables and as one JSON file."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..io.atomic import atomic_write


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """A table in GitHub's Markdown; the first column is text, the others are numbers, None is left empty.

    Example:
        >>> print(markdown_table(["split", "PSNR"], [["test", 25.125]]))
        | split | PSNR |
        | :-- | --: |
        | test | 25.12 |
    """
    lines = [list(header), [":--"] + ["--:"] * (len(header) - 1), *([_cell(v) for v in row] for row in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.4f}" if abs(value) < 1 else f"{value:.2f}"
    return str(value)


def vae_markdown(table: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> str:
    """The VAE table: a row for each split and number of Gaussians."""
    metrics = ["psnr", "psnr_p10", "ssim", "ssim_p10"]
    if any("lpips" in row for rows in table.values() for row in rows.values()):
        metrics += ["lpips", "lpips_p90"]
    rows = [
        [f"{split}, {name}", row["num_objects"], *(row.get(metric) for metric in metrics)]
        for split, entries in table.items()
        for name, row in entries.items()
    ]
    titles = [metric.replace("_", " ").replace("psnr", "PSNR").replace("ssim", "SSIM") for metric in metrics]
    return markdown_table(["split, Gaussians", "objects", *(t.replace("lpips", "LPIPS") for t in titles)], rows)


def text_markdown(summary: Mapping[str, Any]) -> str:
    """The text table: right colours by colour, right categories by category, and all together."""
    shares = ("color_accuracy", "category_accuracy", "category_accuracy_with_other")
    rows: list[list[Any]] = [["all", *(summary[name] for name in shares)]]
    rows += [[name, value, None, None] for name, value in summary["color_accuracy_by_color"].items()]
    rows += [[name, None, value, None] for name, value in summary["category_accuracy_by_category"].items()]
    return markdown_table(["asked", "colour right", "category right", 'category right, "other" allowed'], rows)


def conditions_markdown(table: Mapping[str, Mapping[str, Mapping[str, float]]]) -> str:
    """The condition tables: a row for each condition, what was generated from it, and its baselines."""
    metrics = {"psnr": "PSNR", "ssim": "SSIM", "chamfer": "Chamfer", "f_score": "F-score"}
    rows = [
        [f"{condition}: {name}", int(row["num_objects"]), *(row[metric] for metric in metrics)]
        for condition, entries in table.items()
        for name, row in entries.items()
    ]
    return markdown_table(["from", "objects", *metrics.values()], rows)


def novelty_markdown(table: Mapping[str, Mapping[str, float]]) -> str:
    """The novelty table: Chamfer distances to the nearest training object."""
    names = ("mean", "median", "p10", "min")
    rows = [[title, *(values[name] for name in names)] for title, values in table.items()]
    return markdown_table(["nearest training object of", *names], rows)


def sets_markdown(table: Mapping[str, Mapping[str, float]]) -> str:
    """Coverage, minimum matching distance and 1-NNA, a row for each pair of sets."""
    names = {"count": "of each", "coverage": "coverage", "mmd": "MMD", "one_nna": "1-NNA"}
    rows = [[title, *(values[name] for name in names)] for title, values in table.items()]
    return markdown_table(["sets", *names.values()], rows)


def images_markdown(table: Mapping[str, Mapping[str, float]]) -> str:
    """FID and KID of renders, with the numbers of images, a row for each pair of sets."""
    rows = [
        [title, f"{row['num_images']}, {row['num_others']}", row["fid"], row["kid"], row["kid_std"]]
        for title, row in table.items()
    ]
    return markdown_table(["sets", "images", "FID", "KID", "± of KID"], rows)


def update_json(path: str | Path, results: Mapping[str, Any]) -> None:
    """Puts results into a JSON file, whole or not at all; other tables that it holds already are kept.

    Raises:
        ValueError: if the file exists and is not a JSON object.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    earlier: dict[str, Any] = {}
    if path.exists():
        try:
            earlier = json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise ValueError(f"{path} is not JSON ({error}); move it away or give another file.") from error
        if not isinstance(earlier, dict):
            raise ValueError(f"{path} must hold a JSON object, holds {type(earlier).__name__}.")
    text = json.dumps({**earlier, **results}, indent=2, sort_keys=True) + "\n"
    with atomic_write(path) as stream:
        stream.write(text.encode("utf-8"))
