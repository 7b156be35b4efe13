"""Augmented objects against the object transformed by hand, and captions that stay true."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from diffgs_diffusers.cameras import Cameras, orbit_cameras
from diffgs_diffusers.data.augmentation import augment, mirror_x, recolor_material, scale_axes
from diffgs_diffusers.data.colors import COLOR_NAMES, nearest_color_name
from diffgs_diffusers.data.dataset import ObjectRecord
from diffgs_diffusers.data.shading import lit
from diffgs_diffusers.functional.quaternions import quaternions_to_matrices
from diffgs_diffusers.functional.spherical_harmonics import rgb_to_sh0, sh0_to_rgb
from diffgs_diffusers.gaussians import GaussianSplats
from tests.factories import random_splats


def covariances(splats: GaussianSplats) -> torch.Tensor:
    halves = quaternions_to_matrices(splats.quats) * splats.scales[:, None, :]
    return halves @ halves.transpose(1, 2)


@pytest.mark.parametrize("sh_degree", [0, 3])
def test_the_mirror_image_is_what_a_mirrored_camera_sees(sh_degree: int) -> None:
    splats = random_splats(60, sh_degree=sh_degree)
    cameras = orbit_cameras(2, 32)
    flip = torch.diag(torch.tensor([-1.0, 1.0, 1.0, 1.0]))
    # the camera's own x axis is mirrored too, so that the view matrix stays a rotation
    mirrored = Cameras(flip @ cameras.viewmats @ flip, cameras.Ks, 32, 32)
    expected = splats.render(cameras).flip(2)
    torch.testing.assert_close(mirror_x(splats).render(mirrored), expected, atol=2e-5, rtol=1e-4)


def test_axis_scaling_transforms_covariances_and_keeps_the_longest_side() -> None:
    splats = random_splats(60)
    box = splats.means.amax(0) - splats.means.amin(0)
    factors = torch.tensor([1.2, 0.8, 1.0])
    scaled = scale_axes(splats, factors).validate()
    stretched = factors * box.amax() / (box * factors).amax()
    torch.testing.assert_close(scaled.means, splats.means * stretched)
    matrix = torch.diag(stretched)
    torch.testing.assert_close(covariances(scaled), matrix @ covariances(splats) @ matrix, atol=1e-7, rtol=1e-3)
    new_box = scaled.means.amax(0) - scaled.means.amin(0)
    torch.testing.assert_close(new_box.amax(), box.amax())
    assert (scaled.scales.diff(dim=1) <= 0).all() and (scaled.quats[:, 0] >= 0).all(), "not canonical"


def painted(rgb: list[float], brightness: torch.Tensor) -> GaussianSplats:
    color = torch.as_tensor(lit(np.array(rgb)), dtype=torch.float32) * brightness[:, None]
    return replace(random_splats(len(brightness)), sh0=rgb_to_sh0(color[:, None]))


def test_recoloring_keeps_the_light_on_every_gaussian() -> None:
    brightness = torch.linspace(0.6, 1.0, 20)
    splats = painted([0.7, 0.1, 0.1], brightness)
    mask = torch.arange(20) < 15
    blue = recolor_material(splats, mask, [0.7, 0.1, 0.1], [0.1, 0.2, 0.6])
    expected = torch.as_tensor(lit(np.array([0.1, 0.2, 0.6])), dtype=torch.float32) * brightness[:, None]
    torch.testing.assert_close(sh0_to_rgb(blue.sh0[mask, 0]), expected[mask], atol=1e-5, rtol=1e-4)
    assert torch.equal(blue.sh0[~mask], splats.sh0[~mask])
    assert torch.equal(blue.means, splats.means)


def test_captions_stay_true(armchair_record: ObjectRecord) -> None:
    generator = np.random.default_rng(0)
    material_ids = torch.tensor([0] * 80 + [3] * 20)
    brightness = torch.ones(100)
    splats = painted([0.8, 0.1, 0.1], brightness)
    legs = painted([0.05, 0.05, 0.05], brightness)
    splats = replace(splats, sh0=torch.where((material_ids == 3)[:, None, None], legs.sh0, splats.sh0))
    colors_seen = set()
    for _ in range(60):
        variant, caption = augment(splats, armchair_record, material_ids, generator)
        variant.validate()
        assert caption.endswith("chair") or " chair in " in caption or " armchair in " in caption
        seat = (sh0_to_rgb(variant.sh0[material_ids == 0, 0]).mean(0).numpy() - 0.05) / 0.95
        named = [name for name in COLOR_NAMES if name in caption.split()]
        assert nearest_color_name(np.clip(seat, 0, 1)) == named[0], caption
        colors_seen.add(named[0])
    assert len(colors_seen) > 6


def test_what_is_known_by_its_colors_keeps_them(armchair_record: ObjectRecord) -> None:
    splats, ids = random_splats(10), torch.zeros(10, dtype=torch.long)
    plant = replace(armchair_record, category="plant", noun="cactus", names=["cactus"])
    for _ in range(20):
        variant, caption = augment(splats, plant, ids, np.random.default_rng(1), mirror=False, axis_scaling=False)
        assert torch.equal(variant.sh0, splats.sh0)
        assert "red" in caption


def test_augmentation_is_reproducible_and_can_be_switched_off(armchair_record: ObjectRecord) -> None:
    splats, ids = random_splats(10), torch.zeros(10, dtype=torch.long)
    first, again = (augment(splats, armchair_record, ids, np.random.default_rng(7)) for _ in range(2))
    assert first[1] == again[1]
    assert torch.equal(first[0].to_tensor(), again[0].to_tensor())
    plain, _ = augment(
        splats, armchair_record, ids, np.random.default_rng(7), recolor=False, mirror=False, axis_scaling=False
    )
    assert torch.equal(plain.to_tensor(), splats.to_tensor())
