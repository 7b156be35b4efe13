"""Draws docs/images/teaser.png: objects that the shipped checkpoint makes of prompts.

python scripts/draw_teaser.py [--model FOLDER] [--output docs/images/teaser.png]
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from PIL import Image, ImageDraw, ImageFont

from diffgs_diffusers import DiffGSPipeline, default_checkpoint, orbit_cameras

PROMPTS = (
    ("a red armchair", 5),
    ("a blue sofa", 0),
    ("a yellow car", 3),
    ("a white bed", 2),
    ("a green chair", 9),
    ("a brown table", 8),
    ("a black lamp", 9),
    ("a brown cabinet", 9),
)
COLUMNS = 4


def draw(pipe: DiffGSPipeline, prompt: str, seed: int, size: int) -> Image.Image:
    """One object on white with its prompt below."""
    generator = torch.Generator().manual_seed(seed)
    splats = pipe(prompt, generator=generator, num_gaussians=50_000).gaussians[0]
    pixels = splats.render(orbit_cameras(1, size), background=(1.0, 1.0, 1.0))[0, :, :, :3].clamp(0, 1)
    picture = Image.fromarray((pixels * 255).round().byte().numpy())
    tile = Image.new("RGB", (size, size + 28), "white")
    tile.paste(picture, (0, 0))
    font = ImageFont.load_default(18)
    ImageDraw.Draw(tile).text((size // 2, size + 10), f"“{prompt}”", fill="#333", font=font, anchor="mm")
    return tile


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default=None, help="pipeline folder; the shipped checkpoint without it")
    parser.add_argument("--output", type=Path, default=Path("docs/images/teaser.png"))
    parser.add_argument("--size", type=int, default=256)
    args = parser.parse_args()
    pipe = DiffGSPipeline.from_pretrained(args.model or default_checkpoint())
    tiles = [draw(pipe, prompt, seed, args.size) for prompt, seed in PROMPTS]
    rows = -(-len(tiles) // COLUMNS)
    sheet = Image.new("RGB", (COLUMNS * args.size, rows * (args.size + 28)), "white")
    for index, tile in enumerate(tiles):
        sheet.paste(tile, (index % COLUMNS * args.size, index // COLUMNS * (args.size + 28)))
    args.output.parent.mkdir(parents=True, exist_ok=True)
    sheet.save(args.output, optimize=True)


if __name__ == "__main__":
    main()
