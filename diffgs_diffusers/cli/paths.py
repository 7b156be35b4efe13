"""Checks of file names before any work, and names for what nobody named."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from ..io import SUPPORTED_SUFFIXES

MAX_SLUG_LENGTH = 60


def check_output(path: Path, suffixes: Sequence[str]) -> None:
    """A file that can be written: known suffix, in a folder that exists and takes files.

    Raises:
        ValueError: if the suffix is not one of ``suffixes`` or the path is a folder.
        OSError: if the folder is missing or cannot be written to.
    """
    if path.suffix.lower() not in suffixes:
        raise ValueError(f"output {path}: the suffix must be one of {', '.join(suffixes)}")
    if path.is_dir():
        raise ValueError(f"output {path}: is a folder; name a file in it")
    if not path.parent.is_dir():
        raise FileNotFoundError(f"output {path}: the folder {path.parent} does not exist; create it first")
    if not os.access(path.parent, os.W_OK | os.X_OK):
        raise PermissionError(f"output {path}: the folder {path.parent} is not writable")


def check_input(path: Path, suffixes: Sequence[str] | None) -> None:
    """A file that is there and has a known suffix.

    Args:
        path: the file.
        suffixes: those that are known; None for any.

    Raises:
        ValueError: if the suffix is not one of ``suffixes``.
        OSError: if there is no such file.
    """
    if not path.is_file():
        raise FileNotFoundError(f"input {path}: there is no such file")
    if suffixes is not None and path.suffix.lower() not in suffixes:
        raise ValueError(f"input {path}: the suffix must be one of {', '.join(suffixes)}")


def check_kept(output: Path, inputs: Iterable[Path]) -> None:
    """Raises ValueError if writing ``output`` would replace one of ``inputs``, which are there."""
    if output.exists() and any(output.samefile(one) for one in inputs):
        raise ValueError(f"output {output}: is an input too and would be replaced; name another file with -o")


def check_outputs(paths: Iterable[Path], inputs: Sequence[Path], *, with_sheets: bool) -> None:
    """Files of splats, and the pictures beside them, that can be written and replace no input.

    Raises:
        ValueError, OSError: as :func:`check_output` and :func:`check_kept`.
    """
    for path in paths:
        check_output(path, SUPPORTED_SUFFIXES)
        check_kept(path, inputs)
        if with_sheets:
            check_output(path.with_suffix(".png"), (".png",))
            check_kept(path.with_suffix(".png"), inputs)


def output_paths(output: str | None, prompts: Sequence[str], count: int) -> list[Path]:
    """One path for each object: all objects of the first prompt, then those of the second, and so on.

    Args:
        output: the file that was asked for; several objects are numbered from 1. None: named after the prompts.
        prompts: what is generated, or what stands for it.
        count: objects for each prompt.
    """
    if output is not None:
        path = Path(output)
        total = len(prompts) * count
        return [path] if total == 1 else [numbered(path, index + 1) for index in range(total)]
    wanted = [Path(f"{slug(prompt)}.ply") for prompt in prompts for _ in range(count)]
    paths: list[Path] = []
    for path in wanted:
        index = 1
        unique = path if wanted.count(path) == 1 else numbered(path, index)
        while unique in paths:
            index += 1
            unique = numbered(path, index)
        paths.append(unique)
    return paths


def numbered(path: Path, index: int) -> Path:
    """``chair.ply`` and 2 give ``chair-2.ply``."""
    return path.with_name(f"{path.stem}-{index}{path.suffix}")


def slug(text: str) -> str:
    """A text as a file name: words joined by hyphens."""
    words = re.sub(r"[\W_]+", "-", text.lower()).strip("-")
    return words[:MAX_SLUG_LENGTH].rstrip("-") or "object"
