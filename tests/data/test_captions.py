"""Colour names, nouns, categories and the sentences made of them."""

from __future__ import annotations

import numpy as np
import pytest

from diffgs_diffusers.data.captions import compose_caption, dominant_colors
from diffgs_diffusers.data.colors import COLOR_NAMES, nearest_color_name, random_shade, rgb_to_lab
from diffgs_diffusers.data.nouns import category_of, names_for, noun_of
from diffgs_diffusers.data.vocabulary import CORRECTIONS


def test_lab_of_known_colors() -> None:
    # published values for sRGB primaries under D65
    np.testing.assert_allclose(rgb_to_lab(np.array([1.0, 0.0, 0.0])), [53.24, 80.09, 67.20], atol=0.02)
    np.testing.assert_allclose(rgb_to_lab(np.array([0.0, 0.0, 1.0])), [32.30, 79.19, -107.86], atol=0.02)
    np.testing.assert_allclose(rgb_to_lab(np.ones(3)), [100.0, 0.0, 0.0], atol=0.02)


@pytest.mark.parametrize("name", COLOR_NAMES)
def test_every_name_names_its_own_color_and_its_random_shades(name: str) -> None:
    assert nearest_color_name(np.array(COLOR_NAMES[name]) / 255) == name
    generator = np.random.default_rng(0)
    shades = [random_shade(name, generator) for _ in range(50)]
    assert {nearest_color_name(shade) for shade in shades} == {name}
    assert len({tuple(shade) for shade in shades}) > 10


@pytest.mark.parametrize(
    ("rgb", "name"),
    [
        ((200, 200, 205), "white"),
        ((10, 10, 12), "black"),
        ((150, 100, 60), "brown"),
        ((215, 195, 160), "beige"),
        ((20, 30, 90), "blue"),
        ((140, 15, 20), "red"),
        ((90, 120, 60), "green"),
        ((110, 112, 115), "grey"),
    ],
)
def test_typical_furniture_colors(rgb: tuple[int, int, int], name: str) -> None:
    shifted = tuple(value + 3 for value in rgb)
    assert nearest_color_name(np.array(shifted) / 255) == name


def test_unknown_colors_are_refused() -> None:
    with pytest.raises(ValueError, match=r"Unknown colour 'mauve'.*red"):
        random_shade("mauve", np.random.default_rng(0))


@pytest.mark.parametrize(
    ("name", "noun", "category"),
    [
        ("Teck chair", "teak chair", "chair"),
        ("Hashtray", "ashtray", "other"),
        ("Trunck", "trunk", "other"),
        ("Gaz water heater", "gas water heater", "appliance"),
        ("Wood bank", "wooden bench", "chair"),
        ("Desk", "desk", "table"),
        ("Bookcase", "bookcase", "cabinet"),
        ("Drawers cabinet", "cabinet with drawers", "cabinet"),
        ("Coffee table", "coffee table", "table"),
        ("Couch", "sofa", "sofa"),
        ("Captain's bed", "captain's bed", "bed"),
        ("Bill 10€", "10 euro banknote", "other"),
        ("Lying down female", "lying woman", "person"),
        ("Glass door cabinet", "glass door cabinet", "cabinet"),
        ("Glass door", "glass door", "door"),
        ("Table fan", "table fan", "appliance"),
        ("Desk lamp", "desk lamp", "lamp"),
        ("Seat Leon", "car", "vehicle"),
        ("Rocking horse", "rocking horse", "toy"),
        ("Something new", "something new", "other"),
    ],
)
def test_nouns_and_categories(name: str, noun: str, category: str) -> None:
    assert noun_of(name) == noun
    assert category_of(noun) == category


def test_corrections_are_final() -> None:
    for corrected in CORRECTIONS.values():
        assert noun_of(corrected) == corrected


def test_coarser_names_are_true_and_usual() -> None:
    assert names_for("armchair") == ["armchair", "chair"]
    assert names_for("wardrobe") == ["wardrobe", "cabinet"]
    assert names_for("sedan car") == ["sedan car", "car"]
    for noun in ("bar stool", "chair", "candle", "vase"):
        assert names_for(noun) == [noun]


def test_captions() -> None:
    assert compose_caption("armchair", ["red"]) == "a red armchair"
    assert compose_caption("armchair", []) == "an armchair"
    assert compose_caption("armchair", ["orange", "white"]) == "an orange and white armchair"
    assert compose_caption("slippers", ["blue"]) == "blue slippers"
    assert compose_caption("kitchen tools", []) == "kitchen tools"
    generator = np.random.default_rng(0)
    drawn = {compose_caption("armchair", ["red"], generator) for _ in range(200)}
    assert drawn == {"a red armchair", "red armchair", "a photo of a red armchair", "an armchair in red"}
    assert "slippers in blue" in {compose_caption("slippers", ["blue"], generator) for _ in range(100)}
    with pytest.raises(ValueError, match="at most two"):
        compose_caption("armchair", ["red", "blue", "green"])


def material(color: str, share: float) -> dict[str, object]:
    return {"color": color, "share": share}


def test_the_colors_that_a_caption_names() -> None:
    assert dominant_colors([material("red", 0.75), material("black", 0.25)]) == ["red"]
    assert dominant_colors([material("black", 0.4), material("red", 0.6)]) == ["red", "black"]
    parts = [material("red", 0.35), material("brown", 0.25), material("red", 0.05), material("brown", 0.35)]
    assert dominant_colors(parts) == ["brown", "red"], "materials of one colour count together"
    assert dominant_colors([]) == []
    assert dominant_colors([material("red", 1.0)], category="person") == []
