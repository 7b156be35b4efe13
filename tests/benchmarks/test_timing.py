"""Turns, clocks, children and counted arithmetic."""

from __future__ import annotations

import time
from itertools import groupby

import pytest
import torch

from benchmarks.flops import count_flops, gemm_peak, square_gemm
from benchmarks.machine import describe_machine
from benchmarks.neighbour import Neighbour
from benchmarks.processes import peak_memory, run_python
from benchmarks.settings import Settings
from benchmarks.timing import Sample, alternate, least_disturbed, measure, torch_threads


def test_competitors_take_turns():
    calls: list[str] = []
    samples = alternate({"a": lambda: calls.append("a"), "b": lambda: calls.append("b")}, rounds=3, budget=60)
    turns = [name for name, _ in groupby(calls)]
    assert "".join(turns) == "ab" * 4, "one round does not count"
    assert [len(own) for own in samples.values()] == [3, 3]


def test_interrupted_runs_do_not_count():
    naps = iter([0.3, 0.01, 0.2, 0.01, 0.2, 0.01])
    assert 0.01 <= least_disturbed(lambda: time.sleep(next(naps))).seconds < 0.1
    assert next(naps) == 0.01, "enough after four runs and one that does not count"


@pytest.mark.parametrize(("budget", "expected"), [(0.02, 3), (0.001, 1), (60, 5)])
def test_rounds_end_with_the_budget(budget, expected):
    samples = alternate({"a": lambda: time.sleep(0.02)}, rounds=5, budget=budget, warm_up=False)
    assert len(samples["a"]) == expected


def test_wall_and_cpu_time_differ():
    asleep = measure(lambda: time.sleep(0.05))
    assert asleep.seconds >= 0.05 and asleep.cpu_seconds is not None and asleep.cpu_seconds < 0.04
    calls: list[float] = []
    short = measure(lambda: (time.sleep(0.01), calls.append(0.0), 7)[2])
    assert short.result == 7 and 2 <= len(calls) <= 5, "short runs are repeated"
    assert 0.01 <= short.seconds < 0.04, "and their mean counts"
    own = Sample(12.0, 24.0, result="extrapolated")
    assert measure(lambda: own) is own
    assert own.followed_by(Sample(1.0, 2.0, result="later")) == Sample(13.0, 26.0, result="later")
    assert own.followed_by(Sample(1.0)).cpu_seconds is None


def test_children():
    filled = run_python(["-c", "x = bytearray(300_000_000); print(len(x))"])
    assert filled.result.strip() == "300000000"
    assert filled.seconds > 0 and filled.cpu_seconds is not None and filled.cpu_seconds > 0
    with pytest.raises(RuntimeError, match=r"(?s)ended with code 3:.*nonsense"):
        run_python(["-c", "import sys; print('nonsense', file=sys.stderr); sys.exit(3)"])


def test_peak_memory_is_that_of_the_child_alone():
    held = torch.ones(50_000_000)  # 200 MB that a fork would count
    code = "from benchmarks.processes import peak_memory; print(peak_memory())"
    assert int(run_python(["-c", code]).result) < peak_memory() - 0.5 * held.nbytes


def test_operations_are_counted():
    layer = torch.nn.Linear(30, 50)
    assert count_flops(lambda: layer(torch.zeros(7, 30))) == 2 * 7 * 30 * 50
    product, operations = square_gemm(16, torch.float32)
    assert count_flops(product) == operations == 2 * 16**3
    assert gemm_peak(torch.float32, sizes=(64,), repetitions=1) > 1e6


def test_threads_are_given_back():
    before = torch.get_num_threads()
    with torch_threads(before + 1):
        assert torch.get_num_threads() == before + 1
    assert torch.get_num_threads() == before


def test_the_machine_in_words_names_no_place():
    words = describe_machine(Settings(quick=True))
    assert {"processor", "memory", "threads", "GEMM peak", "versions"} <= set(words)
    assert not any("/" in value.replace("GFLOP/s", "") for value in words.values())


@pytest.mark.parametrize("settings", [{"threads": 0}, {"rounds": 0}, {"fraction": 0.0}, {"fraction": 1.5}])
def test_settings_that_cannot_be(settings):
    with pytest.raises(ValueError, match=next(iter(settings))):
        Settings(**settings)


def count_in_file(path):
    """What a neighbour does: a byte more in a file, every millisecond."""

    def work():
        time.sleep(0.001)
        with open(path, "ab") as file:
            file.write(b".")

    return work


def test_a_neighbour_works_while_it_is_asked_to(tmp_path):
    path = tmp_path / "work"
    sizes: list[int] = []

    def look():
        sizes.append(path.stat().st_size)
        time.sleep(0.2)
        sizes.append(path.stat().st_size)

    with Neighbour(count_in_file) as neighbour:
        for _ in range(2):
            with neighbour.working(str(path)):
                look()
            assert sizes[-1] > sizes[-2], "it works beside us"
            rest = path.stat().st_size
            time.sleep(0.02)
            assert path.stat().st_size == rest, "and stops with us"
