"""Saving and loading in a folder: equal output, chosen precision, absent components, broken folders."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import DDPMScheduler, DPMSolverMultistepScheduler

from diffgs_diffusers import DiffGSPipeline


def run(pipe: DiffGSPipeline, prompt: str | None = "a red chair") -> torch.Tensor:
    pipe.set_progress_bar_config(disable=True)
    generator = torch.Generator().manual_seed(0)
    return pipe(prompt, num_inference_steps=2, generator=generator, output_type="latent").gaussians


def assert_same(loaded: torch.Tensor, made: torch.Tensor) -> None:
    """Equal but for rounding: some processors add up in another order where weights lie otherwise in memory."""
    torch.testing.assert_close(loaded, made, rtol=0, atol=1e-5)


@pytest.fixture
def saved(pipe: DiffGSPipeline, tmp_path: Path) -> Path:
    pipe.save_pretrained(tmp_path / "saved")
    return tmp_path / "saved"


def test_round_trip(pipe: DiffGSPipeline, saved: Path, tmp_path: Path) -> None:
    loaded = DiffGSPipeline.from_pretrained(saved)
    assert type(loaded) is DiffGSPipeline
    assert_same(run(loaded), run(pipe))
    loaded.save_pretrained(tmp_path / "again")
    files = {path.relative_to(saved) for path in saved.rglob("*") if path.is_file()}
    again = {path.relative_to(tmp_path / "again") for path in (tmp_path / "again").rglob("*") if path.is_file()}
    assert again == files
    for name in files:
        if name.parts[0] == "tokenizer":  # its file also keeps the padding of its last use
            continue
        assert (tmp_path / "again" / name).read_bytes() == (saved / name).read_bytes(), name
    assert str(saved) in loaded.vae.config["_name_or_path"], "it is left out of the files only"


def test_objects_are_equal_after_a_round_trip(pipe: DiffGSPipeline, saved: Path, arguments: dict[str, Any]) -> None:
    expected = pipe("a red chair", **arguments, output_type="np").gaussians
    loaded = DiffGSPipeline.from_pretrained(saved)
    loaded.set_progress_bar_config(disable=True)
    arguments["generator"].manual_seed(0)
    assert (loaded("a red chair", **arguments, output_type="np").gaussians == expected).all()


def test_the_folder_holds_safetensors_and_the_reexports(saved: Path) -> None:
    weights = [path for path in saved.rglob("*") if path.suffix in (".bin", ".pt", ".ckpt", ".safetensors")]
    models = ["condition_encoder", "image_encoder", "text_encoder", "unet", "vae"]
    assert sorted(path.parent.name for path in weights) == models
    assert all(path.suffix == ".safetensors" for path in weights)
    modules = sorted(str(path.relative_to(saved)) for path in saved.rglob("*.py"))
    ours = ("condition_encoder", "unet", "vae")
    assert modules == sorted(["pipeline.py", *(f"{name}/diffgs_diffusers.py" for name in ours)])
    index = json.loads((saved / "model_index.json").read_text())
    assert index["_class_name"] == ["pipeline", "DiffGSPipeline"]
    assert index["vae"] == ["diffgs_diffusers", "GaussianVAE"]
    assert "_name_or_path" not in index


class TestPrecision:
    @pytest.fixture
    def half(self, make_components: Callable[[], dict[str, Any]], tmp_path: Path) -> Path:
        DiffGSPipeline(**make_components()).to(torch.float16).save_pretrained(tmp_path / "half")
        return tmp_path / "half"

    def test_half_precision_weights_become_float32(self, half: Path) -> None:
        loaded = DiffGSPipeline.from_pretrained(half)
        assert {loaded.vae.dtype, loaded.unet.dtype, loaded.text_encoder.dtype} == {torch.float32}
        assert run(loaded).isfinite().all()

    def test_they_give_nearly_the_same_output(self, pipe: DiffGSPipeline, half: Path) -> None:
        torch.testing.assert_close(run(DiffGSPipeline.from_pretrained(half)), run(pipe), atol=0.05, rtol=0.05)

    @pytest.mark.parametrize("argument", ["dtype", "torch_dtype"])
    @pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
    def test_a_precision_can_be_asked_for(self, saved: Path, argument: str, dtype: torch.dtype) -> None:
        loaded = DiffGSPipeline.from_pretrained(saved, **{argument: dtype})
        assert {loaded.vae.dtype, loaded.unet.dtype, loaded.text_encoder.dtype} == {dtype}
        assert run(loaded).isfinite().all()

    def test_both_names_at_once_are_refused(self, saved: Path) -> None:
        with pytest.raises(ValueError, match="two names of one argument"):
            DiffGSPipeline.from_pretrained(saved, dtype=torch.float16, torch_dtype=torch.float16)


class TestComponents:
    def test_without_text(
        self, make_components: Callable[[], dict[str, Any]], pipe: DiffGSPipeline, tmp_path: Path
    ) -> None:
        components = make_components()
        bare = DiffGSPipeline(**{name: components[name] for name in ("vae", "unet", "scheduler")})
        bare.save_pretrained(tmp_path)
        loaded = DiffGSPipeline.from_pretrained(tmp_path)
        assert loaded.text_encoder is None
        assert_same(run(loaded, None), run(pipe, None))

    def test_a_component_can_be_passed_instead_of_loaded(self, saved: Path, pipe: DiffGSPipeline) -> None:
        shutil.rmtree(saved / "unet")
        loaded = DiffGSPipeline.from_pretrained(saved, unet=pipe.unet)
        assert loaded.unet is pipe.unet
        assert_same(run(loaded), run(pipe))

    def test_text_can_be_left_out_when_loading(self, saved: Path) -> None:
        shutil.rmtree(saved / "text_encoder")
        loaded = DiffGSPipeline.from_pretrained(saved, text_encoder=None, tokenizer=None)
        assert loaded.text_encoder is None

    @pytest.mark.parametrize("scheduler", [DDPMScheduler, DPMSolverMultistepScheduler])
    def test_another_scheduler_is_saved(self, pipe: DiffGSPipeline, scheduler: type, tmp_path: Path) -> None:
        pipe.scheduler = scheduler.from_config(pipe.scheduler.config)
        pipe.save_pretrained(tmp_path)
        assert type(DiffGSPipeline.from_pretrained(tmp_path).scheduler) is scheduler

    def test_shards_and_variants(self, pipe: DiffGSPipeline, tmp_path: Path) -> None:
        pipe.save_pretrained(tmp_path, variant="fp16", max_shard_size="60KB")
        assert len(list((tmp_path / "unet").glob("*.safetensors"))) > 1
        assert_same(run(DiffGSPipeline.from_pretrained(tmp_path, variant="fp16")), run(pipe))

    def test_from_pipe_shares_the_models(self, pipe: DiffGSPipeline) -> None:
        assert DiffGSPipeline.from_pipe(pipe).unet is pipe.unet


class TestBrokenFolders:
    """One error, before any component is loaded."""

    @pytest.fixture(autouse=True)
    def _nothing_is_loaded(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def fail(*_: Any, **__: Any) -> None:
            raise AssertionError("a component was loaded before the folder was checked")

        monkeypatch.setattr("diffusers.pipelines.pipeline_utils.load_sub_model", fail)

    def refuses(self, folder: Path | str, message: str) -> None:
        with pytest.raises(OSError, match=message):
            DiffGSPipeline.from_pretrained(folder)

    def test_no_folder(self, tmp_path: Path) -> None:
        self.refuses(tmp_path / "absent", "There is no model folder .*absent")
        self.refuses("./absent", "There is no model folder absent")

    def test_a_file(self, tmp_path: Path) -> None:
        (tmp_path / "model.safetensors").write_bytes(b"")
        self.refuses(tmp_path / "model.safetensors", "There is no model folder")

    def test_no_index(self, saved: Path) -> None:
        (saved / "model_index.json").unlink()
        self.refuses(saved, "is not a model folder: it has no model_index.json")

    @pytest.mark.parametrize("text", ["{", "[1]", "{}", b"\xff\xfe"])
    def test_corrupt_index(self, saved: Path, text: str | bytes) -> None:
        (saved / "model_index.json").write_bytes(text if isinstance(text, bytes) else text.encode())
        self.refuses(
            saved, "model_index.json (is not valid JSON|must hold a JSON object|is not a pipeline's index)"
        )

    @pytest.mark.parametrize("name", ["vae", "unet", "scheduler", "tokenizer", "text_encoder"])
    def test_missing_component(self, saved: Path, name: str) -> None:
        shutil.rmtree(saved / name)
        self.refuses(saved, f"The component folder .*{name} is missing")

    @pytest.mark.parametrize("name", ["vae", "unet", "text_encoder"])
    def test_missing_weights(self, saved: Path, name: str) -> None:
        (weights,) = (saved / name).glob("*.safetensors")
        weights.unlink()
        self.refuses(saved, rf"{name} has no weights \(\*.safetensors\)")

    @pytest.mark.parametrize("name", ["vae", "unet", "scheduler", "text_encoder"])
    def test_missing_configuration(self, saved: Path, name: str) -> None:
        for path in (saved / name).glob("*config.json"):
            path.unlink()
        self.refuses(saved, f"{name} has no (config.json|configuration)")

    @pytest.mark.parametrize("kept", [0.0, 0.5, 0.999])
    def test_truncated_weights(self, saved: Path, kept: float) -> None:
        (weights,) = (saved / "unet").glob("*.safetensors")
        content = weights.read_bytes()
        weights.write_bytes(content[: int(kept * len(content))])
        self.refuses(saved, "is not a whole safetensors file")

    def test_lfs_pointer(self, saved: Path) -> None:
        (weights,) = (saved / "vae").glob("*.safetensors")
        weights.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 123\n")
        self.refuses(saved, "git lfs pull")

    @pytest.mark.parametrize("variant", [None, "fp16"])
    def test_missing_shard(self, pipe: DiffGSPipeline, tmp_path: Path, variant: str | None) -> None:
        pipe.save_pretrained(tmp_path, max_shard_size="60KB", variant=variant)
        shard = sorted((tmp_path / "unet").glob("*.safetensors"))[-1]
        shard.unlink()
        self.refuses(tmp_path, f"lacks {shard.name}")
