"""The table of conditions: held-out objects from a picture, a part and points, beside what needs no generation."""

from __future__ import annotations

from typing import Any

from tqdm.auto import tqdm

from .. import report
from ..conditions import CONDITIONS, NOTHING_KEPT, ConditionJudge, condition_summary
from ..views import save_sheet
from .run import EvaluationRun, small_picture

SHEET_ROWS = 8


def conditions_table(run: EvaluationRun) -> dict[str, Any]:
    """Conditions × (what was generated, baselines)."""
    train, test = run.objects("train"), run.objects("test")
    objects = [train.splats(index) for index in range(len(train))]
    judge = ConditionJudge(
        run.pipe,
        objects,
        run.num_gaussians,
        run.seed,
        run.options,
        run.features,
        run.num_candidates,
        run.refinement_steps,
        run.picture_steps,
    )
    table = {}
    for condition in CONDITIONS:
        scores, rows = [], []
        for index in tqdm(range(min(run.num_objects, len(test))), desc=condition):
            truth = test.splats(index)
            made = judge.objects(condition, truth, index)
            scores.append(judge.scores(condition, made, truth, index))
            shown = [splats for name, splats in made.items() if name != NOTHING_KEPT]
            rows.append([small_picture(splats) for splats in (truth, *shown)])
        table[condition] = condition_summary(scores)
        if run.pictures is not None:
            save_sheet(rows[:SHEET_ROWS], run.pictures / f"{condition}.png")
    print(report.conditions_markdown(table), flush=True)
    return {"conditions": table}
