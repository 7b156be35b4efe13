"""The examples of ``docs/conditions.md``, run as doctests with the checkpoint that ships."""

from __future__ import annotations

import doctest
import re
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[1] / "docs" / "conditions.md"
TEXT = PAGE.read_text(encoding="utf-8")
BLOCK = re.compile(r"^```pycon\n(.*?)^```", flags=re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("section", ["Text", "A picture", "A part", "Points", "An object", "Nothing"])
def test_every_condition_has_an_example(section: str) -> None:
    _, found = TEXT.split(f"\n## {section}\n", 1)
    assert ">>> " in found.split("\n## ", 1)[0]


def test_the_examples_give_what_the_page_shows() -> None:
    code = "\n".join(BLOCK.findall(TEXT))
    test = doctest.DocTestParser().get_doctest(code, {}, PAGE.name, str(PAGE), 0)
    assert test.examples
    report: list[str] = []
    runner = doctest.DocTestRunner(optionflags=doctest.REPORT_NDIFF)
    runner.run(test, out=report.append)
    assert runner.failures == 0, "".join(report)
