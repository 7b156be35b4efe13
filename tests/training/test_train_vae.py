"""train_vae.py on a tiny dataset: what it writes, and the samples that it trains on."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from diffgs_diffusers.data.dataset import GaussianObjectDataset
from diffgs_diffusers.data.function_samples import FunctionSampleDataset, FunctionSampling
from diffgs_diffusers.models import GaussianVAE
from diffgs_diffusers.training.sampling import build_dataloader


@pytest.fixture
def words(dataset_folder: Path, vae_folder: Path, tmp_path: Path) -> list[str]:
    numbers = "--num_queries=64 --num_centers=32 --encoder_gaussians=40 --train_batch_size=2 --max_train_steps=2"
    return [
        f"--train_data_dir={dataset_folder}",
        f"--output_dir={tmp_path / 'run'}",
        f"--vae_config={vae_folder / 'config.json'}",
        *numbers.split(),
        "--lr_warmup_steps=0",
    ]


def test_training_writes_a_vae_statistics_and_pictures(train_vae, words, tmp_path):
    train_vae.main([*words, "--use_ema", "--validation_steps=2", "--num_validation_objects=1", "--logging_steps=1"])
    run = tmp_path / "run"
    vae = GaussianVAE.from_pretrained(run / "vae")
    lines = [json.loads(line) for line in (run / "stats.jsonl").read_text().splitlines()]
    assert {"loss", "probability", "color", "shape", "opacity", "kl"} <= set(lines[0])
    # the test split has no part in it
    seen = {key.split("/")[1].split("_")[0] for key in lines[-1] if key.startswith("validation/")}
    assert seen == {"train", "validation"}
    assert sorted(path.name for path in (run / "validation").iterdir()) == [
        "train-000002.png",
        "validation-000002.png",
    ]
    train_vae.main([*words, "--output_dir", str(tmp_path / "other"), "--max_train_steps=1", "--seed=1"])
    other = GaussianVAE.from_pretrained(tmp_path / "other" / "vae")
    first, second = (next(model.parameters()) for model in (vae, other))
    assert not torch.allclose(first, second, atol=0.02), "another seed begins with other weights"


def test_a_frozen_encoder_keeps_latents_valid(train_vae, words, vae_folder, tmp_path, capsys):
    train_vae.main([*words, f"--pretrained_model_name_or_path={vae_folder}", "--freeze_encoder", "--use_ema"])
    before, after = (GaussianVAE.from_pretrained(path) for path in (vae_folder, tmp_path / "run" / "vae"))
    changed = {
        name.split(".")[0]
        for name, value in after.state_dict().items()
        if not torch.equal(value, before.state_dict()[name])
    }
    assert changed == {"decoder", "heads"}
    with pytest.raises(SystemExit):
        train_vae.main([*words, "--freeze_encoder"])
    assert "--freeze_encoder needs --pretrained_model_name_or_path" in capsys.readouterr().err


@pytest.mark.parametrize("weighted", [False, True])
def test_weights_of_objects_count_when_asked_for(train_vae, words, monkeypatch, weighted):
    loaders = []

    class Recorder:
        def __init__(self, args, model, loader, *rest, **options) -> None:
            loaders.append(loader)

        def run(self) -> None:
            pass

    monkeypatch.setattr(train_vae, "Trainer", Recorder)
    train_vae.main([*words, *(["--weighted_sampling"] if weighted else [])])
    shares = loaders[0].batch_sampler.shares
    assert (shares is None) != weighted
    if weighted:
        torch.testing.assert_close(torch.from_numpy(shares), torch.tensor([0.5, 2.0, 4.5, 8.0]).double() / 8)


def test_bad_use_is_refused(train_vae, words, capsys):
    with pytest.raises(SystemExit) as stopped:
        train_vae.main(words[1:])
    assert stopped.value.code == 2
    assert "--train_data_dir is needed" in capsys.readouterr().err


def test_samples_depend_on_their_key_in_any_worker(dataset_folder):
    dataset = FunctionSampleDataset(
        GaussianObjectDataset(dataset_folder), FunctionSampling(64, 32, 40), truncation=0.05, core=1.0, sh_degree=0
    )
    batches = []
    for num_workers in (0, 2):
        loader = iter(build_dataloader(dataset, 2, seed=3, num_workers=num_workers))
        batches.append([next(loader) for _ in range(4)])
    for alone, shared in zip(*batches):
        assert alone.keys() == shared.keys()
        assert all(torch.equal(alone[name], shared[name]) for name in alone)
    assert not torch.equal(batches[0][0]["query_points"], batches[0][1]["query_points"])
