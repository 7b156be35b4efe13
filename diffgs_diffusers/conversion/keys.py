"""Which key of the original's checkpoints is which weight of ours."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from diffusers import DDPMScheduler
from torch import Tensor

from ..models.original.prior_blocks import rotary_frequencies

POINT_ENCODER, PLANE_VAE, DENOISER = "gs_model.", "vae_model.", "diffusion_model."
INPUT_KEY = f"{POINT_ENCODER}pointnet.fc_pos.weight"
Pairs = Iterator[tuple[str, str]]

_AFFINE = ("weight", "bias")
_BATCH_NORM = (*_AFFINE, "running_mean", "running_var", "num_batches_tracked")
_HEAD_LAYERS = tuple(f"block{block}.{2 * layer}" for block in (1, 2) for layer in range(4))


def vae_keys(config: Mapping[str, Any]) -> dict[str, str]:
    """Our keys of an :class:`~diffgs_diffusers.models.OriginalGaussianVAE` by the original's.

    Args:
        config: of that VAE.
    """
    return dict([*_point_encoder_keys(config), *_head_keys(), *_plane_vae_keys(len(config["block_channels"]))])


def denoiser_keys(num_layers: int) -> dict[str, str]:
    """Our keys of a :class:`~diffgs_diffusers.models.DiffGSPriorTransformer` by the original's."""
    return {f"{DENOISER}model.{theirs}": ours for theirs, ours in _denoiser_pairs(num_layers)}


def denoiser_constants(num_layers: int, head_dim: int) -> dict[str, Tensor]:
    """What the original stores with a denoiser though it follows from its sizes: the rotary frequencies."""
    frequencies = rotary_frequencies(head_dim)
    layers = f"{DENOISER}model.causal_transformer.layers"
    return {f"{layers}.{index}.0.rotary_emb.freqs": frequencies for index in range(num_layers)}


def schedule_constants(scheduler: DDPMScheduler, p2_gamma: float, p2_k: float) -> dict[str, Tensor]:
    """What the original stores of its schedule (DDPM, equations 4 and 7), [T] each.

    Args:
        scheduler: with the betas.
        p2_gamma, p2_k: of the loss weight (k + SNR)^−γ (Choi et al. 2022, equation 8).
    """
    betas = scheduler.betas.double()
    alphas = (1 - betas).cumprod(0)
    previous = torch.cat([alphas.new_ones(1), alphas[:-1]])
    variance = betas * (1 - previous) / (1 - alphas)
    values = {
        "betas": betas,
        "alphas_cumprod": alphas,
        "alphas_cumprod_prev": previous,
        "sqrt_alphas_cumprod": alphas.sqrt(),
        "sqrt_one_minus_alphas_cumprod": (1 - alphas).sqrt(),
        "log_one_minus_alphas_cumprod": (1 - alphas).log(),
        "sqrt_recip_alphas_cumprod": (1 / alphas).sqrt(),
        "sqrt_recipm1_alphas_cumprod": (1 / alphas - 1).sqrt(),
        "posterior_variance": variance,
        "posterior_log_variance_clipped": variance.clamp(min=1e-20).log(),
        "posterior_mean_coef1": betas * previous.sqrt() / (1 - alphas),
        "posterior_mean_coef2": (1 - previous) * (1 - betas).sqrt() / (1 - alphas),
        "p2_loss_weight": (p2_k + alphas / (1 - alphas)) ** -p2_gamma,
    }
    return {f"{DENOISER}{name}": value for name, value in values.items()}


def _named(theirs: str, ours: str, parts: tuple[str, ...] = _AFFINE) -> Pairs:
    for part in parts:
        yield f"{theirs}.{part}", f"{ours}.{part}"


def _point_encoder_keys(config: Mapping[str, Any]) -> Pairs:
    theirs, ours = f"{POINT_ENCODER}pointnet", "point_encoder"
    yield from _named(f"{theirs}.fc_pos", f"{ours}.proj_in")
    for index in range(config["num_point_blocks"]):
        block, own = f"{theirs}.blocks.{index}", f"{ours}.blocks.{index}"
        yield from _named(f"{block}.fc_0", f"{own}.linear_in")
        yield from _named(f"{block}.fc_1", f"{own}.linear_out")
        yield from _named(f"{block}.shortcut", f"{own}.shortcut", ("weight",))
    yield from _named(f"{theirs}.fc_c", f"{ours}.proj_out")
    for index in range(config["unet_depth"]):
        yield from _conv_pair(f"{theirs}.unet.down_convs.{index}", f"{ours}.unet.down.{index}")
    for index in range(config["unet_depth"] - 1):
        yield from _named(f"{theirs}.unet.up_convs.{index}.upconv", f"{ours}.unet.upsamplers.{index}")
        yield from _conv_pair(f"{theirs}.unet.up_convs.{index}", f"{ours}.unet.up.{index}")
    yield from _named(f"{theirs}.unet.conv_final", f"{ours}.unet.conv_out")


def _conv_pair(theirs: str, ours: str) -> Pairs:
    yield from _named(f"{theirs}.conv1", f"{ours}.conv_in")
    yield from _named(f"{theirs}.conv2", f"{ours}.conv_out")


def _head_keys() -> Pairs:
    for theirs, ours in {"occ_model": "gaupf", "color_model": "gaucf", "model": "gautf"}.items():
        for index, layer in enumerate(_HEAD_LAYERS):
            yield from _named(f"{POINT_ENCODER}{theirs}.{layer}", f"heads.{ours}.layers.{index}")
    outputs = {
        "occ_model.block3": "gaupf_out",
        "color_model.color_layer.out_layers.0": "gaucf_out",
        "model.gs_layer.out_layers.0": "scales_out",
        "model.gs_layer.out_layers.1": "quats_out",
    }
    for theirs, ours in outputs.items():
        yield from _named(f"{POINT_ENCODER}{theirs}", f"heads.{ours}")


def _plane_vae_keys(num_levels: int) -> Pairs:
    for index in range(num_levels):
        level = f"{PLANE_VAE}encoder.{index}"
        yield from _named(f"{level}.0", f"encoder.convs.{index}")
        yield from _named(f"{level}.1", f"encoder.norms.{index}", _BATCH_NORM)
    yield from _named(f"{PLANE_VAE}fc_mu", "encoder.mean")
    yield from _named(f"{PLANE_VAE}fc_var", "encoder.logvar")
    yield from _named(f"{PLANE_VAE}decoder_input", "decoder.proj_in")
    for index in range(num_levels):
        # The last level of the decoder and what follows it have a name of their own.
        level = f"{PLANE_VAE}decoder.{index}" if index < num_levels - 1 else f"{PLANE_VAE}final_layer"
        yield from _named(f"{level}.0", f"decoder.convs.{index}")
        yield from _named(f"{level}.1", f"decoder.norms.{index}", _BATCH_NORM)
    yield from _named(f"{PLANE_VAE}final_layer.3", "decoder.conv_out")


def _denoiser_pairs(num_layers: int) -> Pairs:
    yield "learned_query", "learned_query"
    for theirs, ours in {"0.0": 0, "1.0": 2, "2": 4}.items():
        yield from _named(f"to_time_embeds.0.1.net.{theirs}", f"time_embedding.{ours}")
    yield "causal_transformer.rel_pos_bias.relative_attention_bias.weight", "position_bias.buckets.weight"
    for index in range(num_layers):
        layer, own = f"causal_transformer.layers.{index}", f"layers.{index}"
        yield f"{layer}.0.null_kv", f"{own}.attention.null_key_value"
        yield f"{layer}.0.norm.g", f"{own}.attention.norm.weight"
        yield f"{layer}.0.to_q.weight", f"{own}.attention.to_query.weight"
        yield f"{layer}.0.to_kv.weight", f"{own}.attention.to_key_value.weight"
        yield f"{layer}.0.to_out.0.weight", f"{own}.attention.proj_out.weight"
        yield f"{layer}.0.to_out.1.g", f"{own}.attention.norm_out.weight"
        yield f"{layer}.1.0.g", f"{own}.feed_forward.norm.weight"
        yield f"{layer}.1.1.weight", f"{own}.feed_forward.proj_in.weight"
        yield f"{layer}.1.5.weight", f"{own}.feed_forward.proj_out.weight"
    yield "causal_transformer.norm.g", "norm_out.weight"
    yield "causal_transformer.project_out.weight", "proj_out.weight"
