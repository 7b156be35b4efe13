"""Every wrong PLY file gives one ValueError that names the file and what is wrong with it."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import pytest
import torch

from diffgs_diffusers.gaussians import GaussianSplats
from diffgs_diffusers.io import load_splats, read_rasterize_mode, save_splats
from diffgs_diffusers.io.ply import read_ply, write_ply
from diffgs_diffusers.io.ply_header import MAX_HEADER_BYTES
from tests.factories import random_splats

NAMES = ["x", "y", "z", "f_dc_0", "f_dc_1", "f_dc_2", "opacity", "scale_0", "scale_1", "scale_2"]
NAMES += ["rot_0", "rot_1", "rot_2", "rot_3"]
ROW = "0 0 0 0 0 0 0 -3 -3 -3 1 0 0 0"


def ascii_ply(
    rows: list[str], names: list[str] | None = None, count: int | str | None = None, file_format: str = "ascii"
) -> bytes:
    properties = "\n".join(f"property float {name}" for name in names or NAMES)
    count = len(rows) if count is None else count
    header = f"ply\nformat {file_format} 1.0\nelement vertex {count}\n{properties}\nend_header\n"
    return (header + "\n".join(rows) + "\n").encode()


def without(name: str) -> list[str]:
    return [other for other in NAMES if other != name]


def replaced(column: str, value: str) -> str:
    values = ROW.split()
    values[NAMES.index(column)] = value
    return " ".join(values)


BAD_FILES = {
    "empty": (b"", "not a PLY file"),
    "another format": (b"\x89PNG\r\n\x1a\n" + bytes(100), "not a PLY file"),
    "no end of the header": (b"ply\nformat ascii 1.0\n", "header does not end"),
    "endless header": (b"ply\n" + b"comment x\n" * 20_000, "header does not end"),
    "endless line": (b"ply\n" + b"x" * 200_000, "header does not end"),
    "unknown format": (ascii_ply([ROW], file_format="utf8"), "format must be one of ascii"),
    "no format": (ascii_ply([ROW]).replace(b"format ascii 1.0\n", b""), "format must be one of ascii"),
    "garbage in the header": (ascii_ply([ROW]).replace(b"property float x", b"wave float x"), "is not PLY"),
    "unknown type": (ascii_ply([ROW]).replace(b"float x", b"half x"), "no type that PLY knows"),
    "list of floats": (
        ascii_ply([ROW]).replace(b"property float x", b"property list float int x"),
        "must be an integer",
    ),
    "list in the vertices": (
        ascii_ply([ROW]).replace(b"property float x", b"property list uchar float x"),
        "has lists",
    ),
    "property before any element": (ascii_ply([ROW]).replace(b"element vertex 1\n", b""), "is not PLY"),
    "twice the same property": (ascii_ply([ROW], [*NAMES, "x"]), "two properties named 'x'"),
    "negative count": (ascii_ply([ROW], count=-1), "count of 0 or more"),
    "count that is no number": (ascii_ply([ROW], count="many"), "count of 0 or more"),
    "astronomic count": (ascii_ply([ROW], count=10**30), "more than any file holds"),
    "false count, ascii": (ascii_ply([ROW], count=10**12), "cut short or its header is wrong"),
    "false count, binary": (
        ascii_ply([ROW], count=10**12, file_format="binary_little_endian"),
        "cut short or its header is wrong",
    ),
    "one row too few": (ascii_ply([ROW + " " * 40, ROW], count=3), "ends after 2"),
    "short row": (ascii_ply([ROW, "0 0 0          " * 3]), "row 1 of 'vertex' has 9 values"),
    "no vertices": (ascii_ply([ROW]).replace(b"element vertex", b"element point"), "no element 'vertex'"),
    "a mesh": (ascii_ply(["0 0 0"], ["x", "y", "z"]), "mesh or point cloud, not 3D Gaussians"),
    "a compressed PLY": (ascii_ply(["1"], ["packed_position"]), "compressed PLY"),
    "no opacity": (ascii_ply([ROW], without("opacity")), "lack opacity"),
    "two axes (2DGS)": (ascii_ply([ROW], without("scale_2")), "lack scale_2"),
    "odd number of f_rest": (ascii_ply([ROW + " 0"], [*NAMES, "f_rest_0"]), "fit no SH degree"),
    "gap in f_rest": (
        ascii_ply([ROW + " 0" * 9], [*NAMES, *(f"f_rest_{i}" for i in (0, 1, 2, 3, 4, 5, 6, 7, 9))]),
        "fit no SH degree",
    ),
    "a word among the numbers": (
        ascii_ply([ROW, replaced("x", "zero")]),
        "row 1 of 'vertex' has a value that is not",
    ),
    "NaN": (ascii_ply([ROW, replaced("y", "nan")]), "y is NaN or infinite in 1 of 2"),
    "infinite opacity": (ascii_ply([replaced("opacity", "inf")]), "opacity is NaN or infinite in 1 of 1"),
    "beyond float32": (ascii_ply([replaced("x", "1e39")]), "x is NaN or infinite"),
    "infinite scale": (ascii_ply([replaced("scale_1", "200")]), "is no length"),
    "zero rotation": (ascii_ply([ROW, replaced("rot_0", "0")]), "no rotation, in 1 of 2"),
}


@pytest.mark.parametrize("name", BAD_FILES)
def test_a_bad_file_is_refused(tmp_path: Path, name: str) -> None:
    content, message = BAD_FILES[name]
    path = tmp_path / "bad.ply"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"bad\.ply") as caught:
        read_ply(path)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_good_file_that_the_bad_ones_are_made_of_is_read(tmp_path: Path) -> None:
    (tmp_path / "good.ply").write_bytes(ascii_ply([ROW, ROW]))
    assert len(read_ply(tmp_path / "good.ply").validate()) == 2


def test_a_false_count_allocates_nothing(tmp_path: Path) -> None:
    path = tmp_path / "bomb.ply"
    path.write_bytes(ascii_ply([ROW], count=10**10, file_format="binary_big_endian"))
    tracemalloc.start()  # numpy reports its arrays to it
    with pytest.raises(ValueError, match="10000000000 rows"):
        read_ply(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1_000_000


@pytest.mark.parametrize("share", [0.02, 0.3, 0.6, 0.99])
def test_a_truncated_file_is_refused(tmp_path: Path, share: float) -> None:
    path = tmp_path / "short.ply"
    write_ply(path, random_splats(100, 3))
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(ValueError, match=r"short\.ply: .*cut short"):
        read_ply(path)


def test_a_truncated_list_before_the_vertices_is_refused(tmp_path: Path) -> None:
    content = ascii_ply([], count=1, file_format="binary_little_endian")
    faces = b"element face 2\nproperty list char int vertex_indices\nelement vertex"
    for data in (b"\x03" + bytes(12) + b"\x7f", b"\xff" + bytes(30)):
        (tmp_path / "a.ply").write_bytes(content.replace(b"element vertex", faces).rstrip(b"\n") + b"\n" + data)
        with pytest.raises(ValueError, match="in 'face'"):
            read_ply(tmp_path / "a.ply")


def test_a_header_may_be_as_long_as_the_limit(tmp_path: Path) -> None:
    content = ascii_ply([ROW])
    room = MAX_HEADER_BYTES - content.index(b"end_header\n") - len(b"end_header\n") - len(b"comment \n")
    (tmp_path / "a.ply").write_bytes(content.replace(b"element", b"comment " + b"x" * room + b"\nelement", 1))
    assert len(read_ply(tmp_path / "a.ply")) == 1


def test_the_render_mode_of_a_bad_file_is_an_error_that_names_it(tmp_path: Path) -> None:
    (tmp_path / "bad.ply").write_bytes(b"nothing")
    with pytest.raises(ValueError, match=r"bad\.ply: not a PLY file"):
        read_rasterize_mode(tmp_path / "bad.ply")


def test_a_missing_file_is_an_os_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        load_splats(tmp_path / "nowhere.ply")


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("means", float("nan"), "`means` must be finite: 1 of 3"),
        ("scales", 0.0, "`scales` must be positive: 1 of 3"),
        ("opacities", 1.5, "`opacities` must be between 0 and 1: 1 of 3"),
    ],
)
def test_splats_that_cannot_be_drawn_are_not_written(
    tmp_path: Path, field: str, value: float, message: str
) -> None:
    splats = random_splats(3)
    values = {name: getattr(splats, name).clone() for name in ("means", "quats", "scales", "opacities", "sh0")}
    values[field][1] = torch.tensor(value)
    with pytest.raises(ValueError, match=message):
        write_ply(tmp_path / "a.ply", GaussianSplats(**values))
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_render_mode_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="'antialiased' or 'classic', got 'blurred'"):
        save_splats(random_splats(1), tmp_path / "a.ply", rasterize_mode="blurred")
