"""What the text table generates and counts."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from diffgs_diffusers import DiffGSPipeline
from diffgs_diffusers.evaluation.categories import CategoryClassifier
from diffgs_diffusers.evaluation.category_training import ClassifierTraining, fit_classifier
from diffgs_diffusers.evaluation.colors import ColorJudge
from diffgs_diffusers.evaluation.text_grid import (
    GridSettings,
    Verdict,
    generate_objects,
    grid_prompts,
    grid_summary,
    judge_object,
    text_grid,
)


@pytest.fixture(scope="module")
def judge() -> ColorJudge:
    generator = torch.Generator().manual_seed(0)
    noise = torch.rand(50, 3, generator=generator) * 0.2
    return ColorJudge.fit(
        {"red": noise + torch.tensor([0.7, 0.0, 0.0]), "blue": noise + torch.tensor([0.0, 0.0, 0.7])}
    )


@pytest.fixture(scope="module")
def classifier() -> CategoryClassifier:
    generator = torch.Generator().manual_seed(0)
    views = torch.randint(0, 256, (14, 8, 2, 64, 64), generator=generator, dtype=torch.uint8)
    return fit_classifier(views, torch.arange(14) % 7, ClassifierTraining())


def test_an_object_is_that_of_a_call_of_its_own(tiny_pipeline: DiffGSPipeline) -> None:
    together = generate_objects(tiny_pipeline, "a red chair", (3, 4), 64, num_inference_steps=2)
    generator = torch.Generator().manual_seed(4)
    alone = tiny_pipeline("a red chair", generator=[generator], num_gaussians=64, num_inference_steps=2).gaussians[
        0
    ]
    torch.testing.assert_close(together[1].means, alone.means, atol=1e-3, rtol=0)


def test_an_empty_object_is_none_and_no_error(tiny_pipeline: DiffGSPipeline) -> None:
    bias = tiny_pipeline.vae.heads.gaupf.proj_out.bias
    kept = bias.detach().clone()
    with torch.no_grad():
        bias.sub_(100.0)
    try:
        assert generate_objects(tiny_pipeline, None, (0, 1), 64, num_inference_steps=2) == [None, None]
    finally:
        with torch.no_grad():
            bias.copy_(kept)


def test_an_empty_object_is_neither_colour_nor_category(judge: ColorJudge, classifier: CategoryClassifier) -> None:
    assert judge_object(None, judge, classifier) == ({"red": 0.0, "blue": 0.0}, "", ("", ""))


def test_the_grid_asks_every_combination(
    tiny_pipeline: DiffGSPipeline, judge: ColorJudge, classifier: CategoryClassifier
) -> None:
    settings = GridSettings(("red", "blue"), ("chair", "bed"), (0, 1), 24, (("num_inference_steps", 2),))
    grid: Iterator = text_grid(tiny_pipeline, judge, classifier, settings)
    asked = [(verdict.prompt, verdict.seed) for verdict, _ in grid]
    prompts = ("a red chair", "a blue chair", "a red bed", "a blue bed")
    assert asked == [(prompt, seed) for prompt in prompts for seed in (0, 1)]


def test_summary_counts_what_was_asked() -> None:
    rows = [
        ("red", "chair", "red", "chair", "chair"),
        ("red", "bed", "red", "sofa", "sofa"),
        ("blue", "chair", "red", "chair", "other"),
        ("blue", "bed", "", "", ""),
    ]
    summary = grid_summary([Verdict("", 0, *row, 0.0) for row in rows])
    assert (summary["color_accuracy"], summary["category_accuracy"], summary["both_accuracy"]) == (0.5, 0.5, 0.25)
    assert summary["category_accuracy_with_other"] == 0.25
    assert summary["color_accuracy_by_color"] == {"red": 1.0, "blue": 0.0}
    assert summary["category_accuracy_by_category"] == {"chair": 1.0, "bed": 0.0}
    assert "r_precision" not in summary


def test_r_precision_is_the_share_of_objects_that_find_their_own_prompt() -> None:
    asked, retrieved = ("a", "a", "b", "b", "c"), ("a", "b", "b", "c", "")
    rows = [
        Verdict(prompt, 0, "red", "chair", "red", "chair", "chair", 0.0, score, found)
        for prompt, found, score in zip(asked, retrieved, (20.0, 30.0, 25.0, 25.0, 0.0), strict=True)
    ]
    summary = grid_summary(rows)
    assert (summary["r_precision"], summary["clip_score"], summary["num_prompts"]) == (0.4, 20.0, 3)


def test_the_grids_prompts_are_those_that_are_asked() -> None:
    settings = GridSettings(("red", "blue"), ("chair", "armchair"))
    assert grid_prompts(settings) == ["a red chair", "a blue chair", "a red armchair", "a blue armchair"]
