"""Ranges of work over Python threads; the kernels release the interpreter lock.

Numba's own thread pools are avoided: one of them ends the process when two Python threads render at once, another
when a process forks after its first render (data loader workers).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, TypeVar

import torch

from .helpers import joined_by

T = TypeVar("T")
R = TypeVar("R")


def count_parts(total: int, grain: int) -> int:
    """How many parts to split `total` work items into, `grain` being the fewest worth a thread of their own."""
    threads = torch.get_num_threads()
    # Four parts a thread: parts differ in cost, and idle threads take the next one.
    return 1 if threads == 1 else max(1, min(4 * threads, -(-total // grain)))


def split(total: int, grain: int) -> list[tuple[int, int]]:
    """Ranges (first, last) that cover [0, total), nearly equal in length."""
    parts = count_parts(total, grain)
    return [(total * part // parts, total * (part + 1) // parts) for part in range(parts)]


def run_all(function: Callable[..., None], items: Sequence[tuple[Any, ...]], *arguments: Any) -> None:
    """Call `function(*item, *arguments)` for every item, on as many threads as torch may use.

    The calling thread takes part, so that few items cost little more than a loop. It begins with the first items,
    the others with the last: over several calls a range then stays with the core that has it in its cache.
    """
    waiting = deque(items)

    def work(take: Callable[[], tuple[Any, ...]]) -> None:
        while True:
            try:
                item = take()
            except IndexError:
                return
            function(*item, *arguments)

    threads = min(torch.get_num_threads(), len(items))
    if threads < 2:
        work(waiting.popleft)
    else:
        with joined_by(threads - 1, partial(work, waiting.pop)):
            work(waiting.popleft)


def map_parts(function: Callable[[T], R], parts: Sequence[T], device: torch.device) -> list[R]:
    """`function(part)` for every part, on as many threads as torch may use, each of which works alone.

    torch's own threads meet after every operation, which takes a third of the time where operations are short. Here
    they never do, and what comes out does not depend on how many there are.

    Args:
        function: called with the caller's modes: gradients or none, autocast.
        parts: of the work.
        device: on which it is done; on another than the CPU the parts follow each other.
    """
    if device.type != "cpu":
        return [function(part) for part in parts]
    threads, has_gradients = torch.get_num_threads(), torch.is_grad_enabled()
    dtype, is_autocast = torch.get_autocast_dtype("cpu"), torch.is_autocast_enabled("cpu")
    results: dict[int, R] = {}

    def work(index: int) -> None:
        torch.get_num_threads()  # a new thread takes its number over at the first question, whatever it was told
        torch.set_num_threads(1)
        try:
            with torch.set_grad_enabled(has_gradients), torch.autocast("cpu", dtype, enabled=is_autocast):
                results[index] = function(parts[index])
        finally:
            torch.set_num_threads(threads)

    run_all(work, [(index,) for index in range(len(parts))])
    return [results[index] for index in range(len(parts))]


def run_ranges(function: Callable[..., None], total: int, grain: int, *arguments: Any) -> None:
    """Call `function(first, last, *arguments)` over [0, total), on as many threads as torch may use.

    Args:
        function: a kernel that writes only what belongs to its own range, so that any split gives the same result.
        total: number of work items.
        grain: fewest items worth a thread of their own.
        arguments: passed on unchanged.
    """
    run_all(function, split(total, grain), *arguments)
