"""Started by test_loop.py under torchrun: trains, resumes from the middle, and reports what each process saw."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch
from accelerate import PartialState
from conftest import NoisySines, compute_denoising_loss, small_run

from diffgs_diffusers.training.loop import Trainer
from diffgs_diffusers.training.sampling import SampleKey


class RecordingSines(NoisySines):
    """Remembers the keys it was asked for."""

    def __init__(self) -> None:
        self.keys: list[SampleKey] = []

    def __getitem__(self, key: SampleKey):
        self.keys.append(key)
        return super().__getitem__(key)


def loss_with_a_term_of_one_process(*arguments) -> dict[str, torch.Tensor]:
    """As a loss that speaks of pictures has it, where only some batches have any."""
    terms = compute_denoising_loss(*arguments)
    return terms | ({"rare": torch.tensor(3.0)} if PartialState().is_main_process else {})


def checksum(trainer: Trainer) -> float:
    return sum(parameter.double().sum().item() for parameter in trainer.unwrapped_model.parameters())


def main(folder: Path) -> None:
    dataset = RecordingSines()
    options = ("--max_train_steps=4", "--use_ema")
    whole = small_run(folder / "whole", *options, dataset=dataset, loss_fn=loss_with_a_term_of_one_process)
    whole.run()
    resumed = small_run(
        folder / "resumed", *options, f"--resume_from_checkpoint={folder / 'whole' / 'checkpoint-2'}"
    )
    resumed.run()
    report = {
        "num_processes": whole.accelerator.num_processes,
        "checksum": checksum(whole),
        "resumed_checksum": checksum(resumed),
        "keys": [(key.index, key.seed) for key in dataset.keys],
    }
    (folder / f"process-{whole.accelerator.process_index}.json").write_text(json.dumps(report))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
