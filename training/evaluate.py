"""Measures a pipeline: reconstruction by the VAE, what follows each condition, novelty of samples, the bound.

python training/evaluate.py --model FOLDER --data DATA --output docs/results/furniture.json

Prints Markdown tables and puts the numbers into the JSON file; tables that it holds already are kept.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from diffusers import DDIMScheduler, DPMSolverMultistepScheduler, UniPCMultistepScheduler

from diffgs_diffusers import DiffGSPipeline
from diffgs_diffusers.data.colors import COLOR_NAMES
from diffgs_diffusers.evaluation.categories import CATEGORIES
from diffgs_diffusers.evaluation.clip_scores import ClipTowers
from diffgs_diffusers.evaluation.image_distributions import check_packages
from diffgs_diffusers.evaluation.perceptual import BACKBONES
from diffgs_diffusers.evaluation.report import update_json
from diffgs_diffusers.evaluation.tables.bound import bound_table
from diffgs_diffusers.evaluation.tables.conditions import conditions_table
from diffgs_diffusers.evaluation.tables.reconstructions import (
    functions_table,
    progressive_table,
    refined_table,
    training_table,
    vae_table,
)
from diffgs_diffusers.evaluation.tables.run import EvaluationRun
from diffgs_diffusers.evaluation.tables.samples import novelty_table
from diffgs_diffusers.evaluation.tables.text import guidance_table, text_table
from diffgs_diffusers.evaluation.text_grid import COLORS

TABLES: dict[str, Callable[[EvaluationRun], dict[str, Any]]] = {
    "vae": vae_table,
    "refined": refined_table,
    "training": training_table,
    "functions": functions_table,
    "progressive": progressive_table,
    "text": text_table,
    "guidance": guidance_table,
    "conditions": conditions_table,
    "novelty": novelty_table,
    "bound": bound_table,
}
BY_DEFAULT = [name for name in TABLES if name != "training"]  # which is vae's and refined's again, for more objects
SCHEDULERS = {
    "ddim": DDIMScheduler,
    "dpmsolver++": DPMSolverMultistepScheduler,
    "unipc": UniPCMultistepScheduler,
}


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--model", required=True, help="pipeline folder or Hub id")
    add("--data", required=True, help="dataset folder made by prepare_data.py")
    add("--output", required=True, help="JSON file; other tables in it are kept")
    add("--tables", default=",".join(BY_DEFAULT), help=f"some of {','.join(TABLES)}")
    add("--cache_dir", default="~/.cache/diffgs_diffusers", help="keeps the trained judge")
    add("--pictures", help="folder for picture sheets of the text, conditions and novelty tables")
    add("--device", default="cuda" if torch.cuda.is_available() else "cpu", help="of the pipeline")
    add("--clip", help="folder or Hub id of a CLIPModel: CLIP score, R-precision, and features for similarities")
    add("--lpips_net", default="alex", choices=sorted(BACKBONES), help="LPIPS' backbone; needs torchvision")
    add("--lpips_weights", help="file of the backbone's weights; torch.hub's cache without it, never a download")
    add("--seed", type=int, default=0)
    add("--num_objects", type=int, default=40, help="of each split, in all tables but text and novelty")
    add("--image_size", type=int, default=256, help="pixels a side in the tables of reconstructions")
    add("--counts", type=int, nargs="+", default=list(EvaluationRun.counts), help="Gaussians in the VAE tables")
    steps = EvaluationRun.refinement_steps, EvaluationRun.picture_steps
    add("--refinement_steps", type=int, default=steps[0], help="for each object of the tables with refined latents")
    add("--picture_steps", type=int, default=steps[1], help="after them")
    add("--prefixes", type=int, nargs="+", default=list(EvaluationRun.prefixes), help="of the progressive table")
    add("--whole", type=int, default=EvaluationRun.whole, help="Gaussians of the larger result there")
    add("--num_samples", type=int, default=64, help="unconditional samples")
    add("--colors", nargs="+", default=list(COLORS), choices=list(COLOR_NAMES), help="of the text grid's prompts")
    add("--categories", nargs="+", default=list(CATEGORIES), choices=list(CATEGORIES), help="of these prompts")
    add("--num_seeds", type=int, default=4, help="objects for each prompt of the text table")
    add("--num_gaussians", type=int, default=16_384, help="per generated object")
    add("--num_candidates", type=int, default=8, help="tried for each picture, where one is chosen by it")
    add("--guidance", type=float, nargs="+", default=list(EvaluationRun.guidance), help="scales of the sweep")
    add("--guidance_seeds", type=int, default=2, help="objects for each prompt there, at least 2")
    add("--bound_steps", type=int, default=100, help="timesteps at which the bound is evaluated, over all of them")
    add("--scheduler", choices=list(SCHEDULERS), help="the pipeline's own without it")
    add("--num_inference_steps", type=int, help="the pipeline's default without it")
    add("--guidance_scale", type=float, help="the pipeline's default without it")
    add("--mending_steps", type=int, help="the pipeline's default without it")
    return parser


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = build_parser()
    args = parser.parse_args(argv)
    args.tables = args.tables.split(",")
    unknown = sorted(set(args.tables) - set(TABLES))
    if unknown:
        parser.error(f"--tables: unknown {', '.join(unknown)}; choose from {', '.join(TABLES)}")
    least = dict.fromkeys(
        ("num_objects", "image_size", "num_samples", "num_seeds", "num_gaussians", "num_candidates"), 1
    )
    least |= {"bound_steps": 1, "guidance_seeds": 2, "refinement_steps": 1, "picture_steps": 0}
    for name, minimum in least.items():
        if getattr(args, name) < minimum:
            parser.error(f"--{name} must be at least {minimum}, got {getattr(args, name)}")
    if min([*args.counts, *args.prefixes]) < 1 or max(args.prefixes) >= args.whole:
        parser.error("--counts and --prefixes must be at least 1, and --prefixes less than --whole")
    if args.lpips_weights is not None and not Path(args.lpips_weights).is_file():
        parser.error(f"--lpips_weights: there is no file {args.lpips_weights}")
    return args


def build_run(args: argparse.Namespace) -> EvaluationRun:
    """Loads what is measured; a CLIP model or a package that is not there ends it at once, not after hours."""
    clip = None if args.clip is None else ClipTowers.load(args.clip)
    pipe = DiffGSPipeline.from_pretrained(args.model).to(args.device)
    pipe.set_progress_bar_config(disable=True)
    if "novelty" in args.tables:
        check_packages(pipe.image_encoder)
    if args.scheduler is not None:
        pipe.scheduler = SCHEDULERS[args.scheduler].from_config(pipe.scheduler.config)
    options = {name: getattr(args, name) for name in ("num_inference_steps", "guidance_scale", "mending_steps")}
    sizes = (
        *("lpips_net", "seed", "whole", "num_objects", "image_size", "num_samples", "num_seeds"),
        *("num_gaussians", "num_candidates", "guidance_seeds", "bound_steps"),
        *("refinement_steps", "picture_steps"),
    )
    return EvaluationRun(
        pipe,
        Path(args.data),
        Path(args.cache_dir).expanduser(),
        pictures=None if args.pictures is None else Path(args.pictures),
        clip=clip,
        lpips_weights=None if args.lpips_weights is None else Path(args.lpips_weights),
        counts=tuple(args.counts),
        prefixes=tuple(args.prefixes),
        guidance=tuple(args.guidance),
        colors=tuple(args.colors),
        categories=tuple(args.categories),
        options={name: value for name, value in options.items() if value is not None},
        **{name: getattr(args, name) for name in sizes},
    )


def main(argv: Sequence[str] | None = None) -> None:
    args = parse_args(argv)
    run = build_run(args)
    # of one machine, or said elsewhere
    places = ("model", "data", "output", "cache_dir", "pictures", "tables", "device", "lpips_weights")
    settings = {name: value for name, value in vars(args).items() if name not in places}
    settings["clip"] = args.clip and Path(args.clip).name
    for name in args.tables:
        results = TABLES[name](run)
        update_json(args.output, {**results, f"{name}_settings": settings})


if __name__ == "__main__":
    main()
