"""Threads that take part in the calling thread's work, and stay awake for a while in case of more.

A sleeping thread is woken late: its core has gone to rest, or to another program. Between the phases of a drawing,
and from one drawing to the next, that cost two threads a tenth of their speed.
"""

from __future__ import annotations

import ctypes
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache

import numpy as np

# Looks of half a nanosecond each: after about a millisecond without work a helper leaves the core to others.
_MOST_TURNS = 2_000_000
_POLLING = 1e-4  # seconds between looks, of a caller whose helpers need longer than that
_APART = 32  # numbers: no two in one line of a cache, nor in two that are fetched together
_OMP_PAUSE_SOFT = 1
_pools: dict[tuple[int, int], ThreadPoolExecutor] = {}
_local = threading.local()


@contextmanager
def joined_by(count: int, work: Callable[[], None]) -> Iterator[None]:
    """While the caller does its own share, helpers call `work`, `count` times at most, if they come in time.

    Raises:
        BaseException: what `work` raised in a helper.
    """
    helpers = getattr(_local, "helpers", None)
    if helpers is None or helpers.process != os.getpid():
        helpers = _local.helpers = _Helpers()
    _rest_openmp()
    piece = _Piece(count, work)
    sent_for = helpers.begin(piece, count)
    try:
        yield
    finally:
        helpers.end(sent_for)
        piece.wait()


class _Piece:
    """A piece of work with places for some helpers."""

    def __init__(self, places: int, work: Callable[[], None]) -> None:
        self._work = work
        self._free = deque(range(places))
        self._done = np.zeros((places + 1, _APART), np.int64)  # 1 or more in a place's row: done
        self._errors: list[BaseException] = []

    def join(self) -> np.ndarray:
        """Do the work, if there is a place left.

        Returns:
            Where to tell that it is done.
        """
        try:
            place = self._free.pop()
        except IndexError:
            return self._done[-1]  # where nobody looks
        try:
            self._work()
        except BaseException as error:  # noqa: BLE001 - raised again in the caller, who waits for this thread
            self._errors.append(error)
        return self._done[place]

    def wait(self) -> None:
        """Give away no more places, and wait for those who have one: they may still write to the caller's arrays.

        Raises:
            BaseException: what was raised in a helper.
        """
        joined = set(range(len(self._done) - 1))
        while self._free:
            try:
                joined.remove(self._free.pop())
            except IndexError:
                break
        told = np.zeros(_APART, np.int64)
        for place in joined:
            while not _wait_awake()(self._done[place], 1, told, _MOST_TURNS):
                time.sleep(_POLLING)
        if self._errors:
            raise self._errors[0]


class _Helpers:
    """The threads that help one calling thread; they come from a pool and return to it."""

    def __init__(self) -> None:
        self.process = os.getpid()
        self._piece = self._nothing = _Piece(0, lambda: None)
        self._begun = np.zeros(_APART, np.int64)  # pieces of work, in the first number
        self._count = 0  # of helpers that are awake, or sent for
        self._counting = threading.Lock()

    def begin(self, piece: _Piece, count: int) -> list[Future[None]]:
        """Show a piece of work to those who are awake, and send for as many more as are wanted."""
        self._piece = piece
        with self._counting:
            self._begun[0] += 1
            missing = max(0, count - self._count)
            self._count += missing
        return [_pool(count).submit(self._serve) for _ in range(missing)]

    def end(self, sent_for: list[Future[None]]) -> None:
        """Keep nothing of the piece of work, and do without those who have not come."""
        self._piece = self._nothing
        late = sum(future.cancel() for future in sent_for)
        if late:
            with self._counting:
                self._count -= late

    def _serve(self) -> None:
        """Join in one piece of work after the other, until none has begun for a while."""
        seen = 0
        while True:
            with self._counting:
                if seen == self._begun[0]:
                    self._count -= 1
                    return
            has_begun = True
            while has_begun:
                seen, done = int(self._begun[0]), self._piece.join()
                # Nothing in between: the interpreter lock, free while this thread waits, is what the caller wants.
                has_begun = _wait_awake()(self._begun, seen + 1, done, _MOST_TURNS)


@cache
def _wait_awake() -> Callable[[np.ndarray, int, np.ndarray, int], bool]:
    from .waiting_kernels import wait_awake  # not above: numba takes half a second to import

    return wait_awake


def _pool(threads: int) -> ThreadPoolExecutor:
    """The pool of this process; the key holds the process because threads do not survive a fork."""
    key = (os.getpid(), threads)
    if key not in _pools:
        _pools[key] = ThreadPoolExecutor(threads, thread_name_prefix="diffgs-render")
    return _pools[key]


def _rest_openmp() -> None:
    """Sends torch's own threads to sleep.

    After an operation they stay awake for some ten milliseconds, in case of another one, and keep ours from their
    cores: two threads were no faster than one. Waking them takes less than a tenth of a millisecond.
    """
    pause = _openmp_pause()
    if pause is not None:
        pause(_OMP_PAUSE_SOFT)


@cache
def _openmp_pause() -> Callable[[int], int] | None:
    """`omp_pause_resource_all` (OpenMP 5.0) of the runtime that torch has loaded, if it is shown."""
    try:
        found: Callable[[int], int] = ctypes.CDLL(None).omp_pause_resource_all
    except (AttributeError, OSError, TypeError):  # another runtime, or a system without a global name space
        return None
    return found
