"""Ranges of work over Python threads; the kernels release the interpreter lock.

Numba's own thread pools are avoided: one of them ends the process when two Python threads render at once, another
when a process forks after its first render (data loader workers).
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import torch

_pools: dict[tuple[int, int], ThreadPoolExecutor] = {}


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

    The calling thread takes part, so that few items cost little more than a loop.
    """
    waiting = deque(items)

    def work() -> None:
        while True:
            try:
                item = waiting.popleft()
            except IndexError:
                return
            function(*item, *arguments)

    threads = min(torch.get_num_threads(), len(items))
    helpers = [_pool(threads - 1).submit(work) for _ in range(threads - 1)]
    try:
        work()
    finally:
        # A helper that has not begun finds nothing to do; one that has may still write to the caller's arrays.
        for helper in helpers:
            if not helper.cancel():
                helper.result()


def run_ranges(function: Callable[..., None], total: int, grain: int, *arguments: Any) -> None:
    """Call `function(first, last, *arguments)` over [0, total), on as many threads as torch may use.

    Args:
        function: a kernel that writes only what belongs to its own range, so that any split gives the same result.
        total: number of work items.
        grain: fewest items worth a thread of their own.
        arguments: passed on unchanged.
    """
    run_all(function, split(total, grain), *arguments)


def _pool(threads: int) -> ThreadPoolExecutor:
    """The pool of this process; the key holds the process because threads do not survive a fork."""
    key = (os.getpid(), threads)
    if key not in _pools:
        _pools[key] = ThreadPoolExecutor(threads, thread_name_prefix="diffgs-render")
    return _pools[key]
