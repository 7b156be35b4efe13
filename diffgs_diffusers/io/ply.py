"""3D Gaussian Splatting PLY files in the layout of the reference implementation (Inria).

The only place besides decoder heads that knows log scales, logit opacities and
channel-major colour coefficients.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..gaussians import GaussianSplats
from .atomic import atomic_write
from .ply_header import read_header
from .ply_table import read_table

MEANS = ("x", "y", "z")
NORMALS = ("nx", "ny", "nz")
SH0 = ("f_dc_0", "f_dc_1", "f_dc_2")
LOG_SCALES = ("scale_0", "scale_1", "scale_2")
QUATS = ("rot_0", "rot_1", "rot_2", "rot_3")
REQUIRED = (*MEANS, *SH0, "opacity", *LOG_SCALES, *QUATS)
# f_rest properties of SH degree 0, 1, 2 and 3.
F_REST_COUNTS = (0, 9, 24, 45)
# Keeps the logits of opacities 0 and 1 finite; both come back within 1e-6.
OPACITY_MARGIN = 1e-7
MODE_COMMENT = "rasterize_mode "
_ROWS = 65536  # written at once: double precision takes several times the memory of the splats


def write_ply(path: str | Path, splats: GaussianSplats, *, rasterize_mode: str = "antialiased") -> None:
    """Writes splats as a binary little-endian PLY; the same splats give the same bytes.

    Args:
        path: the file to write; its folder must exist.
        splats: N Gaussians of any dtype on any device; stored as float32.
        rasterize_mode: ``"antialiased"`` or ``"classic"``, the mode that the splats were made for.
            The format has no field for it, so it is stored as a comment.

    Raises:
        ValueError: if a value cannot be drawn (see :meth:`GaussianSplats.validate`).
        FileNotFoundError: if the folder does not exist.
    """
    splats = splats.detach().to("cpu").validate()
    names = [*MEANS, *NORMALS, *SH0, *_f_rest(3 * splats.shN.shape[1]), "opacity", *LOG_SCALES, *QUATS]
    header = ["ply", "format binary_little_endian 1.0", f"comment {MODE_COMMENT}{rasterize_mode}"]
    header.append(f"element vertex {len(splats)}")
    header += [*(f"property float {name}" for name in names), "end_header", ""]
    with atomic_write(path) as stream:
        stream.write("\n".join(header).encode("ascii"))
        for start in range(0, len(splats), _ROWS):
            stream.write(_rows(splats[start : start + _ROWS]).data)


def _rows(splats: GaussianSplats) -> np.ndarray:
    """The table of some Gaussians [N, properties], computed in double precision."""
    values = stored_values(splats.to(torch.float64))
    normals = torch.zeros_like(splats.means, dtype=torch.float64)
    return torch.cat([values[:, :3], normals, values[:, 3:]], dim=1).numpy().astype("<f4")


def stored_values(splats: GaussianSplats) -> Tensor:
    """What a file holds of each Gaussian apart from its normal, before activation, [N, 11 + 3K].

    Order: means 3, band 0 of the colours 3, the other bands channel-major 3 (K − 1), the logit of the opacity 1,
    logarithms of the scales 3, quats 4.
    """
    columns = [
        splats.means,
        splats.sh0[:, 0],
        splats.shN.transpose(1, 2).flatten(1),
        torch.logit(splats.opacities, eps=OPACITY_MARGIN)[:, None],
        splats.scales.log(),
        splats.quats,
    ]
    return torch.cat(columns, dim=1)


def read_ply(path: str | Path) -> GaussianSplats:
    """Reads a 3D Gaussian PLY: ascii or binary of either endianness, properties of any type in any order.

    Properties and elements that splats have no use for are skipped. Quaternions are normalised.

    Args:
        path: the file.

    Returns:
        N Gaussians, float32 on the CPU, in the frame of the file.

    Raises:
        ValueError: naming the file and what is wrong with it.
        OSError: if it cannot be opened.
    """
    try:
        return _read(path)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def _read(path: str | Path) -> GaussianSplats:
    with open(path, "rb") as stream:
        header = read_header(stream)
        vertices = next((one for one in header.elements if one.name == "vertex"), None)
        if vertices is None:
            raise ValueError("has no element 'vertex', so it holds no Gaussians.")
        num_rest = _check_properties([one.name for one in vertices.properties])
        table = read_table(stream, header, vertices)
    rest = _columns(table, _f_rest(num_rest))
    log_scales = _columns(table, LOG_SCALES)
    # Flatter than float32 can say is drawn like the thinnest it can say.
    scales = log_scales.exp().clamp_min(torch.finfo(torch.float32).tiny)
    if not scales.isfinite().all():
        raise ValueError(f"scale_* hold logarithms of lengths; e^{log_scales.max():g} is no length.")
    return GaussianSplats(
        means=_columns(table, MEANS),
        quats=_unit_quats(_columns(table, QUATS)),
        scales=scales,
        opacities=_columns(table, ("opacity",))[:, 0].sigmoid(),
        sh0=_columns(table, SH0)[:, None],
        shN=rest.unflatten(1, (3, num_rest // 3)).transpose(1, 2).contiguous(),
    )


def read_rasterize_mode(path: str | Path) -> str | None:
    """The mode that a PLY file says its splats were made for; None if it does not say.

    Raises:
        ValueError: if the header is not that of a PLY file.
        OSError: if the file cannot be opened.
    """
    try:
        with open(path, "rb") as stream:
            comments = read_header(stream).comments
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    modes = [comment.split()[1:] for comment in comments if comment.startswith(MODE_COMMENT)]
    return next((mode[0] for mode in modes if mode in (["antialiased"], ["classic"])), None)


def _f_rest(count: int) -> tuple[str, ...]:
    return tuple(f"f_rest_{index}" for index in range(count))


def _check_properties(names: list[str]) -> int:
    """Returns the number of f_rest properties of a vertex element that holds Gaussians."""
    missing = [name for name in REQUIRED if name not in names]
    if "packed_position" in names:
        raise ValueError("is a compressed PLY (packed_*); convert it to a standard one first.")
    if missing and not any(name in names for name in REQUIRED[3:]):
        raise ValueError(
            "is a mesh or point cloud, not 3D Gaussians: "
            f"its vertices have only {', '.join(names[:12]) or 'nothing'}."
        )
    if missing:
        raise ValueError(f"the Gaussians lack {', '.join(missing)}.")
    rest = [name for name in names if name.startswith("f_rest_")]
    if len(rest) not in F_REST_COUNTS or set(rest) != set(_f_rest(len(rest))):
        raise ValueError(
            f"{len(rest)} f_rest_* properties fit no SH degree of 0 to 3, which have f_rest_0 to "
            f"f_rest_(n-1) with n of {', '.join(map(str, F_REST_COUNTS))}."
        )
    return len(rest)


def _columns(table: Mapping[str, np.ndarray], names: tuple[str, ...]) -> Tensor:
    """[N, len(names)] float32, every value finite."""
    count = len(table["x"])
    values = np.empty((count, len(names)), dtype=np.float32)
    for column, name in enumerate(names):
        with np.errstate(over="ignore"):  # doubles beyond float32 become infinite and are reported below
            values[:, column] = table[name]
        bad = int(np.count_nonzero(~np.isfinite(values[:, column])))
        if bad:
            raise ValueError(f"{name} is NaN or infinite in {bad} of {count} Gaussians.")
    return torch.from_numpy(values)


def _unit_quats(quats: Tensor) -> Tensor:
    """[N, 4] unit wxyz quaternions; in double precision, where squares neither vanish nor overflow."""
    norms = quats.double().norm(dim=1, keepdim=True)
    zeros = int((norms == 0).sum())
    if zeros:
        raise ValueError(f"rot_0 to rot_3 are zero, which is no rotation, in {zeros} of {len(quats)} Gaussians.")
    return (quats.double() / norms).float()
