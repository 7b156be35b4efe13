"""Checkpoints: found by number, whole or absent, checked before use."""

import json

import pytest
import torch
from accelerate import Accelerator

from diffgs_diffusers.training.checkpointing import (
    STATE_NAME,
    CheckpointError,
    TrainerState,
    checkpoint_path,
    list_checkpoints,
    read_checkpoint_state,
    resolve_checkpoint,
    rotate_checkpoints,
    save_checkpoint,
)

STATE = TrainerState(step=12, samples_seen=96, ema_step=12)


@pytest.fixture
def accelerator():
    result = Accelerator(cpu=True)
    model = torch.nn.Linear(2, 2)
    result.prepare(model, torch.optim.AdamW(model.parameters()))
    return result


def write_weights(folder):
    (folder / "unet").mkdir()
    (folder / "unet" / "weights.safetensors").write_bytes(b"12345")


def test_a_checkpoint_is_read_back(accelerator, tmp_path):
    path = save_checkpoint(accelerator, tmp_path / "run", STATE, write_weights)
    assert path == tmp_path / "run" / "checkpoint-12"
    assert read_checkpoint_state(path) == STATE
    files = json.loads((path / STATE_NAME).read_text())["files"]
    assert files["unet/weights.safetensors"] == 5
    assert "model.safetensors" in files


def test_a_failure_while_saving_leaves_the_old_checkpoint_and_no_new_one(accelerator, tmp_path):
    save_checkpoint(accelerator, tmp_path, STATE, write_weights)

    def fail(folder):
        raise OSError("disk full")

    for step in (12, 13):
        with pytest.raises(OSError, match="disk full"):
            save_checkpoint(accelerator, tmp_path, TrainerState(step, 0, 0), fail)
    assert [path.name for path in list_checkpoints(tmp_path)] == ["checkpoint-12"]
    assert read_checkpoint_state(tmp_path / "checkpoint-12") == STATE
    save_checkpoint(accelerator, tmp_path, TrainerState(13, 0, 0), write_weights)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checkpoint-12", "checkpoint-13"]


def test_checkpoints_are_ordered_by_number_and_rotated(tmp_path):
    for step in (900, 1000, 80):
        checkpoint_path(tmp_path, step).mkdir()
    (tmp_path / "checkpoint-best").mkdir()
    assert [path.name for path in list_checkpoints(tmp_path)] == [
        "checkpoint-80",
        "checkpoint-900",
        "checkpoint-1000",
    ]
    rotate_checkpoints(tmp_path, 0)
    assert len(list_checkpoints(tmp_path)) == 3
    rotate_checkpoints(tmp_path, 2)
    assert [path.name for path in list_checkpoints(tmp_path)] == ["checkpoint-900", "checkpoint-1000"]


def test_which_checkpoint_is_meant(tmp_path):
    assert resolve_checkpoint(tmp_path, "latest") is None
    checkpoint_path(tmp_path, 3).mkdir()
    checkpoint_path(tmp_path, 20).mkdir()
    assert resolve_checkpoint(tmp_path, "latest") == tmp_path / "checkpoint-20"
    assert resolve_checkpoint(tmp_path, "checkpoint-3") == tmp_path / "checkpoint-3"
    assert resolve_checkpoint("elsewhere", str(tmp_path / "checkpoint-3")) == tmp_path / "checkpoint-3"
    with pytest.raises(CheckpointError, match="checkpoint-4 does not exist"):
        resolve_checkpoint(tmp_path, "checkpoint-4")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda path: (path / "model.safetensors").unlink(), "model.safetensors is missing"),
        (lambda path: (path / "optimizer.bin").write_bytes(b"x"), "optimizer.bin has 1 bytes"),
        (lambda path: (path / STATE_NAME).write_text("{"), "trainer_state.json cannot be read"),
        (lambda path: (path / STATE_NAME).write_text("{}"), "trainer_state.json cannot be read"),
        (lambda path: (path / STATE_NAME).unlink(), "trainer_state.json cannot be read"),
    ],
)
def test_damage_is_found(accelerator, tmp_path, damage, message):
    path = save_checkpoint(accelerator, tmp_path, STATE, write_weights)
    damage(path)
    with pytest.raises(CheckpointError, match=message):
        read_checkpoint_state(path)
