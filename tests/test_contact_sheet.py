"""Sheets and animations show each view where it belongs, in its true colours."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from PIL import Image

from diffgs_diffusers.cameras import orbit_cameras
from diffgs_diffusers.contact_sheet import save_gif, turntable_frames, turntable_sheet
from diffgs_diffusers.gaussians import GaussianSplats
from tests.factories import random_splats

SIZE = 16


def test_views_lie_row_by_row() -> None:
    splats = random_splats(50)
    sheet = np.asarray(turntable_sheet(splats, 5, SIZE, columns=3, background=(0.2, 0.4, 0.6), elevation=10))
    assert sheet.shape == (2 * SIZE, 3 * SIZE, 3)
    views = splats.render(orbit_cameras(5, SIZE, elevation=10), background=(0.2, 0.4, 0.6))[..., :3].clamp(0, 1)
    for index, view in enumerate(views):
        row, column = divmod(index, 3)
        tile = sheet[row * SIZE : (row + 1) * SIZE, column * SIZE : (column + 1) * SIZE]
        np.testing.assert_allclose(tile, 255 * view.numpy(), atol=0.51)
    assert (sheet[SIZE:, 2 * SIZE :] == [51, 102, 153]).all()


def test_a_transparent_background_keeps_the_colours_of_thin_parts() -> None:
    """Half-transparent pure red stays pure red: straight alpha, as PNG has it."""
    red = (torch.tensor([1.0, 0.0, 0.0]) - 0.5) / 0.28209479177387814
    splats = GaussianSplats(
        means=torch.zeros(1, 3),
        quats=torch.tensor([[1.0, 0, 0, 0]]),
        scales=torch.full((1, 3), 0.1),
        opacities=torch.tensor([0.5]),
        sh0=red[None, None],
    )
    pixels = np.asarray(turntable_sheet(splats, 1, 33, background=None))
    assert pixels.shape == (33, 33, 4)
    visible = pixels[pixels[..., 3] > 20]
    assert len(visible) > 5
    assert visible[:, 3].max() < 140
    np.testing.assert_allclose(visible[:, :3], np.broadcast_to([255, 0, 0], (len(visible), 3)), atol=2)


def test_fewer_views_than_columns_make_a_shorter_row() -> None:
    assert turntable_sheet(random_splats(5), 2, SIZE).size == (2 * SIZE, SIZE)


def test_an_animation_has_every_frame() -> None:
    stream = io.BytesIO()
    save_gif(turntable_frames(random_splats(50), 6, SIZE), stream, seconds=0.6)
    with Image.open(stream) as animation:
        assert (animation.n_frames, animation.info["duration"], animation.info["loop"]) == (6, 100, 0)


def test_wrong_counts_are_refused() -> None:
    with pytest.raises(ValueError, match="`columns` must be at least 1, got 0"):
        turntable_sheet(random_splats(5), columns=0)
    with pytest.raises(ValueError, match="`num_views` must be at least 1, got 0"):
        turntable_sheet(random_splats(5), num_views=0)
    with pytest.raises(ValueError, match="at least one frame"):
        save_gif([], io.BytesIO())
