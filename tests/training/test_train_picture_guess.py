"""train_picture_guess.py: pictures tell two objects apart, and what it writes is what train_ldm.py reads."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from diffgs_diffusers.data.latents import LatentDataset, LatentRecord, write_index, write_latents
from diffgs_diffusers.models import ConditionEncoder
from diffgs_diffusers.training.picture_regression import (
    NUM_AZIMUTHS,
    PictureRegressor,
    held_out_scores,
    shifted,
    side_loss,
)
from tests.tiny_models import tiny_condition_encoder, tiny_image_models

CHANNELS, LENGTH = 4, 48


@pytest.fixture
def latents_folder(tmp_path) -> Path:
    """Objects of two kinds: dark pictures belong to one latent, bright ones to another."""
    folder, ids = tmp_path / "latents", []
    for index in range(6):
        kind, split = index % 2, "validation" if index >= 4 else "train"
        mean = torch.randn(1, CHANNELS, LENGTH, generator=torch.Generator().manual_seed(kind))
        views = torch.full((1, 2, 16, 16, 3), 30 + 200 * kind, dtype=torch.uint8)
        sides = torch.tensor([[[10.0, 90.0 * kind], [10.0, 90.0 * kind]]])
        record = LatentRecord(f"chair_{index}", split, "chair", 1.0, [["a chair"]], ["a chair"])
        write_latents(folder, record, mean, pictures=(views, sides))
        ids.append(record.id)
    write_index(folder, ids, {})
    return folder


@pytest.fixture
def words(latents_folder, tmp_path) -> list[str]:
    for part in tiny_image_models().values():
        part.save_pretrained(str(tmp_path / "clip"))
    sizes = {"guess_rank": 4, "guess_width": 8, "point_resolution": 8, "channels": 16}
    (tmp_path / "encoder.json").write_text(json.dumps(sizes))
    return [
        f"--train_data_dir={latents_folder}",
        f"--image_encoder={tmp_path / 'clip'}",
        f"--output_dir={tmp_path / 'run'}",
        f"--condition_encoder_config={tmp_path / 'encoder.json'}",
        "--cross_attention_dim=32",
        "--train_batch_size=8",
        "--max_train_steps=40",
        "--lr_warmup_steps=0",
        "--learning_rate=1e-2",
        "--validation_steps=40",
        "--checkpointing_steps=0",
    ]


def read(run: Path) -> ConditionEncoder:
    return ConditionEncoder.from_pretrained(run / "condition_encoder").eval()


def test_pictures_of_objects_that_were_held_out_tell_them_apart(
    train_picture_guess, words, latents_folder, tmp_path
):
    train_picture_guess.main(words)
    model = PictureRegressor(read(tmp_path / "run")).eval()
    held_out = LatentDataset(latents_folder, split="validation")
    found = held_out_scores(model, held_out, tiny_image_models()["image_processor"], 1)
    assert found["explained_variance"] > 0.9
    lines = [json.loads(line) for line in (tmp_path / "run" / "stats.jsonl").read_text().splitlines()]
    (logged,) = (line for line in lines if "validation/explained_variance" in line)
    assert logged["validation/explained_variance"] == pytest.approx(found["explained_variance"], abs=0.02)
    assert logged["validation/azimuth_error"] < 15  # dark ones are seen from in front, bright ones from the right


def test_training_goes_on_from_what_was_written(train_picture_guess, words, tmp_path):
    train_picture_guess.main([*words, "--max_train_steps=1"])
    run = tmp_path / "run"
    words = [word for word in words if not word.startswith("--condition_encoder_config")]
    further = [f"--pretrained_condition_encoder={run / 'condition_encoder'}", f"--output_dir={tmp_path / 'run2'}"]
    train_picture_guess.main([*words, *further, "--max_train_steps=1", "--learning_rate=1e-9"])
    again = read(tmp_path / "run2").state_dict()
    for key, value in read(run).state_dict().items():
        torch.testing.assert_close(again[key], value, atol=1e-6, rtol=0)


def test_latents_without_pictures_are_refused(train_picture_guess, words, tmp_path):
    mean = torch.randn(1, CHANNELS, LENGTH)
    write_latents(tmp_path / "bare", LatentRecord("chair", "train", "chair", 1.0, [["a chair"]], []), mean)
    write_index(tmp_path / "bare", ["chair"], {})
    with pytest.raises(ValueError, match=r"has no pictures: run encode_latents\.py with --view_size"):
        train_picture_guess.main([*words, f"--train_data_dir={tmp_path / 'bare'}"])


def test_it_needs_an_encoder_to_start_from(train_picture_guess, words, capsys):
    with pytest.raises(SystemExit) as stopped:
        train_picture_guess.main([word for word in words if not word.startswith("--image_encoder")])
    assert stopped.value.code == 2
    assert "--image_encoder is missing" in capsys.readouterr().err


def test_a_negative_weight_of_the_side_is_refused(train_picture_guess, words, capsys):
    with pytest.raises(SystemExit) as stopped:
        train_picture_guess.main([*words, "--side_weight=-1"])
    assert stopped.value.code == 2
    assert "--side_weight must be at least 0, got -1.0" in capsys.readouterr().err


def test_an_encoder_without_a_guess_is_refused():
    encoder = ConditionEncoder.from_config(tiny_condition_encoder().config, guess_channels=None)
    with pytest.raises(ValueError, match="makes no guess"):
        PictureRegressor(encoder)


def test_only_the_guess_learns():
    encoder = tiny_condition_encoder()
    model = PictureRegressor(encoder).train()
    guess, side = model(torch.randn(3, 3, 16, 16))
    (guess.square().mean() + side.square().mean()).backward()
    learning = {name for name, value in model.named_parameters() if value.grad is not None}
    assert all(name.startswith(("condition_encoder.picture_guess.", "side.")) for name in learning)
    assert not any("proj_out" in name for name in learning)
    expected = set(encoder.picture_guess.state_dict()) - {"proj_out.weight"}
    assert len(learning) == len(expected) + 2


def answer(azimuth: float, elevation: float) -> torch.Tensor:
    """What a network says that is sure of a side."""
    found = torch.full((1, NUM_AZIMUTHS + 1), -20.0)
    found[0, round(azimuth / 360 * NUM_AZIMUTHS) % NUM_AZIMUTHS] = 20.0
    found[0, -1] = (elevation - 17.5) / 10
    return found


def test_a_side_is_missed_by_the_angle_and_angles_go_round():
    sides = torch.tensor([[20.0, 350.0]])
    losses = [float(side_loss(answer(azimuth, 20.0), sides)) for azimuth in (350, 0, 340, 20, 170)]
    assert losses[0] == min(losses)
    assert losses[1] == pytest.approx(losses[2], rel=1e-4)  # ten degrees to either side
    assert losses[0] < losses[1] < losses[3] <= losses[4]
    assert float(side_loss(answer(350.0, 30.0), sides)) == pytest.approx(losses[0] + 0.2 * 0.5, rel=1e-4)


def test_pictures_are_moved_together_and_by_little():
    views = torch.arange(16 * 16).reshape(1, 16, 16, 1).expand(2, 16, 16, 3)
    found = {tuple(shifted(views, torch.Generator().manual_seed(seed))[1, 8, 8].tolist()) for seed in range(40)}
    rows, columns = zip(*((value[0] // 16, value[0] % 16) for value in found))
    assert set(rows) == set(columns) == set(range(5, 12))
