"""train_sharing.py on a tiny dataset: what it trains, keeps and refuses."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from diffgs_diffusers.models import GaussianVAE
from tests.tiny_models import vae_with_surface


@pytest.fixture
def surface_vae_folder(tmp_path: Path) -> Path:
    vae = vae_with_surface()
    with torch.no_grad():  # latents of objects, too, then describe some surface
        vae.heads.gaupf.proj_out.bias += 0.5
    vae.save_pretrained(str(tmp_path / "surface"))
    return tmp_path / "surface"


@pytest.fixture
def words(dataset_folder: Path, surface_vae_folder: Path, tmp_path: Path) -> list[str]:
    numbers = "--sharing_channels=8 --image_size=32 --finest_spacing=3 --max_train_steps=3"
    return [
        f"--train_data_dir={dataset_folder}",
        f"--output_dir={tmp_path / 'run'}",
        f"--pretrained_model_name_or_path={surface_vae_folder}",
        *numbers.split(),
        "--lr_warmup_steps=0",
        "--logging_steps=1",
        "--counts",
        "400",
        "600",
    ]


def test_only_the_sharing_head_learns(train_sharing, words, surface_vae_folder, tmp_path):
    train_sharing.main([*words, "--validation_steps=3", "--num_validation_objects=1"])
    before = GaussianVAE.from_pretrained(surface_vae_folder).state_dict()
    trained = GaussianVAE.from_pretrained(tmp_path / "run" / "vae")
    after = trained.state_dict()
    assert all(torch.equal(value, after[name]) for name, value in before.items())
    assert {name.split(".")[0] for name in after.keys() - before.keys()} == {"sharing"}
    assert trained.sharing.from_planes.proj_out.weight.abs().max() > 0, "it has learned"
    assert trained.sharing.features_mean.abs().max() > 0, "it knows what features are like"
    lines = [json.loads(line) for line in (tmp_path / "run" / "stats.jsonl").read_text().splitlines()]
    assert {"loss", "psnr"} <= set(lines[0])
    assert {"validation/psnr_400", "validation/psnr_600"} <= set(lines[-1])


def test_a_head_is_trained_on_and_extractions_are_kept(train_sharing, words, tmp_path):
    train_sharing.main([*words, "--neighbours_only"])
    folder = tmp_path / "run" / "sets"
    sets = sorted(folder.rglob("*.safetensors"))
    assert sets and {path.parent.name for path in sets} <= {"400", "600"}
    changed = {path: path.stat().st_mtime_ns for path in sets}
    first = GaussianVAE.from_pretrained(tmp_path / "run" / "vae")
    assert first.sharing.from_neighbours.proj_out.weight.abs().max() > 0
    assert (first.sharing.from_planes.proj_out.weight == 0).all()
    vae = f"--pretrained_model_name_or_path={tmp_path / 'run' / 'vae'}"
    sets_folder = f"--cache_dir={folder}"
    train_sharing.main([*words, vae, f"--output_dir={tmp_path / 'more'}", "--max_train_steps=3", sets_folder])
    second = GaussianVAE.from_pretrained(tmp_path / "more" / "vae")
    assert torch.equal(first.sharing.features_mean, second.sharing.features_mean)
    assert not torch.equal(first.sharing.from_planes.proj_out.weight, second.sharing.from_planes.proj_out.weight)
    assert (
        sorted((tmp_path / "run" / "sets").rglob("*.safetensors")) == sets
        and not (tmp_path / "more" / "sets").exists()
    )
    assert all(path.stat().st_mtime_ns == time for path, time in changed.items())


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        (["--counts", "0"], "--counts"),
        (["--finest_spacing=0"], "--finest_spacing"),
        (["--sharing_channels=0"], "--sharing_channels"),
        (["--pretrained_model_name_or_path="], "--pretrained_model_name_or_path"),
    ],
)
def test_what_cannot_be_trained_is_said_first(train_sharing, words, tmp_path, capsys, extra, message):
    with pytest.raises(SystemExit):
        train_sharing.main([*words, *extra])
    assert message in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
