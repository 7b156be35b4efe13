"""Reads a PyTorch-Lightning checkpoint without running what it holds, and accounts for each of its keys."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

_SHOWN = 3  # keys of a kind that a message names


class CheckpointError(ValueError):
    """A checkpoint or its specs.json cannot be converted; the message names the file and the key."""


def read_state_dict(path: str | Path) -> dict[str, Tensor]:
    """The weights of a ``.ckpt`` file on the CPU.

    Raises:
        CheckpointError: if the file is not there, cut short, foreign, or would have to be run to be read.
    """
    path = Path(path)
    if not path.is_file():
        raise CheckpointError(f"{path} is no file: name a checkpoint that PyTorch Lightning wrote (.ckpt).")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        reason = str(error).splitlines()[0]
        raise CheckpointError(
            f"{path} is no checkpoint of weights alone, and nothing else is run: {reason}"
        ) from error
    except (RuntimeError, EOFError, OSError, ValueError, KeyError, IndexError) as error:
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise CheckpointError(
            f"{path} ({path.stat().st_size} bytes) cannot be read as a PyTorch checkpoint ({reason}); copy or "
            "download it again."
        ) from error
    state = content.get("state_dict") if isinstance(content, dict) else None
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise CheckpointError(f"{path} has no `state_dict` of tensors: it is no checkpoint of PyTorch Lightning.")
    return state


def check_keys(
    path: str | Path, state: Mapping[str, Tensor], expected: Mapping[str, torch.Size], sizes_from: str | Path
) -> None:
    """Every key is expected, every expected key is there, and all shapes are those of the sizes.

    Args:
        path: of the checkpoint, for messages.
        state: what it holds.
        expected: shapes by key.
        sizes_from: the file that the sizes came from, for messages.

    Raises:
        CheckpointError: naming the keys.
    """
    missing = [key for key in expected if key not in state]
    extra = [key for key in state if key not in expected]
    misshapen = [
        f"{key} is {list(state[key].shape)} instead of {list(shape)}"
        for key, shape in expected.items()
        if key in state and state[key].shape != shape
    ]
    found = {"lacks": missing, "has unknown keys": extra, "has keys of other shapes": misshapen}
    problems = [f"{what}: {_named(keys)}" for what, keys in found.items() if keys]
    if problems:
        raise CheckpointError(f"{path} {'; it '.join(problems)}. The sizes are those of {sizes_from}.")
    for key, value in state.items():
        if not value.isfinite().all():
            raise CheckpointError(f"{path}: {key} has values that are NaN or infinite.")


def check_constants(path: str | Path, state: Mapping[str, Tensor], constants: Mapping[str, Tensor]) -> None:
    """Stored values that follow from the specs are those that follow from the specs.

    Raises:
        CheckpointError: naming the first key whose values are others.
    """
    for key, value in constants.items():
        if not torch.allclose(state[key].double(), value.double(), rtol=1e-3, atol=1e-6):
            raise CheckpointError(
                f"{path}: {key} differs from what the specs ask for: these are not the specs it was trained with."
            )


def _named(keys: list[str]) -> str:
    further = len(keys) - _SHOWN
    return ", ".join(keys[:_SHOWN]) + (f" and {further} more" if further > 0 else "")
