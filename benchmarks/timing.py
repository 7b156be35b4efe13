"""Competitors timed in turns, so that a slow minute of the machine slows all of them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from .statistics import summarize

LEAST_ROUNDS = 3
PATIENCE = 10  # budgets, after which one round is enough
_LEAST_RUNS = 4
LEAST_SECONDS = 0.05  # of a sample: shorter runs are repeated, as loops of training and viewers do


@dataclass(frozen=True)
class Sample:
    """What one run cost.

    Args:
        seconds: of wall time.
        cpu_seconds: of all threads together; None if nobody measured it.
        peak_bytes: most memory of the process, if it was one of its own.
        result: what the run returned; it is kept, so let it be small.
    """

    seconds: float
    cpu_seconds: float | None = None
    peak_bytes: int | None = None
    result: Any = None

    def followed_by(self, other: Sample) -> Sample:
        """Both, one after the other, with the other's result."""
        cpu = None
        if self.cpu_seconds is not None and other.cpu_seconds is not None:
            cpu = self.cpu_seconds + other.cpu_seconds
        return Sample(self.seconds + other.seconds, cpu, result=other.result)


class Stopwatch:
    """Wall and CPU time since it was made."""

    def __init__(self) -> None:
        self._wall, self._cpu = time.perf_counter(), time.process_time()

    def read(self, scale: float = 1.0, result: Any = None) -> Sample:
        """The time so far, times ``scale``."""
        wall, cpu = time.perf_counter() - self._wall, time.process_time() - self._cpu
        return Sample(wall * scale, cpu * scale, result=result)


def measure(competitor: Callable[[], Any]) -> Sample:
    """One run, or the mean of as many as a sample takes.

    A competitor that returns a :class:`Sample` has measured itself (in a child, or in part).
    """
    watch = Stopwatch()
    runs = 0
    while True:
        result = competitor()
        if isinstance(result, Sample):
            return result
        runs += 1
        sample = watch.read(result=result)
        if sample.seconds >= LEAST_SECONDS:
            return watch.read(1 / runs, result)


def least_disturbed(competitor: Callable[[], Any]) -> Sample:
    """The first quartile of single runs, as many as a sample takes and one that does not count.

    Others on the machine interrupt some runs, and those of two threads twice as often: a mean holds what they took.
    """
    competitor()
    seconds: list[float] = []
    while sum(seconds) < LEAST_SECONDS or len(seconds) < _LEAST_RUNS:
        watch = Stopwatch()
        competitor()
        seconds.append(watch.read().seconds)
    return Sample(summarize(seconds).lower)


def alternate(
    competitors: Mapping[str, Callable[[], Any]],
    *,
    rounds: int,
    budget: float,
    warm_up: bool = True,
) -> dict[str, list[Sample]]:
    """Runs every competitor once a round, in turns.

    Args:
        competitors: by name.
        rounds: how often each runs, after a round that does not count.
        budget: seconds after which no further round begins once there are three (or ``rounds``, if fewer); after
            ten times as long one round is enough.
        warm_up: False leaves the first round out, for competitors that take minutes.

    Returns:
        samples by name, in the order of the rounds: samples of one index belong together.
    """
    started = time.perf_counter()
    if warm_up:
        for competitor in competitors.values():
            measure(competitor)
    samples: dict[str, list[Sample]] = {name: [] for name in competitors}
    for done in range(rounds):
        elapsed = time.perf_counter() - started
        if (done >= LEAST_ROUNDS and elapsed > budget) or (done and elapsed > PATIENCE * budget):
            break
        for name, competitor in competitors.items():
            samples[name].append(measure(competitor))
    return samples


@contextmanager
def torch_threads(count: int) -> Iterator[None]:
    """torch, and our kernels with it, on ``count`` threads inside the block."""
    import torch  # not before: a process that times the command starts without it

    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
