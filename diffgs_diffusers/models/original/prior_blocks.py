"""Building blocks of :class:`~diffgs_diffusers.models.original.prior_transformer.DiffGSPriorTransformer`."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

# Attention logits are computed this much smaller and multiplied after the greatest is subtracted, which keeps half
# precision from overflowing (CogView, Ding et al. 2021, section 2.4). Biases are added before, so they count so
# much more.
_LOGIT_FACTOR = 128
_ROTARY_DIM = 32
_ROTARY_BASE = 10_000
_NUM_BUCKETS = 32


class GainNorm(nn.Module):
    """LayerNorm with a gain and no bias.

    Args:
        channels: of the last dimension.
        divides_by_maximum: whether values are divided by their greatest first, which may turn their signs.
    """

    def __init__(self, channels: int, divides_by_maximum: bool = False) -> None:
        super().__init__()
        self.divides_by_maximum = divides_by_maximum
        self.weight = nn.Parameter(torch.ones(channels))

    def forward(self, hidden: Tensor) -> Tensor:
        if self.divides_by_maximum:
            hidden = hidden / hidden.amax(dim=-1, keepdim=True).detach()
        return nn.functional.layer_norm(hidden, self.weight.shape, self.weight)


class RelativePositionBias(nn.Module):
    """A learned bias of each head for how far a query lies behind a key (T5, Raffel et al. 2020, section 2.1).

    T5 gives small distances a bucket each, and the sequences here are of three tokens, so a distance is its bucket.
    The null key stands in front and moves the others by one: a token and the one before it share bucket 0.
    """

    def __init__(self, num_heads: int) -> None:
        super().__init__()
        self.buckets = nn.Embedding(_NUM_BUCKETS, num_heads)

    def forward(self, length: int) -> Tensor:
        """[H, length, length + 1]; the first key is the null key."""
        positions = torch.arange(length + 1, device=self.buckets.weight.device)
        distances = (positions[:length, None] - positions[None, :]).clamp(min=0)
        return self.buckets(distances).movedim(-1, 0)


class SharedKeyAttention(nn.Module):
    """Causal self-attention in which all heads share one key and value (Shazeer 2019, multi-query attention).

    A learned null key and value can always be attended to. Queries come from normed states, keys and values from
    the states as they are.

    Args:
        in_channels: of the states.
        out_channels: of the result.
        num_heads: H.
        head_dim: D.
        dropout: of the attention weights.
    """

    def __init__(self, in_channels: int, out_channels: int, num_heads: int, head_dim: int, dropout: float) -> None:
        super().__init__()
        self.num_heads, self.head_dim = num_heads, head_dim
        self.norm = GainNorm(in_channels)
        self.null_key_value = nn.Parameter(torch.randn(2, head_dim))
        self.to_query = nn.Linear(in_channels, num_heads * head_dim, bias=False)
        self.to_key_value = nn.Linear(in_channels, 2 * head_dim, bias=False)
        self.dropout = nn.Dropout(dropout)
        self.proj_out = nn.Linear(num_heads * head_dim, out_channels, bias=False)
        self.norm_out = GainNorm(out_channels)

    def forward(self, hidden: Tensor, bias: Tensor) -> Tensor:
        """
        Args:
            hidden: [B, S, in_channels].
            bias: [H, S, S + 1] of :class:`RelativePositionBias`.

        Returns:
            [B, S, out_channels].
        """
        batch, length = hidden.shape[:2]
        query = self.to_query(self.norm(hidden)).unflatten(-1, (self.num_heads, self.head_dim)).transpose(1, 2)
        query = rotate_positions(query * (self.head_dim**-0.5 / _LOGIT_FACTOR))
        key, value = self.to_key_value(hidden).chunk(2, dim=-1)
        null_key, null_value = self.null_key_value[:, None, None].expand(2, batch, 1, self.head_dim)
        key = torch.cat([null_key, rotate_positions(key)], dim=1)
        value = torch.cat([null_value, value], dim=1)
        logits = query @ key[:, None].transpose(-1, -2) + bias
        hidden_keys = torch.ones_like(bias[0], dtype=torch.bool).triu(2)
        logits = logits.masked_fill(hidden_keys, -torch.finfo(logits.dtype).max)
        logits = (logits - logits.amax(dim=-1, keepdim=True).detach()) * _LOGIT_FACTOR
        attended = self.dropout(logits.softmax(dim=-1)) @ value[:, None]
        return self.norm_out(self.proj_out(attended.transpose(1, 2).reshape(batch, length, -1)))


class GatedFeedForward(nn.Module):
    """Norm, then half of the hidden values times the SiLU of the other half (SwiGLU, Shazeer 2020).

    Args:
        channels: of the states.
        inner_channels: of each half.
        dropout: of the products.
    """

    def __init__(self, channels: int, inner_channels: int, dropout: float) -> None:
        super().__init__()
        self.norm = GainNorm(channels)
        self.proj_in = nn.Linear(channels, 2 * inner_channels, bias=False)
        self.dropout = nn.Dropout(dropout)
        self.proj_out = nn.Linear(inner_channels, channels, bias=False)

    def forward(self, hidden: Tensor) -> Tensor:
        value, gate = self.proj_in(self.norm(hidden)).chunk(2, dim=-1)
        return self.proj_out(self.dropout(value * nn.functional.silu(gate)))


class PriorTransformerLayer(nn.Module):
    """Attention, then a feed-forward part, each added to its input.

    Where the width changes there is nothing to add attention to.

    Args:
        in_channels: of the states that come in.
        out_channels: of those that go out.
        num_heads, head_dim: of the attention.
        feed_forward_mult: inner width of the feed-forward part over ``out_channels``.
        dropout: in the feed-forward part.
        attention_dropout: of the attention weights.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        num_heads: int,
        head_dim: int,
        feed_forward_mult: float,
        dropout: float,
        attention_dropout: float,
    ) -> None:
        super().__init__()
        self.has_residual = in_channels == out_channels
        self.attention = SharedKeyAttention(in_channels, out_channels, num_heads, head_dim, attention_dropout)
        self.feed_forward = GatedFeedForward(out_channels, int(feed_forward_mult * out_channels), dropout)

    def forward(self, hidden: Tensor, bias: Tensor) -> Tensor:
        attended = self.attention(hidden, bias)
        hidden = attended + hidden if self.has_residual else attended
        return hidden + self.feed_forward(hidden)


def rotary_frequencies(head_dim: int) -> Tensor:
    """Angle per position of each rotated pair, at most 16 (RoFormer, Su et al. 2021, section 3.2.2)."""
    size = min(_ROTARY_DIM, head_dim)
    return 1.0 / (_ROTARY_BASE ** (torch.arange(0, size, 2).float() / size))


def rotate_positions(states: Tensor) -> Tensor:
    """States [..., S, D] with neighbouring pairs of their first 32 dimensions turned by their position's angle."""
    frequencies = rotary_frequencies(states.shape[-1]).to(states.device)
    angles = torch.arange(states.shape[-2], device=states.device)[:, None] * frequencies
    cos, sin = angles.cos().to(states.dtype), angles.sin().to(states.dtype)
    turned, rest = states.split([2 * len(frequencies), states.shape[-1] - 2 * len(frequencies)], dim=-1)
    even, odd = turned.unflatten(-1, (-1, 2)).unbind(-1)
    pairs = torch.stack([even * cos - odd * sin, odd * cos + even * sin], dim=-1)
    return torch.cat([pairs.flatten(-2), rest], dim=-1)


def timestep_sinusoids(timesteps: Tensor, channels: int) -> Tensor:
    """Sines, then cosines, of timesteps [B] at ``channels`` / 2 frequencies from 1 to 1 / 10,000: [B, channels]."""
    half = channels // 2
    # In this order: at timestep 999 another rounding of the frequencies would be seen in the fourth digit.
    frequencies = (torch.arange(half, device=timesteps.device) * -(math.log(10_000) / (half - 1))).exp()
    angles = timesteps[:, None] * frequencies
    return torch.cat([angles.sin(), angles.cos()], dim=-1)
