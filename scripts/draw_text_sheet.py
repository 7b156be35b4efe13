"""Draws docs/images/from_text.png: objects from text as the denoiser makes them, mended, and the soundest of eight.

python scripts/draw_text_sheet.py [--model FOLDER] [--output docs/images/from_text.png]
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import torch

from diffgs_diffusers import DiffGSPipeline, default_checkpoint
from diffgs_diffusers.evaluation.views import evaluation_cameras, render_on_white, save_sheet

PROMPTS = (
    "a wooden table",
    "a yellow kitchen chair",
    "a red armchair",
    "a round table",
    "a black office chair",
    "a green plant in a pot",
)
COLUMNS: tuple[dict[str, Any], ...] = ({"mending_steps": 0}, {}, {"num_candidates": 8})
SIZE = 160


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default=None, help="pipeline folder; the shipped checkpoint without it")
    parser.add_argument("--output", type=Path, default=Path("docs/images/from_text.png"))
    parser.add_argument("--seed", type=int, default=0, help="of every object")
    args = parser.parse_args()
    pipe = DiffGSPipeline.from_pretrained(args.model or default_checkpoint())
    camera = evaluation_cameras(SIZE).select(slice(0, 1))

    def picture(prompt: str, options: dict[str, Any]) -> torch.Tensor:
        generator = torch.Generator().manual_seed(args.seed)
        (splats,) = pipe(prompt, generator=[generator], **options).gaussians
        return render_on_white(splats, camera)[0]

    triples = [[picture(prompt, options) for options in COLUMNS] for prompt in PROMPTS]
    save_sheet([left + right for left, right in zip(triples[::2], triples[1::2], strict=True)], args.output)


if __name__ == "__main__":
    main()
