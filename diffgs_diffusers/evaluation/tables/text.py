"""Tables of prompts: what follows them, and what guidance trades."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from tqdm.auto import tqdm

from ...gaussians import GaussianSplats
from .. import report
from ..categories import CategoryClassifier
from ..category_training import ClassifierTraining, classifier_accuracy, load_or_train_classifier
from ..clip_scores import NO_CLIP, ClipJudge
from ..color_calibration import calibrate_judge, judge_accuracy
from ..colors import ColorJudge
from ..guidance_sweep import sweep_row
from ..text_grid import GridSettings, grid_prompts, grid_summary, text_grid
from ..views import save_sheet
from .run import EvaluationRun, small_picture


def text_table(run: EvaluationRun) -> dict[str, Any]:
    """Colours × categories × seeds, and how far the judges can be trusted."""
    judge, classifier = _judges(run)
    judges = {
        "color": judge_accuracy(judge, run.held_out(), run.seed),
        "category": classifier_accuracy(classifier, run.held_out()),
    }
    print(f"The judges on held-out objects: {judges}", flush=True)
    settings = run.grid(run.num_seeds)
    verdicts, pictures = [], []
    total = len(grid_prompts(settings)) * run.num_seeds
    grid = text_grid(run.pipe, judge, classifier, settings, _clip_judge(run, settings))
    for verdict, splats in tqdm(grid, total=total, desc="text"):
        verdicts.append(verdict)
        pictures.append(small_picture(splats))
    if run.pictures is not None:
        width = len(settings.colors) * len(settings.seeds)
        rows = [pictures[start : start + width] for start in range(0, len(pictures), width)]
        save_sheet(rows, run.pictures / "text_grid.png")
    summary = grid_summary(verdicts)
    print(report.text_markdown(summary), flush=True)
    return {"text": {**summary, "judges": judges, "verdicts": [asdict(verdict) for verdict in verdicts]}}


def guidance_table(run: EvaluationRun) -> dict[str, Any]:
    """The text grid with fewer seeds, once for each guidance scale."""
    judge, classifier = _judges(run)
    clip = _clip_judge(run, run.grid(run.guidance_seeds))
    table = {}
    for scale in run.guidance:
        settings = run.grid(run.guidance_seeds, guidance_scale=scale)
        verdicts = []
        groups: dict[str, list[GaussianSplats | None]] = {}
        total = len(grid_prompts(settings)) * run.guidance_seeds
        grid = text_grid(run.pipe, judge, classifier, settings, clip)
        for verdict, splats in tqdm(grid, total=total, desc=f"guidance {scale:g}"):
            verdicts.append(verdict)
            groups.setdefault(verdict.prompt, []).append(splats)
        table[f"{scale:g}"] = sweep_row(grid_summary(verdicts), groups)
    print(report.guidance_markdown(table), flush=True)
    return {"guidance": table}


def _judges(run: EvaluationRun) -> tuple[ColorJudge, CategoryClassifier]:
    train = run.objects("train")
    training = ClassifierTraining(seed=run.seed)
    return calibrate_judge(train, run.seed), load_or_train_classifier(train, run.cache_dir, training)


def _clip_judge(run: EvaluationRun, settings: GridSettings) -> ClipJudge | None:
    if run.clip is None:
        print(NO_CLIP, flush=True)
        return None
    return ClipJudge(run.clip, grid_prompts(settings))
