"""Stage-1 and stage-2 checkpoints to a VAE or a whole pipeline on disk."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from diffusers.models.modeling_utils import ModelMixin
from torch import Tensor

from ..models import DiffGSPriorTransformer, OriginalGaussianVAE
from ..models.original.point_encoder import NUM_GAUSSIAN_CHANNELS, NUM_POSITION_CHANNELS
from ..models.original.scheduler import original_scheduler
from ..pipelines import DiffGSPipeline
from .checkpoint import CheckpointError, check_constants, check_keys, read_state_dict
from .keys import (
    DENOISER,
    INPUT_KEY,
    PLANE_VAE,
    POINT_ENCODER,
    denoiser_constants,
    denoiser_keys,
    schedule_constants,
    vae_keys,
)
from .specs import denoiser_arguments, read_specs, scheduler_arguments, vae_arguments


@dataclass
class ConversionReport:
    """What went where.

    Args:
        stored: where each key of the checkpoints is now, as ``component: key``.
        checked: keys whose values follow from the specs; they were compared and are not stored.
        sizes: numbers per component.
    """

    stored: dict[str, str] = field(default_factory=dict)
    checked: list[str] = field(default_factory=list)
    sizes: dict[str, int] = field(default_factory=dict)

    def lines(self) -> list[str]:
        """A summary, a line for each part of the original."""
        counts: dict[tuple[str, str], int] = {}
        for theirs, ours in self.stored.items():
            source = ".".join(theirs.split(".")[:2])
            component, key = ours.split(": ")
            target = f"{component}: {key.split('.')[0]}" if component == "vae" else component
            counts[source, target] = counts.get((source, target), 0) + 1
        lines = [f"{source}.* → {target}: {count} tensors" for (source, target), count in counts.items()]
        if self.checked:
            lines.append(f"{len(self.checked)} tensors follow from the specs: compared, not stored")
        return lines + [f"{name}: {number:,} numbers" for name, number in self.sizes.items()]


def convert_checkpoint(
    output_dir: str | Path,
    stage1: str | Path,
    stage1_specs: str | Path | None = None,
    stage2: str | Path | None = None,
    stage2_specs: str | Path | None = None,
) -> ConversionReport:
    """Writes a VAE's folder, or with a denoiser a pipeline's, from checkpoints of the public DiffGS repository.

    A checkpoint that holds both stages is given as ``stage1`` alone. Nothing is written unless all of it converts.

    Args:
        output_dir: the folder to make; it must not exist, or be empty.
        stage1: ``.ckpt`` with the Gaussian model and the VAE.
        stage1_specs: its ``specs.json``; None for the one beside it.
        stage2: ``.ckpt`` with the diffusion model; None for none.
        stage2_specs: its ``specs.json``; None for the one beside it.

    Returns:
        what went where.

    Raises:
        CheckpointError: naming the file, the rule and the key.
    """
    output = Path(output_dir)
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise CheckpointError(f"{output} exists already and is not an empty folder: name another --output_dir.")
    report = ConversionReport()
    specs_path = Path(stage1_specs or Path(stage1).with_name("specs.json"))
    specs, state = read_specs(specs_path), read_state_dict(stage1)
    second = {key: value for key, value in state.items() if key.startswith(DENOISER)}
    if second and stage2 is not None:
        raise CheckpointError(
            f"{stage1} has a diffusion model of its own ({next(iter(second))}): leave stage 2 out."
        )
    first = {key: value for key, value in state.items() if key not in second}
    vae = _convert_vae(Path(stage1), first, specs, specs_path, report)
    if stage2 is not None:
        specs_path = Path(stage2_specs or Path(stage2).with_name("specs.json"))
        specs, second = read_specs(specs_path), read_state_dict(stage2)
    elif not second:
        _write(output, lambda folder: vae.save_pretrained(str(folder)))
        return report
    unet, scheduler = _convert_denoiser(Path(stage2 or stage1), second, specs, specs_path, report)
    if unet.config.in_channels != vae.config.latent_channels:
        raise CheckpointError(
            f"{stage2 or stage1} denoises latents of {unet.config.in_channels} numbers (`dim_in_out`), "
            f"and {stage1} decodes {vae.config.latent_channels} (3 · `latent_dim`): name the stages of one model."
        )
    pipeline = DiffGSPipeline(vae=vae, unet=unet, scheduler=scheduler)
    _write(output, lambda folder: pipeline.save_pretrained(str(folder)))
    return report


def _convert_vae(
    path: Path, state: Mapping[str, Tensor], specs: Mapping[str, Any], specs_path: Path, report: ConversionReport
) -> OriginalGaussianVAE:
    if not any(key.startswith((POINT_ENCODER, PLANE_VAE)) for key in state):
        raise CheckpointError(
            f"{path} has no key under {POINT_ENCODER} or {PLANE_VAE}: it is no stage-1 checkpoint."
        )
    known = (NUM_GAUSSIAN_CHANNELS, NUM_POSITION_CHANNELS)
    given = state[INPUT_KEY].shape[-1] if INPUT_KEY in state and state[INPUT_KEY].ndim else NUM_GAUSSIAN_CHANNELS
    arguments = vae_arguments(specs, specs_path, given if given in known else NUM_GAUSSIAN_CHANNELS)
    vae = _build(OriginalGaussianVAE, arguments, specs_path)
    _fill(vae, "vae", path, state, vae_keys(vae.config), {}, specs_path, report)
    return vae


def _convert_denoiser(
    path: Path, state: Mapping[str, Tensor], specs: Mapping[str, Any], specs_path: Path, report: ConversionReport
) -> tuple[DiffGSPriorTransformer, Any]:
    if not any(key.startswith(DENOISER) for key in state):
        raise CheckpointError(f"{path} has no key under {DENOISER}: it is no stage-2 checkpoint.")
    unet = _build(DiffGSPriorTransformer, denoiser_arguments(specs, specs_path), specs_path)
    scheduler = original_scheduler(**scheduler_arguments(specs, specs_path))
    settings, layers = specs["diffusion_specs"], unet.config.num_layers
    weights = settings.get("p2_loss_weight_gamma", 0.0), settings.get("p2_loss_weight_k", 1.0)
    constants = denoiser_constants(layers, unet.config.attention_head_dim)
    constants |= schedule_constants(scheduler, *weights)
    _fill(unet, "unet", path, state, denoiser_keys(layers), constants, specs_path, report)
    return unet, scheduler


def _build(model: Callable[..., Any], arguments: Mapping[str, Any], specs_path: Path) -> Any:
    try:
        return model(**arguments).eval()
    except ValueError as error:
        raise CheckpointError(f"{specs_path}: these sizes do not fit together: {error}") from error


def _fill(
    model: ModelMixin,
    name: str,
    path: Path,
    state: Mapping[str, Tensor],
    keys: Mapping[str, str],
    constants: Mapping[str, Tensor],
    specs_path: Path,
    report: ConversionReport,
) -> None:
    """Gives a model its weights, each of which has exactly one key."""
    own = model.state_dict()
    shapes = {theirs: own[ours].shape for theirs, ours in keys.items()}
    check_keys(path, state, shapes | {key: value.shape for key, value in constants.items()}, specs_path)
    check_constants(path, state, constants)
    model.load_state_dict({ours: state[theirs].to(own[ours].dtype) for theirs, ours in keys.items()})
    report.stored |= {theirs: f"{name}: {ours}" for theirs, ours in keys.items()}
    report.checked += list(constants)
    report.sizes[name] = sum(parameter.numel() for parameter in model.parameters())


def _write(output: Path, save: Callable[[Path], None]) -> None:
    """The whole folder or nothing."""
    with _temporary_folder(output) as folder:
        save(folder)
        if output.is_dir():
            output.rmdir()
        os.replace(folder, output)


@contextmanager
def _temporary_folder(output: Path) -> Iterator[Path]:
    """A new folder beside ``output``, as only a rename within one file system is atomic."""
    output.parent.mkdir(parents=True, exist_ok=True)
    folder = output.with_name(f".{secrets.token_hex(8)}.tmp")
    folder.mkdir()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
