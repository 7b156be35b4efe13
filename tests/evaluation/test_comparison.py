"""Objects and sets of objects beside each other, of known likeness."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from diffgs_diffusers.evaluation.comparison import LEAST_OBJECTS, check_place, pair_scores, set_scores
from diffgs_diffusers.evaluation.image_distributions import image_distance
from diffgs_diffusers.evaluation.views import evaluation_cameras
from tests.factories import sphere_splats

MODE = "antialiased"


class MeanColor(nn.Module):
    """Three features an image: its mean colour."""

    num_features = 3

    def forward(self, images: Tensor) -> Tensor:
        return images.mean(dim=(2, 3))


def spheres(count: int, first: float = 0.2) -> list:
    """Spheres that grow."""
    return [(sphere_splats(300, first + 0.01 * index), MODE) for index in range(count)]


def test_an_object_is_like_itself_and_less_like_a_moved_one() -> None:
    splats = sphere_splats(2000)
    same = pair_scores(splats, splats)
    assert same == {"psnr": 60.0, "ssim": pytest.approx(1.0), "chamfer": 0.0, "f_score": 1.0}
    smaller = pair_scores(splats, splats.transform(scale=0.9))
    assert smaller["chamfer"] == pytest.approx(0.04, rel=0.05)  # a tenth of the radius of 0.4
    assert smaller["f_score"] == 0.0
    assert smaller["psnr"] < 30


def test_each_is_rendered_in_its_own_mode() -> None:
    splats = sphere_splats(500)
    assert pair_scores(splats, splats, (MODE, "classic"))["psnr"] < 60.0
    assert pair_scores(splats, splats, ("classic", "classic"))["psnr"] == 60.0


def test_sets_of_the_same_objects_differ_by_nothing() -> None:
    objects = spheres(LEAST_OBJECTS)
    scores = set_scores(objects, objects, MeanColor(), 32)
    assert (scores["num_references"], scores["num_generated"], scores["compared"]) == (13, 13, 13)
    assert (scores["coverage"], scores["mmd"], scores["one_nna"]) == (1.0, 0.0, 0.0)
    assert scores["fid"] == pytest.approx(0.0, abs=1e-4)
    assert (scores["num_reference_images"], scores["num_generated_images"]) == (104, 104)


def test_views_are_compared_as_if_all_were_there_at_once() -> None:
    references, made = spheres(10), spheres(9, 0.3)
    torch.manual_seed(0)  # of KID's subsets
    scores = set_scores(references, made, MeanColor(), 16, force=True)
    cameras, white = evaluation_cameras(16), (1.0, 1.0, 1.0)
    views = (
        torch.cat([splats.render(cameras, background=white)[..., :3].clamp(0, 1) for splats, _ in objects])
        for objects in (made, references)
    )
    torch.manual_seed(0)
    whole = image_distance(*views, MeanColor(), force=True)
    assert (scores["fid"], scores["kid"], scores["kid_std"]) == (whole.fid, whole.kid, whole.kid_std)
    assert whole.fid > 1e-3


def test_small_sets_are_refused_unless_forced() -> None:
    with pytest.raises(ValueError, match=r"of 13 and 2 objects mean little: take at least 13"):
        set_scores(spheres(13), spheres(2), None, 32)
    scores = set_scores(spheres(3), spheres(2), None, 32, force=True)
    assert (scores["compared"], scores["num_references"], "fid" in scores) == (2, 3, False)
    with pytest.raises(ValueError, match="at least 2"):
        set_scores(spheres(3), spheres(1), None, 32, force=True)


def test_what_measures_views_is_looked_for_before_shapes_are_compared(monkeypatch) -> None:
    monkeypatch.setattr("diffgs_diffusers.evaluation.image_distributions.find_spec", lambda name: None)
    monkeypatch.setattr("diffgs_diffusers.evaluation.comparison.set_comparison", None)
    with pytest.raises(ImportError, match=r"torchmetrics: pip install .diffgs-diffusers.eval.."):
        set_scores(spheres(13), spheres(13), MeanColor(), 32)


def test_what_stands_elsewhere_or_is_not_seen_is_named() -> None:
    with pytest.raises(ValueError, match=r"far: reaches 2\.4 from the origin"):
        check_place(sphere_splats(200).transform(translation=torch.tensor([2.0, 0, 0])), "far")
    clear = sphere_splats(200)
    clear.opacities.zero_()
    with pytest.raises(ValueError, match="clear: holds 0 Gaussians that can be seen"):
        check_place(clear, "clear")
