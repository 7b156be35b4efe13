"""The results on disk: one JSON file to go on from, one Markdown page to read."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from diffgs_diffusers.io import atomic_write

from .statistics import Summary
from .table import Row, markdown_table

INTRODUCTION = """\
# Benchmarks

Written by `python -m benchmarks` (`make bench`); `benchmarks/` says how each line is measured. Competitors take
turns in one run; what takes less than 50 ms is repeated in its turn, and the mean counts. **median** and
**quartiles** are of wall time, a row without quartiles was run once; **CPU time** is of all threads, **× ours** is
the median of the ratios within the rounds, **peak memory** is that of a process of its own. **Of the peak** is the
fastest round of heads against the fastest of matrix products, the median in brackets; products that folding saves
count as done, so that it may pass 100 %. **Times as fast as one thread**, of ours, has rounds of its own:
the median of their ratios, where the first quartile of single runs counts for a turn, as others on the machine
interrupt two threads more often than one. **Two processes** of one thread, measured in the same way, are as many
times as fast as one: that is what the machine has to give to a second thread. The rasteriser is beside
torch alone, as no other renderer to install was found that draws on a CPU: gsplat, gaussian-splatting and splatkit
need CUDA.
"""


class Report:
    """Measurements by subject, each with the machine that it was measured on.

    Args:
        folder: where ``benchmarks.md`` and ``results/benchmarks.json`` are.
    """

    def __init__(self, folder: Path) -> None:
        self.page, self.results = folder / "benchmarks.md", folder / "results" / "benchmarks.json"
        self.subjects: dict[str, dict[str, Any]] = {}
        if self.results.exists():
            self.subjects = json.loads(self.results.read_text(encoding="utf-8"))

    def add(self, subject: str, machine: Mapping[str, str], rows: Sequence[Row]) -> None:
        """Replaces what is known of a subject and writes both files; other subjects stay."""
        self.subjects[subject] = {"machine": dict(machine), "rows": [asdict(row) for row in rows]}
        self.results.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(self.results) as stream:
            stream.write((json.dumps(self.subjects, indent=1, ensure_ascii=False) + "\n").encode())
        with atomic_write(self.page) as stream:
            stream.write(self.markdown().encode())

    def markdown(self) -> str:
        """The page."""
        rows = [read_row(row) for content in self.subjects.values() for row in content["rows"]]
        return "\n".join([INTRODUCTION, *self._machines(), markdown_table(rows)])

    def _machines(self) -> list[str]:
        """A paragraph for each machine, naming its subjects where there are several machines."""
        machines: dict[str, list[str]] = {}
        for subject, content in self.subjects.items():
            words = "; ".join(f"{name}: {value}" for name, value in content["machine"].items())
            machines.setdefault(words, []).append(subject)
        if len(machines) == 1:
            return [f"**Machine** {words}.\n" for words in machines]
        return [f"**Machine of {', '.join(subjects)}** {words}.\n" for words, subjects in machines.items()]


def read_row(values: Mapping[str, Any]) -> Row:
    """A row from what JSON kept of it."""
    seconds = values["seconds"]
    return Row(**{**values, "seconds": None if seconds is None else Summary(**seconds)})
