"""The denoiser's parts against their equations, written out."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from diffgs_diffusers.models.unet_1d_blocks import ResidualBlock1D, TransformerBlock1D, condition_bias
from tests.tiny_models import tiny_unet


def randomised(module: nn.Module) -> nn.Module:
    """Every parameter random: parts that start at zero would hide what is before them."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.3)
    return module.double().eval()


def test_the_timestep_becomes_cosines_and_sines_of_falling_frequency() -> None:
    """cos(t ω_i) then sin(t ω_i), ω_i = 10000^(−i / (C/2)) (Vaswani et al. 2017, section 3.5)."""
    unet = tiny_unet(sample_size=8, channels=2)
    timesteps, half = torch.tensor([0, 1, 17, 999]), unet.config.block_out_channels[0] // 2
    rows = []
    for timestep in timesteps.tolist():
        angles = [timestep * 10_000 ** (-i / half) for i in range(half)]
        rows.append([math.cos(angle) for angle in angles] + [math.sin(angle) for angle in angles])
    torch.testing.assert_close(unet.time_projection(timesteps), torch.tensor(rows), rtol=0, atol=2e-4)


def group_norm(values: Tensor, norm: nn.GroupNorm) -> Tensor:
    """Zero mean and unit variance over each group of channels and all positions, then a gain and a bias."""
    groups = values.reshape(len(values), norm.num_groups, -1)
    centered = groups - groups.mean(dim=2, keepdim=True)
    scaled = centered / (centered.square().mean(dim=2, keepdim=True) + norm.eps).sqrt()
    return scaled.reshape(values.shape) * norm.weight[:, None] + norm.bias[:, None]


def convolution(values: Tensor, layer: nn.Conv1d) -> Tensor:
    """Each position from itself and its two neighbours, zeros beyond the ends."""
    padded = nn.functional.pad(values, (1, 1))
    taps = [layer.weight[:, :, k] @ padded[:, :, k : k + values.shape[2]] for k in range(3)]
    return sum(taps) + layer.bias[:, None]


def silu(values: Tensor) -> Tensor:
    return values / (1 + (-values).exp())


def test_a_residual_block_adds_what_the_timestep_has_scaled_and_shifted() -> None:
    block = randomised(ResidualBlock1D(4, 6, embedding_dim=5, norm_num_groups=2, dropout=0.0))
    hidden, embedding = torch.randn(2, 4, 7).double(), torch.randn(2, 5).double()
    inner = convolution(silu(group_norm(hidden, block.norm1)), block.conv1)
    modulation = embedding @ block.embedding_projection.weight.T + block.embedding_projection.bias
    scale, shift = modulation[:, :6, None], modulation[:, 6:, None]
    inner = convolution(silu((1 + scale) * group_norm(inner, block.norm2) + shift), block.conv2)
    shortcut = block.shortcut.weight[:, :, 0] @ hidden + block.shortcut.bias[:, None]
    torch.testing.assert_close(block(hidden, embedding), shortcut + inner)


def test_cross_attention_is_softmax_of_scaled_products() -> None:
    """softmax(Q Kᵀ / √d + bias) V, queries of positions, keys and values of condition tokens (LDM, section 3.3)."""
    attention = randomised(TransformerBlock1D(8, 5, attention_head_dim=4, dropout=0.0)).cross_attention
    tokens, condition = torch.randn(2, 6, 8).double(), torch.randn(2, 3, 5).double()
    mask = torch.tensor([[1, 1, 0], [1, 1, 1]])
    heads = []
    for head in (slice(0, 4), slice(4, 8)):
        query = tokens @ attention.to_q.weight[head].T
        key, value = (condition @ layer.weight[head].T for layer in (attention.to_k, attention.to_v))
        scores = query @ key.transpose(1, 2) / 4**0.5
        scores = scores.masked_fill(mask[:, None] == 0, -torch.inf)
        heads.append(scores.softmax(dim=2) @ value)
    expected = torch.cat(heads, dim=2) @ attention.to_out[0].weight.T + attention.to_out[0].bias
    found = attention(tokens, encoder_hidden_states=condition, attention_mask=condition_bias(mask, torch.float64))
    torch.testing.assert_close(found, expected)
