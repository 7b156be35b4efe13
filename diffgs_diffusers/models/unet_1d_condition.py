"""The denoiser: a 1-D U-Net over the latent sequence with cross-attention to condition tokens."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.embeddings import TimestepEmbedding, Timesteps
from diffusers.models.modeling_utils import ModelMixin
from diffusers.utils import BaseOutput
from torch import Tensor, nn

from .unet_1d_blocks import (
    Downsample1D,
    UNetLayer1D,
    Upsample1D,
    condition_bias,
    patchify,
    unpatchify,
    zero_init,
)


@dataclass
class UNet1DConditionOutput(BaseOutput):
    """What :class:`UNet1DConditionModel` returns.

    Attributes:
        sample: [B, out_channels, L], the noise, the clean latents or the velocity: whatever the scheduler's
            ``prediction_type`` says.
    """

    sample: Tensor


class UNet1DConditionModel(ModelMixin, ConfigMixin):
    r"""Denoiser of normalised latents, conditioned on token sequences (DiffGS, section 3.3; LDM, section 3.3).

    Residual blocks see the timestep through a scale and shift; transformer blocks attend over the sequence and to
    the condition. A learned null token is always the first key of the cross-attention, so that
    ``encoder_hidden_states=None`` and a mask row of zeros both mean "no condition". The masked mean of the
    condition tokens is also added to the timestep embedding: what holds for the whole object (its colour, its
    class) then reaches every block directly.

    Args:
        sample_size: Length L of the latent sequence; divisible by `patch_size` · 2 to the power of (levels − 1).
        in_channels: Latent channels.
        out_channels: Channels of the output; None: `in_channels`.
        patch_size: Neighbours in the sequence that are worked on as one position, their channels side by side. Four
            of them are a 2×2 block of a plane, as the latent runs along a Z-order curve.
        block_out_channels: Channels of each level, finest first; divisible by `norm_num_groups`, and by
            `attention_head_dim` where the level has attention.
        layers_per_block: Layers on each level, on the way down and again on the way up.
        attention_levels: Which levels have self- and cross-attention.
        attention_head_dim: Size of an attention head.
        cross_attention_dim: Size of a condition token (the hidden size of the text encoder).
        condition_types: Names of the kinds of condition, in the order of `encoder_type_ids`.
        has_aligned_condition: Whether ``aligned_states`` can be given: what is known of each place of the object.
        time_embed_dim: Size of the timestep embedding; None: twice the channels of the first level.
        norm_num_groups: Groups of the group norms.
        dropout: Dropout in residual blocks and feed-forward parts.

    Raises:
        ValueError: If sizes do not fit together.
    """

    _supports_gradient_checkpointing = True
    _no_split_modules = ["UNetLayer1D"]  # noqa: RUF012 (diffusers wants a list)
    _skip_layerwise_casting_patterns = ("norm", "position_embedding", "null_token", "type_embedding")

    @register_to_config
    def __init__(
        self,
        sample_size: int = 192,
        in_channels: int = 8,
        out_channels: int | None = None,
        patch_size: int = 1,
        block_out_channels: Sequence[int] = (128, 192, 256),
        layers_per_block: int = 2,
        attention_levels: Sequence[bool] = (False, True, True),
        attention_head_dim: int = 64,
        cross_attention_dim: int = 256,
        condition_types: Sequence[str] = ("text", "image"),
        has_aligned_condition: bool = False,
        time_embed_dim: int | None = None,
        norm_num_groups: int = 32,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        _check_sizes(
            sample_size, patch_size, block_out_channels, attention_levels, attention_head_dim, norm_num_groups
        )
        channels = tuple(block_out_channels)
        time_embed_dim = time_embed_dim or 2 * channels[0]
        layer: dict[str, Any] = {
            "embedding_dim": time_embed_dim,
            "cross_attention_dim": cross_attention_dim,
            "attention_head_dim": attention_head_dim,
            "norm_num_groups": norm_num_groups,
            "dropout": dropout,
        }
        self.time_projection = Timesteps(channels[0], flip_sin_to_cos=True, downscale_freq_shift=0)
        self.time_embedding = TimestepEmbedding(channels[0], time_embed_dim)
        self.condition_norm = nn.LayerNorm(cross_attention_dim)
        self.type_embedding = nn.Embedding(len(condition_types), cross_attention_dim)
        nn.init.normal_(self.type_embedding.weight, std=0.02)
        self.null_token = nn.Parameter(0.02 * torch.randn(1, 1, cross_attention_dim))
        self.pooled_projection = nn.Linear(cross_attention_dim, time_embed_dim)
        self.embedding_activation = nn.SiLU()

        self.conv_in = nn.Conv1d(in_channels * patch_size, channels[0], 3, padding=1)
        self.aligned_projection = (
            zero_init(nn.Linear(cross_attention_dim, channels[0], bias=False)) if has_aligned_condition else None
        )
        self.position_embedding = nn.Parameter(0.02 * torch.randn(1, channels[0], sample_size // patch_size))

        levels = range(len(channels))
        self.down_layers = nn.ModuleList(
            nn.ModuleList(
                UNetLayer1D(channels[level], channels[level], attention_levels[level], **layer)
                for _ in range(layers_per_block)
            )
            for level in levels
        )
        self.downsamplers = nn.ModuleList(Downsample1D(channels[i], channels[i + 1]) for i in levels[:-1])
        self.middle_layers = nn.ModuleList(
            UNetLayer1D(channels[-1], channels[-1], has_attention, **layer)
            for has_attention in (attention_levels[-1], False)
        )
        self.up_layers = nn.ModuleList(
            nn.ModuleList(
                UNetLayer1D(2 * channels[level], channels[level], attention_levels[level], **layer)
                for _ in range(layers_per_block)
            )
            for level in reversed(levels)
        )
        self.upsamplers = nn.ModuleList(Upsample1D(channels[i + 1], channels[i]) for i in reversed(levels[:-1]))
        self.norm_out = nn.GroupNorm(norm_num_groups, channels[0])
        self.activation_out = nn.SiLU()
        out_channels = (out_channels or in_channels) * patch_size
        self.conv_out = zero_init(nn.Conv1d(channels[0], out_channels, 3, padding=1))
        self.gradient_checkpointing = False

    def forward(
        self,
        sample: Tensor,
        timestep: Tensor | float | int,
        encoder_hidden_states: Tensor | None = None,
        encoder_attention_mask: Tensor | None = None,
        encoder_type_ids: Tensor | None = None,
        aligned_states: Tensor | None = None,
        return_dict: bool = True,
    ) -> UNet1DConditionOutput | tuple[Tensor]:
        """Predicts noise, clean latents or velocity.

        Args:
            sample: Noisy normalised latents [B, in_channels, L].
            timestep: Scheduler timestep, one number or [B].
            encoder_hidden_states: Condition tokens [B, S, cross_attention_dim]; None: unconditional.
            encoder_attention_mask: [B, S], 1 (or True) for tokens to keep, 0 for those to ignore; None: keep all.
            encoder_type_ids: Index into ``condition_types`` per token, [B, S] integer; None: 0.
            aligned_states: [B, L / patch_size, cross_attention_dim], added to the positions of the sequence, each
                to its own (as in T2I-Adapter, Mou et al. 2023); rows of zeros, as None, say nothing.
            return_dict: Whether to return an output object or a tuple.

        Returns:
            :class:`UNet1DConditionOutput`, or the tuple ``(sample,)``.

        Raises:
            ValueError: If a shape does not fit the configuration or the other arguments.
        """
        self.check_inputs(sample, encoder_hidden_states, encoder_attention_mask, encoder_type_ids)
        self.check_aligned(sample, aligned_states)
        embedding = self.time_embedding(self._project_timestep(timestep, sample))
        condition, bias, pooled = self.prepare_condition(
            sample, encoder_hidden_states, encoder_attention_mask, encoder_type_ids
        )
        embedding = self.embedding_activation(embedding + self.pooled_projection(pooled))
        arguments = (embedding, condition, bias)

        hidden_states = self.conv_in(patchify(sample, self.config.patch_size)) + self.position_embedding
        if aligned_states is not None and self.aligned_projection is not None:
            added = self.aligned_projection(aligned_states.to(hidden_states.dtype))
            hidden_states = hidden_states + added.transpose(1, 2)
        skips = []
        for level, layers in enumerate(_levels(self.down_layers)):
            for layer in layers:
                hidden_states = self._run_layer(layer, hidden_states, *arguments)
                skips.append(hidden_states)
            if level < len(self.downsamplers):
                hidden_states = self.downsamplers[level](hidden_states)
        for layer in _layers(self.middle_layers):
            hidden_states = self._run_layer(layer, hidden_states, *arguments)
        for level, layers in enumerate(_levels(self.up_layers)):
            for layer in layers:
                hidden_states = torch.cat([hidden_states, skips.pop()], dim=1)
                hidden_states = self._run_layer(layer, hidden_states, *arguments)
            if level < len(self.upsamplers):
                hidden_states = self.upsamplers[level](hidden_states)
        output = self.conv_out(self.activation_out(self.norm_out(hidden_states)))
        output = unpatchify(output, self.config.patch_size)
        return UNet1DConditionOutput(sample=output) if return_dict else (output,)

    def prepare_condition(
        self,
        sample: Tensor,
        encoder_hidden_states: Tensor | None,
        encoder_attention_mask: Tensor | None,
        encoder_type_ids: Tensor | None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Puts the null token first, adds type embeddings and averages the kept tokens.

        Returns:
            condition: [B, 1+S, D] keys of the cross-attention.
            bias: [B, 1, 1+S] attention bias.
            pooled: [B, D] mean of the kept tokens, 0 where there are none.
        """
        batch_size = sample.shape[0]
        null = self.null_token.to(sample.dtype).expand(batch_size, -1, -1)
        if encoder_hidden_states is None:
            mask = null.new_ones(batch_size, 1)
            return null, condition_bias(mask, sample.dtype), null.new_zeros(null[:, 0].shape)
        tokens = self.condition_norm(encoder_hidden_states.to(sample.dtype))
        if encoder_type_ids is None:
            encoder_type_ids = torch.zeros(tokens.shape[:2], dtype=torch.long, device=tokens.device)
        tokens = tokens + self.type_embedding(encoder_type_ids)
        if encoder_attention_mask is None:
            mask = tokens.new_ones(tokens.shape[:2])
        else:
            mask = encoder_attention_mask.to(tokens.dtype)
        # Hidden tokens may hold anything, even NaN from an encoder's padding: 0 · NaN would spread.
        tokens = torch.where(mask[:, :, None] > 0, tokens, torch.zeros_like(tokens))
        pooled = tokens.sum(dim=1) / mask.sum(dim=1, keepdim=True).clamp(min=1)
        mask = torch.cat([mask.new_ones(batch_size, 1), mask], dim=1)
        return torch.cat([null, tokens], dim=1), condition_bias(mask, tokens.dtype), pooled

    def check_inputs(
        self,
        sample: Tensor,
        encoder_hidden_states: Tensor | None,
        encoder_attention_mask: Tensor | None,
        encoder_type_ids: Tensor | None,
    ) -> None:
        """Raises ValueError when a shape does not fit the configuration or the other arguments."""
        expected = (self.config.in_channels, self.config.sample_size)
        if sample.ndim != 3 or tuple(sample.shape[1:]) != expected:
            raise ValueError(f"sample must be [B, {expected[0]}, {expected[1]}], got {list(sample.shape)}")
        if encoder_hidden_states is None:
            if encoder_attention_mask is not None or encoder_type_ids is not None:
                raise ValueError("encoder_attention_mask and encoder_type_ids need encoder_hidden_states")
            return
        shape, dim = list(encoder_hidden_states.shape), self.config.cross_attention_dim
        if len(shape) != 3 or shape[0] != sample.shape[0] or shape[2] != dim:
            raise ValueError(f"encoder_hidden_states must be [{sample.shape[0]}, S, {dim}], got {shape}")
        for name, value in (
            ("encoder_attention_mask", encoder_attention_mask),
            ("encoder_type_ids", encoder_type_ids),
        ):
            if value is not None and list(value.shape) != shape[:2]:
                raise ValueError(f"{name} must be {shape[:2]} like the tokens, got {list(value.shape)}")

    def check_aligned(self, sample: Tensor, aligned_states: Tensor | None) -> None:
        """Raises ValueError when aligned states are not expected or have another shape."""
        if aligned_states is None:
            return
        if self.aligned_projection is None:
            raise ValueError("aligned_states need a denoiser with has_aligned_condition=True")
        length = self.config.sample_size // self.config.patch_size
        expected = [sample.shape[0], length, self.config.cross_attention_dim]
        if list(aligned_states.shape) != expected:
            raise ValueError(f"aligned_states must be {expected}, got {list(aligned_states.shape)}")

    def layers_by_length(self) -> list[tuple[list[UNetLayer1D], int]]:
        """All layers in groups, each with the length of the sequence that it works on."""
        size, deepest = self.config.sample_size // self.config.patch_size, len(self.down_layers) - 1
        down = [(layers, size >> level) for level, layers in enumerate(_levels(self.down_layers))]
        up = [(layers, size >> (deepest - level)) for level, layers in enumerate(_levels(self.up_layers))]
        return [*down, (_layers(self.middle_layers), size >> deepest), *up]

    def _project_timestep(self, timestep: Tensor | float | int, sample: Tensor) -> Tensor:
        """Sinusoids [B, C0] of the timestep, in the model's precision."""
        timesteps = torch.as_tensor(timestep, device=sample.device).reshape(-1)
        if len(timesteps) not in (1, sample.shape[0]):
            raise ValueError(f"timestep must be one number or [{sample.shape[0]}], got {list(timesteps.shape)}")
        return self.time_projection(timesteps.expand(sample.shape[0])).to(sample.dtype)

    def _run_layer(self, layer: UNetLayer1D, *arguments: Tensor) -> Tensor:
        if torch.is_grad_enabled() and self.gradient_checkpointing:
            return self._gradient_checkpointing_func(layer, *arguments)
        return layer(*arguments)


def _layers(modules: nn.Module) -> list[UNetLayer1D]:
    return list(cast(Iterable[UNetLayer1D], modules))


def _levels(modules: nn.ModuleList) -> list[list[UNetLayer1D]]:
    return [_layers(level) for level in modules]


def _check_sizes(
    sample_size: int,
    patch_size: int,
    block_out_channels: Sequence[int],
    attention_levels: Sequence[bool],
    attention_head_dim: int,
    norm_num_groups: int,
) -> None:
    if len(attention_levels) != len(block_out_channels):
        raise ValueError(
            f"attention_levels needs one entry per level: {len(block_out_channels)} levels in "
            f"block_out_channels, {len(attention_levels)} entries"
        )
    divisor = patch_size * 2 ** (len(block_out_channels) - 1)
    if sample_size < divisor or sample_size % divisor:
        raise ValueError(
            f"sample_size {sample_size} must be divisible by {divisor}, which is patch_size {patch_size} times 2 "
            f"to the power of the {len(block_out_channels) - 1} halvings: change one of the three"
        )
    for channels, has_attention in zip(block_out_channels, attention_levels):
        if channels % norm_num_groups:
            raise ValueError(
                f"block_out_channels must be divisible by norm_num_groups {norm_num_groups}, got {channels}"
            )
        if has_attention and channels % attention_head_dim:
            raise ValueError(
                f"channels of a level with attention must be divisible by attention_head_dim "
                f"{attention_head_dim}, got {channels}"
            )
