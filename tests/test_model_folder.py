"""The check of a model folder, and the checkpoint that ships."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from diffgs_diffusers import model_folder
from diffgs_diffusers.model_folder import check_model_folder, default_checkpoint, is_hub_id


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The least that counts as a whole pipeline: a model, a scheduler, and a component that is left out."""
    index = {
        "_class_name": ["pipeline", "DiffGSPipeline"],
        "vae": ["diffgs_diffusers", "GaussianVAE"],
        "scheduler": ["diffusers", "DDIMScheduler"],
        "text_encoder": [None, None],
    }
    (tmp_path / "model_index.json").write_text(json.dumps(index))
    (tmp_path / "vae").mkdir()
    (tmp_path / "vae" / "config.json").write_text("{}")
    save_file({"weight": torch.zeros(8)}, tmp_path / "vae" / "model.safetensors")
    (tmp_path / "scheduler").mkdir()
    (tmp_path / "scheduler" / "scheduler_config.json").write_text("{}")
    return tmp_path


def test_a_whole_folder_passes(folder: Path) -> None:
    check_model_folder(folder)
    check_model_folder(str(folder))


def test_every_truncation_of_the_weights_is_found(folder: Path) -> None:
    weights = folder / "vae" / "model.safetensors"
    content = weights.read_bytes()
    for length in range(len(content)):
        weights.write_bytes(content[:length])
        with pytest.raises(OSError, match=f"not a whole safetensors file .*{length} bytes"):
            check_model_folder(folder)


def test_a_header_that_claims_too_much_is_found(folder: Path) -> None:
    weights = folder / "vae" / "model.safetensors"
    weights.write_bytes((2**62).to_bytes(8, "little") + weights.read_bytes()[8:])
    with pytest.raises(OSError, match="not a whole safetensors file"):
        check_model_folder(folder)


def test_a_component_that_the_caller_brings_may_be_missing(folder: Path) -> None:
    (folder / "scheduler" / "scheduler_config.json").unlink()
    with pytest.raises(FileNotFoundError, match="scheduler has no configuration"):
        check_model_folder(folder)
    check_model_folder(folder, passed={"scheduler": None})


def test_other_formats_only_if_asked_for(folder: Path) -> None:
    (folder / "vae" / "model.safetensors").rename(folder / "vae" / "model.bin")
    with pytest.raises(FileNotFoundError, match="use_safetensors=False"):
        check_model_folder(folder)
    check_model_folder(folder, require_safetensors=False)


def test_a_corrupt_configuration_is_named(folder: Path) -> None:
    (folder / "vae" / "config.json").write_text('{"sh_degree": ')
    with pytest.raises(OSError, match=r"vae/config.json is not valid JSON"):
        check_model_folder(folder)


@pytest.mark.parametrize("name", ["owner/name", "some-one/3d.gaussians_v1"])
def test_hub_ids(name: str) -> None:
    assert is_hub_id(name)


@pytest.mark.parametrize(
    "name", ["name", "./owner", "../name", "/name", "~/name", "a/b/c", "a/", "C:\\a", "a\\b", "C:/a", ""]
)
def test_what_can_only_be_a_path(name: str) -> None:
    assert not is_hub_id(name)


def test_an_installation_without_a_checkpoint_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model_folder, "__file__", str(tmp_path / "model_folder.py"))
    with pytest.raises(FileNotFoundError, match="has no checkpoint"):
        default_checkpoint()


def test_the_default_checkpoint_is_a_folder_of_the_package(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shipped = tmp_path / "package" / "checkpoints" / model_folder.DEFAULT_CHECKPOINT
    shipped.mkdir(parents=True)
    (shipped / "model_index.json").write_bytes((folder / "model_index.json").read_bytes())
    monkeypatch.setattr(model_folder, "__file__", str(tmp_path / "package" / "model_folder.py"))
    assert default_checkpoint() == shipped
