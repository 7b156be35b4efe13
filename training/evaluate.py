"""Measures a pipeline: reconstruction by the VAE, what follows each condition, novelty of samples.

python training/evaluate.py --model FOLDER --data DATA --output docs/results/furniture.json

Prints Markdown tables and puts the numbers into the JSON file; tables that it holds already are kept.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import asdict
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm.auto import tqdm

from diffgs_diffusers import DiffGSPipeline, GaussianSplats
from diffgs_diffusers.data.dataset import SPLITS, GaussianObjectDataset
from diffgs_diffusers.evaluation import report
from diffgs_diffusers.evaluation.category_training import (
    ClassifierTraining,
    classifier_accuracy,
    load_or_train_classifier,
)
from diffgs_diffusers.evaluation.color_calibration import calibrate_judge, judge_accuracy
from diffgs_diffusers.evaluation.conditions import CONDITIONS, ConditionJudge, condition_summary
from diffgs_diffusers.evaluation.image_distributions import LEAST_IMAGES, VisionFeatures, image_distance
from diffgs_diffusers.evaluation.novelty import (
    LEAST_POINTS,
    ReferenceSet,
    distance_summary,
    surface_points,
    visible_centers,
)
from diffgs_diffusers.evaluation.perceptual import load_lpips, lpips_obstacle
from diffgs_diffusers.evaluation.reconstruction import reconstruction_scores, summarize
from diffgs_diffusers.evaluation.set_metrics import set_comparison
from diffgs_diffusers.evaluation.text_grid import GridSettings, generate_objects, grid_summary, text_grid
from diffgs_diffusers.evaluation.views import NUM_VIEWS, evaluation_cameras, render_on_white, save_sheet

SET_POINTS = 1024  # of each object, where all pairs are compared
SHEET_ROWS = 8
TABLES = ("vae", "text", "conditions", "novelty")


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, help="pipeline folder or Hub id")
    parser.add_argument("--data", required=True, help="dataset folder made by prepare_data.py")
    parser.add_argument("--output", required=True, help="JSON file; other tables in it are kept")
    parser.add_argument("--tables", default=",".join(TABLES), help=f"some of {','.join(TABLES)}")
    parser.add_argument("--cache_dir", default="~/.cache/diffgs_diffusers", help="keeps the trained judge")
    parser.add_argument("--pictures", help="folder for picture sheets of the text and novelty tables")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu", help="of the pipeline")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--counts", type=int, nargs="+", default=[4096, 10_000, 50_000, 200_000])
    parser.add_argument("--num_objects", type=int, default=40, help="of each split, for vae and conditions")
    parser.add_argument("--image_size", type=int, default=256, help="pixels a side in the VAE table")
    parser.add_argument("--num_samples", type=int, default=64, help="unconditional samples")
    parser.add_argument("--num_gaussians", type=int, default=16_384, help="per generated object")
    parser.add_argument("--num_inference_steps", type=int, help="the pipeline's default without it")
    parser.add_argument("--guidance_scale", type=float, help="the pipeline's default without it")
    args = parser.parse_args(argv)
    args.tables = args.tables.split(",")
    unknown = sorted(set(args.tables) - set(TABLES))
    if unknown:
        parser.error(f"--tables: unknown {', '.join(unknown)}; choose from {', '.join(TABLES)}")
    for name in ("num_objects", "image_size", "num_samples", "num_gaussians"):
        if getattr(args, name) < 1:
            parser.error(f"--{name} must be at least 1, got {getattr(args, name)}")
    return args


def sampling_options(args: argparse.Namespace) -> dict[str, Any]:
    """What the command line says about the pipeline's call."""
    options = {"num_inference_steps": args.num_inference_steps, "guidance_scale": args.guidance_scale}
    return {name: value for name, value in options.items() if value is not None}


def vae_table(args: argparse.Namespace, pipe: DiffGSPipeline) -> dict[str, Any]:
    """Splits × (true centres and numbers of Gaussians)."""
    obstacle = lpips_obstacle()
    if obstacle is not None:
        print(f"LPIPS is left out: {obstacle}.")
    lpips = load_lpips() if obstacle is None else None
    vae = pipe.vae.float().eval()
    table = {}
    for split in SPLITS:
        objects = GaussianObjectDataset(args.data, split=split)
        order = np.random.default_rng(args.seed).permutation(len(objects))[: args.num_objects]
        scores = [
            reconstruction_scores(vae, objects.splats(int(index)), args.counts, size=args.image_size, lpips=lpips)
            for index in tqdm(np.sort(order), desc=f"vae, {split}")
        ]
        table[split] = summarize(scores)
    print(report.vae_markdown(table), flush=True)
    return {"vae": table, "lpips": obstacle or "measured"}


def text_table(args: argparse.Namespace, pipe: DiffGSPipeline) -> dict[str, Any]:
    """Colours × categories × seeds, and how far the judges can be trusted."""
    train = GaussianObjectDataset(args.data, split="train")
    held_out = [GaussianObjectDataset(args.data, split=split) for split in SPLITS[1:]]
    judge = calibrate_judge(train, args.seed)
    classifier = load_or_train_classifier(
        train, Path(args.cache_dir).expanduser(), ClassifierTraining(seed=args.seed)
    )
    judges = {
        "color": judge_accuracy(judge, held_out, args.seed),
        "category": classifier_accuracy(classifier, held_out),
    }
    print(f"The judges on held-out objects: {judges}", flush=True)
    settings = GridSettings(num_gaussians=args.num_gaussians, options=tuple(sampling_options(args).items()))
    verdicts, pictures = [], []
    total = len(settings.colors) * len(settings.categories) * len(settings.seeds)
    for verdict, splats in tqdm(text_grid(pipe, judge, classifier, settings), total=total, desc="text"):
        verdicts.append(verdict)
        pictures.append(_picture(splats))
    if args.pictures:
        width = len(settings.colors) * len(settings.seeds)
        rows = [pictures[start : start + width] for start in range(0, len(pictures), width)]
        save_sheet(rows, Path(args.pictures) / "text_grid.png")
    summary = grid_summary(verdicts)
    print(report.text_markdown(summary), flush=True)
    return {"text": {**summary, "judges": judges, "verdicts": [asdict(verdict) for verdict in verdicts]}}


def conditions_table(args: argparse.Namespace, pipe: DiffGSPipeline) -> dict[str, Any]:
    """Held-out objects from a picture, a part and points, beside what needs no generation."""
    train = GaussianObjectDataset(args.data, split="train")
    test = GaussianObjectDataset(args.data, split="test")
    objects = [train.splats(i) for i in range(len(train))]
    judge = ConditionJudge(pipe, objects, args.num_gaussians, args.seed, sampling_options(args))
    table = {}
    for condition in CONDITIONS:
        scores, rows = [], []
        for index in tqdm(range(min(args.num_objects, len(test))), desc=condition):
            truth = test.splats(index)
            made = judge.objects(condition, truth, index)
            scores.append(judge.scores(made, truth))
            rows.append([_picture(splats) for splats in (truth, *made.values())])
        table[condition] = condition_summary(scores)
        if args.pictures:
            save_sheet(rows[:SHEET_ROWS], Path(args.pictures) / f"{condition}.png")
    print(report.conditions_markdown(table), flush=True)
    return {"conditions": table}


def novelty_table(args: argparse.Namespace, pipe: DiffGSPipeline) -> dict[str, Any]:
    """Distances of unconditional samples, and of training objects, to their nearest training object."""
    train = GaussianObjectDataset(args.data, split="train")
    references = ReferenceSet([surface_points(train.splats(i)) for i in tqdm(range(len(train)), desc="points")])
    seeds = range(args.seed, args.seed + args.num_samples)
    options = {**sampling_options(args)}
    samples = []
    for start in tqdm(range(0, len(seeds), 8), desc="novelty"):
        samples += generate_objects(pipe, None, seeds[start : start + 8], args.num_gaussians, **options)
    samples = [sample if sample and len(visible_centers(sample)) >= LEAST_POINTS else None for sample in samples]
    made = [sample for sample in samples if sample is not None]
    neighbors = [references.nearest(surface_points(sample)) for sample in made]
    if args.pictures:
        pictures = []
        for sample, neighbor in zip(made, neighbors):
            pictures += [_picture(sample), _picture(train.splats(neighbor.index))]
        rows = [pictures[start : start + 8] for start in range(0, len(pictures) - 7, 8)]
        save_sheet(rows, Path(args.pictures) / "novelty.png")
    table = {
        "a sample": distance_summary([neighbor.distance for neighbor in neighbors]),
        "a training object": distance_summary([neighbor.distance for neighbor in references.leave_one_out()]),
    }
    print(report.novelty_markdown(table), flush=True)
    sets = compared_sets(args, made, train)
    compared = {"shapes": compare_shapes(sets), "images": compare_images(sets, pipe)}
    print(report.sets_markdown(compared["shapes"]), flush=True)
    print(report.images_markdown(compared["images"]), flush=True)
    found = [
        {"seed": seed, "nearest": train.records[neighbor.index].id, "distance": neighbor.distance}
        for seed, neighbor in zip((s for s, sample in zip(seeds, samples) if sample is not None), neighbors)
    ]
    counts = {"num_empty": len(samples) - len(made)}
    return {"novelty": {"distances": table, **compared, **counts, "samples": found}}


def compared_sets(
    args: argparse.Namespace, samples: list[GaussianSplats], train: GaussianObjectDataset
) -> dict[str, list[GaussianSplats]]:
    """Samples, and as many training and held-out objects of a fixed choice, as far as there are that many."""
    generator = np.random.default_rng(args.seed)
    held_out = [GaussianObjectDataset(args.data, split=split) for split in ("validation", "test")]
    unknown = [(part, index) for part in held_out for index in range(len(part))]
    count = min(len(samples), len(train), len(unknown))
    return {
        "samples": samples[:count],
        "training objects": [train.splats(int(index)) for index in generator.permutation(len(train))[:count]],
        "held-out objects": [
            unknown[place][0].splats(unknown[place][1]) for place in generator.permutation(len(unknown))[:count]
        ],
    }


def compare_shapes(sets: dict[str, list[GaussianSplats]]) -> dict[str, dict[str, float]]:
    """How each two of the sets are distributed beside each other; empty where there are not two objects of each."""
    if min(map(len, sets.values())) < 2:
        return {}
    clouds = {name: [surface_points(splats, SET_POINTS) for splats in objects] for name, objects in sets.items()}
    return {f"{a}, {b}": set_comparison(clouds[a], clouds[b]) for a, b in combinations(sets, 2)}


def compare_images(sets: dict[str, list[GaussianSplats]], pipe: DiffGSPipeline) -> dict[str, dict[str, float]]:
    """FID and KID of renders of each two of the sets; empty where there are too few, or no vision model."""
    if pipe.image_encoder is None or NUM_VIEWS * min(map(len, sets.values())) < LEAST_IMAGES:
        return {}
    features = VisionFeatures(pipe.image_encoder, pipe.image_processor)
    cameras = evaluation_cameras(pipe.image_encoder.config.image_size)
    views = {
        name: torch.cat([render_on_white(splats, cameras) for splats in objects]) for name, objects in sets.items()
    }
    return {f"{a}, {b}": asdict(image_distance(views[a], views[b], features)) for a, b in combinations(sets, 2)}


def _picture(splats: GaussianSplats | None) -> torch.Tensor:
    """[96, 96, 3] first view on white; blank for an empty object."""
    if splats is None:
        return torch.ones(96, 96, 3)
    return render_on_white(splats, evaluation_cameras(96).select(slice(0, 1)))[0]


def main(argv: Sequence[str] | None = None) -> None:
    args = parse_args(argv)
    pipe = DiffGSPipeline.from_pretrained(args.model).to(args.device)
    pipe.set_progress_bar_config(disable=True)
    tables = {"vae": vae_table, "text": text_table, "conditions": conditions_table, "novelty": novelty_table}
    # of one machine, or said elsewhere
    places = ("model", "data", "output", "cache_dir", "pictures", "tables", "device")
    settings = {name: value for name, value in vars(args).items() if name not in places}
    for name in args.tables:
        results = tables[name](args, pipe)
        report.update_json(args.output, {**results, f"{name}_settings": settings})


if __name__ == "__main__":
    main()
