"""The original's denoiser: a causal transformer over the timestep, the noisy latent and a learned query."""

from __future__ import annotations

import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from torch import Tensor, nn

from ..unet_1d_condition import UNet1DConditionOutput
from .prior_blocks import GainNorm, PriorTransformerLayer, RelativePositionBias, timestep_sinusoids


class DiffGSPriorTransformer(ModelMixin, ConfigMixin):
    """Denoiser of vector latents, unconditional (DiffGS, section 3.4; DALL-E 2, Ramesh et al. 2022, section 2.2).

    The whole latent is one token. It stands in a :class:`~diffgs_diffusers.DiffGSPipeline` in place of a
    :class:`~diffgs_diffusers.UNet1DConditionModel`. The original trains it to predict the clean latent, so its
    scheduler has ``prediction_type="sample"``. Defaults are the released sizes.

    Args:
        in_channels: C of the latents.
        sample_size: L of the latents; C · L is the width of a token, an even number.
        inner_dim: width between the first and the last layer; None: that of a token.
        num_layers: layers, at least 2.
        num_attention_heads: heads of a layer's attention, which share one key and value.
        attention_head_dim: size of a head.
        feed_forward_mult: inner width of feed-forward parts over their width.
        dropout: in feed-forward parts.
        attention_dropout: of attention weights.

    Raises:
        ValueError: if sizes do not fit together.
    """

    _supports_gradient_checkpointing = True
    _no_split_modules = ["PriorTransformerLayer"]  # noqa: RUF012 (diffusers wants a list)

    @register_to_config
    def __init__(
        self,
        in_channels: int = 768,
        sample_size: int = 1,
        inner_dim: int | None = None,
        num_layers: int = 6,
        num_attention_heads: int = 8,
        attention_head_dim: int = 64,
        feed_forward_mult: float = 4.0,
        dropout: float = 0.3,
        attention_dropout: float = 0.0,
    ) -> None:
        super().__init__()
        width = in_channels * sample_size
        inner_dim = inner_dim or width
        if width % 2 or width < 4:
            raise ValueError(f"`in_channels` · `sample_size` must be even and at least 4, got {width}.")
        if num_layers < 2:
            raise ValueError(f"`num_layers` must be at least 2, got {num_layers}.")
        if attention_head_dim % 2:
            raise ValueError(f"`attention_head_dim` must be even, got {attention_head_dim}.")
        self.time_embedding = nn.Sequential(
            nn.Linear(width, 2 * width),
            nn.SiLU(),
            nn.Linear(2 * width, 2 * width),
            nn.SiLU(),
            nn.Linear(2 * width, width),
        )
        self.learned_query = nn.Parameter(torch.randn(width))
        self.position_bias = RelativePositionBias(num_attention_heads)
        widths = [width, *[inner_dim] * (num_layers - 1), width]
        self.layers = nn.ModuleList(
            PriorTransformerLayer(
                widths[index],
                widths[index + 1],
                num_attention_heads,
                attention_head_dim,
                feed_forward_mult,
                dropout,
                attention_dropout,
            )
            for index in range(num_layers)
        )
        self.norm_out = GainNorm(width, divides_by_maximum=True)
        self.proj_out = nn.Linear(width, width, bias=False)
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
        """Predicts what the scheduler's ``prediction_type`` says; the original predicts clean latents.

        Args:
            sample: noisy latents [B, in_channels, sample_size].
            timestep: of the scheduler, one number or [B].
            encoder_hidden_states, encoder_attention_mask, encoder_type_ids, aligned_states: None, as there are no
                conditions.
            return_dict: whether to return an output object or a tuple.

        Returns:
            :class:`UNet1DConditionOutput` with [B, in_channels, sample_size], or the tuple ``(sample,)``.

        Raises:
            ValueError: if a shape is wrong or a condition is given.
        """
        self.check_inputs(sample, encoder_hidden_states, encoder_attention_mask, encoder_type_ids, aligned_states)
        batch = sample.shape[0]
        timesteps = torch.as_tensor(timestep, device=sample.device).reshape(-1)
        if len(timesteps) not in (1, batch):
            raise ValueError(f"timestep must be one number or [{batch}], got {list(timesteps.shape)}")
        sinusoids = timestep_sinusoids(timesteps.expand(batch), self.learned_query.shape[0])
        time = self.time_embedding(sinusoids.to(sample.dtype))
        query = self.learned_query.to(sample.dtype).expand(batch, -1)
        hidden = torch.stack([time, sample.flatten(1), query], dim=1)
        bias = self.position_bias(hidden.shape[1])
        for layer in self.layers:
            if torch.is_grad_enabled() and self.gradient_checkpointing:
                hidden = self._gradient_checkpointing_func(layer, hidden, bias)
            else:
                hidden = layer(hidden, bias)
        # Attention is causal and the query stands last, so it has seen all; the other tokens are not needed.
        output = self.proj_out(self.norm_out(hidden[:, -1])).view_as(sample)
        return UNet1DConditionOutput(sample=output) if return_dict else (output,)

    def check_inputs(self, sample: Tensor, *conditions: Tensor | None) -> None:
        """Raises ValueError when a shape does not fit the configuration or there is a condition."""
        expected = (self.config.in_channels, self.config.sample_size)
        if sample.ndim != 3 or tuple(sample.shape[1:]) != expected:
            raise ValueError(f"sample must be [B, {expected[0]}, {expected[1]}], got {list(sample.shape)}")
        if any(condition is not None for condition in conditions):
            raise ValueError(
                "DiffGSPriorTransformer takes no conditions: leave them out, or use UNet1DConditionModel"
            )
