"""Ranges of work over Python threads; the kernels release the interpreter lock.

Numba's own thread pools are avoided: one of them ends the process when two Python threads render at once, another
when a process forks after its first render (data loader workers).
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import torch

_pools: dict[tuple[int, int], ThreadPoolExecutor] = {}


def run_ranges(function: Callable[..., None], total: int, grain: int, *arguments: Any) -> None:
    """Call `function(first, last, *arguments)` over [0, total), on as many threads as torch may use.

    Args:
        function: a kernel that writes only what belongs to its own range, so that any split gives the same result.
        total: number of work items.
        grain: fewest items worth a thread of their own.
        arguments: passed on unchanged.
    """
    threads = min(torch.get_num_threads(), -(-total // grain))
    if threads <= 1:
        function(0, total, *arguments)
        return
    # Four ranges a thread: tiles differ in cost, and idle threads take the next range.
    parts = min(4 * threads, -(-total // grain))
    edges = [total * part // parts for part in range(parts + 1)]
    pool = _pool(threads)
    futures = [pool.submit(function, first, last, *arguments) for first, last in itertools.pairwise(edges)]
    for future in futures:
        future.result()


def _pool(threads: int) -> ThreadPoolExecutor:
    """The pool of this process; the key holds the process because threads do not survive a fork."""
    key = (os.getpid(), threads)
    if key not in _pools:
        _pools[key] = ThreadPoolExecutor(threads, thread_name_prefix="diffgs-render")
    return _pools[key]
