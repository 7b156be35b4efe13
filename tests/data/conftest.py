"""Tiny furniture libraries, meshes and preparation settings, made on the spot."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from diffgs_diffusers.data.dataset import ObjectRecord
from diffgs_diffusers.data.preparation import PreparationSettings
from diffgs_diffusers.data.refinement import RefinementSettings

# A unit cube as one OBJ file would have it: quads, texture coordinates, a material.
CUBE_OBJ = """mtllib cube.mtl
v 0 0 0
v 1 0 0
v 1 1 0
v 0 1 0
v 0 0 1
v 1 0 1
v 1 1 1
v 0 1 1
vt 0 0
vt 1 0
vt 1 1
vt 0 1
usemtl paint
f 1/1 4/4 3/3 2/2
f 5/1 6/2 7/3 8/4
f 1/1 5/2 8/3 4/4
f 2/1 3/2 7/3 6/4
f 4/1 8/2 7/3 3/4
f 1/1 2/2 6/3 5/4
"""


def properties(*entries: dict[str, str], licence: str = "Creative Commons Attribution 3.0 license") -> str:
    lines = ["id=Library", "name=Tiny", f"license={licence}"]
    for number, entry in enumerate(entries, start=1):
        filled = {"width": "100", "height": "50", "depth": "25", "category": "Living room", **entry}
        lines += [f"{key}#{number}={value}" for key, value in filled.items()]
    return "\n".join(lines)


def png(array: np.ndarray) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(array).save(stream, "PNG")
    return stream.getvalue()


@pytest.fixture
def write_library(tmp_path: Path) -> Callable[..., Path]:
    """Writes a `.sh3f` with the given files and catalogue entries and returns its path."""

    def write(entries: list[dict[str, str]], files: dict[str, str | bytes], name: str = "tiny.sh3f") -> Path:
        path = tmp_path / name
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("PluginFurnitureCatalog.properties", properties(*entries))
            for file, content in files.items():
                archive.writestr(file, content)
        return path

    return write


@pytest.fixture
def cube_library(write_library: Callable[..., Path]) -> Path:
    """Two good objects (a red cube, a textured one) and one without faces."""
    entries = [
        {"id": "Tiny#redChair", "name": "Teck chair", "model": "/tiny/red/cube.obj", "creator": "Ann"},
        {"id": "Tiny#table", "name": "Table", "model": "/tiny/textured/cube.obj", "tags": "Tiny, Dining"},
        {"id": "Tiny#nothing", "name": "Lamp", "model": "/tiny/nothing/empty.obj"},
    ]
    blue = np.zeros((4, 4, 3), dtype=np.uint8)
    blue[..., 2] = 200
    files = {
        "tiny/red/cube.obj": CUBE_OBJ,
        "tiny/red/cube.mtl": "newmtl paint\nKd 0.8 0.1 0.1\nd 1.0\n",
        "tiny/textured/cube.obj": CUBE_OBJ,
        # the author's own disk; Kd must not darken the texture
        "tiny/textured/cube.mtl": "newmtl paint\nKd 0.1 0.1 0.1\nmap_Kd C:\\\\work\\\\Blue.png\n",
        "tiny/textured/blue.png": png(blue),
        "tiny/nothing/empty.obj": "v 0 0 0\nv 1 0 0\n",
    }
    return write_library(entries, files)


@pytest.fixture
def tiny_settings() -> PreparationSettings:
    """Enough to see a cube, in a fraction of a second."""
    return PreparationSettings(
        num_gaussians=200,
        resolution=32,
        num_views=6,
        num_unseen_views=2,
        refinement=RefinementSettings(iterations=12),
    )


@pytest.fixture
def armchair_record() -> ObjectRecord:
    """A red armchair on black legs."""
    return ObjectRecord(
        id="armchair",
        name="Armchair",
        noun="armchair",
        caption="a red armchair",
        names=["armchair", "chair"],
        category="chair",
        materials=[
            {"index": 0, "rgb": [0.8, 0.1, 0.1], "color": "red", "share": 0.8},
            {"index": 3, "rgb": [0.05, 0.05, 0.05], "color": "black", "share": 0.2},
        ],
    )


@pytest.fixture(autouse=True)
def one_thread() -> None:
    """Small images are drawn faster without a pool of threads."""
    torch.set_num_threads(1)
