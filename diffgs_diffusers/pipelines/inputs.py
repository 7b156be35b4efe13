"""Checks of a pipeline's arguments, all made before any work starts."""

from __future__ import annotations

import math
from collections.abc import Mapping
from numbers import Integral, Real
from typing import Any

import torch
from torch import Tensor

from ..extraction_settings import OriginalExtractionConfig, find_extraction
from ..models.base_vae import BaseGaussianVAE
from ..models.kinds import Denoiser, is_conditional
from .conditioning import Prompts
from .context import Context

OUTPUT_TYPES = ("gaussians", "np", "pt", "latent")


def check_count(name: str, value: Any, maximum: int | None = None, minimum: int = 1) -> None:
    """A count is an integer of at least 1, or another minimum.

    Raises:
        TypeError, ValueError: naming the argument, the rule and the value.
    """
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise TypeError(f"`{name}` must be an integer, got {value!r} ({type(value).__name__}).")
    if int(value) < minimum:
        raise ValueError(f"`{name}` must be at least {minimum}, got {value}.")
    if maximum is not None and int(value) > maximum:
        raise ValueError(f"`{name}` must be at most {maximum} with this scheduler, got {value}.")


def check_number(name: str, value: Any) -> None:
    """A finite number.

    Raises:
        TypeError, ValueError: naming the argument and the value.
    """
    if isinstance(value, bool) or not isinstance(value, Real):
        raise TypeError(f"`{name}` must be a number, got {value!r} ({type(value).__name__}).")
    if not math.isfinite(value):
        raise ValueError(f"`{name}` must be finite, got {value}.")


def check_strength(strength: Any) -> None:
    """A share of the steps, more than none.

    Raises:
        TypeError, ValueError: naming the value.
    """
    check_number("strength", strength)
    if not 0 < strength <= 1:
        raise ValueError(f"`strength` must be above 0 and at most 1, got {strength}.")


def check_texts(name: str, texts: Any) -> None:
    """A text or a list of at least one text.

    Raises:
        TypeError, ValueError: naming the argument and what is wrong.
    """
    if isinstance(texts, str):
        return
    if not isinstance(texts, list):
        raise TypeError(f"`{name}` must be a text or a list of texts, got {type(texts).__name__}.")
    if not texts:
        raise ValueError(f"`{name}` is an empty list: pass at least one text, or leave it out.")
    for index, text in enumerate(texts):
        if not isinstance(text, str):
            raise TypeError(f"`{name}[{index}]` must be a text, got {type(text).__name__}.")


def check_prompts(prompts: Prompts, num_objects: int | None, has_context: bool = False) -> None:
    """Prompts are texts, none is given twice, and what goes with them is there and of their number.

    Args:
        prompts: as they were given.
        num_objects: of an unconditional batch.
        has_context: whether there is another condition than a prompt.

    Raises:
        TypeError, ValueError: naming the argument and what is wrong.
    """
    negatives = prompts.negative_prompt_embeds if prompts.negative_prompt is None else prompts.negative_prompt
    for name in ("prompt", "negative_prompt"):
        texts = getattr(prompts, name)
        if texts is not None:
            check_texts(name, texts)
            if getattr(prompts, f"{name}_embeds") is not None:
                raise ValueError(f"Pass `{name}` or `{name}_embeds`, not both.")
    if not prompts.are_given and not has_context:
        if negatives is not None:
            raise ValueError(
                "`negative_prompt` is what guidance leads away from: it needs a `prompt`, or another condition, to "
                "lead to."
            )
    elif num_objects is not None:
        raise ValueError("`num_objects` counts unconditional objects: with a prompt use `num_objects_per_prompt`.")
    count = prompts.count
    if prompts.are_given and negatives is not None and not isinstance(negatives, str) and len(negatives) != count:
        raise ValueError(
            f"There are {len(negatives)} negative prompts for {count} of `prompt`: pass one for each, or one text."
        )


def common_count(counts: Mapping[str, int]) -> int:
    """P, the number of conditions: each kind has one for all, or one for each.

    Raises:
        ValueError: naming the kinds that do not fit each other.
    """
    most = max(counts.values(), default=1)
    if any(count not in (1, most) for count in counts.values()):
        given = " and ".join(f"{count} of `{name}`" for name, count in counts.items())
        raise ValueError(f"There are {given}: pass one for all objects, or as many of each.")
    return most


def check_context(
    context: Context,
    keep_input: bool,
    num_gaussians: int,
    image_processor: Any,
    image_encoder: Any,
    condition_encoder: Any,
    unet: Denoiser,
) -> None:
    """The pipeline can read what it was given, and a part leaves room for the rest.

    Raises:
        ValueError: naming the argument and what to do.
    """
    config = unet.config
    for name in context.counts():
        models = {"condition_encoder": condition_encoder}
        if name == "image":
            models |= {"image_encoder": image_encoder, "image_processor": image_processor}
        missing = [f"`{model}`" for model, value in models.items() if value is None]
        types, aligned = config.get("condition_types", ()), config.get("has_aligned_condition", False)
        known = "image" in types if name == "image" else aligned
        if missing or not known:
            why = f"it has no {' and '.join(missing)}" if missing else "its denoiser knows none"
            raise ValueError(f"This pipeline takes no `{name}`: {why}. Load a checkpoint that does.")
        made = condition_encoder.config
        sizes = [3 * made.resolution**2, made.cross_attention_dim]
        expected = [config.sample_size // config.patch_size, config.cross_attention_dim]
        if sizes != expected:
            raise ValueError(
                f"The condition encoder makes states {sizes} and the denoiser expects {expected}: use the one that "
                "it was trained with."
            )
    largest = max((len(part) for part in context.parts), default=0)
    if keep_input and largest >= num_gaussians:
        raise ValueError(
            f"`partial` has {largest} Gaussians, so `num_gaussians`={num_gaussians} leaves none to add: ask for "
            "more, or pass `keep_input=False`."
        )


def check_extraction(extraction: Any, context: Context, keep_input: bool) -> None:
    """The original's extraction makes an object whole: it cannot fill up a part.

    Raises:
        TypeError, ValueError: if the extraction is not known, or there is a part to keep.
    """
    if isinstance(find_extraction(extraction), OriginalExtractionConfig) and context.parts and keep_input:
        raise ValueError(
            "`extraction='original'` cannot begin with the Gaussians of `partial`: leave it out, or pass "
            "`keep_input=False`."
        )


def check_conditional(unet: Denoiser) -> None:
    """Raises ValueError if the denoiser cannot be told of a prompt."""
    if not is_conditional(unet):
        raise ValueError(
            f"This pipeline takes no `prompt`: its denoiser, a {type(unet).__name__}, takes no conditions. "
            "Leave it out, or load a checkpoint that takes one."
        )


def check_embeds(name: str, embeds: Tensor | None, mask: Tensor | None, width: int) -> None:
    """Condition states ``{name}_embeds`` are [P, S, width], ``{name}_attention_mask`` is [P, S].

    Raises:
        ValueError: naming the argument, the expected and the actual shape.
    """
    if embeds is None:
        if mask is not None:
            raise ValueError(f"`{name}_attention_mask` belongs to `{name}_embeds`, which is missing.")
        return
    if embeds.ndim != 3 or 0 in embeds.shape or embeds.shape[2] != width:
        raise ValueError(f"`{name}_embeds` must be [P, S, {width}], got {list(embeds.shape)}.")
    if mask is not None and mask.shape != embeds.shape[:2]:
        raise ValueError(
            f"`{name}_attention_mask` must be {list(embeds.shape[:2])} as the states, got {list(mask.shape)}."
        )


def check_models(vae: BaseGaussianVAE, unet: Denoiser) -> None:
    """What the denoiser makes is what the VAE decodes.

    Raises:
        ValueError: naming both shapes.
    """
    made = (unet.config.get("out_channels") or unet.config.in_channels, unet.config.sample_size)
    decoded = (vae.config.latent_channels, vae.latent_length)
    if made != decoded:
        raise ValueError(
            f"The denoiser makes latents {list(made)} and the VAE decodes {list(decoded)}: use the VAE that it was "
            "trained with."
        )


def check_text_encoder(tokenizer: Any, text_encoder: Any, width: int) -> None:
    """Texts can be encoded, to states of the width that the denoiser expects.

    Raises:
        ValueError: saying what to do.
    """
    if tokenizer is None or text_encoder is None:
        raise ValueError(
            "A prompt needs a text encoder and this pipeline has none: load a checkpoint with `tokenizer` and "
            "`text_encoder`, or pass `prompt_embeds`."
        )
    if text_encoder.config.hidden_size != width:
        raise ValueError(
            f"The text encoder's states have {text_encoder.config.hidden_size} channels and the denoiser expects "
            f"{width}: use the text encoder that it was trained with."
        )


def check_generator(generator: Any, batch_size: int) -> None:
    """None, one generator, or one for each object.

    Raises:
        TypeError, ValueError: naming what is wrong.
    """
    if generator is None or isinstance(generator, torch.Generator):
        return
    if not isinstance(generator, list) or not all(isinstance(one, torch.Generator) for one in generator):
        raise TypeError(f"`generator` must be a torch.Generator or a list of them, got {type(generator).__name__}.")
    if len(generator) != batch_size:
        raise ValueError(
            f"`generator` has {len(generator)} entries for a batch of {batch_size} objects: pass one for each, or "
            "a single one."
        )


def check_latents(latents: Tensor, shape: tuple[int, int, int]) -> None:
    """Raises ValueError unless ``latents`` has the batch's shape [B, C, L]."""
    if tuple(latents.shape) != shape:
        raise ValueError(f"`latents` must be {list(shape)} for this batch, got {list(latents.shape)}.")


def check_output_type(output_type: Any) -> None:
    """Raises ValueError unless ``output_type`` is known."""
    if output_type not in OUTPUT_TYPES:
        raise ValueError(f"`output_type` must be one of {', '.join(OUTPUT_TYPES)}; got {output_type!r}.")


def check_callback_inputs(names: list[str], known: list[str]) -> None:
    """Raises ValueError unless a callback asks for known tensors only."""
    unknown = [name for name in names if name not in known]
    if unknown:
        raise ValueError(
            f"`callback_on_step_end_tensor_inputs` may name {', '.join(known)}; got {', '.join(unknown)}."
        )
