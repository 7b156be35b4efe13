"""Building blocks of :class:`~diffgs_diffusers.models.unet_1d_condition.UNet1DConditionModel`."""

from __future__ import annotations

from typing import TypeVar

import torch
from diffusers.models.attention import FeedForward
from diffusers.models.attention_processor import Attention
from torch import Tensor, nn

ModuleT = TypeVar("ModuleT", bound=nn.Module)


class ResidualBlock1D(nn.Module):
    """norm – SiLU – conv – norm, scaled and shifted by the timestep – SiLU – conv, plus the input.

    The second convolution starts at zero, so that a new block passes its input on.

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of the output.
        embedding_dim: Size of the timestep embedding.
        norm_num_groups: Groups of the group norms.
        dropout: Dropout before the second convolution.
    """

    def __init__(
        self, in_channels: int, out_channels: int, embedding_dim: int, norm_num_groups: int, dropout: float
    ) -> None:
        super().__init__()
        self.norm1 = nn.GroupNorm(norm_num_groups, in_channels)
        self.conv1 = nn.Conv1d(in_channels, out_channels, 3, padding=1)
        self.embedding_projection = nn.Linear(embedding_dim, 2 * out_channels)
        self.norm2 = nn.GroupNorm(norm_num_groups, out_channels)
        self.dropout = nn.Dropout(dropout)
        self.conv2 = zero_init(nn.Conv1d(out_channels, out_channels, 3, padding=1))
        self.activation = nn.SiLU()
        self.shortcut = nn.Identity() if in_channels == out_channels else nn.Conv1d(in_channels, out_channels, 1)

    def forward(self, hidden_states: Tensor, embedding: Tensor) -> Tensor:
        """Maps [B, in_channels, L] to [B, out_channels, L]; `embedding` [B, E] is already activated."""
        residual = self.shortcut(hidden_states)
        hidden_states = self.conv1(self.activation(self.norm1(hidden_states)))
        scale, shift = self.embedding_projection(embedding)[:, :, None].chunk(2, dim=1)
        hidden_states = self.norm2(hidden_states) * (1 + scale) + shift
        return residual + self.conv2(self.dropout(self.activation(hidden_states)))


class TransformerBlock1D(nn.Module):
    """Self-attention over the sequence, cross-attention to the condition, feed-forward; each residual.

    Args:
        channels: Channels of the sequence.
        cross_attention_dim: Size of a condition token.
        attention_head_dim: Size of an attention head.
        dropout: Dropout in the feed-forward part.
    """

    def __init__(self, channels: int, cross_attention_dim: int, attention_head_dim: int, dropout: float) -> None:
        super().__init__()
        heads = channels // attention_head_dim
        self.self_attention_norm = nn.LayerNorm(channels)
        self.self_attention = Attention(query_dim=channels, heads=heads, dim_head=attention_head_dim)
        self.cross_attention_norm = nn.LayerNorm(channels)
        self.cross_attention = Attention(
            query_dim=channels,
            cross_attention_dim=cross_attention_dim,
            heads=heads,
            dim_head=attention_head_dim,
        )
        self.feed_forward_norm = nn.LayerNorm(channels)
        self.feed_forward = FeedForward(channels, mult=2, dropout=dropout, activation_fn="geglu")

    def forward(self, hidden_states: Tensor, condition: Tensor, attention_bias: Tensor) -> Tensor:
        """Maps [B, channels, L] to the same shape.

        Args:
            hidden_states: [B, channels, L].
            condition: [B, S, cross_attention_dim].
            attention_bias: [B, 1, S], added to the attention scores: 0 keeps a token, −10000 hides it.
        """
        tokens = hidden_states.transpose(1, 2)
        tokens = tokens + self.self_attention(self.self_attention_norm(tokens))
        tokens = tokens + self.cross_attention(
            self.cross_attention_norm(tokens),
            encoder_hidden_states=condition,
            attention_mask=attention_bias,
        )
        tokens = tokens + self.feed_forward(self.feed_forward_norm(tokens))
        return tokens.transpose(1, 2)


class UNetLayer1D(nn.Module):
    """A residual block, followed by a transformer block where the level has attention.

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of the output.
        has_attention: Whether a transformer block follows.
        embedding_dim: Size of the timestep embedding.
        cross_attention_dim: Size of a condition token.
        attention_head_dim: Size of an attention head.
        norm_num_groups: Groups of the group norms.
        dropout: Dropout in both blocks.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        has_attention: bool,
        *,
        embedding_dim: int,
        cross_attention_dim: int,
        attention_head_dim: int,
        norm_num_groups: int,
        dropout: float,
    ) -> None:
        super().__init__()
        self.residual = ResidualBlock1D(in_channels, out_channels, embedding_dim, norm_num_groups, dropout)
        self.transformer = (
            TransformerBlock1D(out_channels, cross_attention_dim, attention_head_dim, dropout)
            if has_attention
            else None
        )

    def forward(
        self, hidden_states: Tensor, embedding: Tensor, condition: Tensor, attention_bias: Tensor
    ) -> Tensor:
        """Maps [B, in_channels, L] to [B, out_channels, L]; the other arguments as in the two blocks."""
        hidden_states = self.residual(hidden_states, embedding)
        if self.transformer is not None:
            hidden_states = self.transformer(hidden_states, condition, attention_bias)
        return hidden_states


class Downsample1D(nn.Conv1d):
    """Strided convolution: [B, in_channels, L] to [B, out_channels, L / 2]."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__(in_channels, out_channels, 3, stride=2, padding=1)


class Upsample1D(nn.Module):
    """Nearest-neighbour doubling and a convolution: [B, in_channels, L] to [B, out_channels, 2·L]."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv1d(in_channels, out_channels, 3, padding=1)

    def forward(self, hidden_states: Tensor) -> Tensor:
        """Doubles the length."""
        return self.conv(hidden_states.repeat_interleave(2, dim=2))


def zero_init(module: ModuleT) -> ModuleT:
    """Sets all parameters to zero and returns the module."""
    for parameter in module.parameters():
        nn.init.zeros_(parameter)
    return module


def condition_bias(mask: Tensor, dtype: torch.dtype) -> Tensor:
    """Attention bias [B, 1, S] from a mask [B, S] of kept tokens: 0 where kept, −10000 where not."""
    return ((1 - mask.to(dtype)) * -10_000)[:, None]


def patchify(sequence: Tensor, patch_size: int) -> Tensor:
    """Puts the channels of neighbours side by side: [B, C, L] to [B, C · patch_size, L / patch_size]."""
    return sequence.unflatten(2, (-1, patch_size)).transpose(2, 3).flatten(1, 2)


def unpatchify(patches: Tensor, patch_size: int) -> Tensor:
    """Inverse of :func:`patchify`."""
    return patches.unflatten(1, (-1, patch_size)).transpose(2, 3).flatten(2)
