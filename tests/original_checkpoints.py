"""Checkpoints, inputs and outputs of the public DiffGS repository's own modules: see tests/fixtures/original."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

FIXTURES = Path(__file__).parent / "fixtures" / "original"
SIZES = ("small", "other")
STAGE_1_SIZES = (*SIZES, "points")


def values(name: str) -> dict[str, torch.Tensor]:
    """Inputs and outputs of the modules of one size."""
    return load_file(str(FIXTURES / name / "values.safetensors"))


def weights(name: str, stage: int) -> dict[str, torch.Tensor]:
    """The weights by the keys that the public repository gives them."""
    return load_file(str(FIXTURES / name / f"stage{stage}.safetensors"))


def specs(name: str, stage: int) -> dict[str, Any]:
    """The specs.json of a stage."""
    return json.loads((FIXTURES / name / f"stage{stage}_specs.json").read_text())


def write_checkpoint(folder: Path, name: str, stage: int, state: dict[str, torch.Tensor] | None = None) -> Path:
    """A ``.ckpt`` with what PyTorch Lightning puts into one, and its specs.json beside it; returns its path.

    Args:
        folder: to make.
        name: of a size.
        stage: 1 or 2.
        state: weights in place of the fixture's.
    """
    folder.mkdir(parents=True, exist_ok=True)
    content = {
        "epoch": 7,
        "global_step": 70,
        "pytorch-lightning_version": "1.6.4",
        "state_dict": weights(name, stage) if state is None else state,
        "callbacks": {"ModelCheckpoint": {"best_model_score": torch.tensor(0.5), "dirpath": "runs"}},
        "optimizer_states": [
            {"state": {0: {"step": 7, "exp_avg": torch.zeros(3)}}, "param_groups": [{"lr": 1e-4}]}
        ],
        "lr_schedulers": [],
    }
    torch.save(content, folder / "last.ckpt")
    shutil.copy(FIXTURES / name / f"stage{stage}_specs.json", folder / "specs.json")
    return folder / "last.ckpt"
