"""SPZ files: what rounding leaves, agreement with an independent reader and writer, and files that are wrong."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import gsply
import numpy as np
import pytest
import torch

from diffgs_diffusers.gaussians import GaussianSplats
from diffgs_diffusers.io import load_splats, read_rasterize_mode, save_splats
from diffgs_diffusers.io.spz import HEADER, MAGIC, _fraction_bits, read_spz, write_spz
from tests.factories import random_splats


def tame_splats(count: int, sh_degree: int, seed: int = 0) -> GaussianSplats:
    """Random splats within the ranges of the format."""
    splats = random_splats(count, sh_degree, seed)
    return GaussianSplats(
        splats.means,
        splats.quats,
        splats.scales,
        splats.opacities,
        splats.sh0.clamp(-3, 3),
        splats.shN.clamp(-0.99, 0.99),
    )


def assert_close(read: GaussianSplats, written: GaussianSplats) -> None:
    """Equal up to half a step of every property."""
    torch.testing.assert_close(read.means, written.means, rtol=0, atol=2**-17 + 1e-7)
    torch.testing.assert_close(read.scales.log(), written.scales.log(), rtol=0, atol=1 / 32 + 1e-5)
    torch.testing.assert_close(read.opacities, written.opacities, rtol=0, atol=0.5 / 255 + 1e-6)
    torch.testing.assert_close(read.sh0, written.sh0, rtol=0, atol=0.5 / (0.15 * 255) + 1e-5)
    torch.testing.assert_close(read.shN, written.shN, rtol=0, atol=0.5 / 128 + 1e-5)
    angles = 2 * (read.quats * written.quats).double().sum(dim=1).abs().clamp(max=1).arccos()
    assert len(angles) == 0 or float(angles.rad2deg().max()) < 0.25


@pytest.mark.parametrize("sh_degree", [0, 1, 2, 3])
@pytest.mark.parametrize("count", [0, 1, 500, 70_000])
def test_what_is_written_is_read_back_up_to_rounding(tmp_path: Path, count: int, sh_degree: int) -> None:
    splats = tame_splats(count, sh_degree)
    save_splats(splats, tmp_path / "a.spz")
    read = load_splats(tmp_path / "a.spz").validate()
    assert (len(read), read.sh_degree) == (count, sh_degree)
    assert_close(read, splats)


def test_the_same_splats_give_the_same_bytes_and_may_be_written_again(tmp_path: Path) -> None:
    splats = tame_splats(300, 3)
    write_spz(tmp_path / "a.spz", splats)
    write_spz(tmp_path / "b.spz", splats)
    assert (tmp_path / "a.spz").read_bytes() == (tmp_path / "b.spz").read_bytes()
    write_spz(tmp_path / "c.spz", read_spz(tmp_path / "a.spz"))
    assert_close(read_spz(tmp_path / "c.spz"), splats)


def turned(splats: GaussianSplats) -> GaussianSplats:
    """In the frame of the file: half around x, written down by hand."""
    signs = torch.tensor([-1, -1, 1, -1, 1, 1, -1, 1, -1, 1, -1, -1, 1, -1, 1.0])
    return GaussianSplats(
        splats.means * torch.tensor([1, -1, -1.0]),
        splats.quats * torch.tensor([1, 1, -1, -1.0]),
        splats.scales,
        splats.opacities,
        splats.sh0,
        splats.shN * signs[: splats.shN.shape[1], None],
    )


@pytest.mark.parametrize("sh_degree", [0, 3])
def test_an_independent_reader_sees_the_same_object(tmp_path: Path, sh_degree: int) -> None:
    splats = turned(tame_splats(400, sh_degree))
    write_spz(tmp_path / "a.spz", turned(splats))
    data = gsply.read_spz(str(tmp_path / "a.spz"))
    np.testing.assert_allclose(data.means, splats.means, atol=2**-17 + 1e-7)
    np.testing.assert_allclose(data.scales, splats.scales.log(), atol=1 / 32 + 1e-5)
    np.testing.assert_allclose(data.sh0, splats.sh0[:, 0], atol=0.5 / (0.15 * 255) + 1e-5)
    if sh_degree:
        np.testing.assert_allclose(data.shN, splats.shN, atol=0.5 / 128 + 1e-5)
    difference = covariances(data.quats, splats.scales) - covariances(splats.quats, splats.scales)
    assert np.abs(difference).max() < 1e-5


def covariances(quats: torch.Tensor | np.ndarray, scales: torch.Tensor) -> np.ndarray:
    """[N, 3, 3] of rotations [N, 4] wxyz and standard deviations [N, 3]."""
    from scipy.spatial.transform import Rotation

    axes = Rotation.from_quat(np.asarray(quats), scalar_first=True).as_matrix() * np.asarray(scales)[:, None]
    return axes @ axes.transpose(0, 2, 1)


@pytest.mark.parametrize("sh_degree", [0, 3])
def test_what_an_independent_writer_wrote_is_read(tmp_path: Path, sh_degree: int) -> None:
    splats = tame_splats(400, sh_degree)
    write_spz(tmp_path / "a.spz", splats)
    gsply.write_spz(str(tmp_path / "b.spz"), gsply.read_spz(str(tmp_path / "a.spz")))
    read = read_spz(tmp_path / "b.spz")
    torch.testing.assert_close(read.means, splats.means, rtol=0, atol=2**-13 + 1e-5)  # its fractions have 12 bits
    assert_close(replace(read, means=splats.means), splats)


def test_rotations_of_version_2_are_read(tmp_path: Path) -> None:
    splats = tame_splats(200, 0)
    write_spz(tmp_path / "a.spz", splats)
    data = gzip.decompress((tmp_path / "a.spz").read_bytes())
    quats = turned(splats).quats
    xyz = (quats * quats[:, :1].sign())[:, 1:]
    rotations = ((xyz + 1) * 127.5).round().to(torch.uint8).numpy().tobytes()
    whole = data[:4] + b"\x02" + data[5 : HEADER.size + 16 * 200] + rotations
    (tmp_path / "b.spz").write_bytes(gzip.compress(whole))
    read = read_spz(tmp_path / "b.spz").validate()
    ones = torch.tensor([1.0, 2.0, 3.0]).expand(200, 3)
    difference = np.abs(covariances(read.quats, ones) - covariances(splats.quats, ones)).max(axis=(1, 2))
    assert difference.max() < 1  # of 8; where w is small, its rounding is coarse
    assert np.median(difference) < 0.05


@pytest.mark.parametrize("mode", ["antialiased", "classic"])
def test_the_render_mode_goes_along(tmp_path: Path, mode: str) -> None:
    save_splats(tame_splats(3, 0), tmp_path / "a.spz", rasterize_mode=mode)
    assert read_rasterize_mode(tmp_path / "a.spz") == mode


def test_far_positions_take_bits_from_the_fraction(tmp_path: Path) -> None:
    assert _fraction_bits(torch.tensor([[0.5, 0, 0]])) == 16
    assert _fraction_bits(torch.tensor([[-1000.0, 0, 0]])) == 13
    splats = tame_splats(50, 0).transform(scale=1000.0)
    write_spz(tmp_path / "a.spz", splats)
    torch.testing.assert_close(read_spz(tmp_path / "a.spz").means, splats.means, rtol=0, atol=2**-13)
    with pytest.raises(ValueError, match="4,194,303"):
        write_spz(tmp_path / "b.spz", splats.transform(scale=1e6))
    assert [path.name for path in tmp_path.iterdir()] == ["a.spz"]


def contents(count: int = 20) -> bytes:
    """An uncompressed file of degree 0."""
    return HEADER.pack(MAGIC, 3, count, 0, 16, 0) + bytes(20 * 20)


WRONG: dict[str, tuple[Callable[[], bytes], str]] = {
    "no gzip": (lambda: b"ply\nformat ascii 1.0\n", "no whole gzip stream"),
    "nothing": (lambda: b"", "does not start"),
    "another gzip": (lambda: gzip.compress(b"hello world, this is text"), "does not start"),
    "cut": (lambda: gzip.compress(contents())[:-12], "no whole gzip stream"),
    "bad checksum": (lambda: gzip.compress(contents())[:-8] + bytes(8), "no whole gzip stream"),
    "too few": (lambda: gzip.compress(contents(21)), "ends too early"),
    "false count": (lambda: gzip.compress(contents(4_000_000_000)), "announces 4,000,000,000 Gaussians"),
    "version": (lambda: gzip.compress(HEADER.pack(MAGIC, 9, 0, 0, 16, 0)), "version 9"),
    "version 4": (lambda: HEADER.pack(MAGIC, 4, 0, 0, 12, 0), "version 4 or later"),
    "degree": (lambda: gzip.compress(HEADER.pack(MAGIC, 3, 0, 7, 16, 0)), "SH degree 7"),
    "bits": (lambda: gzip.compress(HEADER.pack(MAGIC, 3, 0, 0, 40, 0)), "40 bits"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_file_is_named_with_what_is_wrong(tmp_path: Path, case: str) -> None:
    make, message = WRONG[case]
    (tmp_path / "bad.spz").write_bytes(make())
    with pytest.raises(ValueError, match=rf"bad\.spz: .*{message}"):
        load_splats(tmp_path / "bad.spz")


def test_a_value_that_cannot_be_drawn_leaves_no_file(tmp_path: Path) -> None:
    splats = tame_splats(3, 0)
    splats.means[1] = torch.nan
    with pytest.raises(ValueError, match="`means` must be finite"):
        save_splats(splats, tmp_path / "a.spz")
    assert list(tmp_path.iterdir()) == []
