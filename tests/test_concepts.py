"""docs/concepts.md: made by its script, linked to what is there, with numbers that come out again."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from scripts.concepts import network
from scripts.concepts.__main__ import CLOSED_FORMS, IMAGES, PAGE
from scripts.concepts.page import TEMPLATE, fill, read
from scripts.concepts.scene import pipeline

ROOT = Path(__file__).parents[1]
TEXT = PAGE.read_text(encoding="utf-8")
SECTIONS = re.split(r"^## ", TEXT, flags=re.MULTILINE)[1:]
LINKS = re.findall(r"\[`([\w.]+)`\]\(\.\./(diffgs_diffusers/[\w/]+\.py)\)", TEXT)
SHOWN = re.findall(r"!\[[^\]]+\]\(images/concepts/(\w+\.png)\)", TEXT)


def page_numbers() -> dict[str, str]:
    return read(TEMPLATE.read_text(encoding="utf-8"), TEXT)


def assert_as_on_the_page(computed: dict[str, str]) -> None:
    """Equal to one unit of the last digit: machines round sums differently."""
    page = page_numbers()
    for name, value in computed.items():
        if value.isalpha():
            assert value == page[name]
            continue
        decimals = len(page[name].partition(".")[2])
        assert float(value) == pytest.approx(float(page[name]), abs=1.01 * 10**-decimals), name


def test_the_page_is_its_template_filled_in() -> None:
    assert fill(TEMPLATE.read_text(encoding="utf-8"), page_numbers()) == TEXT


@pytest.mark.parametrize("draw", CLOSED_FORMS, ids=lambda function: function.__name__)
def test_closed_forms_come_out_as_on_the_page(draw: Callable[[Path], dict[str, str]], tmp_path: Path) -> None:
    assert_as_on_the_page(draw(tmp_path))
    assert [path.name for path in tmp_path.iterdir()] == [Path(_written_by(draw)[0]).name]


DRAWN_QUICKLY = [network.timestep_embedding, network.unet, network.cross_attention]


@pytest.mark.parametrize("draw", DRAWN_QUICKLY, ids=lambda function: function.__name__)
def test_what_is_said_of_the_checkpoint_is_true_of_it(draw: Callable[..., dict[str, str]], tmp_path: Path) -> None:
    assert_as_on_the_page(draw(tmp_path, pipeline()))


@pytest.mark.parametrize(("name", "file"), sorted(set(LINKS)), ids=lambda value: value)
def test_linked_functions_are_where_the_link_leads(name: str, file: str) -> None:
    module, _, attribute = f"diffgs_diffusers.{name}".rpartition(".")
    found: Any = getattr(import_module(module), attribute)
    assert inspect.getsourcefile(inspect.unwrap(found)) == str(ROOT / file)
    assert inspect.getdoc(found)


@pytest.mark.parametrize("section", SECTIONS, ids=lambda section: section.splitlines()[0])
def test_every_idea_has_its_picture_its_function_its_test_and_its_equation(section: str) -> None:
    assert "](images/concepts/" in section
    assert re.search(r"\[`[\w.]+`\]\(\.\./diffgs_diffusers/", section)
    assert re.search(r"\[test\]\(\.\./tests/[\w/]+\.py\)", section)
    assert "$$" in section or section.startswith("1. ")  # the first section says what the problem is


def _written_by(function: Callable[..., Any]) -> list[str]:
    return re.findall(r'folder / "(\w+\.png)"', inspect.getsource(function))


def test_the_script_draws_what_the_page_shows_and_nothing_else() -> None:
    sources = [path.read_text(encoding="utf-8") for path in (ROOT / "scripts/concepts").glob("*.py")]
    drawn = re.findall(r'folder / "(\w+\.png)"', "\n".join(sources))
    assert sorted(drawn) == sorted(SHOWN) == sorted(path.name for path in IMAGES.iterdir())


def test_pictures_are_small() -> None:
    files = list(IMAGES.iterdir())
    assert sum(path.stat().st_size for path in files) < 1_500_000
    for path in files:
        with Image.open(path) as picture:
            assert picture.width <= 1300, path.name


def test_a_number_that_nobody_computes_is_named() -> None:
    with pytest.raises(ValueError, match=r"computes \['b'\], no use of \['c'\]"):
        fill("{{a}} and {{b}}", {"a": "1", "c": "2"})


def test_a_page_edited_by_hand_is_found() -> None:
    assert read("a {{n}} b {{n}}\n", "a 1.5 b 1.5\n") == {"n": "1.5"}
    with pytest.raises(ValueError, match=r"not what page\.md makes"):
        read("a {{n}}\n", "b 1\n")
    with pytest.raises(ValueError, match="says '1' and '2' of n"):
        read("{{n}} and {{n}}", "1 and 2")
