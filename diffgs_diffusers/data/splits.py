"""Which objects are trained on: whole families to one side, every category on all sides."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

HELD_OUT_SHARE = 0.05
MOST_HELD_OUT = 40  # beyond this a larger held-out set costs training objects and says little more


def split_objects(ids: Sequence[str], categories: Sequence[str], seed: int = 0) -> list[str]:
    """Assigns every object to "train", "validation" or "test".

    Five per cent each for validation and test, at most 40 objects each, spread over the categories in proportion.
    Objects whose ids differ only in a trailing number or size are near-identical and stay together.

    Args:
        ids: unique names; their order does not matter.
        categories: of the same length.
        seed: of the draw.

    Returns:
        The split of each object, in the order of ``ids``.

    Raises:
        ValueError: if an id occurs twice.
    """
    if len(set(ids)) != len(ids):
        raise ValueError("Object ids must be unique.")
    count = min(round(HELD_OUT_SHARE * len(ids)), MOST_HELD_OUT)
    generator = np.random.default_rng(seed)
    families: dict[str, list[int]] = {}
    for index in sorted(range(len(ids)), key=lambda index: ids[index]):
        families.setdefault(_family(ids[index]), []).append(index)
    order = _stratified_order(list(families.values()), categories, generator)
    splits = ["train"] * len(ids)
    room = {"validation": count, "test": count}
    for members in order:
        # single objects and small families only: a large family would fill a split with copies
        name = max(room, key=lambda key: room[key])
        if len(members) <= min(room[name], 3):
            room[name] -= len(members)
            for index in members:
                splits[index] = name
        if not any(room.values()):
            break
    return splits


def _stratified_order(
    families: list[list[int]], categories: Sequence[str], generator: np.random.Generator
) -> list[list[int]]:
    """Families in an order of which every prefix holds the categories in proportion."""
    strata: dict[str, list[list[int]]] = {}
    for position in generator.permutation(len(families)):
        strata.setdefault(categories[families[position][0]], []).append(families[position])
    keyed = []
    for members in strata.values():
        start = generator.random()
        keyed += [((rank + start) / len(members), family) for rank, family in enumerate(members)]
    return [family for _, family in sorted(keyed, key=lambda item: item[0])]


def _family(name: str) -> str:
    """The stem that near-identical objects share."""
    return re.sub(r"[\d_\- ]+$", "", name.lower()) or name
