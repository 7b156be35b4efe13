"""FID and KID of features whose distributions are known."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from diffgs_diffusers.evaluation.image_distributions import (
    VisionFeatures,
    image_distance,
    streamed_image_distance,
)
from tests.tiny_models import tiny_image_models


class CornerColors(nn.Module):
    """The colour of one pixel as three features."""

    num_features = 3

    def forward(self, images: Tensor) -> Tensor:
        return images[:, :, 0, 0]


def images(count: int, mean: float, std: float = 0.05, seed: int = 0) -> Tensor:
    values = mean + std * torch.randn(count, 1, 1, 3, generator=torch.Generator().manual_seed(seed))
    return values.expand(-1, 4, 4, -1)


def test_fid_of_gaussians_is_their_frechet_distance() -> None:
    """Σ (μ₁ − μ₂)² + (σ₁ − σ₂)² over three channels."""
    found = image_distance(images(4000, 0.4), images(4000, 0.6, 0.1, seed=1), CornerColors())
    assert found.fid == pytest.approx(3 * (0.2**2 + 0.05**2), rel=0.03)
    assert (found.num_images, found.num_others) == (4000, 4000)


def test_kid_is_about_zero_for_one_distribution_and_grows_with_the_distance() -> None:
    first = images(400, 0.5)
    same, near, far = (
        image_distance(first, images(300, mean, seed=1), CornerColors()) for mean in (0.5, 0.55, 0.8)
    )
    assert abs(same.kid) < 3 * same.kid_std + 1e-4
    assert abs(same.kid) < near.kid < far.kid
    assert near.kid > 3 * near.kid_std


def test_kid_draws_its_subsets_alike_and_apart_from_whoever_else_draws() -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    first, again = (image_distance(images(150, 0.5), images(128, 0.6, seed=1), CornerColors()) for _ in range(2))
    assert first == again and torch.equal(torch.rand(3), expected)


def test_images_may_come_some_at_a_time() -> None:
    """However many come at once, the features see the same batches, of a bounded size."""
    sizes, results = [], []
    features = CornerColors()
    features.register_forward_hook(lambda _, args, __: sizes.append(len(args[0])))
    first, second = images(150, 0.5), images(128, 0.6, seed=1)
    for parts in ((1, 200), (150, 64), (7, 3), (100, 65)):
        given = (iter(one.split(size)) for one, size in zip((first, second), parts))
        results.append(streamed_image_distance(*given, (150, 128), features))
    assert results == [image_distance(first, second, features)] * 4
    batches = [64, 64, 22, 64, 64]
    assert sizes == [size for size in batches for _ in range(2)] * 5  # of FID and of KID


def test_features_of_the_vision_model_are_its_mean_states() -> None:
    models = tiny_image_models()
    features = VisionFeatures(**models)
    pictures = torch.rand(3, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    pixels = models["image_processor"](
        images=list((pictures * 255).round().byte()), return_tensors="pt"
    ).pixel_values
    with torch.no_grad():
        expected = models["image_encoder"](pixels).last_hidden_state.mean(dim=1)
        torch.testing.assert_close(features(pictures), expected)
    assert features.num_features == expected.shape[1]
    bright, dark = (torch.rand(120, 16, 16, 3, generator=torch.Generator().manual_seed(seed)) for seed in (1, 2))
    assert image_distance(bright, 0.2 * dark, features).fid > 10 * image_distance(bright, dark, features).fid


def test_few_images_are_refused_unless_forced() -> None:
    with pytest.raises(ValueError, match=r"of 300 and 40 images mean little: take at least 100 of each, or pass"):
        image_distance(images(300, 0.5), images(40, 0.5), CornerColors())
    assert image_distance(images(300, 0.5), images(40, 0.5), CornerColors(), force=True).num_others == 40
    with pytest.raises(ValueError, match=r"at least 100 of each\.$"):
        image_distance(images(300, 0.5), images(1, 0.5), CornerColors(), force=True)
