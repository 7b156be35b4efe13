"""Samples of the denoiser: decided by their key alone, told as often of each thing as asked, true of the object."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from diffgs_diffusers import GaussianSplats
from diffgs_diffusers.data.condition_samples import (
    LEAST_POINTS,
    ConditionShares,
    LatentSamples,
    collate,
    scanned_points,
)
from diffgs_diffusers.data.latents import LatentDataset, LatentRecord, write_index, write_latents
from diffgs_diffusers.functional.quaternions import matrices_to_quaternions, quaternions_to_matrices
from diffgs_diffusers.models.condition_encoder import NUM_FEATURES, POINT_KINDS, points_features, splats_features
from diffgs_diffusers.training.sampling import SampleKey
from tests.factories import random_splats, sphere_splats

CHANNELS, LENGTH, VERSIONS, VIEWS, SIDE = 3, 8, 4, 3, 5
NUM_POINTS = 32
SHARES = ConditionShares(text=0.6, image=0.5, partial=0.3, points=0.4)
PARTIAL, POINTS = POINT_KINDS.index("partial"), POINT_KINDS.index("points")
RGB = (0.8, 0.2, 0.1)


def radius_of(index: int, version: int) -> float:
    return 0.3 + 0.1 * index + 0.01 * version


def splats_of(index: int, version: int) -> GaussianSplats:
    """A sphere whose radius tells which version of which object it is."""
    return sphere_splats(300, radius_of(index, version), RGB)


def write_folder(folder: Path, with_views: bool = True) -> LatentDataset:
    """Two objects of ``VERSIONS`` versions, with log variances."""
    generator = torch.Generator().manual_seed(0)
    for object_id in ("stool", "sofa"):
        captions = [[f"a red {object_id}", f"{object_id} in colour {version}"] for version in range(VERSIONS)]
        record = LatentRecord(object_id, "train", "chair", 0.5, captions, [f"a {object_id}"])
        mean = torch.randn(VERSIONS, CHANNELS, LENGTH, generator=generator)
        views = torch.randint(256, (VERSIONS, VIEWS, SIDE, SIDE, 3), generator=generator, dtype=torch.uint8)
        pictures = (views, torch.rand(VERSIONS, VIEWS, 2, generator=generator)) if with_views else None
        write_latents(folder, record, mean, torch.full_like(mean, -4.0), pictures)
    write_index(folder, ["stool", "sofa"], {"seed": 0})
    return LatentDataset(folder)


@pytest.fixture
def latents(tmp_path: Path) -> LatentDataset:
    return write_folder(tmp_path)


def told_of(latents: LatentDataset, count: int = NUM_POINTS, **shares: float) -> LatentSamples:
    """Samples with these shares and, unless it is named, without text."""
    return LatentSamples(
        latents, shares=ConditionShares(**{"text": 0.0} | shares), splats_of=splats_of, num_points=count
    )


def same(first: dict[str, Any], second: dict[str, Any]) -> bool:
    return first.keys() == second.keys() and all(
        torch.equal(torch.as_tensor(value), torch.as_tensor(second[name])) for name, value in first.items()
    )


def version_of(latents: LatentDataset, sample: dict[str, Any], index: int) -> int:
    """Which version of an object the latents of a sample are those of."""
    (found,) = (v for v in range(VERSIONS) if torch.equal(sample["latents"], latents.latents(index, v)))
    return found


def test_captions_are_those_of_the_version_and_sometimes_name_no_colour(latents):
    samples = LatentSamples(latents, plain_caption_probability=0.25)
    versions, plain = set(), 0
    for seed in range(400):
        sample = samples[SampleKey(1, seed)]
        assert sample["has_text"] is True
        assert sample.keys() == {"latents", "caption", "has_text"}
        versions.add(version_of(latents, sample, 1))
        caption = samples.captions[sample["caption"]]
        plain += caption == "a sofa"
        if "colour" in caption:
            assert version_of(latents, sample, 1) == int(caption[-1])
        else:
            assert caption in ("a sofa", "a red sofa")
    assert plain / 400 == pytest.approx(0.25, abs=0.07)
    assert versions == set(range(VERSIONS))


def test_sampling_the_posterior_changes_latents_by_the_key(latents):
    samples = LatentSamples(latents, sample_posterior=True)
    first = samples[SampleKey(0, 1)]["latents"]
    assert torch.equal(first, samples[SampleKey(0, 1)]["latents"])
    means = [latents.latents(0, v) for v in range(VERSIONS)]
    assert 0 < min((first - mean).abs().max().item() for mean in means) < 2


def test_samples_are_decided_by_their_key_alone(latents):
    first, second = (
        LatentSamples(latents, shares=SHARES, splats_of=splats_of, num_points=NUM_POINTS) for _ in range(2)
    )
    keys = [SampleKey(index, seed) for index in range(2) for seed in range(25)]
    drawn = [first[key] for key in keys]
    torch.manual_seed(1)
    np.random.seed(1)
    again = [second[key] for key in reversed(keys)][::-1]
    assert all(same(*pair) for pair in zip(drawn, again, strict=True))
    features = [sample["features"] for sample in drawn if "features" in sample]
    assert len({one.sum().item() for one in features}) == len(features) > 20


def test_each_thing_is_told_as_often_as_asked_and_apart_from_the_others(latents):
    samples = LatentSamples(latents, shares=SHARES, splats_of=splats_of, num_points=NUM_POINTS)
    drawn = [samples[SampleKey(0, seed)] for seed in range(600)]
    told = np.array(
        [[one["has_text"], "view" in one, one.get("kind") == PARTIAL, one.get("kind") == POINTS] for one in drawn]
    )
    shares = np.array([0.6, 0.5, 0.3, 0.4])
    np.testing.assert_allclose(told.mean(axis=0), shares, atol=0.06)
    for given in (0, 1):  # whether there is a text, or a picture, says nothing of the rest
        others = [column for column in range(4) if column != given]
        np.testing.assert_allclose(told[told[:, given]].mean(axis=0)[others], shares[others], atol=0.09)
    assert (~told.any(axis=1)).mean() == pytest.approx(0.4 * 0.5 * 0.3, abs=0.03)


def test_parts_and_points_exclude_each_other(latents):
    """Drawn apart, a quarter of the samples would have both and a quarter neither."""
    samples = told_of(latents, partial=0.5, points=0.5)
    kinds = [samples[SampleKey(0, seed)]["kind"] for seed in range(300)]
    assert set(kinds) == {PARTIAL, POINTS}
    assert np.mean(kinds) == pytest.approx(0.5, abs=0.1)


def test_nothing_but_texts_is_told_unless_asked_for(latents):
    plain, silent = LatentSamples(latents), told_of(latents)
    for seed in range(30):
        assert plain[SampleKey(0, seed)]["has_text"] is True
        sample = silent[SampleKey(0, seed)]
        assert sample["has_text"] is False
        assert sample.keys() == {"latents", "caption", "has_text"}


@pytest.mark.parametrize("index", [0, 1])
def test_what_is_told_is_of_the_version_that_the_latents_are_of(latents, index):
    samples = told_of(latents, image=1.0, partial=1.0)
    seen = set()
    for seed in range(20):
        sample = samples[SampleKey(index, seed)]
        version = version_of(latents, sample, index)
        (number,) = (n for n in range(VIEWS) if torch.equal(sample["view"], latents.view(index, version, n)))
        assert torch.equal(sample["side"], latents.side(index, version, number))
        radii = sample["features"][:, :3].norm(dim=1)
        torch.testing.assert_close(radii, torch.full_like(radii, radius_of(index, version)), atol=1e-5, rtol=0)
        seen.add((version, number))
    assert {version for version, _ in seen} == set(range(VERSIONS))
    assert {number for _, number in seen} == set(range(VIEWS))


def test_a_part_is_told_as_some_of_the_gaussians_with_all_that_is_known(latents):
    samples, sizes = told_of(latents, count=1000, partial=1.0), set()
    for seed in range(20):
        sample = samples[SampleKey(0, seed)]
        whole = splats_features(splats_of(0, version_of(latents, sample, 0)))
        told = sample["features"]
        assert told.shape == (1000, NUM_FEATURES)
        assert (told[:, -2:] == 1).all()
        which = (told[:, None, :3] - whole[None, :, :3]).abs().amax(dim=2).argmin(dim=1)
        assert torch.equal(told, whole[which])
        times = which.bincount(minlength=300)
        part = times[times > 0]
        assert 0 < len(part) < 300
        assert part.max() - part.min() <= 1  # too few are repeated evenly
        sizes.add(len(part))
    assert len(sizes) > 5


def test_more_points_than_are_read_are_thinned(latents):
    told = told_of(latents, count=10, partial=1.0)[SampleKey(0, 0)]["features"]
    assert told.shape == (10, NUM_FEATURES)
    assert len(told.unique(dim=0)) == 10


def test_clouds_are_of_any_size_sometimes_noisy_and_sometimes_without_colors(latents):
    samples = told_of(latents, count=1000, points=1.0)
    sizes, exact, colored = [], [], []
    for seed in range(200):
        sample = samples[SampleKey(0, seed)]
        told, radius = sample["features"], radius_of(0, version_of(latents, sample, 0))
        assert not told[:, 3:10].any() and not told[:, -2].any()  # shape and opacity of a point are unknown
        deviation = told[:, :3].norm(dim=1) - radius
        assert deviation.abs().max() < 0.07
        exact.append(deviation.min().item() > -1e-5)  # a plane that touches a sphere is outside of it
        if exact[-1]:
            assert deviation.max() < 0.01
        known = points_features(told[:, :3], torch.tensor(RGB).expand(1000, 3))
        colored.append(bool(told[0, -1]))
        expected = known if colored[-1] else points_features(told[:, :3])
        torch.testing.assert_close(told, expected, atol=1e-4, rtol=0)
        sizes.append(len(told[:, :3].unique(dim=0)))
    assert LEAST_POINTS <= min(sizes) < LEAST_POINTS + 30
    assert LEAST_POINTS + 250 < max(sizes) <= LEAST_POINTS + 300
    assert np.mean(exact) == pytest.approx(0.7, abs=0.1)
    assert np.mean(colored) == pytest.approx(0.7, abs=0.1)


@pytest.mark.parametrize("order", [[0, 1, 2], [1, 2, 0], [2, 0, 1]])
def test_points_lie_on_the_surface_and_all_over_it(order):
    """In whichever of its axes a Gaussian is thin; off the plane the least radius would be 0.398."""
    sphere = sphere_splats(2000, radius=0.4, rgb=RGB)
    quats = matrices_to_quaternions(quaternions_to_matrices(sphere.quats)[:, :, order])
    sphere = replace(sphere, quats=quats, scales=sphere.scales[:, order])
    points, colors = scanned_points(sphere, 5000, np.random.default_rng(0))
    assert points.shape == colors.shape == (5000, 3)
    radii = points.norm(dim=1)
    assert radii.min() > 0.4 - 1e-5 and radii.max() < 0.402
    octants = ((points > 0) * torch.tensor([1, 2, 4])).sum(dim=1).bincount(minlength=8)
    assert octants.min() > 500
    nearest = torch.cdist(points[:500], sphere.means).amin(dim=1)
    assert nearest.median() > 0.003  # beside the centres as well, which are 0.03 apart
    torch.testing.assert_close(colors, torch.tensor(RGB).expand(5000, 3), atol=1e-5, rtol=0)


def test_colors_of_points_can_be_shown():
    _, colors = scanned_points(random_splats(200), 1000, np.random.default_rng(0))
    assert colors.min() == 0 and colors.max() == 1


def test_rows_of_a_batch_are_found_again(latents):
    samples = told_of(latents, text=0.5, image=0.5, partial=0.3, points=0.4)
    found: dict[tuple[bool, int | None], dict[str, Any]] = {}
    for seed in range(100):
        sample = samples[SampleKey(0, seed)]
        found["view" in sample, sample.get("kind")] = sample
    rows = [found[False, None], found[True, POINTS], found[True, None], found[False, PARTIAL]]
    batch = collate(rows)
    assert batch["latents"].shape == (4, CHANNELS, LENGTH)
    assert torch.equal(batch["latents"][3], rows[3]["latents"])
    assert batch["caption"].tolist() == [row["caption"] for row in rows]
    assert batch["has_text"].dtype == torch.bool
    assert batch["has_text"].tolist() == [row["has_text"] for row in rows]
    assert batch["view_rows"].tolist() == [1, 2]
    assert torch.equal(batch["view"], torch.stack([rows[1]["view"], rows[2]["view"]]))
    assert batch["features_rows"].tolist() == [1, 3]
    assert torch.equal(batch["features"], torch.stack([rows[1]["features"], rows[3]["features"]]))
    assert batch["kind"].tolist() == [POINTS, PARTIAL]


def test_a_batch_has_nothing_of_what_no_row_is_told(latents):
    samples = told_of(latents)
    assert collate([samples[SampleKey(0, 0)], samples[SampleKey(1, 0)]]).keys() == {
        "latents",
        "caption",
        "has_text",
    }


@pytest.mark.parametrize("share", ["partial", "points"])
def test_parts_and_points_need_the_objects(latents, share):
    samples = LatentSamples(latents, shares=ConditionShares(**{share: 1.0}))
    with pytest.raises(ValueError, match="pass `splats_of`"):
        samples[SampleKey(0, 0)]


def test_pictures_need_a_folder_with_pictures(tmp_path):
    samples = told_of(write_folder(tmp_path, with_views=False), image=1.0)
    with pytest.raises(ValueError, match=r"has no pictures: run encode_latents\.py with --view_size"):
        samples[SampleKey(0, 0)]
