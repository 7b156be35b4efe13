"""Rows, their table, and the files that keep them."""

from __future__ import annotations

import json

import pytest

from benchmarks.report import Report
from benchmarks.table import HEADER, OURS, Row, compare, duration, make_row, markdown_table, memory, number
from benchmarks.timing import Sample


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (number(0.0), "0"),
        (number(1234567.0), "1,230,000"),
        (number(12.345), "12.3"),
        (number(99.96), "100"),
        (number(0.0012345), "0.00123"),
        (number(3.2e-7), "3.20e-07"),
        (duration(0.5), "500 ms"),
        (duration(2.5e-5), "25 µs"),
        (duration(3512.0), "3,510 s"),
        (memory(999_000_000), "999 MB"),
        (memory(14_900_000_000), "14.9 GB"),
    ],
)
def test_numbers_in_words(text, expected):
    assert text == expected


def samples(*seconds: float) -> list[Sample]:
    return [Sample(value, 2 * value) for value in seconds]


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_competitors_are_held_against_ours():
    rows = compare("drawing", "small", {OURS: samples(1.0, 2.0, 3.0), "other": samples(4.0, 10.0, 9.0)})
    rows.append(Row("drawing", "large", "other", figures={"error": 0.5, "mode": "a|b"}, note="left out: too large"))
    header, rule, *lines = markdown_table(rows).splitlines()
    assert tuple(cells(header)) == HEADER and rule.count("|") == len(HEADER) + 1
    assert cells(lines[0]) == ["drawing", "small", "ours", "2 s", "1.5 s – 2.5 s", "4 s", "", "", ""]
    assert cells(lines[1]) == ["", "", "other", "9 s", "6.5 s – 9.5 s", "18 s", "4×", "", ""]
    assert lines[2] == "|  | large | other | — |  |  |  |  | error 0.5; mode a\\|b; left out: too large |"


def test_peaks_are_the_largest_and_cpu_time_may_be_unknown():
    row = make_row("io", "read", OURS, [Sample(1.0, None, 5), Sample(1.0, None, 9)])
    assert row.peak_bytes == 9 and row.cpu_seconds is None


def test_a_report_keeps_other_subjects(tmp_path):
    first, second = ({"cores": "2", "GEMM peak": value} for value in ("100", "200"))
    rows = compare("drawing", "small", {OURS: samples(1.0, 2.0)})
    Report(tmp_path).add("drawing", first, rows)
    Report(tmp_path).add("io", first, [Row("io", "read", OURS, figures={"bytes": 3.0})])
    page = (tmp_path / "benchmarks.md").read_text(encoding="utf-8")
    assert page.count("**Machine** cores: 2; GEMM peak: 100.") == 1
    assert "| drawing | small | ours | 1.5 s |" in page and "bytes 3" in page
    Report(tmp_path).add("io", second, [])
    page = (tmp_path / "benchmarks.md").read_text(encoding="utf-8")
    assert "**Machine of drawing** cores: 2; GEMM peak: 100." in page
    assert "**Machine of io** cores: 2; GEMM peak: 200." in page
    assert "bytes 3" not in page
    kept = json.loads((tmp_path / "results" / "benchmarks.json").read_text(encoding="utf-8"))
    assert kept["drawing"]["rows"][0]["seconds"]["median"] == 1.5
