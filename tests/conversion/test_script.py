"""The converter's command line: what it prints, and one line with exit code 2 for files that are none of it."""

from __future__ import annotations

import json
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

import pytest
import torch

from diffgs_diffusers import DiffGSPipeline
from tests.original_checkpoints import write_checkpoint


@pytest.fixture(scope="module")
def script() -> ModuleType:
    path = Path(__file__).parents[2] / "scripts" / "convert_diffgs_checkpoint.py"
    spec = spec_from_file_location("convert_diffgs_checkpoint", path)
    assert spec is not None and spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_it_says_what_went_where(script, tmp_path, capsys):
    paths = [write_checkpoint(tmp_path / f"stage{stage}", "other", stage) for stage in (1, 2)]
    words = ["--stage1", str(paths[0]), "--stage2", str(paths[1]), "--output_dir", str(tmp_path / "out")]
    assert script.main([*words, "--report", str(tmp_path / "report.json")]) == 0
    printed = capsys.readouterr().out
    assert "gs_model.occ_model.* → vae: heads: 18 tensors" in printed
    assert "17 tensors follow from the specs: compared, not stored" in printed
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["stored"]["vae_model.fc_mu.bias"] == "vae: encoder.mean.bias"
    pipe = DiffGSPipeline.from_pretrained(tmp_path / "out")
    pipe.set_progress_bar_config(disable=True)
    assert pipe(num_objects=2, num_inference_steps=2, output_type="latent").gaussians.shape == (2, 6, 1)


class Foreign:
    """An object that only running code could bring back."""


def write_foreign(path: Path, kind: str) -> None:
    whole = path.read_bytes()
    if kind == "truncated":
        path.write_bytes(whole[: len(whole) // 2])
    elif kind == "empty":
        path.write_bytes(b"")
    elif kind == "text":
        path.write_text("version https://git-lfs.github.com/spec/v1\n")
    elif kind == "objects":
        torch.save({"state_dict": {}, "model": Foreign()}, path)
    elif kind == "weights alone":
        torch.save({"layer.weight": torch.ones(2)}, path)
    elif kind == "tensor":
        torch.save(torch.ones(2), path)
    else:
        path.unlink()


@pytest.mark.parametrize("kind", ["truncated", "empty", "text", "objects", "weights alone", "tensor", "missing"])
def test_another_file_is_refused_in_one_line(script, tmp_path, capsys, kind):
    path = write_checkpoint(tmp_path / "run", "small", 1)
    write_foreign(path, kind)
    assert script.main(["--stage1", str(path), "--output_dir", str(tmp_path / "out")]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and error.count("\n") == 1 and str(path) in error
    assert [one.name for one in tmp_path.iterdir()] == ["run"]


@pytest.mark.parametrize(
    ("content", "message"), [(None, "is no file"), ("[1]", "a JSON object"), ("{", "not valid")]
)
def test_specs_that_cannot_be_read_are_refused(script, tmp_path, capsys, content, message):
    path = write_checkpoint(tmp_path / "run", "small", 1)
    specs = path.with_name("specs.json")
    specs.unlink() if content is None else specs.write_text(content)
    assert script.main(["--stage1", str(path), "--output_dir", str(tmp_path / "out")]) == 2
    assert message in capsys.readouterr().err


def test_a_report_without_a_folder_is_refused_first(script, tmp_path, capsys):
    path = write_checkpoint(tmp_path / "run", "small", 1)
    with pytest.raises(SystemExit):
        script.main(
            ["--stage1", str(path), "--output_dir", str(tmp_path / "out"), "--report", str(tmp_path / "no/r")]
        )
    assert "--report: the folder" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
