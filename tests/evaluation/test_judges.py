"""Calibration and training of both judges on a dataset folder."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
import torch

from diffgs_diffusers.data.dataset import GaussianObjectDataset
from diffgs_diffusers.evaluation.categories import CATEGORIES
from diffgs_diffusers.evaluation.category_training import (
    ClassifierTraining,
    classifier_accuracy,
    load_or_train_classifier,
)
from diffgs_diffusers.evaluation.color_calibration import calibrate_judge, judge_accuracy, painted
from diffgs_diffusers.evaluation.views import evaluation_cameras, foreground_colors

TRAINING = ClassifierTraining(variants=2)


def test_painting_gives_the_colour_under_the_same_light(toy_dataset: Path) -> None:
    """A flat object becomes flat in the new colour: its material's own colour is divided out."""
    objects = GaussianObjectDataset(toy_dataset, split="train")
    splats = painted(objects.splats(0), objects.records[0], objects.material_ids(0), np.array([0.1, 0.6, 0.2]))
    colors = foreground_colors(splats.render(evaluation_cameras(32, 2)), 0.95).mean(dim=0)
    assert colors.argmax() == 1
    assert (colors / colors.max() - torch.tensor([0.1, 0.6, 0.2]) / 0.6).abs().max() < 0.1


def test_the_colour_judge_from_training_objects_judges_others(toy_dataset: Path) -> None:
    train = GaussianObjectDataset(toy_dataset, split="train")
    judge = calibrate_judge(train, objects_per_color=4)
    held_out = [GaussianObjectDataset(toy_dataset, split=split) for split in ("validation", "test")]
    accuracy = judge_accuracy(judge, held_out)
    assert accuracy["accuracy_original"] == 1.0
    assert accuracy["accuracy_recolored"] >= 0.75
    assert (accuracy["num_original"], accuracy["num_recolored"]) == (12, 12)
    again = calibrate_judge(train, objects_per_color=4)
    assert torch.equal(judge.means, again.means)


def test_judges_refuse_held_out_objects(toy_dataset: Path, tmp_path: Path) -> None:
    held_out = GaussianObjectDataset(toy_dataset, split="test")
    with pytest.raises(ValueError, match="training split only"):
        calibrate_judge(held_out)
    with pytest.raises(ValueError, match="training split only"):
        load_or_train_classifier(held_out, tmp_path, TRAINING)


def test_the_classifier_is_trained_once_and_right(toy_dataset: Path, tmp_path: Path) -> None:
    train = GaussianObjectDataset(toy_dataset, split="train")
    classifier = load_or_train_classifier(train, tmp_path / "cache", TRAINING)
    accuracy = classifier_accuracy(classifier, [GaussianObjectDataset(toy_dataset, split="test")])
    assert accuracy["accuracy"] == accuracy["accuracy_with_other"] == accuracy["accuracy_of_all"] == 1.0
    assert accuracy["num_objects"] == 6
    assert accuracy["per_category"] == {name: "3/3" if name in ("table", "lamp") else "0/0" for name in CATEGORIES}
    (file,) = (tmp_path / "cache").iterdir()
    written = file.stat().st_mtime_ns
    cached = load_or_train_classifier(train, tmp_path / "cache", TRAINING)
    assert file.stat().st_mtime_ns == written
    assert all(
        torch.equal(getattr(classifier, field.name), getattr(cached, field.name)) for field in fields(cached)
    )
