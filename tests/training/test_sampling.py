"""Data order: every object once an epoch, the same from any starting point and on any number of processes."""

from itertools import islice
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from diffgs_diffusers.training.sampling import (
    SampleKey,
    StepBatchSampler,
    build_dataloader,
    derive_seed,
    sampling_weights,
)


def take(sampler: StepBatchSampler, batches: int) -> list[SampleKey]:
    return [key for batch in islice(sampler, batches) for key in batch]


def test_every_epoch_has_every_object_once_in_another_order():
    keys = take(StepBatchSampler(size=6, batch_size=4, seed=3), batches=6)
    epochs = [[key.index for key in keys[i : i + 6]] for i in range(0, 24, 6)]
    assert all(sorted(epoch) == list(range(6)) for epoch in epochs)
    assert len(set(map(tuple, epochs))) > 1
    assert len({key.seed for key in keys}) == 24


@given(
    size=st.integers(1, 9),
    batch_size=st.integers(1, 5),
    start=st.integers(0, 30),
    processes=st.integers(1, 3),
)
def test_position_in_the_stream_alone_decides(size, batch_size, start, processes):
    """Law: reading from position p on R processes gives positions p, p + 1, … of the one stream."""
    whole = take(StepBatchSampler(size, 1, seed=5), batches=start + 2 * batch_size * processes)
    shares = []
    for rank in range(processes):
        sampler = StepBatchSampler(size, batch_size, seed=5)
        sampler.set_position(start, rank, processes)
        shares.append(list(islice(sampler, 2)))
    interleaved = [key for step in range(2) for share in shares for key in share[step]]
    assert interleaved == whole[start:]


def test_seeds_are_stable_and_apart():
    assert derive_seed(0, 1) == derive_seed(0, 1)
    assert len({derive_seed(0, 1), derive_seed(1, 0), derive_seed(0, 1, 1), derive_seed(0, 2)}) == 4
    assert 0 <= derive_seed(2**31, 10**9) < 2**63


def test_weights_decide_how_often_an_object_comes():
    weights = [1.0, 0.25, 0.25, 0.5, 2.0, 1.0]
    keys = take(StepBatchSampler(size=6, batch_size=6, seed=3, weights=weights), batches=400)
    counts = np.bincount([key.index for key in keys], minlength=6)
    np.testing.assert_allclose(counts / counts.sum(), np.array(weights) / 5.0, atol=0.01)
    first = [key.index for key in keys[:6]]
    assert first.count(4) in (2, 3)
    with pytest.raises(ValueError, match="6 positive numbers"):
        StepBatchSampler(size=6, batch_size=1, seed=3, weights=[1.0, 0.0, 1.0, 1.0, 1.0, 1.0])


def test_rare_categories_come_more_often_when_balance_is_asked_for():
    kinds = ["bed", *["chair"] * 4]
    records = [SimpleNamespace(category=kind, weight=0.5 if kind == "chair" else 1.0) for kind in kinds]
    assert sampling_weights(records, weighted=False) is None
    assert sampling_weights(records, weighted=True) == [1.0, 0.5, 0.5, 0.5, 0.5]
    assert sampling_weights(records, weighted=False, category_balance=1.0) == [1.0, 0.25, 0.25, 0.25, 0.25]
    # all chairs together weigh twice a bed; balanced halfway, the square root of that
    halfway = sampling_weights(records, weighted=True, category_balance=0.5)
    assert sum(halfway[1:]) / halfway[0] == pytest.approx(2**0.5)


def test_bad_sizes_are_refused():
    with pytest.raises(ValueError, match="dataset is empty"):
        build_dataloader([], 2, 0)
    with pytest.raises(ValueError, match="batch_size"):
        StepBatchSampler(3, 0, 0)
