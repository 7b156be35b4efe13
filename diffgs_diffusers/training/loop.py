"""The training loop that all scripts share."""

from __future__ import annotations

import argparse
import logging
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from accelerate.utils import broadcast, gather_object, send_to_device
from diffusers.optimization import get_scheduler
from torch.utils.data import DataLoader
from tqdm.auto import tqdm

from . import checkpointing
from .averaging import AveragedWeights
from .config import save_config
from .sampling import StepBatchSampler, derive_seed
from .setup import build_accelerator, build_optimizer, enable_gradient_checkpointing, push_folder
from .statistics import RunningStatistics, append_statistics, drop_statistics_after

logger = logging.getLogger(__name__)

LossFunction = Callable[[torch.nn.Module, Any, int, torch.Generator], Mapping[str, torch.Tensor]]
ValidationFunction = Callable[[torch.nn.Module, int], Mapping[str, float]]
FinalizeFunction = Callable[[torch.nn.Module, Path], None]


class Trainer:
    """AdamW under accelerate, with EMA, accumulation, clipping, validation, checkpoints and exact resume.

    Nothing random is carried from step to step: batches come from :class:`StepBatchSampler`, and before each
    micro-step both the given generator and PyTorch's global one are seeded from (seed, position in the data).
    A run that was stopped and resumed therefore ends with the weights of one that was not.

    Args:
        args: From :func:`~diffgs_diffusers.training.config.parse_training_arguments`.
        model: A model with ``save_pretrained`` / ``from_pretrained``.
        dataloader: From :func:`~diffgs_diffusers.training.sampling.build_dataloader`; batches are moved to
            the device (tensors, containers, and anything with ``.to(device)``).
        loss_fn: ``(model, batch, step, generator) -> {"loss": scalar to minimise, other named scalars}``,
            called under autocast. It must go through ``model(...)``, not through other methods: gradients are
            averaged over processes in ``forward``. Random numbers come from `generator` (on the device).
        validate_fn: ``(model, step) -> {name: number}``, called on the main process, without gradients, in
            eval mode, with the averaged weights in the unwrapped model.
        name: Folder of the final weights under ``output_dir``, and in each checkpoint.
        finalize_fn: ``(model, output_dir)``, called on the main process when the weights are saved and before
            anything is pushed, with the averaged weights.
        find_unused_parameters: For models whose steps may leave parameters without gradient under DDP.

    Raises:
        ValueError: If the dataloader is not in seeded order, or the launcher shards parameters.
    """

    def __init__(
        self,
        args: argparse.Namespace,
        model: torch.nn.Module,
        dataloader: DataLoader,
        loss_fn: LossFunction,
        validate_fn: ValidationFunction | None = None,
        *,
        name: str,
        finalize_fn: FinalizeFunction | None = None,
        find_unused_parameters: bool = False,
    ) -> None:
        sampler = dataloader.batch_sampler
        if not isinstance(sampler, StepBatchSampler):
            raise ValueError(
                "the dataloader's batch_sampler must be a StepBatchSampler, or a resumed run would see other "
                "data: make the dataloader with diffgs_diffusers.training.sampling.build_dataloader"
            )
        self.args, self.name, self.dataloader, self.sampler = args, name, dataloader, sampler
        self.loss_fn, self.validate_fn, self.finalize_fn = loss_fn, validate_fn, finalize_fn
        self.output_dir = Path(args.output_dir)
        self.statistics = RunningStatistics()
        self.step = self.samples_seen = 0
        self.validated_step = self.saved_step = -1
        self.accelerator = build_accelerator(args, find_unused_parameters)
        if args.gradient_checkpointing:
            enable_gradient_checkpointing(model)
        optimizer = build_optimizer(args, model)
        schedule = get_scheduler(
            args.lr_scheduler,
            optimizer,
            num_warmup_steps=args.lr_warmup_steps,
            num_training_steps=args.max_train_steps,
        )
        self.model, self.optimizer, self.schedule = self.accelerator.prepare(model, optimizer, schedule)
        self.generator = torch.Generator(self.accelerator.device)
        self.ema = AveragedWeights(self.unwrapped_model, args.ema_decay, enabled=args.use_ema)

    @property
    def unwrapped_model(self) -> torch.nn.Module:
        """The model without accelerate's wrappers."""
        return self.accelerator.unwrap_model(self.model)

    def run(self) -> int:
        """Trains to ``max_train_steps`` or ``max_train_minutes``, then saves everything.

        Returns:
            Optimiser steps done since the very start of the run.
        """
        self._prepare_folder()
        self._resume()
        self._init_trackers()
        started = time.monotonic()
        self.model.train()
        with self._progress_bar() as progress:
            batches = iter(self.dataloader) if self.step < self.args.max_train_steps else iter(())
            self.statistics.reset()
            while self.step < self.args.max_train_steps and not self._out_of_time(started):
                terms = self._train_step(batches)
                progress.update()
                self._after_step(terms, progress)
        self._finish()
        return self.step

    def _train_step(self, batches: Iterator[Any]) -> dict[str, torch.Tensor]:
        """One optimiser step over ``gradient_accumulation_steps`` batches; returns the last one's terms."""
        terms: Mapping[str, torch.Tensor] = {}
        for _ in range(self.args.gradient_accumulation_steps):
            waiting = time.perf_counter()
            batch = send_to_device(next(batches), self.accelerator.device)
            waited = time.perf_counter() - waiting
            self._seed_micro_step()
            with self.accelerator.accumulate(self.model):
                with self.accelerator.autocast():
                    terms = self.loss_fn(self.model, batch, self.step, self.generator)
                self.accelerator.backward(terms["loss"])
                if self.accelerator.sync_gradients:
                    self.accelerator.clip_grad_norm_(self.model.parameters(), self.args.max_grad_norm)
                self.optimizer.step()
                self.optimizer.zero_grad(set_to_none=True)
            self.samples_seen += self._samples_per_micro_step
            self.statistics.add(terms, self._samples_per_micro_step, waited)
        self.schedule.step()
        self.ema.update()
        self.step += 1
        return dict(terms)

    def _after_step(self, terms: Mapping[str, torch.Tensor], progress: tqdm) -> None:
        """Logs, saves and validates when it is time."""
        args = self.args
        if self.step % args.logging_steps == 0:
            values = self._log_statistics()
            progress.set_postfix(loss=f"{values['loss']:.4g}", lr=f"{values['lr']:.2g}")
        with self.statistics.paused():
            if args.checkpointing_steps and self.step % args.checkpointing_steps == 0:
                self._check_finite("loss", terms["loss"])
                self._check_finite_weights()
                self.save_checkpoint()
            if args.validation_steps and self.step % args.validation_steps == 0:
                self.validate()

    def _log_statistics(self) -> dict[str, float]:
        """Averages the terms over processes, writes a line and gives it to the trackers."""
        values: dict[str, float] = {"step": self.step}
        # A term may come up in some processes only: the sums are taken of all names, in the same order.
        for name in sorted(set(gather_object(list(self.statistics.sums)))):
            total = self.accelerator.reduce(self.statistics.total(name).to(self.accelerator.device))
            mean = total[0] / total[1]
            self._check_finite(name, mean)
            values[name] = mean.item()
        values["lr"] = self.schedule.get_last_lr()[0]
        values |= self.statistics.speeds()
        self._write_statistics(values)
        self.statistics.reset()
        return values

    def _write_statistics(self, values: Mapping[str, float]) -> None:
        if self.accelerator.is_main_process:
            append_statistics(self.output_dir / "stats.jsonl", values)
        if self.args.report_to:
            self.accelerator.log({k: v for k, v in values.items() if k != "step"}, step=self.step)

    def _check_finite(self, name: str, value: torch.Tensor) -> None:
        if not torch.isfinite(value).all():
            raise RuntimeError(
                f"{name} is {value.item()} at step {self.step}; lower --learning_rate or check the data, "
                "then go on with --resume_from_checkpoint latest"
            )

    def _check_finite_weights(self) -> None:
        """A step can break the weights after a loss that was still fine; such a checkpoint could not go on."""
        norms = [parameter.detach().float().norm() for parameter in self.unwrapped_model.parameters()]
        self._check_finite("the norm of the weights", torch.stack(norms).sum())

    def validate(self) -> None:
        """Calls ``validate_fn`` with the averaged weights on the main process and logs its numbers."""
        if self.validate_fn is not None and self.accelerator.is_main_process:
            model = self.unwrapped_model
            with self.ema.applied(), torch.no_grad(), self.accelerator.autocast():
                model.eval()
                values = self.validate_fn(model, self.step)
            model.train()
            named = {f"validation/{name}": float(value) for name, value in values.items()}
            self._write_statistics({"step": self.step, **named})
        self.validated_step = self.step
        self.accelerator.wait_for_everyone()

    def save_checkpoint(self) -> Path:
        """Writes ``checkpoint-<step>`` whole or not at all and deletes the oldest beyond the limit."""
        state = checkpointing.TrainerState(self.step, self.samples_seen, self.ema.step)
        path = checkpointing.save_checkpoint(self.accelerator, self.output_dir, state, self._export)
        if self.accelerator.is_main_process:
            checkpointing.rotate_checkpoints(self.output_dir, self.args.checkpoints_total_limit)
        self.saved_step = self.step
        return path

    def _export(self, folder: Path) -> None:
        """Writes the averaged weights to ``<folder>/<name>`` as ``from_pretrained`` reads them."""
        with self.ema.applied():
            self.unwrapped_model.save_pretrained(str(folder / self.name))  # type: ignore[operator]

    def _resume(self) -> None:
        wanted = self.args.resume_from_checkpoint
        path = checkpointing.resolve_checkpoint(self.output_dir, wanted) if wanted else None
        if path is not None:
            state = checkpointing.read_checkpoint_state(path)
            self.accelerator.load_state(str(path))
            self.step, self.samples_seen = state.step, state.samples_seen
            self.saved_step = self.step if path.parent.resolve() == self.output_dir.resolve() else -1
            self.ema.load(path / self.name, state.ema_step)
            logger.info("resumed from %s at step %d", path, self.step)
        if self.accelerator.is_main_process:
            drop_statistics_after(self.output_dir / "stats.jsonl", self.step)
        self.sampler.set_position(self.samples_seen, self.accelerator.process_index, self.accelerator.num_processes)

    @property
    def _samples_per_micro_step(self) -> int:
        return self.sampler.batch_size * self.accelerator.num_processes

    def _seed_micro_step(self) -> None:
        batch_size = self.sampler.batch_size
        first_sample = self.samples_seen + self.accelerator.process_index * batch_size
        # The trailing 1 keeps these streams apart from those of the samples themselves.
        seed = derive_seed(self.args.seed, first_sample, 1)
        self.generator.manual_seed(seed)
        torch.manual_seed(seed)

    def _out_of_time(self, started: float) -> bool:
        """Whether the time is over, as the main process sees it: all must stop at the same step."""
        if self.args.max_train_minutes is None:
            return False
        over = time.monotonic() - started > 60 * self.args.max_train_minutes
        flag = torch.tensor([int(over)], device=self.accelerator.device)
        return bool(broadcast(flag).item())

    def _prepare_folder(self) -> None:
        if not self.args.resume_from_checkpoint and checkpointing.list_checkpoints(self.output_dir):
            raise ValueError(
                f"{self.output_dir} holds checkpoints of an earlier run: go on with --resume_from_checkpoint "
                "latest, or give another --output_dir"
            )
        self.accelerator.wait_for_everyone()
        if self.accelerator.is_main_process:
            self.output_dir.mkdir(parents=True, exist_ok=True)
            save_config(self.args, self.output_dir / f"{self.name}_training_config.json")
        self.accelerator.wait_for_everyone()

    def _init_trackers(self) -> None:
        if self.args.report_to:
            config = {k: v for k, v in vars(self.args).items() if isinstance(v, (int, float, str, bool))}
            config.pop("hub_token", None)
            self.accelerator.init_trackers(f"diffgs-{self.name}", config=config)

    def _progress_bar(self) -> tqdm:
        return tqdm(
            total=self.args.max_train_steps,
            initial=self.step,
            desc=self.name,
            file=sys.stderr,
            disable=not self.accelerator.is_local_main_process,
        )

    def _finish(self) -> None:
        """Logs and validates what is not yet, and saves."""
        if self.statistics.samples:
            self._log_statistics()
        if self.args.validation_steps and self.validated_step != self.step:
            self.validate()
        if self.saved_step != self.step:
            self.save_checkpoint()
        if self.accelerator.is_main_process:
            self._export(self.output_dir)
            if self.finalize_fn is not None:
                with self.ema.applied(), torch.no_grad():
                    self.finalize_fn(self.unwrapped_model.eval(), self.output_dir)
            if self.args.push_to_hub:
                push_folder(self.args)
        if self.args.report_to:
            self.accelerator.end_training()
        self.accelerator.wait_for_everyone()
