"""CLIP's loss for batches in which captions repeat."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

MAX_LOGIT_SCALE = math.log(100.0)  # Radford et al. 2021, section 2.5: logits are never scaled by more than 100


def contrastive_loss(logits_per_image: Tensor, same_caption: Tensor) -> Tensor:
    """Symmetric cross-entropy between images and captions, equal captions sharing their images.

    With few objects a caption often stands twice in a batch. Taking only the diagonal as positive would push an
    image away from a caption that is true of it, so the target is spread evenly over all equal captions.

    Args:
        logits_per_image: [B, T] scaled similarity of image i (row) and text j (column), T ≥ B. Text j < B is the
            caption of image j; further texts belong to no image and are only ever wrong answers (hard negatives,
            Yuksekgonul et al. 2023).
        same_caption: [B, T] bool, whether text j equals the caption of image i; the diagonal is True.

    Returns:
        Scalar. For B different captions and T = B it is CLIP's loss (Radford et al. 2021, figure 3).
    """
    count = len(logits_per_image)
    logits = logits_per_image.float()
    by_image = _soft_cross_entropy(logits, same_caption)
    by_text = _soft_cross_entropy(logits[:, :count].T, same_caption[:, :count].T)
    return (by_image + by_text) / 2


def _soft_cross_entropy(logits: Tensor, positive: Tensor) -> Tensor:
    """Mean cross-entropy of rows whose target is spread evenly over the positive columns."""
    targets = positive.float()
    targets = targets / targets.sum(dim=1, keepdim=True)
    return -(targets * logits.log_softmax(dim=1)).sum(dim=1).mean()


def equal_rows(input_ids: Tensor, others: Tensor) -> Tensor:
    """[B, T] bool: which rows of [B, S] and [T, S] token ids are equal."""
    return (input_ids[:, None] == others[None]).all(dim=-1)


def clip_loss(model: torch.nn.Module, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Embeds renders and captions and compares them.

    Args:
        model: A ``transformers.CLIPModel``, possibly wrapped for distributed training (each process then
            contrasts its own batch only).
        batch: ``pixel_values`` [B, 3, H, W], ``input_ids`` and ``attention_mask`` [T, S]: the B captions, then
            texts that belong to no image.

    Returns:
        ``loss``, and without gradient ``accuracy`` (share of images whose most similar text is their caption) and
        ``logit_scale``.
    """
    inner: Any = getattr(model, "module", model)
    with torch.no_grad():
        inner.logit_scale.clamp_(max=MAX_LOGIT_SCALE)
    outputs = model(
        input_ids=batch["input_ids"],
        attention_mask=batch["attention_mask"],
        pixel_values=batch["pixel_values"],
    )
    logits = outputs.logits_per_image
    same = equal_rows(batch["input_ids"][: len(logits)], batch["input_ids"])
    with torch.no_grad():
        hits = same.gather(1, logits.argmax(dim=1, keepdim=True)).float()
    return {
        "loss": contrastive_loss(logits, same),
        "accuracy": hits.mean(),
        "logit_scale": inner.logit_scale.detach().exp(),
    }
