"""Captions: a noun and the colours one sees, in a few plain templates."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from .colors import COLOR_NAMES
from .nouns import is_plural

__all__ = ["COLOR_NAMES", "colors_in", "compose_caption", "dominant_colors"]

# The share of the visible surface from which a second colour is worth a word.
SECOND_COLOR_SHARE = 0.3


def compose_caption(noun: str, colors: Sequence[str], generator: np.random.Generator | None = None) -> str:
    """A caption such as "a red armchair".

    Args:
        noun: what the object is.
        colors: none, one or two colour names, the dominant one first.
        generator: draws one of the templates; None takes the plainest one.

    Raises:
        ValueError: if there are more than two colours.

    Example:
        >>> compose_caption("armchair", ["red"])
        'a red armchair'
    """
    if len(colors) > 2:
        raise ValueError(f"A caption names at most two colours, got {list(colors)}.")
    joined = " and ".join(colors)
    described = f"{joined} {noun}".strip()
    templates = [_with_article(described, noun), described, f"a photo of {_with_article(described, noun)}"]
    if colors:
        templates.append(f"{_with_article(noun, noun)} in {joined}")
    if generator is None:
        return templates[0]
    return templates[generator.choice(len(templates), p=_weights(len(templates)))]


def colors_in(caption: str, names: Sequence[str]) -> list[str]:
    """The colour names in a caption, in its order, apart from those that belong to the object's own name.

    Args:
        caption: from :func:`compose_caption`.
        names: all that the object may be called.

    Example:
        >>> colors_in("a red and white orange tree", ["orange tree"])
        ['red', 'white']
    """
    for name in sorted(names, key=len, reverse=True):
        caption = re.sub(rf"\b{re.escape(name)}\b", " ", caption)
    return [word for word in re.findall(r"[a-z]+", caption.lower()) if word in COLOR_NAMES]


def dominant_colors(materials: Sequence[dict[str, Any]], category: str = "other") -> list[str]:
    """The one or two colour names of an object, from its materials' ``color`` and ``share``.

    Materials of one colour count together. A second colour is named from 30 % of the visible surface. People are
    not called by the colour of their clothes.
    """
    if category == "person":
        return []
    shares: dict[str, float] = {}
    for material in materials:
        shares[material["color"]] = shares.get(material["color"], 0.0) + material["share"]
    ranked = sorted(shares.items(), key=lambda item: -item[1])
    total = sum(shares.values())
    worth_naming = 1 + (len(ranked) > 1 and ranked[1][1] > SECOND_COLOR_SHARE * total)
    return [name for name, _ in ranked[:worth_naming]]


def _weights(count: int) -> list[float]:
    """The template with an article is the commonest prompt."""
    return [0.4] + [0.6 / (count - 1)] * (count - 1)


def _with_article(words: str, noun: str) -> str:
    if is_plural(noun):
        return words
    return f"{'an' if words[0] in 'aeiou' else 'a'} {words}"
