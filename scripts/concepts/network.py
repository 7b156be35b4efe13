"""Pictures of the denoiser: timestep embedding, U-Net, cross-attention, guidance."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch
from torch import Tensor

from diffgs_diffusers import DiffGSPipeline, UNet1DConditionModel
from diffgs_diffusers.functional.triplane import sequence_to_planes
from diffgs_diffusers.models.unet_1d_blocks import TransformerBlock1D, UNetLayer1D

from . import style
from .scene import PROMPT, SEED, generated, picture

Numbers = dict[str, str]


@torch.no_grad()
def timestep_embedding(folder: Path, pipe: DiffGSPipeline) -> Numbers:
    """The sinusoids of every timestep, and how alike timesteps look before and after the learned layers."""
    unet = pipe.unet
    sinusoids = unet.time_projection(torch.arange(1000))
    learned = unet.time_embedding(sinusoids)
    figure, axes = style.panels(2, 2.4, width_ratios=[1.3, 1])
    image = axes[0].imshow(
        sinusoids.T.numpy(), aspect="auto", cmap="RdBu_r", vmin=-1, vmax=1, interpolation="antialiased"
    )
    axes[0].set(xlabel="$t$", ylabel="channel", title="the sinusoids: cosines above, sines below")
    figure.colorbar(image, ax=axes[0], ticks=[-1, 0, 1], shrink=0.9)
    for values, color, label in (
        (sinusoids, style.BLUE, "sinusoids"),
        (learned, style.VERMILION, "after the two learned layers"),
    ):
        alike = torch.nn.functional.cosine_similarity(values, values[500:501])
        axes[1].plot(alike, color=color, label=label)
    axes[1].set(xlabel="$t$", title="cosine similarity to $t$ = 500", ylim=(-0.5, 1.45))
    axes[1].legend(loc="upper center", ncols=2, fontsize=8, borderpad=0)
    style.save(figure, folder / "timestep.png")
    return {"time_channels": str(sinusoids.shape[1]), "embedding_size": str(learned.shape[1])}


def unet(folder: Path, pipe: DiffGSPipeline) -> Numbers:
    """The shipped denoiser, drawn from its own layers."""
    model = pipe.unet
    groups = model.layers_by_length()
    middle, count = len(groups) // 2, len(model.config.block_out_channels)
    figure, axis = style.panels(1, 3.3)
    places = []
    for index, (layers, length) in enumerate(groups):
        depth = min(index, len(groups) - 1 - index)
        places.append((index * 1.0, -depth * 1.0))
        channels = layers[-1].residual.conv2.out_channels
        _box(axis, places[-1], f"{_kinds(layers)}\n{length} positions\n{channels} channels", layers)
    for index, (start, end) in enumerate(pairwise(places)):
        before, after = groups[index][1], groups[index + 1][1]
        _arrow(axis, start, end, "" if before == after else "halve" if before > after else "double")
    for index in range(count):
        _arrow(axis, places[index], places[-1 - index], "skip", dashed=True)
    axis.text(-0.95, 0, "$x_t$", ha="center", va="center", fontsize=12)
    _arrow(axis, (-0.95, 0), places[0], "")
    axis.text(places[-1][0] + 0.95, 0, "output", ha="center", va="center")
    _arrow(axis, places[-1], (places[-1][0] + 1.05, 0), "")
    axis.text(
        places[middle][0],
        0.62,
        "R: residual block, told of $t$     T: transformer block, self- and cross-attention",
        ha="center",
    )
    axis.set(xlim=(-1.2, places[-1][0] + 1.3), ylim=(-middle - 0.45, 0.8))
    style.bare(axis)
    style.save(figure, folder / "unet.png")
    layers = [layer for group, _ in groups for layer in group]
    return {
        "unet_parameters": f"{sum(value.numel() for value in model.parameters()) / 1e6:.1f}",
        "unet_residual_blocks": str(len(layers)),
        "unet_transformer_blocks": str(sum(layer.transformer is not None for layer in layers)),
        "unet_residual_share": _share(model, "residual"),
        "unet_transformer_share": _share(model, "transformer"),
    }


def _kinds(layers: list[UNetLayer1D]) -> str:
    return " ".join("R T" if layer.transformer is not None else "R" for layer in layers)


def _share(model: UNet1DConditionModel, part: str) -> str:
    """Per cent of the parameters in modules of this name."""
    inside = sum(value.numel() for name, value in model.named_parameters() if f".{part}." in name)
    return f"{100 * inside / sum(value.numel() for value in model.parameters()):.0f}"


def _box(axis: Any, place: tuple[float, float], text: str, layers: list[UNetLayer1D]) -> None:
    attends = any(layer.transformer is not None for layer in layers)
    color = "#cfe3f1" if attends else "#e8e8e8"
    box = FancyBboxPatch(
        (place[0] - 0.36, place[1] - 0.27), 0.72, 0.54, boxstyle="round,pad=0.02", fc=color, ec="black", lw=0.8
    )
    axis.add_patch(box)
    axis.text(*place, text, ha="center", va="center", fontsize=8)


def _arrow(
    axis: Any, start: tuple[float, float], end: tuple[float, float], word: str, dashed: bool = False
) -> None:
    flat, down = start[1] == end[1], start[1] > end[1]
    a = (start[0], start[1] - 0.29) if down else (start[0] + 0.38, start[1])
    b = (end[0] - 0.38, end[1]) if flat or down else (end[0], end[1] - 0.29)
    bend = "arc3" if flat else f"angle,angleA={-90 if down else 0},angleB={180 if down else 90},rad=4"
    style_options = {"ls": "--", "color": style.GREY} if dashed else {"color": "black"}
    axis.add_patch(
        FancyArrowPatch(a, b, arrowstyle="-|>", mutation_scale=8, connectionstyle=bend, lw=0.9, **style_options)
    )
    if word and flat:
        axis.text((a[0] + b[0]) / 2, a[1] + 0.05, word, ha="center", fontsize=8, color=style.GREY)
    elif word:
        axis.text((a if down else b)[0] + 0.04, (a[1] + b[1]) / 2, word, va="center", fontsize=8)


@torch.no_grad()
def cross_attention(folder: Path, pipe: DiffGSPipeline) -> Numbers:
    """Where on the planes each word is attended to, in the shipped denoiser in the middle of sampling."""
    words, weights = attention_of_words(pipe)
    size = pipe.vae.latent_resolution
    per_position = weights.repeat_interleave(3 * size**2 // len(weights), dim=0)
    planes = sequence_to_planes(per_position.T[None], size)[0]
    figure, axes = style.panels(len(words) - 1, 1.35)
    most = float(weights[:, 1:].max())
    for axis, word, maps in zip(axes, words[1:], planes[:, 1:].movedim(1, 0)):
        joined = torch.cat([torch.nn.functional.pad(one, (0, 1), value=torch.nan) for one in maps], dim=1)[:, :-1]
        image = axis.imshow(joined.numpy(), cmap="cividis", vmin=0, vmax=most)
        axis.set_title(f"{word}: {100 * maps.mean():.1f} %")
        style.bare(axis)
    figure.colorbar(image, ax=axes, shrink=0.9, aspect=8)
    style.save(figure, folder / "attention.png")
    shares = weights.mean(dim=0)
    first = int(shares[1:].argmax()) + 1
    return {
        "null_share": f"{100 * shares[0]:.0f}",
        "most_word": words[first],
        "most_attention": f"{100 * weights[:, first].max():.0f}",
    }


def attention_of_words(pipe: DiffGSPipeline) -> tuple[list[str], Tensor]:
    """Words of the prompt, the null token first, and how much [positions, words] each position looks at them.

    softmax(Q Kᵀ / √d) at one step in the middle of the schedule, the mean over the heads of the transformer blocks
    on the finest level that has any.
    """
    states, mask, _, _ = pipe.encode_prompt(PROMPT, do_classifier_free_guidance=False)
    timestep, generator = torch.tensor([500]), torch.Generator().manual_seed(0)
    clean = generated(pipe, PROMPT, SEED).latents
    noisy = pipe.scheduler.add_noise(clean, torch.randn(clean.shape, generator=generator), timestep)
    found: list[Tensor] = []

    def look(attention: Any, args: tuple[Tensor], options: dict[str, Tensor]) -> None:
        kept = options["encoder_hidden_states"][:, : int(mask.sum()) + 1]  # the null token stands first
        query, key = (
            values.unflatten(2, (attention.heads, -1)).transpose(1, 2)
            for values in (attention.to_q(args[0]), attention.to_k(kept))
        )
        found.append((query @ key.transpose(2, 3) / query.shape[-1] ** 0.5).softmax(dim=-1)[0].mean(dim=0))

    blocks = [module for module in pipe.unet.modules() if isinstance(module, TransformerBlock1D)]
    handles = [block.cross_attention.register_forward_pre_hook(look, with_kwargs=True) for block in blocks]
    pipe.unet(noisy, timestep, states, mask)
    for handle in handles:
        handle.remove()
    finest = max(len(weights) for weights in found)
    ids = pipe.tokenizer(PROMPT).input_ids
    words = [pipe.tokenizer.decode([token]).strip() for token in ids]
    weights = torch.stack([weights for weights in found if len(weights) == finest]).mean(dim=0)
    return ["nothing", "start", *words[1:-1], "end"], weights


@torch.no_grad()
def guidance(folder: Path, pipe: DiffGSPipeline) -> Numbers:
    """One noise under no prompt and under prompts, the prompt's weight growing."""
    cases = (
        (None, 1.0, "no prompt"),
        (PROMPT, 1.0, f"“{PROMPT}”\nscale 1"),
        (PROMPT, 3.0, f"“{PROMPT}”\nscale 3"),
        (PROMPT, 8.0, f"“{PROMPT}”\nscale 8"),
        ("a blue sofa", 3.0, "“a blue sofa”\nscale 3"),
    )
    figure, axes = style.panels(len(cases), 2.5)
    for axis, (prompt, scale, title) in zip(axes, cases):
        axis.imshow(picture(generated(pipe, prompt, SEED, scale).splats))
        axis.set_title(title)
        style.bare(axis)
    style.save(figure, folder / "guidance.png")
    return {}
