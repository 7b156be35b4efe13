"""``diffgs evaluate``: generated splats beside their references, file by file or folder by folder."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..io import SUPPORTED_SUFFIXES, atomic_write, load_splats, read_rasterize_mode
from .files import FOREIGN_MODE
from .paths import check_input, check_kept, check_output

if TYPE_CHECKING:
    from ..gaussians import GaussianSplats

TITLES = {
    "psnr": "PSNR, dB",
    "ssim": "SSIM",
    "chamfer": "Chamfer",
    "f_score": "F-score",
    "num_references": "references",
    "num_generated": "generated",
    "compared": "compared of each",
    "coverage": "coverage",
    "mmd": "MMD",
    "one_nna": "1-NNA",
    "fid": "FID",
    "kid": "KID",
    "kid_std": "± of KID",
    "num_reference_images": "images of references",
    "num_generated_images": "images of generated",
}


def run_evaluate(options: argparse.Namespace) -> None:
    """Compares, prints a table and writes the numbers where ``--json`` says.

    Raises:
        ValueError, OSError: saying what is wrong; about names and counts before any file is read.
    """
    reference, others = Path(options.reference), [Path(name) for name in options.generated]
    if options.json is not None:
        check_output(Path(options.json), (".json",))
    folders = reference.is_dir()
    if folders:
        results = _compare_folders(reference, others, options)
    else:
        results = _compare_files(reference, others, options)
    if options.json is not None:
        with atomic_write(Path(options.json)) as stream:
            stream.write((json.dumps(results, indent=2) + "\n").encode("utf-8"))
    from ..evaluation.report import markdown_table

    titles = list(next(iter(results.values())))
    rows = [[name, *(row[title] for title in titles)] for name, row in results.items()]
    print(markdown_table([f"beside {reference}", *(TITLES[title] for title in titles)], rows))


def _compare_files(reference: Path, others: list[Path], options: argparse.Namespace) -> dict[str, Any]:
    for path in (reference, *others):
        if path.is_dir():
            raise ValueError(f"input {path}: is a folder, {reference} is a file; compare files or folders")
        check_input(path, SUPPORTED_SUFFIXES)
    if options.json is not None:
        check_kept(Path(options.json), (reference, *others))
    _silence()
    from ..evaluation.comparison import pair_scores

    truth, mode = _read(reference)
    results = {}
    for path in others:
        splats, own_mode = _read(path)
        results[str(path)] = pair_scores(truth, splats, (mode, own_mode))
    return results


def _compare_folders(reference: Path, others: list[Path], options: argparse.Namespace) -> dict[str, Any]:
    files = {path: _splat_files(path) for path in (reference, *others)}
    _silence()
    if options.pairs:
        return _compare_pairs(reference, others, files)
    from ..evaluation.comparison import check_set_sizes, set_scores
    from ..evaluation.novelty import LEAST_POINTS

    for path in others:
        try:
            check_set_sizes(len(files[reference]), len(files[path]), force=options.force)
        except ValueError as error:
            hint = "" if options.force else ", pass --force"
            raise ValueError(f"{reference} and {path}: {error}{hint}, or compare --pairs") from error
    features, image_size = _features(options)
    sets = {path: _SplatFiles(found, LEAST_POINTS) for path, found in files.items()}
    return {
        str(path): set_scores(sets[reference], sets[path], features, image_size, force=options.force)
        for path in others
    }


def _compare_pairs(reference: Path, others: list[Path], files: dict[Path, list[Path]]) -> dict[str, Any]:
    """Files of the same name, whatever their suffix: a row for each, and the mean of a folder."""
    truths = {file.stem: file for file in files[reference]}
    for path in others:
        names = {file.stem for file in files[path]}
        if names != set(truths) or len(files[path]) != len(names) or len(truths) != len(files[reference]):
            odd = sorted(names ^ set(truths))
            raise ValueError(
                f"--pairs: {reference} and {path} must hold files of the same names, each once"
                + (f"; {odd[0]} is in one of them only" if odd else "")
            )
    from ..evaluation.comparison import pair_scores

    results: dict[str, Any] = {}
    for path in others:
        rows = []
        for file in files[path]:
            truth, mode = _read(truths[file.stem])
            splats, own_mode = _read(file)
            rows.append(pair_scores(truth, splats, (mode, own_mode)))
            results[str(file)] = rows[-1]
        results[f"{path}, mean of {len(rows)}"] = {
            name: sum(row[name] for row in rows) / len(rows) for name in rows[0]
        }
    return results


def _silence() -> None:
    """Transformers tells of what it loads and would rather have; the table is what was asked for."""
    from transformers.utils import logging

    logging.disable_progress_bar()
    logging.set_verbosity_error()


def _splat_files(folder: Path) -> list[Path]:
    if not folder.is_dir():
        raise ValueError(f"input {folder}: is no folder, the reference is one; compare files or folders")
    files = sorted(path for path in folder.iterdir() if path.suffix.lower() in SUPPORTED_SUFFIXES)
    if not files:
        raise ValueError(f"input {folder}: holds no splats ({', '.join(SUPPORTED_SUFFIXES)})")
    return files


@dataclass(frozen=True)
class _SplatFiles:
    """Objects that are read when their turn comes, each time: a folder may hold more than the memory does.

    Args:
        files: one for each object.
        least: how many Gaussians of each must be seen.
    """

    files: list[Path]
    least: int

    def __len__(self) -> int:
        return len(self.files)

    def __iter__(self) -> Iterator[tuple[GaussianSplats, str]]:
        return (_read(file, self.least) for file in self.files)


def _read(path: Path, least: int = 1) -> tuple[GaussianSplats, str]:
    """Splats that can be compared, and how they are rendered."""
    from ..evaluation.comparison import check_place

    splats = load_splats(path)
    check_place(splats, str(path), least)
    return splats, read_rasterize_mode(path) or FOREIGN_MODE


def _features(options: argparse.Namespace) -> tuple[Any, int]:
    """What FID and KID look with, and the size of the pictures that it takes."""
    if options.features == "none":
        return None, 0
    if options.features == "inception":
        return 2048, 299
    from transformers import CLIPImageProcessor, CLIPVisionModel

    from ..evaluation.image_distributions import VisionFeatures
    from .generate import find_model

    model = find_model(options.model)
    encoder = CLIPVisionModel.from_pretrained(model, subfolder="image_encoder").float()
    processor = CLIPImageProcessor.from_pretrained(model, subfolder="image_processor")
    return VisionFeatures(encoder, processor), encoder.config.image_size
