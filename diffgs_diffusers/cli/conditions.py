"""What ``diffgs generate`` makes objects of besides text: files of a picture, a part, points or a whole object."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..extraction_settings import OriginalExtractionConfig, find_extraction
from ..io import POINT_SUFFIXES, SUPPORTED_SUFFIXES, load_points, load_splats
from .paths import check_input

if TYPE_CHECKING:
    from torch import Tensor

    from ..gaussians import GaussianSplats

# The suffixes of each argument's files, None for any.
SUFFIXES = {
    "image": None,
    "partial": SUPPORTED_SUFFIXES,
    "points": POINT_SUFFIXES,
    "gaussians": SUPPORTED_SUFFIXES,
}


def condition_files(options: argparse.Namespace) -> dict[str, Path]:
    """The files that conditions are read from, by the pipeline's argument; checked as far as their names tell.

    Raises:
        ValueError: if there is nothing to make an object of, a suffix is unknown or an option does not fit.
        OSError: if there is no such file.
    """
    files = {name: Path(getattr(options, name)) for name in SUFFIXES if getattr(options, name) is not None}
    if not files and not options.prompts:
        raise ValueError("PROMPT: say what to make, or pass --image, --partial, --points or --gaussians")
    if options.strength is not None and "gaussians" not in files:
        raise ValueError("--strength: there is no --gaussians of which it could be the change")
    if options.strength == 0:
        raise ValueError("--strength 0: leaves nothing to change; say how much, up to 1")
    if options.discard_input and "partial" not in files:
        raise ValueError("--discard-input: there is no --partial whose Gaussians it could mean")
    made_whole = isinstance(find_extraction(options.extraction), OriginalExtractionConfig)
    if made_whole and "partial" in files and not options.discard_input:
        raise ValueError(
            f"--extraction {options.extraction}: cannot begin with the Gaussians of --partial; leave it out, or "
            "pass --discard-input"
        )
    for name, path in files.items():
        check_input(path, SUFFIXES[name])
    return files


def read_conditions(files: dict[str, Path], options: argparse.Namespace) -> dict[str, Any]:
    """The pipeline's arguments that stand in ``files``: a PIL image, splats, points [N, 3 or 6].

    Raises:
        ValueError, OSError: naming the file and what is wrong, or the options that do not fit it.
    """
    readers = {"image": _read_image, "partial": read_splats, "points": _read_cloud, "gaussians": read_splats}
    conditions = {name: readers[name](path) for name, path in files.items()}
    if "partial" in conditions and not options.discard_input:
        there = len(conditions["partial"])
        if there >= options.num_gaussians:
            raise ValueError(
                f"--num-gaussians {options.num_gaussians}: {files['partial']} has {there} already, which "
                "leaves none to add; ask for more, or pass --discard-input"
            )
    return conditions


def origin(prompt: str | None, options: argparse.Namespace) -> str:
    """What an object is made of, for messages: ``'a red chair', partial half.ply``."""
    texts = [] if prompt is None else [repr(prompt)]
    given = {name: getattr(options, name) for name in SUFFIXES}
    return ", ".join(texts + [f"{name} {file}" for name, file in given.items() if file is not None])


def _read_image(path: Path) -> Any:
    from ..functional.pictures import centered_on_white, load_picture

    picture = load_picture(path, "--image")
    centered_on_white(picture)  # the pipeline's first step, which a picture without an object fails
    return picture


def read_splats(path: Path) -> GaussianSplats:
    """A file of at least one Gaussian.

    Raises:
        ValueError, OSError: naming the file and what is wrong.
    """
    splats = load_splats(path)
    if len(splats) == 0:
        raise ValueError(f"{path}: holds no Gaussians")
    return splats


def _read_cloud(path: Path) -> Tensor:
    import torch

    positions, colors = load_points(path)
    return positions if colors is None else torch.cat([positions, colors], dim=1)
