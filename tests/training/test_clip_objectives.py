"""The contrastive loss against its closed forms and PyTorch's cross-entropy."""

from __future__ import annotations

import math

import torch
from transformers import CLIPConfig, CLIPModel

from diffgs_diffusers.training.objectives_clip import clip_loss, contrastive_loss, equal_rows


def test_different_captions_give_clips_loss() -> None:
    logits = torch.randn(5, 5, generator=torch.Generator().manual_seed(0)) * 3
    labels = torch.arange(5)
    cross_entropy = torch.nn.functional.cross_entropy
    expected = (cross_entropy(logits, labels) + cross_entropy(logits.T, labels)) / 2
    torch.testing.assert_close(contrastive_loss(logits, torch.eye(5, dtype=torch.bool)), expected)


def test_equal_captions_share_the_target() -> None:
    """Two pairs of equal captions, told apart perfectly, leave the entropy of a fair coin."""
    ids = torch.tensor([[1, 2], [1, 2], [1, 3], [1, 3]])
    same = equal_rows(ids, ids)
    assert same.tolist() == [[True, True, False, False]] * 2 + [[False, False, True, True]] * 2
    loss = contrastive_loss(same.float() * 100, same)
    torch.testing.assert_close(loss, torch.tensor(math.log(2.0)))


def test_texts_of_no_image_only_ever_compete() -> None:
    """They enter the softmax over texts and leave the one over images alone."""
    logits = torch.randn(3, 5, generator=torch.Generator().manual_seed(0)) * 2
    labels = torch.arange(3)
    cross_entropy = torch.nn.functional.cross_entropy
    expected = (cross_entropy(logits, labels) + cross_entropy(logits[:, :3].T, labels)) / 2
    torch.testing.assert_close(contrastive_loss(logits, torch.eye(3, 5, dtype=torch.bool)), expected)


def tiny_clip() -> CLIPModel:
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    text = {**sizes, "vocab_size": 20, "max_position_embeddings": 8, "eos_token_id": 19, "bos_token_id": 18}
    return CLIPModel(
        CLIPConfig(text_config=text, vision_config={**sizes, "image_size": 16, "patch_size": 8}, projection_dim=8)
    )


def test_a_tiny_model_learns_a_batch() -> None:
    model = tiny_clip()
    batch = {
        "pixel_values": torch.randn(4, 3, 16, 16, generator=torch.Generator().manual_seed(1)),
        "input_ids": torch.tensor([[18, token, 19] for token in (1, 2, 3, 3)]),
        "attention_mask": torch.ones(4, 3, dtype=torch.long),
    }
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    for _ in range(60):
        terms = clip_loss(model, batch)
        optimizer.zero_grad()
        terms["loss"].backward()
        optimizer.step()
    assert terms["accuracy"] == 1.0
    assert terms["loss"] < math.log(2) / 2 + 0.05  # the entropy that the one repeated caption leaves


def test_logit_scale_is_bounded() -> None:
    model = tiny_clip()
    model.logit_scale.data.fill_(9.0)
    batch = {
        "pixel_values": torch.zeros(1, 3, 16, 16),
        "input_ids": torch.tensor([[18, 19]]),
        "attention_mask": torch.ones(1, 2, dtype=torch.long),
    }
    torch.testing.assert_close(clip_loss(model, batch)["logit_scale"], torch.tensor(100.0))
