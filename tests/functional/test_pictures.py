from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw

from diffgs_diffusers.functional.pictures import centered_on_white, centered_renders, load_picture


def picture(mode: str = "RGB", background=(255, 255, 255), size=(60, 40)) -> Image.Image:
    """A red rectangle of 20×10 pixels off the middle."""
    image = Image.new("RGBA", size, (*background, 0 if mode == "RGBA" else 255))
    ImageDraw.Draw(image).rectangle((5, 8, 24, 17), fill=(200, 10, 10, 255))
    return image.convert(mode)


def test_every_form_of_a_picture_is_the_same_picture(tmp_path):
    image = picture()
    image.save(tmp_path / "a.png")
    array = np.asarray(image)
    tensor = torch.from_numpy(array.copy()).movedim(-1, 0)
    forms = [image, str(tmp_path / "a.png"), tmp_path / "a.png", array, array / 255.0, tensor, tensor / 255]
    assert all(np.array_equal(np.asarray(load_picture(form)), array) for form in forms)


@pytest.mark.parametrize("mode", ["L", "1", "P", "LA", "PA", "CMYK", "I", "I;16", "F"])
def test_any_mode_becomes_rgb_or_rgba(mode):
    if mode in ("I", "I;16", "F"):
        values = np.asarray(picture("L")).astype(np.float32) * (200 if mode == "I;16" else 1)
        image = Image.fromarray(values.astype({"I": np.int32, "I;16": np.uint16, "F": np.float32}[mode]))
    else:
        image = picture("RGBA").convert(mode)
    loaded = load_picture(image)
    assert loaded.mode == ("RGBA" if mode in ("LA", "PA") else "RGB")
    assert np.asarray(loaded.convert("L")).max() > 60


def test_a_palette_with_a_transparent_color_keeps_it():
    image = picture("RGBA").convert("P")
    image.info["transparency"] = image.getpixel((0, 0))
    assert load_picture(image).getpixel((0, 0))[3] == 0


@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
@pytest.mark.parametrize("background", [(255, 255, 255), (30, 60, 90)])
def test_the_object_stands_in_the_middle_with_a_margin(mode, background):
    square = centered_on_white(picture(mode, background))
    assert square.size == (25, 25)
    expected = (255, 255, 255) if mode == "RGBA" else background
    assert square.getpixel((0, 0)) == square.getpixel((24, 24)) == expected
    rows, columns = np.nonzero(np.asarray(square)[:, :, 0] == 200)
    assert (columns.min(), columns.max(), rows.min(), rows.max()) == (2, 21, 7, 16)


def test_where_the_object_cannot_be_told_the_whole_picture_is_padded():
    noise = np.random.default_rng(0).integers(0, 255, (40, 80, 3), dtype=np.uint8)
    square = np.asarray(centered_on_white(Image.fromarray(noise)))
    assert square.shape == (100, 100, 3)
    assert np.array_equal(square[30:70, 10:90], noise)
    assert (square[:30] == 255).all()
    plain = centered_on_white(Image.new("RGB", (20, 10), (9, 9, 9)))
    assert plain.size == (25, 25) and plain.getpixel((0, 0)) == (9, 9, 9)


def test_huge_pictures_are_brought_down():
    assert load_picture(Image.new("RGB", (5000, 2500))).size == (1024, 512)


def test_a_file_that_would_fill_the_memory_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    Image.new("RGB", (60, 60)).save(tmp_path / "bomb.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    with pytest.raises(ValueError, match=r"bomb\.png is no picture that can be read \(Image size \(3600 pixels\)"):
        load_picture(tmp_path / "bomb.png")


def test_a_transparent_picture_shows_nothing():
    with pytest.raises(ValueError, match="transparent everywhere"):
        centered_on_white(load_picture(Image.new("RGBA", (20, 20), (0, 0, 0, 0))))


@pytest.mark.parametrize(
    ("image", "error", "message"),
    [
        (5, TypeError, "must be a PIL image, a path, an array or a tensor, got int"),
        ("nowhere.png", FileNotFoundError, "no file nowhere.png"),
        (Image.new("RGB", (1, 1)), ValueError, "1×1 pixels"),
        (np.zeros((20, 20, 5)), ValueError, r"got \[20, 20, 5\]"),
        (np.zeros((0, 20, 3)), ValueError, "must be"),
        (np.full((20, 20, 3), np.nan), ValueError, "between 0 and 1"),
        (np.full((20, 20, 3), 200.0), ValueError, "between 0 and 1"),
        (np.zeros((20, 20, 3), np.int32), ValueError, "uint8 or floating point, got int32"),
        (torch.zeros(20, 20, 3), ValueError, r"as a tensor must be .* got \[20, 20, 3\]"),
    ],
)
def test_what_is_no_picture_is_refused(image, error, message):
    with pytest.raises(error, match=message):
        load_picture(image)


def test_a_file_that_is_no_picture_is_named(tmp_path):
    whole = tmp_path / "whole.png"
    picture().save(whole)
    for name, data in (("text.png", b"hello"), ("cut.png", whole.read_bytes()[:90])):
        (tmp_path / name).write_bytes(data)
        with pytest.raises(ValueError, match=f"{name} is no picture"):
            load_picture(tmp_path / name)


@pytest.mark.parametrize("box", [(5, 8, 28, 19), (30, 2, 41, 49), (0, 0, 63, 63), (20, 20, 43, 43)])
def test_renders_are_brought_to_the_middle_as_pictures_are(box):
    image = Image.new("RGBA", (64, 64))
    ImageDraw.Draw(image).rectangle(box, fill=(200, 10, 10, 255))
    ImageDraw.Draw(image).rectangle((box[0], box[1], box[0] + 4, box[1] + 4), fill=(0, 0, 250, 255))
    straight = torch.from_numpy(np.array(image)).float() / 255
    premultiplied = torch.cat([straight[..., :3] * straight[..., 3:], straight[..., 3:]], dim=-1)
    expected = centered_on_white(image)
    size = expected.size[0]
    (found,) = centered_renders(premultiplied[None], size, torch.ones(3))
    difference = (found - torch.from_numpy(np.array(expected)).float() / 255).abs()
    assert difference.max() < 1e-3  # sizes of which the margin is whole pixels


def test_a_render_that_shows_nothing_is_all_background():
    background = torch.tensor([0.2, 0.4, 0.6])
    found = centered_renders(torch.zeros(2, 16, 16, 4), 8, background)
    torch.testing.assert_close(found, background.expand(2, 8, 8, 3))
