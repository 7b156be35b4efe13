"""The category classifier on toy shapes, and how nouns become its classes."""

from __future__ import annotations

from dataclasses import fields

import numpy as np
import pytest
import torch

from diffgs_diffusers.evaluation.categories import (
    CLASSES,
    CategoryClassifier,
    judged_category,
    shape_channels,
    shape_views,
)
from diffgs_diffusers.evaluation.category_training import ClassifierTraining, fit_classifier, jittered
from diffgs_diffusers.evaluation.shape_features import edge_histograms, shape_features
from tests.evaluation.primitives import box_points, colored, sphere_points


@pytest.mark.parametrize(
    ("noun", "category", "expected"),
    [
        ("office armchair", "chair", "chair"),
        ("bar stool", "chair", None),
        ("wardrobe", "cabinet", "cabinet"),
        ("sofa bed", "sofa", None),
        ("car", "vehicle", "other"),
    ],
)
def test_judged_category(noun: str, category: str, expected: str | None) -> None:
    assert judged_category(noun, category) == expected


def toy_views(kind: int, seed: int) -> torch.Tensor:
    """Class 0: tall boxes, class 1: flat boxes, class 2: spheres; size and brightness vary."""
    generator = np.random.default_rng((kind, seed))
    size = generator.uniform(0.6, 1.0)
    shapes = [
        lambda: box_points((0.2 * size, size, 0.2 * size)),
        lambda: box_points((size, 0.1, size)),
        lambda: sphere_points(400, size / 2),
    ]
    return shape_views(colored(shapes[kind](), generator.uniform(0.1, 0.9, 3)))


def test_learns_separable_shapes_and_repeats_itself() -> None:
    labels = torch.arange(18) % 3
    views = torch.stack([(toy_views(int(kind), i) * 255).round().to(torch.uint8) for i, kind in enumerate(labels)])
    state = torch.random.get_rng_state()
    classifier = fit_classifier(views, labels, ClassifierTraining())
    assert torch.equal(torch.random.get_rng_state(), state)
    for kind in range(3):
        for seed in range(100, 104):
            assert classifier.judge(toy_views(kind, seed)) == (CLASSES[kind], CLASSES[kind])
    again = fit_classifier(views, labels, ClassifierTraining())
    assert all(torch.equal(getattr(classifier, field.name), getattr(again, field.name)) for field in fields(again))


def test_the_six_are_judged_without_other() -> None:
    """An object that looks like "other" still has a most likely one of the six."""
    bias = torch.tensor([0.0, 2.0, 0.0, 0.0, 0.0, 0.0, 3.0])
    classifier = CategoryClassifier(torch.zeros(9728), torch.zeros(9728, 2), torch.zeros(2, 7), bias)
    views = torch.rand(8, 2, 64, 64)
    assert classifier.judge(views) == ("table", "other")
    torch.testing.assert_close(classifier.probabilities(views), bias.softmax(dim=0))


def test_edge_histograms_of_stripes() -> None:
    """Upright stripes have gradients across (bin 0), level ones down (bins 4 and 5); flat images none."""
    ramp = torch.linspace(0, 1, 32).expand(32, 32)
    across, down, flat = edge_histograms(torch.stack([ramp, ramp.T, torch.full((32, 32), 0.3)])).view(3, 9, 4, 4)
    assert across[0].min() > 0.5 and across[1:].abs().max() < 1e-6
    assert down[4:6].sum(dim=0).min() > 0.5 and down[:4].abs().max() < 1e-6
    torch.testing.assert_close(down[4], down[5])
    assert flat.abs().max() == 0


def test_shape_features_are_per_view() -> None:
    """The silhouette's share of a cell stands in the place of its view."""
    views = torch.zeros(1, 2, 2, 16, 16)
    views[0, 1, 0, :8, 8:] = 1.0
    features = shape_features(views)
    assert features.shape == (1, 2 * 19 * 4)
    assert features[0, :8].tolist() == [0, 0, 0, 0, 0, 1, 0, 0]


def test_shape_channels_see_no_hue() -> None:
    """Red, green and blue of one brightness look the same; the background is white."""
    views = torch.zeros(1, 2, 3, 4)
    views[0, 0, :, 3] = 1.0
    views[0, 0, :, :3] = torch.eye(3)
    channels = shape_channels(views)
    torch.testing.assert_close(channels[0, 0], torch.tensor([[1.0] * 3, [0.0] * 3]))
    torch.testing.assert_close(channels[0, 1], torch.tensor([[1 / 3] * 3, [1.0] * 3]))


def test_jittered_moves_centres_within_bounds() -> None:
    splats = colored(sphere_points(400), (0.5, 0.5, 0.5))
    for seed in range(5):
        offset = (jittered(splats, np.random.default_rng(seed), most=0.01).means - splats.means).abs()
        assert 0 < offset.max() < 0.06
