"""train_image_encoder.py: pictures tell two objects apart, and what it writes is what train_ldm.py reads."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from transformers import CLIPImageProcessor, CLIPVisionModel

from diffgs_diffusers.data.latents import LatentDataset, LatentRecord, write_index, write_latents
from diffgs_diffusers.models import ConditionEncoder
from diffgs_diffusers.training.picture_regression import PictureRegressor, explained_variance, shifted
from tests.tiny_models import tiny_condition_encoder, tiny_image_models

CHANNELS, LENGTH = 4, 48


@pytest.fixture
def latents_folder(tmp_path) -> Path:
    """Objects of two kinds: dark pictures belong to one latent, bright ones to another."""
    folder, ids = tmp_path / "latents", []
    for index in range(6):
        kind, split = index % 2, "validation" if index >= 4 else "train"
        mean = torch.randn(1, CHANNELS, LENGTH, generator=torch.Generator().manual_seed(kind))
        view = torch.full((1, 16, 16, 3), 30 + 200 * kind, dtype=torch.uint8)
        record = LatentRecord(f"chair_{index}", split, "chair", 1.0, [["a chair"]], ["a chair"])
        write_latents(folder, record, mean, views=view)
        ids.append(record.id)
    write_index(folder, ids, {})
    return folder


@pytest.fixture
def words(latents_folder, tmp_path) -> list[str]:
    for part in tiny_image_models().values():
        part.save_pretrained(str(tmp_path / "clip"))
    (tmp_path / "encoder.json").write_text(json.dumps({"guess_rank": 4, "point_resolution": 8, "channels": 16}))
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


def read(run: Path) -> tuple[CLIPVisionModel, ConditionEncoder, CLIPImageProcessor]:
    return (
        CLIPVisionModel.from_pretrained(run / "image_encoder"),
        ConditionEncoder.from_pretrained(run / "condition_encoder"),
        CLIPImageProcessor.from_pretrained(run / "image_processor"),
    )


def test_pictures_of_objects_that_were_held_out_tell_them_apart(
    train_image_encoder, words, latents_folder, tmp_path
):
    train_image_encoder.main(words)
    image_encoder, condition_encoder, processor = read(tmp_path / "run")
    held_out = LatentDataset(latents_folder, split="validation")
    with torch.no_grad():
        found = explained_variance(PictureRegressor(image_encoder, condition_encoder), held_out, processor, 1)
    assert found > 0.9
    lines = [json.loads(line) for line in (tmp_path / "run" / "stats.jsonl").read_text().splitlines()]
    logged = next(
        line["validation/explained_variance"] for line in lines if "validation/explained_variance" in line
    )
    assert logged == pytest.approx(found, abs=0.02)


def test_training_goes_on_from_what_was_written(train_image_encoder, words, tmp_path):
    train_image_encoder.main([*words, "--max_train_steps=1"])
    run = tmp_path / "run"
    words = [word for word in words if not word.startswith(("--condition_encoder_config", "--image_encoder"))]
    further = [f"--image_encoder={run}", f"--pretrained_condition_encoder={run / 'condition_encoder'}"]
    train_image_encoder.main(
        [*words, *further, f"--output_dir={tmp_path / 'run2'}", "--max_train_steps=1", "--learning_rate=1e-9"]
    )
    for first, second in zip(read(run)[:2], read(tmp_path / "run2")[:2]):
        for key, value in first.state_dict().items():
            torch.testing.assert_close(second.state_dict()[key], value, atol=1e-6, rtol=0)


def test_latents_without_pictures_are_refused(train_image_encoder, words, tmp_path):
    mean = torch.randn(1, CHANNELS, LENGTH)
    write_latents(tmp_path / "bare", LatentRecord("chair", "train", "chair", 1.0, [["a chair"]], []), mean)
    write_index(tmp_path / "bare", ["chair"], {})
    with pytest.raises(ValueError, match=r"has no pictures: run encode_latents\.py with --view_size"):
        train_image_encoder.main([*words, f"--train_data_dir={tmp_path / 'bare'}"])


def test_it_needs_an_encoder_to_start_from(train_image_encoder, words, capsys):
    with pytest.raises(SystemExit) as stopped:
        train_image_encoder.main([word for word in words if not word.startswith("--image_encoder")])
    assert stopped.value.code == 2
    assert "--image_encoder is missing" in capsys.readouterr().err


def test_an_encoder_without_a_guess_is_refused():
    encoder = ConditionEncoder.from_config(tiny_condition_encoder().config, guess_channels=None)
    with pytest.raises(ValueError, match="makes no guess"):
        PictureRegressor(tiny_image_models()["image_encoder"], encoder)


def test_pictures_are_moved_together_and_by_little():
    views = torch.arange(16 * 16).reshape(1, 16, 16, 1).expand(2, 16, 16, 3)
    found = {tuple(shifted(views, torch.Generator().manual_seed(seed))[1, 8, 8].tolist()) for seed in range(40)}
    rows, columns = zip(*((value[0] // 16, value[0] % 16) for value in found))
    assert set(rows) == set(columns) == set(range(5, 12))
