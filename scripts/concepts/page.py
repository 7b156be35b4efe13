"""The page: a template whose numbers are filled in."""

from __future__ import annotations

import re
from pathlib import Path

TEMPLATE = Path(__file__).with_name("page.md")
PLACEHOLDER = re.compile(r"\{\{(\w+)\}\}")


def names(template: str) -> list[str]:
    """The placeholders, in order."""
    return PLACEHOLDER.findall(template)


def fill(template: str, numbers: dict[str, str]) -> str:
    """The template with every ``{{name}}`` replaced.

    Raises:
        ValueError: naming placeholders without a number, or numbers without a placeholder.
    """
    wanted = set(names(template))
    if wanted != set(numbers):
        missing, unused = sorted(wanted - set(numbers)), sorted(set(numbers) - wanted)
        raise ValueError(
            f"page.md and the computed numbers differ: nothing computes {missing}, no use of {unused}."
        )
    return PLACEHOLDER.sub(lambda match: numbers[match[1]], template)


def read(template: str, page: str) -> dict[str, str]:
    """The numbers that stand in a page made of the template.

    Raises:
        ValueError: if the page was not made of it, or says one number in two ways.
    """
    pattern, found = "", {}
    parts = PLACEHOLDER.split(template)
    for index, part in enumerate(parts):
        pattern += re.escape(part) if index % 2 == 0 else r"([^\n|]+?)"
    match = re.fullmatch(pattern, page)
    if match is None:
        raise ValueError("docs/concepts.md is not what page.md makes: edit page.md and run `make concepts`.")
    for name, value in zip(parts[1::2], match.groups()):
        if found.setdefault(name, value) != value:
            raise ValueError(f"the page says {found[name]!r} and {value!r} of {name}: run `make concepts`.")
    return found
