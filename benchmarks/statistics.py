"""Medians, quartiles, ratios and growth: the few statistics of the table."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Summary:
    """Middle and spread of repeated measurements.

    Args:
        median: of the values.
        lower: first quartile.
        upper: third quartile.
        count: number of values.
    """

    median: float
    lower: float
    upper: float
    count: int


def summarize(values: Sequence[float]) -> Summary:
    """Median and quartiles, interpolated between values; one value is all three.

    Raises:
        ValueError: if there is no value.
    """
    if not values:
        raise ValueError("a summary needs at least one value, got none")
    if len(values) == 1:
        return Summary(values[0], values[0], values[0], 1)
    lower, median, upper = statistics.quantiles(values, n=4, method="inclusive")
    return Summary(median, lower, upper, len(values))


def paired_ratio(values: Sequence[float], others: Sequence[float]) -> float:
    """Median of the ratios of values measured in the same rounds: what slows a whole round down cancels.

    Raises:
        ValueError: if the sequences differ in length or are empty.
    """
    if len(values) != len(others) or not values:
        raise ValueError(f"ratios need pairs, got {len(values)} and {len(others)} values")
    return statistics.median(value / other for value, other in zip(values, others))


def growth_exponent(sizes: Sequence[float], values: Sequence[float]) -> float:
    """k of the power law value = c · size^k, by least squares of the logarithms; 1 is linear growth.

    Args:
        sizes: two or more different positive numbers.
        values: positive, one per size.

    Raises:
        ValueError: if there are fewer than two sizes or one value for each is not given.
    """
    if len(set(sizes)) < 2 or len(sizes) != len(values):
        raise ValueError(f"growth needs two sizes and a value for each, got {len(sizes)} and {len(values)}")
    return statistics.linear_regression([math.log(size) for size in sizes], [math.log(v) for v in values]).slope
