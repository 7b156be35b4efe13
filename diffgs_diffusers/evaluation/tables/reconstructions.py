"""Tables of the VAE: pictures of its reconstructions, errors of its functions, the order of its Gaussians."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tqdm.auto import tqdm

from ...data.dataset import SPLITS
from ...gaussians import GaussianSplats
from .. import report
from ..function_errors import function_errors, mean_errors
from ..perceptual import load_lpips, lpips_obstacle
from ..progressive import progressive_scores
from ..reconstruction import ImageScores, PerceptualDistance, reconstruction_scores, summarize
from .run import EvaluationRun

ALL = "all"
Steps = Mapping[str, int]  # of refinement, by the names that `reconstruction_scores` has for them
AS_ENCODED: Steps = {}


def vae_table(run: EvaluationRun) -> dict[str, Any]:
    """Splits × (true centres and numbers of Gaussians), latents as the encoder has them."""
    table, lpips = _reconstructions(run, "vae", AS_ENCODED)
    return {"vae": table, "lpips": lpips}


def refined_table(run: EvaluationRun) -> dict[str, Any]:
    """The same with latents refined for each object."""
    table, lpips = _reconstructions(run, "refined", _refined(run))
    return {"refined": table, "lpips": lpips}


def training_table(run: EvaluationRun) -> dict[str, Any]:
    """Training objects, with latents as the encoder has them and refined."""
    lpips, measured = _perceptual(run)
    latents = {"as encoded": AS_ENCODED, "refined": _refined(run)}
    scores: dict[str, list[dict[str, ImageScores]]] = {name: [] for name in latents}
    for _, splats in tqdm(run.chosen("train"), total=len(run.chosen_indices("train")), desc="training"):
        for name, steps in latents.items():
            scores[name].append(_scores(run, splats, lpips, steps))
    table = {name: summarize(entries) for name, entries in scores.items()}
    print(report.vae_markdown(table), flush=True)
    return {"training": table, "lpips": measured}


def _reconstructions(run: EvaluationRun, name: str, steps: Steps) -> tuple[dict[str, Any], str]:
    """The table, and how LPIPS was measured or why it was not."""
    lpips, measured = _perceptual(run)
    scores = {}
    for split in SPLITS:
        objects = tqdm(run.chosen(split), total=len(run.chosen_indices(split)), desc=f"{name}, {split}")
        scores[split] = [_scores(run, splats, lpips, steps) for _, splats in objects]
    table = reconstruction_rows(scores)
    print(report.vae_markdown(table), flush=True)
    return table, measured


def _refined(run: EvaluationRun) -> Steps:
    return {"refinement_steps": run.refinement_steps, "picture_steps": run.picture_steps}


def _perceptual(run: EvaluationRun) -> tuple[PerceptualDistance | None, str]:
    """LPIPS, if it can be had, and how it is measured or why it is not."""
    obstacle = lpips_obstacle(run.lpips_net, run.lpips_weights)
    if obstacle is None:
        return load_lpips(run.lpips_net, run.lpips_weights), f"measured with {run.lpips_net}"
    print(f"LPIPS is left out: {obstacle}.", flush=True)
    return None, obstacle


def _scores(
    run: EvaluationRun, splats: GaussianSplats, lpips: PerceptualDistance | None, steps: Steps
) -> dict[str, ImageScores]:
    vae = run.pipe.vae.float().eval()
    return reconstruction_scores(vae, splats, run.counts, size=run.image_size, lpips=lpips, **steps)


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
