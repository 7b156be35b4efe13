"""Which objects are trained on: whole families to one side, every category on all sides."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np

HELD_OUT_SHARE = 0.05
LARGEST_HELD_OUT_FAMILY = 3
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
    room, held_out = 2 * count, []
    for members in _stratified_order(list(families.values()), categories, generator):
        # single objects and small families only: a large family would fill a split with copies
        if len(members) <= min(room, count, LARGEST_HELD_OUT_FAMILY):
            room -= len(members)
            held_out.append(members)
    splits = ["train"] * len(ids)
    for name, members in _halves(held_out, categories, count):
        for index in members:
            splits[index] = name
    return splits


def _halves(held_out: list[list[int]], categories: Sequence[str], count: int) -> Iterator[tuple[str, list[int]]]:
    """Shares families between validation and test, each category evenly, single objects last to fill the gaps."""
    totals: Counter[str] = Counter()
    per_category: Counter[tuple[str, str]] = Counter()
    for members in sorted(held_out, key=lambda members: (-len(members), categories[members[0]])):
        category = categories[members[0]]
        open_splits = [name for name in ("validation", "test") if totals[name] + len(members) <= count]
        if not open_splits:
            continue
        name = min(open_splits, key=lambda name: (per_category[name, category], totals[name]))
        totals[name] += len(members)
        per_category[name, category] += len(members)
        yield name, members


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
