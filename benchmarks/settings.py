"""What a run of the benchmarks was asked for."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypedDict, TypeVar

T = TypeVar("T")


class Timing(TypedDict):
    """The arguments of :func:`benchmarks.timing.alternate` that all subjects share."""

    rounds: int
    budget: float


@dataclass(frozen=True)
class Settings:
    """Settings of all subjects.

    Args:
        quick: tiny sizes, to see that everything runs; the numbers mean nothing.
        threads: torch threads, except where a subject compares numbers of threads.
        rounds: how often each competitor runs.
        budget: seconds for the rounds of one comparison, see :func:`benchmarks.timing.alternate`.
        fraction: of the queries of the original's extraction that are really made; its time is extrapolated.
    """

    quick: bool = False
    threads: int = 1
    rounds: int = 9
    budget: float = 30.0
    fraction: float = 0.01

    def __post_init__(self) -> None:
        if self.threads < 1 or self.rounds < 1:
            raise ValueError(f"threads and rounds must be at least 1, got {self.threads} and {self.rounds}")
        if not 0 < self.fraction <= 1:
            raise ValueError(f"fraction must be above 0 and at most 1, got {self.fraction}")

    def pick(self, full: Sequence[T], quick: Sequence[T]) -> Sequence[T]:
        """The sizes for this run."""
        return quick if self.quick else full

    @property
    def timing(self) -> Timing:
        """How often and how long a comparison runs."""
        return {"rounds": self.rounds, "budget": self.budget}


def available_cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
