"""The table of the variational bound: latents of each split, with captions and without."""

from __future__ import annotations

from typing import Any

import torch
from tqdm.auto import tqdm

from ...data.dataset import SPLITS
from .. import report
from ..diffusion_bound import bound_summary, object_bounds
from .run import EvaluationRun

_BATCH = 16


def bound_table(run: EvaluationRun) -> dict[str, Any]:
    """Splits × (unconditional, with each object's caption): L_T, Σ L_{t−1}, L_0 in nats and bits."""
    table = {}
    for split in SPLITS:
        records = run.objects(split).records
        captions = [records[index].caption for index in run.chosen_indices(split)]
        latents = torch.cat([run.pipe.encode_objects(splats) for _, splats in run.chosen(split)])
        rows: dict[str, list[str] | None] = {"unconditional": None}
        if run.pipe.text_encoder is not None:
            rows["with captions"] = captions
        for name, texts in rows.items():
            terms = []
            for start in tqdm(range(0, len(latents), _BATCH), desc=f"bound, {split}, {name}"):
                part = slice(start, start + _BATCH)
                asked = None if texts is None else texts[part]
                terms += object_bounds(
                    run.pipe, latents[part], asked, num_steps=run.bound_steps, seed=run.seed + start
                )
            table[f"{split}, {name}"] = bound_summary(terms)
    print(report.bound_markdown(table), flush=True)
    return {"bound": table}
