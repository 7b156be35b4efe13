"""The table of unconditional samples: are they copies, and are they distributed as objects are?"""

from __future__ import annotations

from dataclasses import asdict
from itertools import combinations
from typing import Any

import numpy as np
import torch
from tqdm.auto import tqdm

from ...data.dataset import GaussianObjectDataset
from ...gaussians import GaussianSplats
from ...pipelines import DiffGSPipeline
from .. import report
from ..image_distributions import LEAST_IMAGES, VisionFeatures, image_distance
from ..novelty import LEAST_POINTS, ReferenceSet, distance_summary, surface_points, visible_centers
from ..set_metrics import SET_POINTS, set_comparison
from ..text_grid import generate_objects
from ..views import NUM_VIEWS, evaluation_cameras, render_on_white, save_sheet
from .run import EvaluationRun, small_picture

_BATCH = 8


def novelty_table(run: EvaluationRun) -> dict[str, Any]:
    """Distances of unconditional samples, and of training objects, to their nearest training object."""
    train = run.objects("train")
    references = ReferenceSet([surface_points(train.splats(i)) for i in tqdm(range(len(train)), desc="points")])
    seeds = range(run.seed, run.seed + run.num_samples)
    samples: list[GaussianSplats | None] = []
    for start in tqdm(range(0, len(seeds), _BATCH), desc="novelty"):
        samples += generate_objects(run.pipe, None, seeds[start : start + _BATCH], run.num_gaussians, **run.options)
    samples = [sample if sample and len(visible_centers(sample)) >= LEAST_POINTS else None for sample in samples]
    made = [sample for sample in samples if sample is not None]
    neighbors = [references.nearest(surface_points(sample)) for sample in made]
    if run.pictures is not None:
        pictures = []
        for sample, neighbor in zip(made, neighbors):
            pictures += [small_picture(sample), small_picture(train.splats(neighbor.index))]
        rows = [pictures[start : start + 8] for start in range(0, len(pictures) - 7, 8)]
        save_sheet(rows, run.pictures / "novelty.png")
    table = {
        "a sample": distance_summary([neighbor.distance for neighbor in neighbors]),
        "a training object": distance_summary([neighbor.distance for neighbor in references.leave_one_out()]),
    }
    print(report.novelty_markdown(table), flush=True)
    sets = compared_sets(run, made, train)
    compared = {"shapes": compare_shapes(sets), "images": compare_images(sets, run.pipe)}
    print(report.sets_markdown(compared["shapes"]), flush=True)
    print(report.images_markdown(compared["images"]), flush=True)
    found = [
        {"seed": seed, "nearest": train.records[neighbor.index].id, "distance": neighbor.distance}
        for seed, neighbor in zip((s for s, sample in zip(seeds, samples) if sample is not None), neighbors)
    ]
    counts = {"num_empty": len(samples) - len(made)}
    return {"novelty": {"distances": table, **compared, **counts, "samples": found}}


def compared_sets(
    run: EvaluationRun, samples: list[GaussianSplats], train: GaussianObjectDataset
) -> dict[str, list[GaussianSplats]]:
    """Samples, and as many training and held-out objects of a fixed choice, as far as there are that many."""
    generator = np.random.default_rng(run.seed)
    unknown = [(part, index) for part in run.held_out() for index in range(len(part))]
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
