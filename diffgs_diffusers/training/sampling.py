"""Data order as a pure function of the seed and of how many samples were seen before."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from torch import Generator
from torch.utils.data import DataLoader, Sampler


@dataclass(frozen=True)
class SampleKey:
    """What a dataset of ours is indexed with.

    Attributes:
        index: Which object, 0 ≤ index < len(dataset).
        seed: Seeds everything random about this sample (augmentation, choice of points), so that no worker
            and no iterator carries random state.
    """

    index: int
    seed: int


class SeededDataset(Protocol):
    """A map-style dataset whose items depend on nothing but the key."""

    def __len__(self) -> int: ...

    def __getitem__(self, key: SampleKey) -> Any: ...


class WeightedRecord(Protocol):
    """What is known about an object, as far as it decides how often to draw it."""

    @property
    def weight(self) -> float: ...

    @property
    def category(self) -> str: ...


def sampling_weights(
    records: Sequence[WeightedRecord], weighted: bool, category_balance: float = 0.0
) -> list[float] | None:
    """How often to draw each object relative to the others.

    Args:
        records: of the objects.
        weighted: draw near-identical objects less often, as their ``weight`` says.
        category_balance: 0 leaves categories as frequent as they are, 1 makes all equally frequent, 0.5 divides
            by the square root of their frequency.

    Returns:
        one weight per object, None when all are drawn equally often.
    """
    if not weighted and category_balance == 0:
        return None
    weights = [record.weight if weighted else 1.0 for record in records]
    totals: dict[str, float] = defaultdict(float)
    for record, weight in zip(records, weights, strict=True):
        totals[record.category] += weight
    return [
        weight / totals[record.category] ** category_balance
        for record, weight in zip(records, weights, strict=True)
    ]


def derive_seed(*entropy: int) -> int:
    """A 63-bit seed from non-negative integers; different tuples give independent streams."""
    return int(np.random.SeedSequence(entropy).generate_state(1, np.uint64)[0] >> np.uint64(1))


class StepBatchSampler(Sampler[list[SampleKey]]):
    """Endless batches of :class:`SampleKey`; sample number p of the whole run is always the same.

    Position p lies in epoch ``p // size``, whose order is a permutation seeded with (seed, epoch). Process r
    of R takes positions ``first + (n·R + r)·batch_size …`` in its n-th batch: a run that is stopped after any
    number of samples and started again there, even with another batch size or number of processes, goes on
    in the same order.

    Args:
        size: Number of objects in the dataset.
        batch_size: Samples per batch and process.
        seed: Seed of the run.
        weights: How often to draw each object relative to the others, [size]; None: all equally often.

    Raises:
        ValueError: If the dataset is empty, the batch size is not positive, or weights do not fit.
    """

    def __init__(self, size: int, batch_size: int, seed: int, weights: Sequence[float] | None = None) -> None:
        if size < 1:
            raise ValueError("the training dataset is empty: give a dataset folder with at least one object")
        if batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, got {batch_size}")
        if weights is not None and (len(weights) != size or not all(weight > 0 for weight in weights)):
            raise ValueError(f"weights must be {size} positive numbers, one per object")
        self.size, self.batch_size, self.seed = size, batch_size, seed
        self.shares = None if weights is None else np.cumsum(weights, dtype=np.float64) / np.sum(weights)
        self.first_sample, self.rank, self.num_processes = 0, 0, 1

    def set_position(self, first_sample: int, rank: int = 0, num_processes: int = 1) -> None:
        """Sets where the next iteration starts and which share of it is ours."""
        self.first_sample, self.rank, self.num_processes = first_sample, rank, num_processes

    def __iter__(self) -> Iterator[list[SampleKey]]:
        position = self.first_sample + self.rank * self.batch_size
        epoch, order = -1, np.empty(0, dtype=np.int64)
        while True:
            batch = []
            for sample in range(position, position + self.batch_size):
                if sample // self.size != epoch:
                    epoch = sample // self.size
                    order = self._epoch_order(epoch)
                batch.append(SampleKey(int(order[sample % self.size]), derive_seed(self.seed, sample)))
            yield batch
            position += self.batch_size * self.num_processes

    def _epoch_order(self, epoch: int) -> np.ndarray:
        """The objects [size] of an epoch: each once, or as often as its weight says on average.

        Weighted draws lie at equal distances on the line of cumulated weights, so that no object comes more than
        once more, or once less, than its share.
        """
        generator = np.random.default_rng((self.seed, epoch))
        if self.shares is None:
            return generator.permutation(self.size)
        marks = (np.arange(self.size) + generator.random()) / self.size
        return generator.permutation(np.searchsorted(self.shares[:-1], marks, side="right"))


def build_dataloader(
    dataset: SeededDataset,
    batch_size: int,
    seed: int,
    *,
    weights: Sequence[float] | None = None,
    collate_fn: Callable[[list[Any]], Any] | None = None,
    num_workers: int = 0,
) -> DataLoader:
    """A DataLoader over a dataset of ours, in the order of :class:`StepBatchSampler`.

    Args:
        dataset: Indexed with :class:`SampleKey`.
        batch_size: Samples per batch and process.
        seed: Seed of the run.
        weights: How often to draw each object relative to the others; None: equally often.
        collate_fn: Joins a list of items into a batch; None: PyTorch's default.
        num_workers: Worker processes.
    """
    return DataLoader(
        dataset,  # type: ignore[arg-type]  # PyTorch asks for its base class, and needs these two methods
        batch_sampler=StepBatchSampler(len(dataset), batch_size, seed, weights),
        collate_fn=collate_fn,
        num_workers=num_workers,
        persistent_workers=num_workers > 0,
        # A generator of its own: starting an iterator must not draw from the global random state.
        generator=Generator().manual_seed(seed),
    )
