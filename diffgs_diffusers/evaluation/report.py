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
    shares = {
        "color_accuracy": "colour right",
        "category_accuracy": "category right",
        "category_accuracy_with_other": 'category right, "other" allowed',
        "clip_score": "CLIP score",
        "r_precision": "R-precision",
    }
    shares = {name: title for name, title in shares.items() if name in summary}
    empty = [None] * (len(shares) - 2)
    rows: list[list[Any]] = [["all", *(summary[name] for name in shares)]]
    rows += [[name, value, None, *empty] for name, value in summary["color_accuracy_by_color"].items()]
    rows += [[name, None, value, *empty] for name, value in summary["category_accuracy_by_category"].items()]
    return markdown_table(["asked", *shares.values()], rows)


def guidance_markdown(table: Mapping[str, Mapping[str, float]]) -> str:
    """The guidance sweep: a row for each scale."""
    names = {
        "num_objects": "objects",
        "num_empty": "empty",
        "color_accuracy": "colour right",
        "category_accuracy": "category right",
        "category_accuracy_with_other": 'category right, "other" allowed',
        "clip_score": "CLIP score",
        "r_precision": "R-precision",
        "diversity": "diversity",
    }
    return _measured_columns("guidance", names, table)


def functions_markdown(table: Mapping[str, Mapping[str, float]]) -> str:
    """Mean absolute errors of the three functions: a row for each split."""
    names = {
        "num_objects": "objects",
        "gaupf_near": "GauPF near the surface",
        "gaupf_box": "GauPF in the box",
        "gaucf": "GauCF, RGB",
        "gautf_scale": "GauTF, scales",
        "gautf_shape": "GauTF, shape",
        "gautf_opacity": "GauTF, opacity",
    }
    return _measured_columns("split", names, table)


def progressive_markdown(table: Mapping[str, Mapping[str, float]]) -> str:
    """The first n of a larger result beside n extracted at once: a row for each count and way."""
    names = {"num_objects": "objects", "psnr": "PSNR", "psnr_p10": "PSNR p10", "ssim": "SSIM"}
    return _measured_columns("Gaussians", names, table)


def bound_markdown(table: Mapping[str, Mapping[str, float]]) -> str:
    """The variational bound: terms in nats for an object, their sum in bits for each latent dimension."""
    names = {
        "num_objects": "objects",
        "prior": "L_T",
        "steps": "Σ L_{t−1}",
        "reconstruction": "L_0",
        "total": "sum, nats",
        "total_std": "± over objects",
        "prior_bits": "L_T, bits/dim",
        "steps_bits": "Σ L_{t−1}, bits/dim",
        "reconstruction_bits": "L_0, bits/dim",
        "total_bits": "sum, bits/dim",
        "normal_bits": "N(0, I), bits/dim",
    }
    return _measured_columns("latents", names, table)


def _measured_columns(first: str, names: Mapping[str, str], table: Mapping[str, Mapping[str, Any]]) -> str:
    """A row for each entry, a column for each metric that one of them has."""
    shown = [name for name in names if any(name in row for row in table.values())]
    rows = [[title, *(row.get(name) for name in shown)] for title, row in table.items()]
    return markdown_table([first, *(names[name] for name in shown)], rows)


def conditions_markdown(table: Mapping[str, Mapping[str, Mapping[str, float]]]) -> str:
    """The condition tables: a row for each condition, what was generated from it, and its baselines."""
    names = {
        "num_objects": "objects",
        "psnr": "PSNR",
        "ssim": "SSIM",
        "chamfer": "Chamfer",
        "f_score": "F-score",
        "similarity": "similarity",
        "seam_psnr": "PSNR at the seam",
    }
    rows = {f"{condition}: {name}": row for condition, entries in table.items() for name, row in entries.items()}
    return _measured_columns("from", names, rows)


def novelty_markdown(table: Mapping[str, Mapping[str, float]]) -> str:
    """The novelty table: Chamfer distances to the nearest training object."""
    return _measured_columns("nearest training object of", {n: n for n in ("mean", "median", "p10", "min")}, table)


def sets_markdown(table: Mapping[str, Mapping[str, float]]) -> str:
    """Coverage, minimum matching distance and 1-NNA, a row for each pair of sets."""
    names = {"count": "of each", "coverage": "coverage", "mmd": "MMD", "one_nna": "1-NNA"}
    return _measured_columns("sets", names, table)


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
