"""The category classifier on toy shapes, and how nouns become its classes."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from diffgs_diffusers.evaluation.categories import (
    CLASSES,
    ViewClassifier,
    judged_category,
    shape_channels,
    shape_views,
)
from diffgs_diffusers.evaluation.category_training import ClassifierTraining, fit_classifier, jittered
from tests.evaluation.primitives import box_points, colored, sphere_points

TRAINING = ClassifierTraining(epochs=6, batch_size=16, learning_rate=3e-3)


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
    return shape_views(colored(shapes[kind](), generator.uniform(0.1, 0.9, 3)), num_views=3)


def toy_set(seeds: range) -> tuple[torch.Tensor, torch.Tensor]:
    pairs = [(toy_views(kind, seed), kind) for seed in seeds for kind in range(3)]
    images = torch.cat([(views * 255).round().to(torch.uint8) for views, _ in pairs])
    return images, torch.tensor([kind for views, kind in pairs for _ in range(len(views))])


def test_learns_separable_shapes_and_repeats_itself() -> None:
    images, labels = toy_set(range(12))
    state = torch.random.get_rng_state()
    classifier = fit_classifier(images, labels, TRAINING)
    assert torch.equal(torch.random.get_rng_state(), state)
    right = [
        int(classifier.classify(toy_views(kind, 100 + i)).argmax()) == kind for i in range(8) for kind in range(3)
    ]
    assert np.mean(right) > 0.9
    again = fit_classifier(images, labels, TRAINING)
    assert all(torch.equal(a, b) for a, b in zip(classifier.state_dict().values(), again.state_dict().values()))


def test_classify_gives_probabilities_and_needs_eval_mode() -> None:
    torch.manual_seed(0)
    classifier = ViewClassifier()
    with pytest.raises(ValueError, match="eval mode"):
        classifier.classify(torch.rand(2, 2, 64, 64))
    probabilities = classifier.eval().classify(torch.rand(2, 2, 64, 64))
    assert probabilities.shape == (len(CLASSES),)
    assert probabilities.sum().item() == pytest.approx(1.0, abs=1e-5)


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
