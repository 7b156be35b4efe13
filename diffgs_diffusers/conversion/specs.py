"""The original's ``specs.json`` as arguments of our models."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .checkpoint import CheckpointError

# Of the original's classes: what they take when the specs are silent.
_FIXED_DENOISER = {
    "cond": (False, None),
    "cross_attn": (False,),
    "cond_dropout": (False,),
    "num_timesteps": (None,),
    "num_time_embeds": (1,),
    "norm_in": (False,),
    "norm_out": (True,),
    "final_proj": (True,),
    "normformer": (False,),
    "rotary_emb": (True,),
}
_OBJECTIVES = {"pred_x0": "sample", "pred_noise": "epsilon"}
_DIFFUSION_SETTINGS = (
    "timesteps",
    "objective",
    "beta_schedule",
    "p2_loss_weight_gamma",
    "p2_loss_weight_k",
    # Of the training, of conditions, or never read:
    "loss_type",
    "sampling_timesteps",
    "ddim_sampling_eta",
    "sample_pc_size",
    "perturb_pc",
    "crop_percent",
    "data_scale",
    "data_shift",
)
_DENOISER_SIZES = ("dim", "dim_in_out", "depth", "heads", "dim_head", "ff_mult", "ff_dropout", "attn_dropout")
_IGNORED_DENOISER = ("point_feature_dim",)  # of conditions
_GS_SIZES = (
    "hidden_dim",
    "latent_dim",
    "pn_hidden_dim",
    "num_layers",  # never read by the original
    "skip_connection",
    "tanh_act",
    "plane_resolution",
    "n_blocks",
    "unet_kwargs",
)


def read_specs(path: str | Path) -> dict[str, Any]:
    """The content of a ``specs.json``.

    Raises:
        CheckpointError: if it is not there or no JSON object.
    """
    path = Path(path)
    if not path.is_file():
        raise CheckpointError(f"{path} is no file: name the specs.json that the checkpoint was trained with.")
    try:
        specs = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise CheckpointError(f"{path} is not valid JSON ({error}).") from error
    if not isinstance(specs, dict):
        raise CheckpointError(f"{path} must hold a JSON object, not a {type(specs).__name__}.")
    return specs


def vae_arguments(specs: Mapping[str, Any], path: str | Path, in_channels: int) -> dict[str, Any]:
    """Arguments of :class:`~diffgs_diffusers.models.OriginalGaussianVAE`.

    Sizes that the original writes into its code (planes of 64² cells, five blocks, a U-Net of four levels from 32
    channels) are taken from there, unless the specs name them as the code does: ``plane_resolution``, ``n_blocks``,
    ``unet_kwargs``.

    Args:
        specs: of stage 1.
        path: where they were read, for messages.
        in_channels: of the point encoder, which the original's code fixes and not its specs.
    """
    sizes = _section(specs, "GSModelSpecs", path)
    _check_known(sizes, _GS_SIZES, "GSModelSpecs", path)
    channels = _size(sizes, "latent_dim", None, path)
    unet = sizes.get("unet_kwargs", {})
    if not isinstance(unet, dict):
        raise CheckpointError(f"{path}: `unet_kwargs` must be an object, got {unet!r}.")
    _check_known(unet, ("depth", "start_filts", "merge_mode"), "unet_kwargs", path)
    if unet.get("merge_mode", "concat") != "concat":
        raise CheckpointError(f"{path}: `merge_mode` must be concat, got {unet['merge_mode']!r}.")
    return {
        "in_channels": in_channels,
        "plane_channels": channels,
        "plane_resolution": _size(sizes, "plane_resolution", 64, path),
        "point_channels": _size(sizes, "pn_hidden_dim", channels, path),
        "num_point_blocks": _size(sizes, "n_blocks", 5, path),
        "unet_channels": _size(unet, "start_filts", 32, path),
        "unet_depth": _size(unet, "depth", 4, path),
        "latent_channels": 3 * channels,
        "block_channels": (3 * channels,) * 5,
        "head_channels": _size(sizes, "hidden_dim", None, path),
        "has_head_skip": _flag(sizes, "skip_connection", True, path),
        "has_probability_tanh": _flag(sizes, "tanh_act", False, path),
    }


def denoiser_arguments(specs: Mapping[str, Any], path: str | Path) -> dict[str, Any]:
    """Arguments of :class:`~diffgs_diffusers.models.DiffGSPriorTransformer`."""
    sizes = _section(specs, "diffusion_model_specs", path)
    _check_known(sizes, (*_FIXED_DENOISER, *_DENOISER_SIZES, *_IGNORED_DENOISER), "diffusion_model_specs", path)
    for name, allowed in _FIXED_DENOISER.items():
        if name in sizes and sizes[name] not in allowed:
            raise CheckpointError(
                f"{path}: `{name}` is {sizes[name]!r}; only unconditional denoisers of the released form convert, "
                f"with {allowed[0]!r}."
            )
    inner = _size(sizes, "dim", None, path)
    return {
        "in_channels": _size(sizes, "dim_in_out", inner, path),
        "sample_size": 1,
        "inner_dim": inner,
        "num_layers": _size(sizes, "depth", None, path) + 2,
        "num_attention_heads": _size(sizes, "heads", 8, path),
        "attention_head_dim": _size(sizes, "dim_head", 64, path),
        "feed_forward_mult": _number(sizes, "ff_mult", 4, path),
        "dropout": _number(sizes, "ff_dropout", 0.0, path),
        "attention_dropout": _number(sizes, "attn_dropout", 0.0, path),
    }


def scheduler_arguments(specs: Mapping[str, Any], path: str | Path) -> dict[str, Any]:
    """Arguments of :func:`~diffgs_diffusers.models.original.scheduler.original_scheduler`."""
    settings = _section(specs, "diffusion_specs", path)
    _check_known(settings, _DIFFUSION_SETTINGS, "diffusion_specs", path)
    objective, schedule = settings.get("objective", "pred_x0"), settings.get("beta_schedule", "cosine")
    if objective not in _OBJECTIVES:
        raise CheckpointError(f"{path}: `objective` must be one of {', '.join(_OBJECTIVES)}, got {objective!r}.")
    return {
        "num_train_timesteps": _size(settings, "timesteps", 1000, path),
        # The original takes whatever is not "linear" for cosine.
        "beta_schedule": "linear" if schedule == "linear" else "cosine",
        "prediction_type": _OBJECTIVES[objective],
    }


def _section(specs: Mapping[str, Any], name: str, path: str | Path) -> Mapping[str, Any]:
    section = specs.get(name)
    if not isinstance(section, dict):
        raise CheckpointError(f"{path} has no `{name}`: name the specs.json that this stage was trained with.")
    return section


def _check_known(values: Mapping[str, Any], known: tuple[str, ...], section: str, path: str | Path) -> None:
    unknown = [name for name in values if name not in known]
    if unknown:
        raise CheckpointError(f"{path}: `{section}` has settings that are not known: {', '.join(unknown)}.")


def _size(values: Mapping[str, Any], name: str, default: int | None, path: str | Path) -> int:
    value = values.get(name, default)
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise CheckpointError(f"{path}: `{name}` must be an integer of at least 1, got {value!r}.")
    return value


def _number(values: Mapping[str, Any], name: str, default: float, path: str | Path) -> float:
    value = values.get(name, default)
    if isinstance(value, bool) or not isinstance(value, int | float) or value < 0:
        raise CheckpointError(f"{path}: `{name}` must be a number of at least 0, got {value!r}.")
    return float(value)


def _flag(values: Mapping[str, Any], name: str, default: bool, path: str | Path) -> bool:
    value = values.get(name, default)
    if not isinstance(value, bool):
        raise CheckpointError(f"{path}: `{name}` must be true or false, got {value!r}.")
    return value
