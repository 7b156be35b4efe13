"""Training checkpoints: written whole or not at all, checked before they are read, rotated."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from accelerate import Accelerator

STATE_NAME = "trainer_state.json"
_CHECKPOINT_NAME = re.compile(r"checkpoint-(\d+)")


class CheckpointError(RuntimeError):
    """A checkpoint is absent, incomplete or damaged."""


@dataclass(frozen=True)
class TrainerState:
    """Where a run stands.

    Attributes:
        step: Optimiser steps done.
        samples_seen: Training samples drawn by all processes together.
        ema_step: Updates of the averaged weights, 0 without EMA.
    """

    step: int
    samples_seen: int
    ema_step: int


def checkpoint_path(output_dir: str | Path, step: int) -> Path:
    """``<output_dir>/checkpoint-<step>``, the name that diffusers' scripts use."""
    return Path(output_dir) / f"checkpoint-{step}"


def list_checkpoints(output_dir: str | Path) -> list[Path]:
    """All checkpoints in `output_dir`, oldest first."""
    folder = Path(output_dir)
    found = [path for path in folder.glob("checkpoint-*") if _CHECKPOINT_NAME.fullmatch(path.name)]
    return sorted(found, key=lambda path: int(path.name.partition("-")[2]))


def resolve_checkpoint(output_dir: str | Path, wanted: str) -> Path | None:
    """The checkpoint that ``--resume_from_checkpoint`` means.

    Args:
        output_dir: Folder of the run.
        wanted: ``"latest"``, a path, or the name of a checkpoint in `output_dir`.

    Returns:
        The folder; None when ``"latest"`` is asked for and there is none yet.

    Raises:
        CheckpointError: If a named checkpoint does not exist.
    """
    if wanted == "latest":
        checkpoints = list_checkpoints(output_dir)
        return checkpoints[-1] if checkpoints else None
    for path in (Path(wanted), Path(output_dir) / wanted):
        if path.is_dir():
            return path
    raise CheckpointError(f"checkpoint {wanted} does not exist; give a folder or 'latest'")


def save_checkpoint(
    accelerator: Accelerator, output_dir: str | Path, state: TrainerState, export: Callable[[Path], None]
) -> Path:
    """Saves a checkpoint; it appears under its final name only when every file is complete.

    Args:
        accelerator: Holds model, optimiser and learning-rate schedule. All processes must call this.
        output_dir: Folder of the run.
        state: Goes into ``trainer_state.json``, with the size of every file.
        export: Called on the main process with the unfinished folder, to add weights for ``from_pretrained``.

    Returns:
        The finished folder.
    """
    final = checkpoint_path(output_dir, state.step)
    partial = final.with_name(f".partial-{final.name}")
    if accelerator.is_main_process:
        _remove_leftovers(final.parent)
        partial.mkdir(parents=True)
    accelerator.wait_for_everyone()
    accelerator.save_state(str(partial))
    if accelerator.is_main_process:
        export(partial)
    accelerator.wait_for_everyone()
    if accelerator.is_main_process:
        _write_state(partial, state)
        remove_folder(final)
        os.replace(partial, final)
    accelerator.wait_for_everyone()
    return final


def rotate_checkpoints(output_dir: str | Path, limit: int) -> None:
    """Deletes the oldest checkpoints beyond `limit`; 0 keeps all."""
    if limit > 0:
        for path in list_checkpoints(output_dir)[:-limit]:
            remove_folder(path)


def remove_folder(path: Path) -> None:
    """Deletes a folder if it exists; renamed first, so that nobody meets it half deleted."""
    if path.exists():
        doomed = path.with_name(f".deleted-{path.name}")
        shutil.rmtree(doomed, ignore_errors=True)
        os.replace(path, doomed)
        shutil.rmtree(doomed)


def _remove_leftovers(output_dir: Path) -> None:
    """Deletes what an interrupted save or deletion left behind."""
    for pattern in (".partial-checkpoint-*", ".deleted-checkpoint-*"):
        for path in output_dir.glob(pattern):
            shutil.rmtree(path)


def read_checkpoint_state(path: Path) -> TrainerState:
    """Checks a checkpoint and reads where the run stood.

    Raises:
        CheckpointError: If ``trainer_state.json`` is absent or unreadable, or a file is absent or cut short.
    """
    advice = "delete this checkpoint and resume from an older one"
    try:
        content = json.loads((path / STATE_NAME).read_text(encoding="utf-8"))
        state, files = TrainerState(**content["state"]), content["files"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{path}: {STATE_NAME} cannot be read ({error}); {advice}") from error
    for name, size in files.items():
        file = path / name
        if not file.is_file():
            raise CheckpointError(f"{path}: {name} is missing; {advice}")
        found = file.stat().st_size
        if found != size:
            raise CheckpointError(f"{path}: {name} has {found} bytes, must have {size}; {advice}")
    return state


def _write_state(folder: Path, state: TrainerState) -> None:
    files = {
        file.relative_to(folder).as_posix(): file.stat().st_size
        for file in sorted(folder.rglob("*"))
        if file.is_file()
    }
    text = json.dumps({"state": asdict(state), "files": files}, indent=2)
    (folder / STATE_NAME).write_text(text + "\n", encoding="utf-8")
