"""Preparing many objects: over processes, over machines, and on from where an earlier run stopped."""

from __future__ import annotations

import multiprocessing
import os
import random
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import torch

from .dataset import ObjectRecord
from .preparation import PreparationSettings, prepare_mesh, prepare_views
from .sources import ObjectSource
from .writing import is_done, open_dataset, write_left_out, write_metadata, write_object

METADATA_EVERY = 25


def prepare_dataset(
    sources: Sequence[ObjectSource],
    output_dir: str | Path,
    settings: PreparationSettings,
    *,
    num_processes: int = 1,
    overwrite: bool = False,
) -> list[ObjectRecord]:
    """Prepares all sources that are not done yet and completes the metadata.

    Under ``accelerate launch`` or ``torchrun`` every process takes its part of the sources (``RANK`` and
    ``WORLD_SIZE``); each writes the metadata of all that is finished when it ends, so that the last one
    completes it.

    Args:
        sources: objects, the same list in every process.
        output_dir: the dataset folder.
        settings: how to prepare them.
        num_processes: worker processes of this one, a thread each.
        overwrite: begin anew.

    Returns:
        The records of every finished object.

    Raises:
        ValueError: if the folder was made with other settings, or a launcher's processes are to overwrite it.
        BrokenProcessPool: if a worker process died.
    """
    try:
        from tqdm import tqdm
    except ImportError as error:
        raise ImportError("Preparing data needs tqdm: pip install 'diffgs-diffusers[data]'.") from error
    root = Path(output_dir)
    rank, world_size = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
    if overwrite and world_size > 1:
        raise ValueError("One process must not delete what another has just made: overwrite without a launcher.")
    open_dataset(root, settings, overwrite)
    mine = [source for source in sources[rank::world_size] if not is_done(root, source)]
    # in mixed order, so that an unfinished dataset is a fair sample of the whole
    random.Random(settings.seed).shuffle(mine)
    done = _work(mine, root, settings, num_processes)
    with tqdm(done, total=len(mine), desc="Preparing objects", unit="object", disable=rank > 0) as progress:
        for count, message in enumerate(progress, start=1):
            progress.set_postfix_str(message)
            if count % METADATA_EVERY == 0:
                write_metadata(root, sources, settings.seed)
    return write_metadata(root, sources, settings.seed)


def _work(
    sources: Sequence[ObjectSource], root: Path, settings: PreparationSettings, num_processes: int
) -> Iterator[str]:
    tasks = [(source, root, settings) for source in sources]
    if num_processes <= 1 or len(tasks) <= 1:
        yield from map(prepare_object, tasks)
        return
    # spawned, as forked children of a process that has run torch threads can hang
    pool = ProcessPoolExecutor(
        min(num_processes, len(tasks)),
        mp_context=multiprocessing.get_context("spawn"),
        initializer=torch.set_num_threads,
        initargs=(1,),
    )
    try:
        for future in as_completed([pool.submit(prepare_object, task) for task in tasks]):
            yield future.result()
    except BrokenProcessPool as error:
        raise BrokenProcessPool(
            "A worker process died, most often for want of memory. What is finished stays: run again with fewer "
            "processes."
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)


def prepare_object(task: tuple[ObjectSource, Path, PreparationSettings]) -> str:
    """Prepares and stores one object, or notes why it cannot be; returns a line for the progress bar."""
    source, root, settings = task
    try:
        if source.is_views:
            prepared = prepare_views(source.path, source.id, settings)
        else:
            prepared = prepare_mesh(source.load(), source.id, settings)
    except (ImportError, MemoryError):
        # the fault of the machine, not of the object
        raise
    except Exception as error:  # noqa: BLE001  # one broken file among hundreds must not end the run
        write_left_out(root, source, f"{type(error).__name__}: {error}")
        return f"left out {source.id}: {error}"
    write_object(root, source, prepared)
    return f"{source.id} {prepared.psnr:.1f} dB"
