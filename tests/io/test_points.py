"""Point clouds: every format gives the same points, and what is wrong is named."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import numpy as np
import plyfile
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from diffgs_diffusers.io import load_points, save_splats
from tests.factories import random_splats

RNG = np.random.default_rng(0)
POSITIONS = RNG.normal(size=(7, 3)).astype(np.float32)
BYTES = RNG.integers(0, 256, (7, 3)).astype(np.uint8)
COLORED = np.concatenate([POSITIONS, BYTES / np.float32(255)], axis=1)


def write_ply(path: Path, columns: dict[str, np.ndarray], *, text: bool = False, byte_order: str = "<") -> None:
    """By an independent library, with a list of faces before the vertices."""
    rows = np.empty(len(columns["x"]), dtype=[(name, column.dtype) for name, column in columns.items()])
    for name, column in columns.items():
        rows[name] = column
    faces = np.empty(2, dtype=[("vertex_indices", "i4", (3,))])
    faces["vertex_indices"] = [[0, 1, 2], [2, 3, 4]]
    elements = [plyfile.PlyElement.describe(faces, "face"), plyfile.PlyElement.describe(rows, "vertex")]
    plyfile.PlyData(elements, text=text, byte_order=byte_order).write(str(path))


def ply_columns(positions: np.ndarray = POSITIONS, colors: np.ndarray | None = None) -> dict[str, np.ndarray]:
    columns = dict(zip("xyz", positions.T))
    return columns if colors is None else columns | dict(zip(("red", "green", "blue"), colors.T))


def assert_read(path: Path, colors: np.ndarray | None, tolerance: float = 0.0) -> None:
    """The file holds ``POSITIONS`` and these colours in [0, 1]."""
    read, read_colors = load_points(path)
    torch.testing.assert_close(read, torch.from_numpy(POSITIONS), rtol=0, atol=tolerance)
    assert (colors is None) == (read_colors is None)
    if colors is not None:
        expected = torch.tensor(colors, dtype=torch.float32)
        torch.testing.assert_close(read_colors, expected, rtol=0, atol=max(tolerance, 1e-7))


@given(
    text=st.booleans(),
    byte_order=st.sampled_from("<>"),
    position_type=st.sampled_from(["f4", "f8"]),
    color_type=st.sampled_from([None, "u1", "f4", "f8", "i4"]),
    order=st.randoms(use_true_random=False),
)
def test_ply_files_of_any_writer(
    tmp_path_factory: pytest.TempPathFactory,
    text: bool,
    byte_order: str,
    position_type: str,
    color_type: str | None,
    order: object,
) -> None:
    columns = ply_columns(POSITIONS.astype(position_type))
    if color_type is not None:
        colors = BYTES if color_type in ("u1", "i4") else BYTES / 255
        columns = ply_columns(POSITIONS.astype(position_type), colors.astype(color_type))
    columns |= {"nx": np.full(7, np.nan), "alpha": np.full(7, 255, dtype=np.uint8)}
    names = list(columns)
    order.shuffle(names)  # type: ignore[attr-defined]
    path = tmp_path_factory.mktemp("points") / "a.PLY"
    write_ply(path, {name: columns[name] for name in names}, text=text, byte_order=byte_order)
    # Text keeps at least six digits.
    assert_read(path, None if color_type is None else BYTES / 255, 1e-5 if text else 0)


def test_bytes_are_divided_by_255_however_dark(tmp_path: Path) -> None:
    """Without a value above 1, only the type of the column tells."""
    dark = np.ones((7, 3), dtype=np.uint8)
    write_ply(tmp_path / "bytes.ply", ply_columns(colors=dark))
    assert_read(tmp_path / "bytes.ply", dark / 255)
    write_ply(tmp_path / "floats.ply", ply_columns(colors=dark.astype(np.float32)))
    assert_read(tmp_path / "floats.ply", dark)


@pytest.mark.parametrize("dtype", ["<f4", ">f4", "<f8"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_npy(tmp_path: Path, dtype: str, order: str) -> None:
    np.save(tmp_path / "plain.npy", np.asarray(POSITIONS, dtype=dtype, order=order))
    assert_read(tmp_path / "plain.npy", None)
    np.save(tmp_path / "colored.npy", np.asarray(COLORED, dtype=dtype, order=order))
    assert_read(tmp_path / "colored.npy", BYTES / 255)
    np.save(tmp_path / "bytes.npy", np.concatenate([POSITIONS, BYTES], axis=1).astype(dtype))
    assert_read(tmp_path / "bytes.npy", BYTES / 255)


def test_what_was_read_is_independent_of_the_file(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", POSITIONS)
    positions, _ = load_points(tmp_path / "a.npy")
    positions[0] = 5
    assert_read(tmp_path / "a.npy", None)


@pytest.mark.parametrize("suffix", ["xyz", "txt"])
@pytest.mark.parametrize("delimiter", [" ", "\t", ",", ";", ", "])
def test_text(tmp_path: Path, suffix: str, delimiter: str) -> None:
    path = tmp_path / f"a.{suffix}"
    np.savetxt(path, POSITIONS, delimiter=delimiter, header="x y z")
    assert_read(path, None)
    np.savetxt(path, COLORED, delimiter=delimiter, newline="\r\n", footer="the end")
    assert_read(path, BYTES / 255)
    rows = [[*map(repr, map(float, row[:3])), *map(str, color)] for row, color in zip(POSITIONS, BYTES)]
    path.write_text("\ufeff\n" + "\n\n".join(delimiter.join(row) + "  # a point" for row in rows), encoding="utf-8")
    assert_read(path, BYTES / 255)


def test_the_centres_of_splats_are_points(tmp_path: Path) -> None:
    splats = random_splats(20)
    save_splats(splats, tmp_path / "a.ply")
    positions, colors = load_points(tmp_path / "a.ply")
    assert torch.equal(positions, splats.means)
    assert colors is None


def test_colors_may_exceed_their_range_by_a_rounding_error(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.array([[0, 0, 0, 1.0005, -0.0005, 0.5]]))
    assert torch.equal(load_points(tmp_path / "a.npy")[1], torch.tensor([[1.0, 0.0, 0.5]]))


def ascii_ply(rows: str, properties: str = "float x,float y,float z", count: int = 1) -> bytes:
    lines = [f"property {one}" for one in properties.split(",")]
    return "\n".join(
        ["ply", "format ascii 1.0", f"element vertex {count}", *lines, "end_header", rows, ""]
    ).encode()


XYZRGB = "float x,float y,float z,uchar red,uchar green,uchar blue"
RANGE = "colours must lie between 0 and 1, or be whole numbers from 0 to 255; they reach from "
BAD_FILES = {
    "a.ply": {
        "empty": (b"", "not a PLY file"),
        "another element": (ascii_ply("0 0 0").replace(b"vertex", b"point"), "no element 'vertex'"),
        "no z": (ascii_ply("0 0", "float x,float y"), "the vertices lack z"),
        "no position": (ascii_ply("0", "float red"), "the vertices lack x, y, z"),
        "no blue": (
            ascii_ply("0 0 0 1 1", "float x,float y,float z,uchar red,uchar green"),
            "the vertices have only red and green",
        ),
        "a list": (ascii_ply("1 0 0 0", "list uchar float x,float y,float z"), "has lists"),
        "no rows": (ascii_ply("", count=0), "holds no points"),
        "too few rows": (
            ascii_ply("0.0000 0 0", count=2),
            "the header claims 2 rows of 'vertex', but the file ends after 1",
        ),
        "a false count": (ascii_ply("0 0 0", count=10**12), "cut short or its header is wrong"),
        "a short row": (ascii_ply("0     0"), "row 0 of 'vertex' has 2 values"),
        "NaN": (ascii_ply("0 nan 0\n0 0 0", count=2), "NaN or infinite in 1 of 2 points"),
        "beyond float32": (ascii_ply("0 1e39 0"), "NaN or infinite in 1 of 1 points"),
        "no bytes": (ascii_ply("0 0 0 1 1 510", XYZRGB), RANGE + "1 to 510"),
        "negative bytes": (ascii_ply("0 0 0 1 1 -1", XYZRGB), RANGE + "-1 to 1"),
    },
    "a.xyz": {
        "empty": (b"", "holds no points"),
        "only a comment": (b"# x y z\n", "holds no points"),
        "two columns": (b"1 2\n", "line 1 has 2 columns; points have 3, or 6 with colours"),
        "seven columns": (b"#\n1 2 3 4 5 6 7\n", "line 2 has 7 columns; points have 3, or 6"),
        "cut short": (b"1 2 3\n1 2 3\n1 2", "line 3 has 2 columns, and those before it 3; it may be cut short"),
        "six after three": (b"1 2 3\n1 2 3 0 0 0", "line 2 has 6 columns, and those before it 3"),
        "a heading": (b"x y z\n1 2 3\n", "line 1 has 'x', which is not a number"),
        "a picture": (b"\x89PNG\r\n\x1a\n" + bytes(range(256)), "line 1 has 1 columns"),
        "infinite": (b"1 2 3\n1 -inf 3\n", "NaN or infinite in 1 of 2 points"),
        "NaN color": (b"1 2 3 0 0 nan\n", "NaN or infinite in 1 of 1 points"),
        "no colors": (b"0 0 0 0.5 0.5 1.5\n", RANGE + "0.5 to 1.5"),
        "16 bits": (b"0 0 0 0 0 65535\n", RANGE + "0 to 65535"),
        "negative": (b"0 0 0 0 -1 255\n", RANGE + "-1 to 255"),
    },
}


@pytest.mark.parametrize(("file", "name"), [(file, name) for file, cases in BAD_FILES.items() for name in cases])
def test_a_bad_file_is_refused(tmp_path: Path, file: str, name: str) -> None:
    content, message = BAD_FILES[file][name]
    (tmp_path / file).write_bytes(content)
    assert message in refused(tmp_path / file)


def refused(path: Path) -> str:
    """The one line that says why a file is refused."""
    with pytest.raises(ValueError) as caught:
        load_points(path)
    line = str(caught.value)
    assert line.startswith(f"{path}: ")
    assert "\n" not in line
    return line


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.zeros((0, 3)), "holds no points"),
        (np.zeros((5, 4)), "has the shape [5, 4]; points are [N, 3], or [N, 6] with colours"),
        (np.zeros(3), "has the shape [3]"),
        (np.zeros(()), "has the shape []"),
        (np.zeros((2, 2, 3)), "has the shape [2, 2, 3]"),
        (np.full((4, 3), np.nan), "NaN or infinite in 4 of 4 points"),
        (np.full((4, 3), 1e39), "NaN or infinite in 4 of 4 points"),
        (np.zeros((2, 3), dtype=complex), "holds complex128, where points are real numbers"),
        (np.full((2, 3), "a"), "holds <U1"),
        (np.zeros(2, dtype=[("x", "f4"), ("y", "f4")]), "where points are real numbers"),
        (np.full((2, 3), None), "is no whole .npy file of numbers"),
        (np.full((2, 6), 1.5), "colours must lie between 0 and 1"),
    ],
)
def test_a_bad_array_is_refused(tmp_path: Path, values: np.ndarray, message: str) -> None:
    np.save(tmp_path / "a.npy", values)
    assert message in refused(tmp_path / "a.npy")


@pytest.mark.parametrize("name", ["a.npy", "a.ply"])
@pytest.mark.parametrize("share", [0.0, 0.02, 0.3, 0.6, 0.99])
def test_a_truncated_file_is_refused(tmp_path: Path, name: str, share: float) -> None:
    path = tmp_path / name
    if path.suffix == ".npy":
        np.save(path, np.tile(POSITIONS, (100, 1)))
    else:
        write_ply(path, ply_columns(np.tile(POSITIONS, (100, 1))))
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    assert "cut short" in refused(path) or share == 0


@given(position=st.integers(0, 127), value=st.integers(0, 255))
def test_a_wrong_byte_in_the_header_of_npy_is_no_crash(
    tmp_path_factory: pytest.TempPathFactory, position: int, value: int
) -> None:
    path = tmp_path_factory.mktemp("points") / "a.npy"
    np.save(path, np.ones((7, 3)))
    content = bytearray(path.read_bytes())
    content[position] = value
    path.write_bytes(content)
    try:
        positions, _ = load_points(path)
    except ValueError as error:
        assert str(error).startswith(f"{path}: ") and "\n" not in str(error)
    else:
        assert positions.shape[1] == 3


def test_a_false_shape_allocates_nothing(tmp_path: Path) -> None:
    path = tmp_path / "bomb.npy"
    with open(path, "wb") as stream:
        header = {"descr": "<f4", "fortran_order": False, "shape": (10**10, 3)}
        np.lib.format.write_array_header_1_0(stream, header)
        stream.write(bytes(100))
    tracemalloc.start()  # numpy reports its arrays to it
    assert "cut short" in refused(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1_000_000


def test_a_missing_file_and_an_unknown_suffix(tmp_path: Path) -> None:
    for suffix in ("ply", "npy", "xyz", "txt"):
        with pytest.raises(FileNotFoundError, match=rf"nowhere\.{suffix}"):
            load_points(tmp_path / f"nowhere.{suffix}")
    for name, given_suffix in (("a.obj", "the suffix '.obj'"), ("a", "no suffix"), ("a.spz", "the suffix '.spz'")):
        (tmp_path / name).write_bytes(b"0 0 0\n")
        with pytest.raises(ValueError, match=f"has {given_suffix}; points are stored as .ply, .npy, .xyz, .txt"):
            load_points(tmp_path / name)
