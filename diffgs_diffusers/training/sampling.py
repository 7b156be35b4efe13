"""Data order as a pure function of the seed and of how many samples were seen before."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, Protocol

import numpy as np
from torch import Generator
from torch.utils.data import DataLoader, Sampler


class SampleKey(NamedTuple):
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

    Raises:
        ValueError: If the dataset is empty or the batch size is not positive.
    """

    def __init__(self, size: int, batch_size: int, seed: int) -> None:
        if size < 1:
            raise ValueError("the training dataset is empty: give a dataset folder with at least one object")
        if batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, got {batch_size}")
        self.size, self.batch_size, self.seed = size, batch_size, seed
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
                    order = np.random.default_rng((self.seed, epoch)).permutation(self.size)
                batch.append(SampleKey(int(order[sample % self.size]), derive_seed(self.seed, sample)))
            yield batch
            position += self.batch_size * self.num_processes


def build_dataloader(
    dataset: SeededDataset,
    batch_size: int,
    seed: int,
    *,
    collate_fn: Callable[[list[Any]], Any] | None = None,
    num_workers: int = 0,
) -> DataLoader:
    """A DataLoader over a dataset of ours, in the order of :class:`StepBatchSampler`.

    Args:
        dataset: Indexed with :class:`SampleKey`.
        batch_size: Samples per batch and process.
        seed: Seed of the run.
        collate_fn: Joins a list of items into a batch; None: PyTorch's default.
        num_workers: Worker processes.
    """
    return DataLoader(
        dataset,
        batch_sampler=StepBatchSampler(len(dataset), batch_size, seed),
        collate_fn=collate_fn,
        num_workers=num_workers,
        persistent_workers=num_workers > 0,
        # A generator of its own: starting an iterator must not draw from the global random state.
        generator=Generator().manual_seed(seed),
    )
