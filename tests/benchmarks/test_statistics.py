"""Statistics of known numbers."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.statistics import Summary, growth_exponent, paired_ratio, summarize


def test_quartiles_are_numpys():
    values = [7.0, 1.0, 4.0, 9.0, 2.5, 3.0]
    summary = summarize(values)
    expected = np.quantile(values, [0.25, 0.5, 0.75])
    assert (summary.lower, summary.median, summary.upper) == pytest.approx(tuple(expected))
    assert summary.count == 6
    assert summarize([3.0]) == Summary(3.0, 3.0, 3.0, 1)
    with pytest.raises(ValueError, match="at least one value"):
        summarize([])


def test_ratios_are_taken_within_rounds():
    # the second round was ten times as slow for both
    assert paired_ratio([2.0, 20.0, 2.2], [1.0, 10.0, 1.0]) == pytest.approx(2.0)
    with pytest.raises(ValueError, match="ratios need pairs, got 1 and 2"):
        paired_ratio([1.0], [1.0, 2.0])


@pytest.mark.parametrize("exponent", [0.5, 1.0, 1.7])
def test_the_exponent_of_a_power_law(exponent):
    sizes = [10, 100, 500, 1000]
    assert growth_exponent(sizes, [3 * size**exponent for size in sizes]) == pytest.approx(exponent)


def test_growth_needs_two_sizes():
    with pytest.raises(ValueError, match="two sizes"):
        growth_exponent([5, 5], [1, 2])
