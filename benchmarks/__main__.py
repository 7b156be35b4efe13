"""``python -m benchmarks``: parses, measures, writes."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import torch

from .machine import describe_machine
from .report import Report
from .settings import Settings, available_cores
from .subjects import SUBJECTS, run_subject
from .table import Row, duration, number

ROOT = Path(__file__).resolve().parents[1]


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Measure this package.")
    add = parser.add_argument
    add("--list", action="store_true", help="name the subjects and stop")
    add("--subjects", type=subject_names, default=list(SUBJECTS), metavar="A,B", help="default: all")
    add("--quick", action="store_true", help="tiny sizes, to see that everything runs; needs --output")
    add("--threads", type=int, default=available_cores(), metavar="N", help="torch threads (default: all cores)")
    add("--rounds", type=int, metavar="N", help="runs of each competitor (default: 9)")
    add("--fraction", type=float, default=0.01, help="of the original extraction's queries made (default: 0.01)")
    add("--full", action="store_true", help="all of them, which takes hours")
    add("--output", type=Path, help="folder for benchmarks.md and results/benchmarks.json (default: docs)")
    return parser


def subject_names(text: str) -> list[str]:
    """An argparse type: known subjects, separated by commas."""
    names = text.split(",")
    unknown = [name for name in names if name not in SUBJECTS]
    if unknown:
        raise argparse.ArgumentTypeError(f"no subject {', '.join(unknown)}: there are {', '.join(SUBJECTS)}")
    return names


def read_settings(parser: argparse.ArgumentParser, options: argparse.Namespace) -> Settings:
    """The settings; ends with one line on those that cannot be."""
    if options.quick and options.output is None:
        parser.error("--quick needs --output: its numbers must not replace real ones")
    rounds = options.rounds if options.rounds is not None else (1 if options.quick else 9)
    fraction = 1.0 if options.full else options.fraction
    try:
        return Settings(options.quick, options.threads, rounds, fraction=fraction)
    except ValueError as error:
        parser.error(str(error))


def main(arguments: Sequence[str] | None = None) -> None:
    parser = build_parser()
    options = parser.parse_args(arguments)
    if options.list:
        print("\n".join(f"{name:12}{description}" for name, description in SUBJECTS.items()))
        return
    settings = read_settings(parser, options)
    torch.set_num_threads(settings.threads)
    machine = describe_machine(settings)
    report = Report(options.output or ROOT / "docs")
    for name in options.subjects:
        rows = []
        for row in run_subject(name, settings):
            rows.append(row)
            print(progress_line(row), file=sys.stderr, flush=True)
        report.add(name, machine, rows)
    print(report.markdown())


def progress_line(row: Row) -> str:
    """A row in one line of plain text."""
    ratio = "" if row.ratio is None else f" ({number(row.ratio)}× ours)"
    time = "" if row.seconds is None else f" {duration(row.seconds.median)}{ratio}"
    return f"{row.subject}: {row.case}: {row.who}:{time} {row.note}".rstrip()


if __name__ == "__main__":
    main()
