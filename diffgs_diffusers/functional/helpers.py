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
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache

import numpy as np

# Looks of half a nanosecond each: after about a millisecond without work a helper leaves the core to others.
_MOST_TURNS = 2_000_000
# Seconds after which it does not wait for more: others want help from the pool, and the process its end.
_LONGEST_STAY = 0.25
_POLLING = 1e-4  # seconds from look to look, of a caller whose helpers need longer than a millisecond
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
    try:
        helpers.begin(piece, count)
        yield
    finally:
        helpers.piece = _NOTHING
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
            turns = _MOST_TURNS
            while not _wait_awake()(self._done[place], 1, told, turns):
                turns = 1
                time.sleep(_POLLING)
        if self._errors:
            raise self._errors[0]


_NOTHING = _Piece(0, lambda: None)  # so that nothing of a piece of work is kept after it


class _Helpers:
    """The threads that help one calling thread; they come from a pool and return to it."""

    def __init__(self) -> None:
        self.process = os.getpid()
        self.piece = _NOTHING
        self.begun = np.zeros(_APART, np.int64)  # pieces of work, in the first number
        self.changing = threading.Lock()
        self._stays: list[_Stay] = []
        # Compiled here: a helper that did it could be at it still, with numba's lock, when its caller forks.
        _wait_awake()(self.begun, 0, np.zeros(_APART, np.int64), 1)

    def begin(self, piece: _Piece, count: int) -> None:
        """Show a piece of work to those who are awake, and send for as many more as are wanted."""
        self.piece = piece
        with self.changing:
            self.begun[0] += 1
            self._stays = [stay for stay in self._stays if not stay.is_over()]
        while len(self._stays) < count:
            self._stays.append(_Stay(self, _pool(count)))


class _Stay:
    """One thread's time with a calling thread."""

    def __init__(self, helpers: _Helpers, pool: ThreadPoolExecutor) -> None:
        self._helpers = helpers
        self._has_left = False
        self._future = pool.submit(self._serve)

    def is_over(self) -> bool:
        return self._has_left or self._future.done()

    def _serve(self) -> None:
        """Join in one piece of work after the other, until none has begun for a while."""
        helpers, seen, end = self._helpers, 0, time.monotonic() + _LONGEST_STAY
        while True:
            with helpers.changing:
                if seen == helpers.begun[0]:
                    self._has_left = True
                    return
            has_begun = True
            while has_begun:
                seen, done = int(helpers.begun[0]), helpers.piece.join()
                turns = _MOST_TURNS if time.monotonic() < end else 1
                # Nothing in between: the interpreter lock, free while this thread waits, is what the caller wants.
                has_begun = _wait_awake()(helpers.begun, seen + 1, done, turns)


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
