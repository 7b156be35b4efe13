"""Turns meshes into a dataset of 3D Gaussians with captions.

Example:
    python training/prepare_data.py --source furniture/*.sh3f --output_dir data/furniture --num_processes 2
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from concurrent.futures.process import BrokenProcessPool

from diffgs_diffusers.data.preparation import PreparationSettings
from diffgs_diffusers.data.runner import prepare_dataset
from diffgs_diffusers.data.sources import find_sources
from diffgs_diffusers.data.validation import summarize, validate_dataset


def parse_args(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    defaults = PreparationSettings()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--source",
        nargs="+",
        help=".sh3f libraries, meshes, folders of them, or folders of views with a transforms.json",
    )
    parser.add_argument("--output_dir", required=True, help="dataset folder; an interrupted run goes on from here")
    parser.add_argument(
        "--limit", type=int, help="prepare only this many objects, evenly chosen, and split only these"
    )
    parser.add_argument("--num_gaussians", type=int, default=defaults.num_gaussians, help="per object")
    parser.add_argument("--resolution", type=int, default=defaults.resolution, help="pixels of the fitted views")
    parser.add_argument("--num_views", type=int, default=defaults.num_views, help="views that are fitted")
    parser.add_argument("--num_processes", "--num_workers", type=int, default=1, help="worker processes")
    parser.add_argument("--seed", type=int, default=defaults.seed)
    parser.add_argument("--overwrite", action="store_true", help="begin anew instead of going on")
    parser.add_argument("--validate", action="store_true", help="only check the dataset in --output_dir")
    args = parser.parse_args(arguments)
    if args.source is None and not args.validate:
        parser.error("--source is needed, unless --validate checks an existing dataset")
    for name in ("limit", "num_processes"):
        if getattr(args, name) is not None and getattr(args, name) < 1:
            parser.error(f"--{name} must be at least 1, got {getattr(args, name)}")
    return args


def main(arguments: Sequence[str] | None = None) -> int:
    args = parse_args(arguments)
    try:
        if args.validate:
            report = validate_dataset(args.output_dir)
            print(report.table())
            return 0 if report.valid else 1
        settings = PreparationSettings(
            num_gaussians=args.num_gaussians,
            resolution=args.resolution,
            num_views=args.num_views,
            seed=args.seed,
        )
        sources = find_sources(args.source)
        if args.limit is not None and args.limit < len(sources):
            sources = [sources[index * len(sources) // args.limit] for index in range(args.limit)]
        records = prepare_dataset(
            sources, args.output_dir, settings, num_processes=args.num_processes, overwrite=args.overwrite
        )
    except (ValueError, OSError, ImportError, MemoryError, BrokenProcessPool) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(summarize(records))
    if not any(record.status == "ok" for record in records):
        print("error: none of the objects can be used; the reasons are above", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
