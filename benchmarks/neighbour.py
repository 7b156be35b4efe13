"""A process that does the same beside us.

Two processes share no memory and never wait for each other: what they gain over one is what the machine gives to a
second core at that minute, and the most that a second thread can be asked for.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from multiprocessing.connection import Connection
from types import TracebackType
from typing import Any


class Neighbour:
    """A child process that, when asked to, does work over and over on one thread.

    Args:
        make: a function of a module; called with the work's arguments in the child, it returns what does it once.
    """

    def __init__(self, make: Callable[..., Callable[[], Any]]) -> None:
        context = multiprocessing.get_context("spawn")
        self._orders, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(make, theirs), daemon=True)

    def __enter__(self) -> Neighbour:
        self._process.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.terminate()
        self._process.join()

    @contextmanager
    def working(self, *arguments: Any) -> Iterator[None]:
        """Inside the block the neighbour does the work of these arguments, over and over."""
        self._orders.send(arguments)
        self._orders.recv()
        try:
            yield
        finally:
            self._orders.send(None)
            self._orders.recv()


def _serve(make: Callable[..., Callable[[], Any]], orders: Connection) -> None:
    import torch  # not before: it would be loaded in processes that time the command

    torch.set_num_threads(1)
    make = lru_cache(maxsize=1)(make)
    while True:
        work = make(*orders.recv())
        work()
        orders.send(None)
        while not orders.poll():
            work()
        orders.recv()
        orders.send(None)
