"""The models that the denoiser is trained with, found or made to fit each other."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from transformers import CLIPImageProcessor, CLIPTextModel, CLIPVisionModel

from ..data.condition_samples import VersionSplats
from ..data.dataset import GaussianObjectDataset
from ..data.latents import LatentDataset
from ..gaussians import GaussianSplats
from ..models import ConditionEncoder, DiffGSPriorTransformer, UNet1DConditionModel
from ..models.base_vae import BaseGaussianVAE
from ..models.kinds import Denoiser
from ..models.loading import load_denoiser, vae_class
from .conditioned_denoiser import with_aligned_condition
from .encoding import metadata_digest, object_version

MAX_POSITIONS = 256
DENOISERS = ("unet", "prior_transformer")


def load_clip(path: str, parts: dict[str, Any]) -> tuple[Any, Any]:
    """A processor and its model, float32, from a CLIP folder, a pipeline folder or a Hub id."""
    is_pipeline = all((Path(path) / name).is_dir() for name in parts)
    processor, model = (
        part.from_pretrained(path, **({"subfolder": name} if is_pipeline else {})) for name, part in parts.items()
    )
    return processor, model.float().eval()


def load_image_encoder(path: str, trained: bool) -> tuple[CLIPImageProcessor, CLIPVisionModel]:
    """The vision part of a CLIP, and whether its weights are to be trained."""
    processor, model = load_clip(path, {"image_processor": CLIPImageProcessor, "image_encoder": CLIPVisionModel})
    for name, parameter in model.named_parameters():
        # Only the hidden states are read, which the last norm, of the pooled one, does not touch.
        parameter.requires_grad_(trained and "post_layernorm" not in name)
    return processor, model


def build_unet(
    path: str | None,
    config_file: str | None,
    latent_shape: tuple[int, int],
    patch_size: int | None,
    text_encoder: CLIPTextModel | None,
    has_aligned_condition: bool,
) -> UNet1DConditionModel:
    """The denoiser at a path, or a new one whose sizes fit the latents and the text encoder.

    Args:
        path: of one to start from; None for a new one.
        config_file: JSON file of arguments that differ from those that fit.
        latent_shape: (C, L).
        patch_size: None for :func:`default_patch_size`.
        text_encoder: whose states it is told; None for none.
        has_aligned_condition: whether it is told of places; one that is not yet learns to be.
    """
    if path:
        unet = UNet1DConditionModel.from_pretrained(path)
        return with_aligned_condition(unet) if has_aligned_condition else unet
    channels, length = latent_shape
    config: dict[str, Any] = {
        "in_channels": channels,
        "sample_size": length,
        "patch_size": patch_size or default_patch_size(length),
        "has_aligned_condition": has_aligned_condition,
    }
    if text_encoder is not None:
        config["cross_attention_dim"] = text_encoder.config.hidden_size
    if config_file:
        config |= json.loads(Path(config_file).read_text(encoding="utf-8"))
    return UNet1DConditionModel(**config)


def build_prior_transformer(
    path: str | None, config_file: str | None, latent_shape: tuple[int, int]
) -> DiffGSPriorTransformer:
    """The denoiser at a path, or a new one whose sizes fit the latents; arguments as of :func:`build_unet`.

    Raises:
        ValueError: if there is another denoiser at the path.
    """
    if path:
        found: Denoiser = load_denoiser(path)
        if not isinstance(found, DiffGSPriorTransformer):
            raise ValueError(f"{path} holds a {type(found).__name__} and no prior transformer: drop --denoiser.")
        return found
    channels, length = latent_shape
    config: dict[str, Any] = {"in_channels": channels, "sample_size": length}
    if config_file:
        config |= json.loads(Path(config_file).read_text(encoding="utf-8"))
    return DiffGSPriorTransformer(**config)


def build_condition_encoder(
    path: str | None,
    config_file: str | None,
    cross_attention_dim: int,
    latent_shape: tuple[int, int],
    patch_size: int,
    image_encoder: CLIPVisionModel | None,
) -> ConditionEncoder:
    """The encoder at a path, or a new one whose states fit a denoiser.

    Args:
        path: of one to start from; None for a new one.
        config_file: JSON file of arguments that differ from those that fit.
        cross_attention_dim: of the denoiser.
        latent_shape: (C, L).
        patch_size: of the denoiser.
        image_encoder: whose states it is given; None for none.

    Raises:
        ValueError: if the one at the path does not fit.
    """
    channels, length = latent_shape
    fitting: dict[str, Any] = {
        "cross_attention_dim": cross_attention_dim,
        "resolution": math.isqrt(length // patch_size // 3),
    }
    if image_encoder is not None:
        fitting["image_dim"] = image_encoder.config.hidden_size
    if path:
        encoder = ConditionEncoder.from_pretrained(path, torch_dtype=torch.float32)
        for name, value in fitting.items():
            has = encoder.config[name]
            if has != value:
                raise ValueError(f"{path} has `{name}`={has}, and the other models ask for {value}.")
        return encoder
    if image_encoder is not None:
        fitting["guess_channels"] = channels * patch_size
    if config_file:
        fitting |= json.loads(Path(config_file).read_text(encoding="utf-8"))
    return ConditionEncoder(**fitting)


def default_patch_size(length: int) -> int:
    """How many neighbours to take together: squares of the planes, until two cores can train on the rest."""
    patch_size = 1
    while length // patch_size > MAX_POSITIONS and length % (4 * patch_size) == 0:
        patch_size *= 4
    return patch_size


def load_vae(path: str | None, latents: LatentDataset) -> BaseGaussianVAE | None:
    """The VAE, after a check that the latents are normalised as it says.

    Raises:
        ValueError: if its ``latents_mean`` and ``latents_std`` are not those of the latents folder.
    """
    if path is None:
        return None
    vae: BaseGaussianVAE = vae_class(path).from_pretrained(path).requires_grad_(False).eval()
    for name in ("latents_mean", "latents_std"):
        if list(vae.config[name] or []) != latents.settings[name]:
            raise ValueError(
                f"`{name}` of {path} is not that of {latents.root}: name the VAE that encode_latents.py used, or "
                "run it again."
            )
    return vae


def version_source(path: str | None, latents: LatentDataset) -> VersionSplats | None:
    """The Gaussians of (index, version) of the latents.

    Raises:
        ValueError: if another dataset was encoded.
    """
    if path is None:
        return None
    if metadata_digest(path) != latents.settings.get("metadata_sha256"):
        raise ValueError(f"{path} is not the dataset of {latents.root}: name the one that encode_latents.py read.")
    objects = GaussianObjectDataset(path, split="train")
    places = {record.id: index for index, record in enumerate(objects.records)}
    numbers = [places[record.id] for record in latents.records]
    return partial(_version_splats, objects, numbers, latents.settings["seed"])


def _version_splats(
    objects: GaussianObjectDataset, numbers: Sequence[int], seed: int, index: int, version: int
) -> GaussianSplats:
    """At the top of the module, as workers of a DataLoader may have to unpickle it."""
    return object_version(objects, numbers[index], version, seed)
