"""Helpers take part, stay for more, leave, and let nobody wait who does without them."""

from __future__ import annotations

import gc
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterator

import numpy as np
import pytest
import torch

from diffgs_diffusers.functional import helpers
from diffgs_diffusers.functional.threads import run_all

PATIENCE = 20.0  # seconds; nothing here takes one, unless it hangs


@pytest.fixture(autouse=True)
def of_its_own(monkeypatch) -> None:
    """No helpers that other tests have left."""
    monkeypatch.setattr(helpers, "_local", threading.local())


@pytest.fixture
def sent_for(monkeypatch) -> list[int]:
    """One entry for each helper that has been sent for."""
    sent: list[int] = []
    pool = helpers._pool
    monkeypatch.setattr(helpers, "_pool", lambda count: sent.append(count) or pool(count))
    return sent


@pytest.fixture
def threads() -> Iterator[int]:
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    yield 3
    torch.set_num_threads(before)


def stay_long(monkeypatch) -> None:
    """Helpers wait for a second or more."""
    monkeypatch.setattr(helpers, "_LONGEST_STAY", PATIENCE)
    monkeypatch.setattr(helpers, "_MOST_TURNS", 4_000_000_000)


def wait_for(condition: Callable[[], object]) -> bool:
    end = time.monotonic() + PATIENCE
    while not condition() and time.monotonic() < end:
        time.sleep(0.001)
    return bool(condition())


def wait_until_all_have_left() -> None:
    assert wait_for(lambda: all(stay.is_over() for stay in helpers._local.helpers._stays))


def meet(threads: int) -> set[int]:
    """Threads that have done one item each, at the same time."""
    seen: set[int] = set()
    all_are_here = threading.Barrier(threads)

    def item(_: int) -> None:
        all_are_here.wait(PATIENCE)
        seen.add(threading.get_ident())

    run_all(item, [(index,) for index in range(threads)])
    return seen


def test_helpers_stay_for_the_next_piece_of_work_and_then_leave(
    threads: int, sent_for: list[int], monkeypatch
) -> None:
    stay_long(monkeypatch)
    first = meet(threads)
    assert len(first) == threads
    assert len(sent_for) == threads - 1
    monkeypatch.setattr(helpers, "_MOST_TURNS", 1000)
    assert meet(threads) == first
    assert len(sent_for) == threads - 1
    wait_until_all_have_left()
    assert len(meet(threads)) == threads
    assert len(sent_for) == 2 * (threads - 1)


def test_helpers_do_not_stay_for_ever(sent_for: list[int], monkeypatch) -> None:
    """Though the next piece of work always begins before they have waited in vain: others may want them."""
    monkeypatch.setattr(helpers, "_LONGEST_STAY", 0.0)
    monkeypatch.setattr(helpers, "_MOST_TURNS", 100_000_000_000)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        for _ in range(3):
            assert len(meet(2)) == 2
            wait_until_all_have_left()
    finally:
        torch.set_num_threads(before)
    assert len(sent_for) == 3


def test_a_process_ends_while_a_daemon_draws() -> None:
    code = """
import threading, time, torch
from diffgs_diffusers.functional.threads import run_all
torch.set_num_threads(2)
def draw():
    while True:
        run_all(lambda index: None, [(0,), (1,)])
threading.Thread(target=draw, daemon=True).start()
time.sleep(0.5)
"""
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=60).returncode == 0


def test_helpers_are_sent_for_again_where_sending_failed(threads: int, monkeypatch) -> None:
    """The one who came is waited for."""
    pool, written = helpers._pool(threads - 1), []

    class OneLeft:
        def submit(self, serve):
            if written:
                raise RuntimeError("can't start new thread")
            future = pool.submit(serve)
            assert wait_for(lambda: written)
            return future

    def item(_: int) -> None:
        written.append(1)
        time.sleep(0.2)
        written.append(2)

    with monkeypatch.context() as patch:
        patch.setattr(helpers, "_pool", lambda _: OneLeft())
        with pytest.raises(RuntimeError, match="new thread"):
            run_all(item, [(index,) for index in range(threads)])
    assert written == [1, 2] * threads
    assert len(meet(threads)) == threads


def test_who_comes_too_late_does_nothing() -> None:
    done: list[int] = []
    piece = helpers._Piece(1, lambda: done.append(1))
    piece.wait()
    piece.join()
    assert not done


def test_no_more_helpers_than_wanted_take_part(threads: int, monkeypatch) -> None:
    """Two are awake, torch may use one."""
    stay_long(monkeypatch)
    meet(threads)
    monkeypatch.setattr(helpers, "_MOST_TURNS", 1000)
    torch.set_num_threads(2)
    seen: set[int] = set()

    def item(_: int) -> None:
        seen.add(threading.get_ident())
        time.sleep(0.01)

    run_all(item, [(index,) for index in range(20)])
    assert len(seen) == 2


def test_work_is_done_without_helpers_that_have_others_to_help() -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    is_taken, may_go, found = threading.Event(), threading.Event(), []

    def keep(index: int) -> None:
        if threading.get_ident() != owner.ident:
            is_taken.set()
        else:
            is_taken.wait(PATIENCE)
        may_go.wait(PATIENCE)

    owner = threading.Thread(target=lambda: run_all(keep, [(0,), (1,)]))
    owner.start()
    try:
        assert is_taken.wait(PATIENCE)
        run_all(lambda index: found.append((index, threading.get_ident())), [(0,), (1,), (2,)])
        assert found == [(index, threading.get_ident()) for index in range(3)]
        assert owner.is_alive()
        may_go.set()
        owner.join(PATIENCE)
        assert len(meet(2)) == 2
    finally:
        may_go.set()
        torch.set_num_threads(before)


def test_the_caller_waits_for_helpers_that_have_begun_even_where_its_own_share_fails(threads: int) -> None:
    """They write to its arrays; longer than a caller stays awake."""
    all_are_here, written = threading.Barrier(threads), np.zeros(threads)
    caller = threading.get_ident()

    def item(index: int) -> None:
        all_are_here.wait(PATIENCE)
        if threading.get_ident() == caller:
            raise KeyError(index)
        time.sleep(0.2)
        written[index] = 1

    with pytest.raises(KeyError):
        run_all(item, [(index,) for index in range(threads)])
    assert written.sum() == threads - 1


def test_errors_of_helpers_come_back_and_the_next_work_has_none(threads: int) -> None:
    all_are_here, caller = threading.Barrier(threads), threading.get_ident()

    def item(_: int) -> None:
        all_are_here.wait(PATIENCE)
        if threading.get_ident() != caller:
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        run_all(item, [(index,) for index in range(threads)])
    assert len(meet(threads)) == threads


def test_work_within_work(threads: int) -> None:
    done: list[tuple[int, int]] = []

    def outer(index: int) -> None:
        run_all(lambda inner: done.append((index, inner)), [(inner,) for inner in range(5)])

    for _ in range(20):
        done.clear()
        run_all(outer, [(index,) for index in range(7)])
        assert sorted(done) == [(index, inner) for index in range(7) for inner in range(5)]


def test_nothing_of_the_work_is_kept(threads: int) -> None:
    array = np.zeros(3)
    kept = weakref.ref(array)
    run_all(lambda index, array: None, [(0,), (1,), (2,)], array)
    del array
    wait_until_all_have_left()
    gc.collect()
    assert kept() is None


def test_helpers_that_were_awake_before_a_fork_are_not_waited_for_after_it() -> None:
    code = """
import os, threading, torch
from diffgs_diffusers.functional import helpers
from diffgs_diffusers.functional.threads import run_all
torch.set_num_threads(2)
def meet():
    both = threading.Barrier(2)
    run_all(lambda index: both.wait(20), [(0,), (1,)])
helpers._MOST_TURNS = 4_000_000_000
meet()
helpers._MOST_TURNS = 1000
child = os.fork()
meet()
if child == 0:
    os._exit(0)
raise SystemExit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
    assert subprocess.run([sys.executable, "-W", "ignore", "-c", code], check=False, timeout=60).returncode == 0
