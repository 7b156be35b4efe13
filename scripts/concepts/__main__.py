"""Writes docs/concepts.md and its pictures: python -m scripts.concepts [--only NAME ...]"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from . import bounds, network, objects, process
from .page import TEMPLATE, fill, read
from .points import points
from .scene import pipeline

ROOT = Path(__file__).parents[2]
PAGE, IMAGES = ROOT / "docs/concepts.md", ROOT / "docs/images/concepts"
CLOSED_FORMS = (
    process.forward,
    process.reverse,
    process.one_jump,
    process.schedules,
    bounds.reparameterisation,
    bounds.evidence,
    bounds.diffusion_bound,
)
OF_THE_CHECKPOINT = (
    network.timestep_embedding,
    network.unet,
    network.cross_attention,
    network.guidance,
    objects.latent,
    objects.denoising,
    objects.functions,
    objects.octree,
)


def main() -> None:
    drawers = {function.__name__: function for function in (points, *CLOSED_FORMS, *OF_THE_CHECKPOINT)}
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="+", choices=drawers, help="draw these and keep the page's other numbers")
    args = parser.parse_args()
    IMAGES.mkdir(parents=True, exist_ok=True)
    template = TEMPLATE.read_text(encoding="utf-8")
    numbers = read(template, PAGE.read_text(encoding="utf-8")) if args.only else {}
    for name in args.only or drawers:
        start, function = time.perf_counter(), drawers[name]
        numbers |= function(IMAGES, pipeline()) if function in OF_THE_CHECKPOINT else function(IMAGES)
        print(f"{name}: {time.perf_counter() - start:.0f} s", flush=True)
    PAGE.write_text(fill(template, numbers), encoding="utf-8")
    print(PAGE.relative_to(ROOT))


if __name__ == "__main__":
    main()
