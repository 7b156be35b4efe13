"""Tables of the VAE: pictures of its reconstructions, errors of its functions, the order of its Gaussians."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tqdm.auto import tqdm

from ...data.dataset import SPLITS
from .. import report
from ..function_errors import function_errors, mean_errors
from ..perceptual import load_lpips, lpips_obstacle
from ..progressive import progressive_scores
from ..reconstruction import ImageScores, reconstruction_scores, summarize
from .run import EvaluationRun

ALL = "all"


def vae_table(run: EvaluationRun) -> dict[str, Any]:
    """Splits × (true centres and numbers of Gaussians), latents as the encoder has them."""
    table, lpips = _reconstructions(run, "vae", 0)
    return {"vae": table, "lpips": lpips}


def refined_table(run: EvaluationRun) -> dict[str, Any]:
    """The same with latents refined for each object."""
    table, lpips = _reconstructions(run, "refined", run.refinement_steps)
    return {"refined": table, "lpips": lpips}


def _reconstructions(run: EvaluationRun, name: str, refinement_steps: int) -> tuple[dict[str, Any], str]:
    """The table, and how LPIPS was measured or why it was not."""
    obstacle = lpips_obstacle(run.lpips_net, run.lpips_weights)
    if obstacle is not None:
        print(f"LPIPS is left out: {obstacle}.", flush=True)
    lpips = load_lpips(run.lpips_net, run.lpips_weights) if obstacle is None else None
    vae = run.pipe.vae.float().eval()
    options: dict[str, Any] = {"size": run.image_size, "lpips": lpips, "refinement_steps": refinement_steps}
    scores = {}
    for split in SPLITS:
        objects = tqdm(run.chosen(split), total=len(run.chosen_indices(split)), desc=f"{name}, {split}")
        scores[split] = [reconstruction_scores(vae, splats, run.counts, **options) for _, splats in objects]
    table = reconstruction_rows(scores)
    print(report.vae_markdown(table), flush=True)
    return table, obstacle or f"measured with {run.lpips_net}"


def reconstruction_rows(scores: Mapping[str, list[dict[str, ImageScores]]]) -> dict[str, dict[str, Any]]:
    """The summaries of each split and of all objects: among few, chance does more than a count of Gaussians."""
    every = [one for objects in scores.values() for one in objects]
    return {split: summarize(objects) for split, objects in scores.items()} | {ALL: summarize(every)}


def functions_table(run: EvaluationRun) -> dict[str, Any]:
    """Splits × mean absolute errors of GauPF, GauCF and GauTF."""
    vae = run.pipe.vae.float().eval()
    table = {}
    for split in SPLITS:
        objects = tqdm(run.chosen(split), total=len(run.chosen_indices(split)), desc=f"functions, {split}")
        table[split] = mean_errors([function_errors(vae, splats, run.seed) for _, splats in objects])
    print(report.functions_markdown(table), flush=True)
    return {"functions": table}


def progressive_table(run: EvaluationRun) -> dict[str, Any]:
    """The first n of a large result beside n that are extracted at once, on held-out objects."""
    vae = run.pipe.vae.float().eval()
    objects = tqdm(run.chosen("test"), total=len(run.chosen_indices("test")), desc="progressive")
    scores = [
        progressive_scores(vae, splats, run.prefixes, run.whole, size=run.image_size) for _, splats in objects
    ]
    table = summarize(scores)
    print(report.progressive_markdown(table), flush=True)
    return {"progressive": table}
