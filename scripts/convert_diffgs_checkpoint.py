"""Converts checkpoints of the public DiffGS repository into a folder for DiffGSPipeline.from_pretrained.

python scripts/convert_diffgs_checkpoint.py --stage1 EXP1/last.ckpt --stage2 EXP2/last.ckpt --output_dir FOLDER

The sizes are read from the specs.json beside each checkpoint. With stage 1 alone the folder is that of an
OriginalGaussianVAE. Nothing of a checkpoint is run, and every key of it is accounted for.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from diffgs_diffusers.conversion import CheckpointError, convert_checkpoint


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--stage1", required=True, help=".ckpt of the Gaussian model and the VAE, or of all")
    parser.add_argument("--stage1_specs", help="its specs.json; default: the one beside it")
    parser.add_argument("--stage2", help=".ckpt of the diffusion model; without it the VAE alone is written")
    parser.add_argument("--stage2_specs", help="its specs.json; default: the one beside it")
    parser.add_argument("--output_dir", required=True, help="the folder to make")
    parser.add_argument("--report", help="JSON file that tells where every single key went")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    parser = build_parser()
    args = parser.parse_args(argv)
    if args.report and not Path(args.report).parent.is_dir():
        parser.error(f"--report: the folder {Path(args.report).parent} does not exist; create it first")
    try:
        report = convert_checkpoint(args.output_dir, args.stage1, args.stage1_specs, args.stage2, args.stage2_specs)
        if args.report:
            Path(args.report).write_text(json.dumps(asdict(report), indent=2) + "\n", encoding="utf-8")
    except (CheckpointError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print("\n".join([*report.lines(), f"written to {args.output_dir}"]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
