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
        logits_per_image: [B, B] scaled similarity of image i (row) and caption j (column).
        same_caption: [B, B] bool, whether captions i and j are equal; the diagonal is True.

    Returns:
        Scalar. For B different captions it is CLIP's loss (Radford et al. 2021, figure 3).
    """
    logits = logits_per_image.float()
    targets = same_caption.float()
    targets = targets / targets.sum(dim=1, keepdim=True)
    by_image = -(targets * logits.log_softmax(dim=1)).sum(dim=1).mean()
    by_text = -(targets * logits.T.log_softmax(dim=1)).sum(dim=1).mean()
    return (by_image + by_text) / 2


def equal_rows(input_ids: Tensor) -> Tensor:
    """[B, B] bool: which rows of [B, S] token ids are equal."""
    return (input_ids[:, None] == input_ids[None]).all(dim=-1)


def clip_loss(model: torch.nn.Module, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Embeds renders and captions and compares them.

    Args:
        model: A ``transformers.CLIPModel``, possibly wrapped for distributed training (each process then
            contrasts its own batch only).
        batch: ``pixel_values`` [B, 3, H, W], ``input_ids`` and ``attention_mask`` [B, S].

    Returns:
        ``loss``, and without gradient ``accuracy`` (share of images whose most similar caption is theirs) and
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
    same = equal_rows(batch["input_ids"])
    with torch.no_grad():
        hits = same.gather(1, logits.argmax(dim=1, keepdim=True)).float()
    return {
        "loss": contrastive_loss(logits, same),
        "accuracy": hits.mean(),
        "logit_scale": inner.logit_scale.detach().exp(),
    }
