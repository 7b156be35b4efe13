"""Loads models of which there are several kinds: their configuration says which one it is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from .autoencoder_gaussian import GaussianVAE
from .base_vae import BaseGaussianVAE
from .kinds import Denoiser
from .original import DiffGSPriorTransformer, OriginalGaussianVAE
from .unet_1d_condition import UNet1DConditionModel

_VAES = (GaussianVAE, OriginalGaussianVAE)
_DENOISERS = (UNet1DConditionModel, DiffGSPriorTransformer)


def vae_class(path: str | Path) -> type[BaseGaussianVAE]:
    """Of the VAE at a path or Hub id.

    Raises:
        ValueError: if its configuration names no VAE.
    """
    return _class_at(path, _VAES, "VAE")


def load_denoiser(path: str | Path, **options: Any) -> Denoiser:
    """The denoiser at a path or Hub id.

    Args:
        path: where ``save_pretrained`` put it.
        options: of ``from_pretrained``.

    Raises:
        ValueError: if its configuration names no denoiser.
    """
    return _class_at(path, _DENOISERS, "denoiser").from_pretrained(str(path), **options)


def _class_at(path: str | Path, classes: tuple[Any, ...], what: str) -> Any:
    name = classes[0].load_config(str(path)).get("_class_name")
    known = {model.__name__: model for model in classes}
    if name not in known:
        raise ValueError(f"{path} holds a {name}, and a {what} is one of {', '.join(known)}.")
    return known[name]
