"""stats.jsonl: averages over what was added, clean after a resume."""

import json
import time

import pytest
import torch

from diffgs_diffusers.training.statistics import RunningStatistics, append_statistics, drop_statistics_after


def test_terms_are_summed_over_the_steps_that_had_them():
    statistics = RunningStatistics()
    statistics.add({"loss": torch.tensor(1.0, requires_grad=True), "kl": torch.tensor(4.0)}, 8, 0.0)
    statistics.add({"loss": torch.tensor(2.0)}, 8, 0.0)
    totals = {name: statistics.total(name) for name in statistics.sums}
    assert {name: value.tolist() for name, value in totals.items()} == {"loss": [3.0, 2.0], "kl": [4.0, 1.0]}
    assert not totals["loss"].requires_grad
    statistics.reset()
    assert statistics.total("loss").tolist() == [0.0, 0.0]


def test_speeds_leave_pauses_out():
    statistics = RunningStatistics()
    statistics.add({}, 10, data_seconds=0.01)
    with statistics.paused():
        time.sleep(0.3)
    statistics.started -= 0.02
    speeds = statistics.speeds()
    assert speeds["samples_per_second"] > 10 / 0.2
    assert 0.05 < speeds["data_wait_fraction"] <= 0.5


def test_lines_of_steps_to_be_repeated_are_dropped(tmp_path):
    path = tmp_path / "stats.jsonl"
    drop_statistics_after(path, 5)
    for step in (2, 4, 6):
        append_statistics(path, {"step": step, "loss": 0.5})
    with path.open("a") as file:
        file.write('{"step": 4, "lo')
    drop_statistics_after(path, 4)
    assert [json.loads(line)["step"] for line in path.read_text().splitlines()] == [2, 4]
    assert json.loads(path.read_text().splitlines()[0])["loss"] == pytest.approx(0.5)
