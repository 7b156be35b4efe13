"""Splits: sizes, families on one side, categories in proportion, and independence of order."""

from __future__ import annotations

from collections import Counter

import pytest

from diffgs_diffusers.data.splits import split_objects


def test_sizes_for_a_large_and_a_small_set() -> None:
    ids = [f"{chr(97 + index % 26)}{index}x" for index in range(820)]
    assert Counter(split_objects(ids, ["chair"] * 820)) == {"train": 740, "validation": 40, "test": 40}
    assert Counter(split_objects(ids[:100], ["chair"] * 100)) == {"train": 90, "validation": 5, "test": 5}
    assert set(split_objects(ids[:5], ["chair"] * 5)) == {"train"}


def test_every_large_category_is_held_out_in_proportion() -> None:
    ids = [f"object {index} of it" for index in range(400)]
    categories = ["chair"] * 200 + ["table"] * 100 + ["lamp"] * 100
    splits = split_objects(ids, categories, seed=3)
    held_out = Counter(category for category, split in zip(categories, splits) if split == "validation")
    assert sum(held_out.values()) == 20
    assert 7 <= held_out["chair"] <= 13
    assert min(held_out["table"], held_out["lamp"]) >= 3


def test_near_identical_objects_stay_together() -> None:
    ids = [f"single-{chr(97 + i // 26)}{chr(97 + i % 26)}" for i in range(100)] + [f"plug-{i}" for i in range(60)]
    ids += [f"pair-{chr(97 + i // 2)}{i % 2}" for i in range(40)]
    for seed in range(5):
        splits = dict(zip(ids, split_objects(ids, ["other"] * 200, seed)))
        assert {splits[f"plug-{i}"] for i in range(60)} == {"train"}, "a large family would fill a split"
        for i in range(0, 40, 2):
            letter = chr(97 + i // 2)
            assert splits[f"pair-{letter}0"] == splits[f"pair-{letter}1"]


def test_the_order_of_objects_does_not_matter_and_the_seed_does() -> None:
    ids = [f"thing {index} a" for index in range(100)]
    straight = dict(zip(ids, split_objects(ids, ["chair"] * 100)))
    assert straight == dict(zip(ids[::-1], split_objects(ids[::-1], ["chair"] * 100)))
    assert straight != dict(zip(ids, split_objects(ids, ["chair"] * 100, seed=1)))


def test_double_ids_are_refused() -> None:
    with pytest.raises(ValueError, match="unique"):
        split_objects(["a", "a"], ["x", "x"])
