"""The denoisers that a pipeline can have."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from .original import DiffGSPriorTransformer
from .unet_1d_condition import UNet1DConditionModel

Denoiser = UNet1DConditionModel | DiffGSPriorTransformer
DENOISERS: dict[str, type[Any]] = {"unet": UNet1DConditionModel, "prior_transformer": DiffGSPriorTransformer}


def load_denoiser(path: str | Path, **options: Any) -> Denoiser:
    """The denoiser at a path or Hub id, of the class that its configuration names.

    Args:
        path: where ``save_pretrained`` put it.
        options: of ``from_pretrained``.

    Raises:
        ValueError: if its configuration names no denoiser.
    """
    name = UNet1DConditionModel.load_config(str(path)).get("_class_name")
    classes = {model.__name__: model for model in DENOISERS.values()}
    if name not in classes:
        raise ValueError(f"{path} holds a {name}; a denoiser is one of {', '.join(classes)}.")
    return classes[name].from_pretrained(str(path), **options)


def is_conditional(unet: Denoiser) -> bool:
    """Whether the denoiser can be told anything."""
    return isinstance(unet, UNet1DConditionModel)
