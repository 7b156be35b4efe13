"""``stats.jsonl``: one line of averaged loss terms and speeds every few steps."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import torch


class RunningStatistics:
    """Averages loss terms and measures time between two log lines."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Forgets everything and starts the clock."""
        self.sums: dict[str, torch.Tensor] = {}
        self.counts: dict[str, int] = {}
        self.samples = 0
        self.data_seconds = 0.0
        self.started = time.perf_counter()

    def add(self, terms: Mapping[str, torch.Tensor], samples: int, data_seconds: float) -> None:
        """Adds one micro-step.

        Args:
            terms: Scalar loss terms; only copied, never synchronised with the device here.
            samples: Samples of all processes in this micro-step.
            data_seconds: Time spent waiting for the batch.
        """
        for name, value in terms.items():
            value = torch.as_tensor(value).detach().float()
            self.sums[name] = self.sums[name] + value if name in self.sums else value.clone()
            self.counts[name] = self.counts.get(name, 0) + 1
        self.samples += samples
        self.data_seconds += data_seconds

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Stops the clock for the time of the block: saving and validating are not training."""
        began = time.perf_counter()
        try:
            yield
        finally:
            self.started += time.perf_counter() - began

    def total(self, name: str) -> torch.Tensor:
        """[2]: the sum of a term, and of how many micro-steps; zeros if none had it."""
        if name not in self.sums:
            return torch.zeros(2)
        return torch.stack([self.sums[name], self.sums[name].new_tensor(self.counts[name])])

    def speeds(self) -> dict[str, float]:
        """``samples_per_second`` and ``data_wait_fraction`` since the last reset."""
        seconds = max(time.perf_counter() - self.started, 1e-9)
        return {
            "samples_per_second": self.samples / seconds,
            "data_wait_fraction": min(self.data_seconds / seconds, 1.0),
        }


def append_statistics(path: Path, values: Mapping[str, float | int]) -> None:
    """Appends one JSON line."""
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(dict(values)) + "\n")


def drop_statistics_after(path: Path, step: int) -> None:
    """Removes the lines of steps that a resumed run will do again, and a last line that was cut short."""
    if not path.exists():
        return
    kept = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            if json.loads(line)["step"] <= step:
                kept.append(line + "\n")
        except (json.JSONDecodeError, KeyError, TypeError):
            continue
    path.write_text("".join(kept), encoding="utf-8")
