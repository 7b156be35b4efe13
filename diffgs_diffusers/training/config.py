"""Command-line arguments common to the training scripts, with the names that diffusers' examples use."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

LR_SCHEDULERS = (
    "constant",
    "constant_with_warmup",
    "linear",
    "cosine",
    "cosine_with_restarts",
    "polynomial",
)


def add_training_arguments(parser: argparse.ArgumentParser, defaults: Mapping[str, Any] | None = None) -> None:
    """Adds the arguments that :class:`~diffgs_diffusers.training.loop.Trainer` reads.

    Args:
        parser: The script's parser.
        defaults: Defaults of this script that differ from the common ones, by argument name without dashes.

    Raises:
        ValueError: If `defaults` names an argument that does not exist.
    """
    _add_run_arguments(parser)
    _add_optimisation_arguments(parser)
    _add_checkpoint_arguments(parser)
    _add_hub_arguments(parser)
    known = {action.dest for action in parser._actions}
    unknown = set(defaults or {}) - known
    if unknown:
        raise ValueError(f"defaults name arguments that do not exist: {sorted(unknown)}")
    parser.set_defaults(**(defaults or {}))


def _add_run_arguments(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("run")
    group.add_argument("--config", help="YAML or JSON file of arguments; the command line has the last word")
    group.add_argument("--dry_run", action="store_true", help="print the resolved arguments as JSON and stop")
    group.add_argument("--output_dir", required=True, help="folder for weights, checkpoints and logs")
    group.add_argument("--train_data_dir", help="dataset folder")
    group.add_argument("--seed", type=int, default=0, help="decides data order, augmentation and noise")
    group.add_argument("--dataloader_num_workers", type=int, default=0, help="processes that make samples ahead")
    group.add_argument("--weighted_sampling", action="store_true", help="draw near-identical objects less often")
    group.add_argument(
        "--category_balance", type=float, default=0.0, help="0: as frequent as they are … 1: all equally frequent"
    )
    group.add_argument("--report_to", help="tracker of accelerate: tensorboard, wandb, …; none unless asked")
    group.add_argument("--logging_dir", default="logs", help="tracker folder inside --output_dir")
    group.add_argument("--logging_steps", type=int, default=50, help="steps between lines of stats.jsonl")
    group.add_argument("--validation_steps", type=int, default=0, help="steps between validations; 0: never")


def _add_optimisation_arguments(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("optimisation")
    group.add_argument("--train_batch_size", type=int, default=8, help="samples per process and micro-step")
    group.add_argument("--max_train_steps", type=int, default=10_000, help="optimiser steps")
    group.add_argument("--max_train_minutes", type=float, help="stop and save when this time has passed")
    group.add_argument("--gradient_accumulation_steps", type=int, default=1)
    group.add_argument("--gradient_checkpointing", action="store_true", help="less memory, more time")
    group.add_argument("--mixed_precision", choices=("no", "bf16", "fp16"), default="no")
    group.add_argument("--learning_rate", type=float, default=1e-4)
    group.add_argument("--lr_scheduler", choices=LR_SCHEDULERS, default="cosine")
    group.add_argument("--lr_warmup_steps", type=int, default=500)
    group.add_argument("--adam_beta1", type=float, default=0.9)
    group.add_argument("--adam_beta2", type=float, default=0.99)
    group.add_argument("--adam_weight_decay", type=float, default=1e-2)
    group.add_argument("--adam_epsilon", type=float, default=1e-8)
    group.add_argument("--max_grad_norm", type=float, default=1.0)
    group.add_argument("--use_ema", action="store_true", help="keep, validate and save averaged weights")
    group.add_argument("--ema_decay", type=float, default=0.999)


def _add_checkpoint_arguments(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("checkpoints")
    group.add_argument("--checkpointing_steps", type=int, default=1000, help="0: only at the end")
    group.add_argument("--checkpoints_total_limit", type=int, default=2, help="older go; 0: keep all")
    group.add_argument("--resume_from_checkpoint", help='a checkpoint folder, or "latest" in --output_dir')


def _add_hub_arguments(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("hub")
    group.add_argument("--push_to_hub", action="store_true", help="upload --output_dir at the end")
    group.add_argument("--hub_model_id", help="repository to push to, owner/name")
    group.add_argument("--hub_token")


def parse_training_arguments(
    parser: argparse.ArgumentParser, argv: Sequence[str] | None = None
) -> argparse.Namespace:
    """Parses, checks, and under ``--dry_run`` prints the arguments and exits.

    Args:
        parser: A parser that went through :func:`add_training_arguments`.
        argv: Arguments without the program's name; None reads ``sys.argv``.

    Raises:
        SystemExit: Code 2 for bad use, code 0 after ``--dry_run``.
    """
    import sys

    arguments = list(sys.argv[1:] if argv is None else argv)
    finder = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    finder.add_argument("--config")
    config_path = finder.parse_known_args(arguments)[0].config
    if config_path is not None:
        arguments = config_arguments(parser, config_path) + arguments
    args = parser.parse_args(arguments)
    check_training_arguments(parser, args)
    if args.dry_run:
        print(json.dumps(config_dict(args), indent=2, sort_keys=True))
        parser.exit(0)
    return args


def config_arguments(parser: argparse.ArgumentParser, path: str | Path) -> list[str]:
    """Turns a YAML or JSON file of ``argument: value`` into command-line words: argparse checks them."""
    try:
        values = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        parser.error(f"--config {path}: cannot be read ({error}); give a YAML or JSON file of arguments")
    if not isinstance(values, dict):
        parser.error(f"--config {path}: must hold `argument: value` pairs, holds {type(values).__name__}")
    actions = {action.dest: action for action in parser._actions}
    words: list[str] = []
    for key, value in values.items():
        if key not in actions:
            parser.error(f"--config {path}: unknown argument {key!r}; see --help for the names")
        words += _option_words(actions[key], key, value)
    return words


def _option_words(action: argparse.Action, key: str, value: Any) -> list[str]:
    if value is None:
        return []
    if isinstance(action, argparse.BooleanOptionalAction):
        return [f"--{key}" if value else f"--no-{key}"]
    if action.nargs == 0:
        return [f"--{key}"] if value else []
    if isinstance(value, list):
        return [f"--{key}", *map(str, value)]
    return [f"--{key}={value}"]


def check_training_arguments(parser: argparse.ArgumentParser, args: argparse.Namespace) -> None:
    """Ends with one line and exit code 2 when a value cannot work."""
    at_least = {
        "train_batch_size": 1,
        "max_train_steps": 1,
        "gradient_accumulation_steps": 1,
        "logging_steps": 1,
        "lr_warmup_steps": 0,
        "validation_steps": 0,
        "checkpointing_steps": 0,
        "checkpoints_total_limit": 0,
        "dataloader_num_workers": 0,
        "seed": 0,
    }
    for name, minimum in at_least.items():
        if getattr(args, name) < minimum:
            parser.error(f"--{name} must be at least {minimum}, got {getattr(args, name)}")
    for name in ("learning_rate", "max_grad_norm", "max_train_minutes"):
        value = getattr(args, name)
        if value is not None and not value > 0:
            parser.error(f"--{name} must be above 0, got {value}")
    if not 0 <= args.category_balance <= 1:
        parser.error(f"--category_balance must be in [0, 1], got {args.category_balance}")
    if not 0 <= args.ema_decay < 1:
        parser.error(f"--ema_decay must be in [0, 1), got {args.ema_decay}")
    if args.push_to_hub and not args.hub_model_id:
        parser.error("--push_to_hub needs --hub_model_id owner/name")


def require_data(parser: argparse.ArgumentParser, args: argparse.Namespace, made_by: str) -> None:
    """Ends with one line and exit code 2 without ``--train_data_dir``; `made_by` names the script that fills it."""
    if args.train_data_dir is None:
        parser.error(f"--train_data_dir is needed: the folder made by {made_by}")


CONDITION_ARGUMENTS = (
    "pretrained_model_name_or_path",
    "train_text_encoder",
    "image_share",
    "image_encoder",
    "train_image_encoder",
    "partial_share",
    "points_share",
    "object_data_dir",
    "pretrained_condition_encoder",
    "condition_encoder_config",
    "validation_prompts",
    "patch_size",
)


def refuse_conditions(parser: argparse.ArgumentParser, args: argparse.Namespace) -> None:
    """Ends with one line and exit code 2 if a denoiser without conditions is to be told of something."""
    given = [f"--{name}" for name in CONDITION_ARGUMENTS if getattr(args, name)]
    if given:
        parser.error(f"--denoiser {args.denoiser} takes no conditions and no patches: drop {', '.join(given)}")


def config_dict(args: argparse.Namespace) -> dict[str, Any]:
    """The arguments as JSON values, without the Hub token."""
    return {key: value for key, value in vars(args).items() if key != "hub_token"}


def save_config(args: argparse.Namespace, path: str | Path) -> None:
    """Writes the arguments as JSON, so that a run can be repeated with ``--config``."""
    Path(path).write_text(json.dumps(config_dict(args), indent=2, sort_keys=True) + "\n", encoding="utf-8")
