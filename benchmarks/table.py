"""Rows of measurements and the one Markdown table that they are shown in."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from .statistics import Summary, paired_ratio, summarize
from .timing import Sample

OURS = "ours"
HEADER = ("subject", "case", "who", "median", "quartiles", "CPU time", "× ours", "peak memory", "more")


@dataclass(frozen=True)
class Row:
    """One line of the table.

    Args:
        subject: what is measured.
        case: sizes and settings.
        who: the competitor.
        seconds: wall time of the runs; None for a competitor that was left out.
        cpu_seconds: median CPU time of all threads.
        ratio: its time over ours in the same rounds; None where there is nothing to compare.
        peak_bytes: most memory of a process of its own.
        figures: further results by name, texts or numbers.
        note: what must be known to read the line.
    """

    subject: str
    case: str
    who: str
    seconds: Summary | None = None
    cpu_seconds: float | None = None
    ratio: float | None = None
    peak_bytes: int | None = None
    figures: Mapping[str, float | str] = field(default_factory=dict)
    note: str = ""


def make_row(
    subject: str,
    case: str,
    who: str,
    samples: Sequence[Sample],
    *,
    ours: Sequence[Sample] | None = None,
    peak_bytes: int | None = None,
    figures: Mapping[str, float | str] | None = None,
    note: str = "",
) -> Row:
    """The row of one competitor.

    Args:
        samples: of its runs.
        ours: samples of the same rounds that it is compared with.
        peak_bytes: the largest of the samples' own if None.
    """
    seconds = [sample.seconds for sample in samples]
    cpu = [sample.cpu_seconds for sample in samples if sample.cpu_seconds is not None]
    peaks = [sample.peak_bytes for sample in samples if sample.peak_bytes is not None]
    return Row(
        subject,
        case,
        who,
        summarize(seconds),
        summarize(cpu).median if cpu else None,
        None if ours is None else paired_ratio(seconds, [sample.seconds for sample in ours]),
        peak_bytes if peak_bytes is not None else max(peaks, default=None),
        dict(figures or {}),
        note,
    )


def compare(subject: str, case: str, samples: Mapping[str, Sequence[Sample]], note: str = "") -> list[Row]:
    """One row per competitor, each held against the one called "ours"."""
    ours = samples.get(OURS)
    return [
        make_row(subject, case, who, own, ours=None if who == OURS else ours, note=note)
        for who, own in samples.items()
    ]


def markdown_table(rows: Sequence[Row]) -> str:
    """All rows as a Markdown table; subject and case are named once."""
    lines = [_line(HEADER), _line(["---"] * 3 + ["--:"] * 5 + ["---"])]
    before = ("", "")
    for row in rows:
        subject = "" if row.subject == before[0] else row.subject
        case = "" if (row.subject, row.case) == before else row.case
        lines.append(_line([subject, case, *_cells(row)]))
        before = (row.subject, row.case)
    return "\n".join(lines) + "\n"


def _cells(row: Row) -> list[str]:
    seconds = row.seconds
    more = [f"{name} {value if isinstance(value, str) else number(value)}" for name, value in row.figures.items()]
    return [
        row.who,
        "—" if seconds is None else duration(seconds.median),
        "" if seconds is None or seconds.count == 1 else f"{duration(seconds.lower)} – {duration(seconds.upper)}",
        "" if row.cpu_seconds is None else duration(row.cpu_seconds),
        "" if row.ratio is None else f"{number(row.ratio)}×",
        "" if row.peak_bytes is None else memory(row.peak_bytes),
        "; ".join([*more, *([row.note] if row.note else [])]),
    ]


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def number(value: float) -> str:
    """Three significant digits, without an exponent where it can be read without."""
    if value == 0 or not math.isfinite(value):
        return f"{value:g}"
    if not 1e-4 <= abs(value) < 1e7:
        return f"{value:.2e}"
    rounded = float(f"{value:.3g}")
    return f"{rounded:,.0f}" if abs(rounded) >= 100 else f"{rounded:.3g}"


def duration(seconds: float) -> str:
    """A time in the unit that suits it."""
    for limit, factor, unit in ((1e-3, 1e6, "µs"), (1.0, 1e3, "ms")):
        if seconds < limit:
            return f"{number(seconds * factor)} {unit}"
    return f"{number(seconds)} s"


def memory(count: int) -> str:
    """Bytes as MB or GB."""
    return f"{number(count / 1e9)} GB" if count >= 1e9 else f"{number(count / 1e6)} MB"
