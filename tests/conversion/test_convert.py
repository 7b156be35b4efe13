"""Checkpoints of the original's key layout become folders that load; anything else is refused by name."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from diffgs_diffusers import DiffGSPipeline, DiffGSPriorTransformer, OriginalDDPMScheduler, OriginalGaussianVAE
from diffgs_diffusers.conversion import CheckpointError, convert_checkpoint
from tests.original_checkpoints import SIZES, specs, weights, write_checkpoint

BLOCK = "gs_model.pointnet.blocks.1.fc_0.weight"
QUERY = "diffusion_model.model.learned_query"
NORM = "vae_model.encoder.2.1.running_var"


def write_changed(folder: Path, stage: int, change: Callable[[dict[str, torch.Tensor]], Any]) -> Path:
    """A checkpoint of the small size with changed weights."""
    state = weights("small", stage)
    change(state)
    return write_checkpoint(folder, "small", stage, state)


@pytest.mark.parametrize("name", SIZES)
def test_both_stages_become_a_pipeline(tmp_path, name):
    stage1, stage2 = (write_checkpoint(tmp_path / f"stage{stage}", name, stage) for stage in (1, 2))
    report = convert_checkpoint(tmp_path / "out", stage1, stage2=stage2)
    pipe = DiffGSPipeline.from_pretrained(tmp_path / "out")
    assert isinstance(pipe.vae, OriginalGaussianVAE) and isinstance(pipe.unet, DiffGSPriorTransformer)
    assert isinstance(pipe.scheduler, OriginalDDPMScheduler)
    state = weights(name, 1) | weights(name, 2)
    assert {*report.stored, *report.checked} == set(state), "every key is accounted for"
    own = {f"vae: {key}": value for key, value in pipe.vae.state_dict().items()}
    own |= {f"unet: {key}": value for key, value in pipe.unet.state_dict().items()}
    assert sorted(report.stored.values()) == sorted(own), "every weight has exactly one key"
    assert all(torch.equal(own[ours], state[theirs]) for theirs, ours in report.stored.items())
    sizes = specs(name, 1)["GSModelSpecs"]
    assert pipe.vae.config.plane_channels == sizes["latent_dim"]
    assert pipe.vae.config.has_head_skip == sizes.get("skip_connection", True)
    assert any("diffusion_model.model.*" in line for line in report.lines())


def test_stage_1_alone_becomes_a_vae(tmp_path):
    convert_checkpoint(tmp_path / "out", write_checkpoint(tmp_path / "run", "points", 1))
    vae = OriginalGaussianVAE.from_pretrained(str(tmp_path / "out"))
    assert vae.config.in_channels == 3, "the form for point clouds"
    assert vae.config.latents_mean is None, "the original's latents are used as they are"
    latents = torch.randn(2, vae.config.latent_channels, 1)
    assert torch.equal(vae.denormalize_latents(latents), latents)


def test_a_checkpoint_of_both_stages_is_enough(tmp_path):
    path = write_changed(tmp_path / "run", 1, lambda state: state.update(weights("small", 2)))
    (tmp_path / "run" / "specs.json").write_text(json.dumps({**specs("small", 2), **specs("small", 1)}))
    convert_checkpoint(tmp_path / "out", path)
    assert DiffGSPipeline.from_pretrained(tmp_path / "out").unet.config.num_layers == 3
    with pytest.raises(CheckpointError, match=r"a diffusion model of its own \(diffusion_model\."):
        convert_checkpoint(tmp_path / "again", path, stage2=write_checkpoint(tmp_path / "two", "small", 2))


@pytest.mark.parametrize(
    ("stage", "change", "message"),
    [
        (1, lambda state: state.pop(BLOCK), rf"lacks: {BLOCK}\."),
        (1, lambda state: state.pop(NORM), rf"lacks: {NORM}"),
        (2, lambda state: state.pop(QUERY), rf"lacks: {QUERY}"),
        (2, lambda state: state.pop("diffusion_model.betas"), r"lacks: diffusion_model\.betas"),
        (1, lambda state: state.update({"gs_model.more": torch.ones(1)}), r"unknown keys: gs_model\.more"),
        (1, lambda state: state.update({"other.more": torch.ones(1)}), r"unknown keys: other\.more"),
        (2, lambda state: state.update({"diffusion_model.more": torch.ones(1)}), r"keys: diffusion_model\.more"),
        (1, lambda state: state.update({BLOCK: torch.ones(3, 2)}), rf"{BLOCK} is \[3, 2\] instead of \[8, 16\]"),
        (2, lambda state: state.update({QUERY: torch.ones(5)}), rf"{QUERY} is \[5\] instead of \[12\]"),
        (
            1,
            lambda state: state.update({"gs_model.pointnet.fc_pos.weight": torch.ones(16, 7)}),
            r"fc_pos\.weight is \[16, 7\] instead of \[16, 59\]",
        ),
        (1, lambda state: state[BLOCK].fill_(float("nan")), rf"{BLOCK} has values that are NaN"),
        (2, lambda state: state["diffusion_model.betas"].mul_(2), r"diffusion_model\.betas differs"),
        (
            2,
            lambda state: state["diffusion_model.model.causal_transformer.layers.1.0.rotary_emb.freqs"].mul_(2),
            r"layers\.1\.0\.rotary_emb\.freqs differs",
        ),
        (1, lambda state: [state.pop(key) for key in list(state)], "no stage-1 checkpoint"),
        (2, lambda state: [state.pop(key) for key in list(state)], "no stage-2 checkpoint"),
    ],
)
def test_a_wrong_key_is_named_and_nothing_is_written(tmp_path, stage, change, message):
    paths = {other: write_checkpoint(tmp_path / f"stage{other}", "small", other) for other in (1, 2)}
    paths[stage] = write_changed(tmp_path / "changed", stage, change)
    before = sorted(tmp_path.iterdir())
    with pytest.raises(CheckpointError, match=message):
        convert_checkpoint(tmp_path / "out", paths[1], stage2=paths[2])
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize(
    ("stage", "section", "changes", "message"),
    [
        (1, "GSModelSpecs", {"latent_dim": 0}, "`latent_dim` must be an integer of at least 1, got 0"),
        (1, "GSModelSpecs", {"hidden_dim": "512"}, "`hidden_dim` must be an integer"),
        (1, "GSModelSpecs", {"tanh_act": 1}, "`tanh_act` must be true or false"),
        (1, "GSModelSpecs", {"wider": 3}, "not known: wider"),
        (1, "GSModelSpecs", {"plane_resolution": 40}, "do not fit together: `plane_resolution` must be a multiple"),
        (1, "GSModelSpecs", {"unet_kwargs": {"merge_mode": "add"}}, "`merge_mode` must be concat"),
        (2, "diffusion_model_specs", {"cond": True}, "`cond` is True"),
        (2, "diffusion_model_specs", {"normformer": True}, "`normformer` is True"),
        (2, "diffusion_model_specs", {"dim_head": 7}, "`attention_head_dim` must be even"),
        (2, "diffusion_model_specs", {"ff_dropout": -1}, "`ff_dropout` must be a number of at least 0"),
        (2, "diffusion_specs", {"objective": "pred_v"}, "`objective` must be one of pred_x0, pred_noise"),
        (2, "diffusion_specs", {"timesteps": 500}, r"diffusion_model\.betas is \[1000\] instead of \[500\]"),
        (2, "diffusion_specs", {"beta_schedule": "linear"}, r"diffusion_model\.betas differs"),
    ],
)
def test_wrong_specs_are_named(tmp_path, stage, section, changes, message):
    paths = {other: write_checkpoint(tmp_path / f"stage{other}", "small", other) for other in (1, 2)}
    content = specs("small", stage)
    content[section] |= changes
    (paths[stage].parent / "specs.json").write_text(json.dumps(content))
    with pytest.raises(CheckpointError, match=message):
        convert_checkpoint(tmp_path / "out", paths[1], stage2=paths[2])
    assert not (tmp_path / "out").exists()


def test_stages_of_two_models_are_refused(tmp_path):
    stage1, stage2 = write_checkpoint(tmp_path / "1", "small", 1), write_checkpoint(tmp_path / "2", "other", 2)
    with pytest.raises(CheckpointError, match=r"6 numbers .* decodes 12 .* the stages of one model"):
        convert_checkpoint(tmp_path / "out", stage1, stage2=stage2)


def test_a_folder_with_something_in_it_is_left_alone(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "notes.txt").write_text("mine")
    with pytest.raises(CheckpointError, match="exists already"):
        convert_checkpoint(tmp_path / "out", write_checkpoint(tmp_path / "run", "small", 1))
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["notes.txt"]
