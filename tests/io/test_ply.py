"""PLY files: round trips, what other writers make, and agreement with an independent reader."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import plyfile
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from diffgs_diffusers.gaussians import GaussianSplats
from diffgs_diffusers.io import load_splats, read_rasterize_mode, save_splats
from diffgs_diffusers.io.ply import read_ply, write_ply

FIELDS = ("means", "quats", "scales", "opacities", "sh0", "shN")


def random_splats(count: int, sh_degree: int, seed: int) -> GaussianSplats:
    rng = np.random.default_rng(seed)
    quats = rng.normal(size=(count, 4))
    values = {
        "means": rng.normal(size=(count, 3)),
        "quats": quats / np.linalg.norm(quats, axis=1, keepdims=True),
        "scales": np.exp(rng.uniform(-12, 2, size=(count, 3))),
        "opacities": rng.uniform(size=count),
        "sh0": rng.normal(size=(count, 1, 3)),
        "shN": rng.normal(size=(count, (sh_degree + 1) ** 2 - 1, 3)),
    }
    return GaussianSplats(**{name: torch.tensor(value, dtype=torch.float32) for name, value in values.items()})


def assert_same(read: GaussianSplats, written: GaussianSplats) -> None:
    for name in FIELDS:
        torch.testing.assert_close(getattr(read, name), getattr(written, name), rtol=3e-6, atol=1e-6)


def reference_columns(splats: GaussianSplats) -> dict[str, np.ndarray]:
    """The columns of the reference layout, written down one by one in float64."""
    columns = {name: splats.means[:, i].double().numpy() for i, name in enumerate("xyz")}
    columns |= {f"f_dc_{i}": splats.sh0[:, 0, i].double().numpy() for i in range(3)}
    bands = splats.shN.shape[1]
    for channel, band in itertools.product(range(3), range(bands)):
        columns[f"f_rest_{channel * bands + band}"] = splats.shN[:, band, channel].double().numpy()
    opacities = splats.opacities.double().numpy()
    columns["opacity"] = np.log(opacities / (1 - opacities))
    columns |= {f"scale_{i}": np.log(splats.scales[:, i].double().numpy()) for i in range(3)}
    columns |= {f"rot_{i}": splats.quats[:, i].double().numpy() for i in range(4)}
    return columns


@given(count=st.integers(0, 40), sh_degree=st.integers(0, 3), seed=st.integers(0, 2**32 - 1))
def test_what_is_written_is_read_back(
    tmp_path_factory: pytest.TempPathFactory, count: int, sh_degree: int, seed: int
) -> None:
    path = tmp_path_factory.mktemp("ply") / "splats.ply"
    splats = random_splats(count, sh_degree, seed)
    save_splats(splats, path)
    read = load_splats(path)
    assert (len(read), read.sh_degree, read.dtype) == (count, sh_degree, torch.float32)
    assert_same(read, splats)


@given(
    sh_degree=st.integers(0, 3),
    text=st.booleans(),
    byte_order=st.sampled_from("<>"),
    types=st.lists(st.sampled_from(["f4", "f8"]), min_size=64, max_size=64),
    order=st.randoms(use_true_random=False),
    extras=st.booleans(),
    seed=st.integers(0, 2**32 - 1),
)
def test_files_of_any_writer_are_read(
    tmp_path_factory: pytest.TempPathFactory,
    sh_degree: int,
    text: bool,
    byte_order: str,
    types: list[str],
    order: object,
    extras: bool,
    seed: int,
) -> None:
    """Any property order, types, format and extra columns and elements, written by an independent library."""
    splats = random_splats(7, sh_degree, seed)
    columns = reference_columns(splats)
    if extras:
        columns |= {"nx": np.zeros(7), "red": np.arange(7), "confidence": np.full(7, np.nan)}
    names = list(columns)
    order.shuffle(names)  # type: ignore[attr-defined]
    rows = np.empty(7, dtype=[(name, types[i]) for i, name in enumerate(names)])
    for name in names:
        rows[name] = columns[name]
    elements = [plyfile.PlyElement.describe(rows, "vertex")]
    if extras:
        faces = np.empty(2, dtype=[("vertex_indices", "i4", (3,)), ("flag", "u1")])
        faces["vertex_indices"], faces["flag"] = [[0, 1, 2], [2, 3, 4]], 1
        cameras = np.array([(1, 2.0), (3, 4.0)], dtype=[("id", "i4"), ("focal", "f8")])
        elements.insert(0, plyfile.PlyElement.describe(faces, "face"))
        elements.insert(0, plyfile.PlyElement.describe(cameras, "camera"))
    path = tmp_path_factory.mktemp("ply") / "foreign.ply"
    plyfile.PlyData(elements, text=text, byte_order=byte_order).write(str(path))
    # A double is the truth; float columns in text keep at least six digits.
    tolerance = 2e-5 if text else 3e-6
    read = read_ply(path)
    for name in FIELDS:
        torch.testing.assert_close(
            getattr(read, name),
            getattr(splats, name),
            rtol=tolerance,
            atol=tolerance,
            msg=lambda m, n=name: f"{n}: {m}",
        )


@pytest.mark.parametrize("sh_degree", [0, 1, 2, 3])
def test_an_independent_reader_finds_the_reference_layout(tmp_path: Path, sh_degree: int) -> None:
    splats = random_splats(20, sh_degree, seed=sh_degree)
    write_ply(tmp_path / "a.ply", splats)
    data = plyfile.PlyData.read(str(tmp_path / "a.ply"))
    rows = data["vertex"].data
    rest = [f"f_rest_{i}" for i in range(3 * ((sh_degree + 1) ** 2 - 1))]
    expected = [*"xyz", "nx", "ny", "nz", "f_dc_0", "f_dc_1", "f_dc_2", *rest, "opacity"]
    expected += ["scale_0", "scale_1", "scale_2", "rot_0", "rot_1", "rot_2", "rot_3"]
    assert (data.byte_order, data.text) == ("<", False)
    assert list(rows.dtype.names) == expected
    assert {rows.dtype[name].str for name in expected} == {"<f4"}
    for name, column in reference_columns(splats).items():
        np.testing.assert_allclose(rows[name], column, rtol=1e-5, atol=1e-6, err_msg=name)


def test_extreme_opacities_and_scales_come_back_finite(tmp_path: Path) -> None:
    splats = random_splats(4, 0, seed=0)
    opacities = torch.tensor([0.0, 1.0, 1e-9, 1 - 6e-8])
    scales = torch.tensor([1e-37, 1e-30, 1.0, 1e30])[:, None].expand(4, 3)
    splats = GaussianSplats(splats.means, splats.quats, scales, opacities, splats.sh0, splats.shN)
    write_ply(tmp_path / "a.ply", splats)
    logits = plyfile.PlyData.read(str(tmp_path / "a.ply"))["vertex"]["opacity"]
    assert np.isfinite(logits).all()
    read = read_ply(tmp_path / "a.ply").validate()
    torch.testing.assert_close(read.opacities, opacities, rtol=0, atol=1e-6)
    torch.testing.assert_close(read.scales, scales, rtol=1e-5, atol=0)


def test_scales_below_float32_stay_drawable_and_quaternions_become_unit(tmp_path: Path) -> None:
    columns = reference_columns(random_splats(2, 0, seed=0))
    columns["scale_0"] = np.array([-500.0, -3.0])
    rotations = np.array([[2.0, 0, 0, 0], [3e30, 0, 4e30, 0]])
    columns |= {f"rot_{i}": rotations[:, i] for i in range(4)}
    rows = np.array(list(zip(*columns.values())), dtype=[(name, "f8") for name in columns])
    plyfile.PlyData([plyfile.PlyElement.describe(rows, "vertex")]).write(str(tmp_path / "a.ply"))
    read = read_ply(tmp_path / "a.ply").validate()
    torch.testing.assert_close(read.quats, torch.tensor([[1.0, 0, 0, 0], [0.6, 0, 0.8, 0]]))


def test_integer_properties_are_numbers(tmp_path: Path) -> None:
    columns = reference_columns(random_splats(3, 0, seed=1))
    columns["x"] = np.array([-1, 0, 7])
    dtype = [(name, "i2" if name == "x" else "f4") for name in columns]
    rows = np.array(list(zip(*columns.values())), dtype=dtype)
    plyfile.PlyData([plyfile.PlyElement.describe(rows, "vertex")], byte_order=">").write(str(tmp_path / "a.ply"))
    assert read_ply(tmp_path / "a.ply").means[:, 0].tolist() == [-1, 0, 7]


def test_the_same_splats_give_the_same_bytes(tmp_path: Path) -> None:
    splats = random_splats(50, 3, seed=3)
    write_ply(tmp_path / "a.ply", splats)
    write_ply(tmp_path / "b.ply", splats.to(torch.float64))
    assert (tmp_path / "a.ply").read_bytes() == (tmp_path / "b.ply").read_bytes()


def test_half_precision_and_gradients_are_written_as_plain_values(tmp_path: Path) -> None:
    splats = random_splats(5, 1, seed=3).to(torch.float16)
    splats.means.requires_grad_()
    write_ply(tmp_path / "a.ply", splats)
    torch.testing.assert_close(read_ply(tmp_path / "a.ply").means, splats.means.detach().float())


@pytest.mark.parametrize("mode", ["antialiased", "classic"])
def test_the_render_mode_is_stored(tmp_path: Path, mode: str) -> None:
    save_splats(random_splats(2, 0, seed=0), tmp_path / "a.ply", rasterize_mode=mode)
    assert f"rasterize_mode {mode}" in plyfile.PlyData.read(str(tmp_path / "a.ply")).comments
    assert read_rasterize_mode(tmp_path / "a.ply") == mode


def test_a_file_that_names_no_render_mode_has_none(tmp_path: Path) -> None:
    save_splats(random_splats(2, 0, seed=0), tmp_path / "a.ply")
    data = (tmp_path / "a.ply").read_bytes()
    for other in (b"made by hand", b"rasterize_mode of the future"):
        (tmp_path / "b.ply").write_bytes(data.replace(b"rasterize_mode antialiased", other))
        assert read_rasterize_mode(tmp_path / "b.ply") is None


def test_windows_line_ends_in_the_header_are_read(tmp_path: Path) -> None:
    splats = random_splats(3, 0, seed=0)
    write_ply(tmp_path / "a.ply", splats)
    header, data = (tmp_path / "a.ply").read_bytes().split(b"end_header\n", 1)
    (tmp_path / "b.ply").write_bytes((header + b"end_header\n").replace(b"\n", b"\r\n") + data)
    assert_same(read_ply(tmp_path / "b.ply"), splats)
