"""SPZ files (Niantic): Gaussians rounded to 20 bytes each (SH degree 0) and compressed, about a quarter of a PLY.

A gzip stream of a header of 16 bytes and one section for each property, in the order positions, opacities, colours,
scales, rotations, higher bands. The frame is turned half around x against PLY: up is +y.
"""

from __future__ import annotations

import gzip
import math
import struct
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, NamedTuple, cast

import torch
from torch import Tensor

from ..functional.spherical_harmonics import MAX_SH_DEGREE, num_sh_bases
from ..gaussians import GaussianSplats
from .atomic import atomic_write

HEADER = struct.Struct("<4sIIBBBx")  # magic, version, count, SH degree, bits of a position's fraction, flags
MAGIC = b"NGSP"
VERSION = 3  # the newest that is gzip; 2 differs in its rotations, 4 is zstd
ANTIALIASED = 1
MOST_FRACTION_BITS = 16  # 2⁻¹⁶ of an object: a hundredth of the spacing of a million Gaussians
POSITION_LIMIT = 2**23 - 1
COLOR_SCALE = 0.15
COMPONENT_LIMIT = math.sqrt(0.5)  # no component of a unit quaternion but its largest exceeds it
HALF_TURN = torch.diag(torch.tensor([1.0, -1.0, -1.0]))  # about x, its own inverse
_ROWS = 65536


class Header(NamedTuple):
    """What stands before the sections."""

    version: int
    num_gaussians: int
    sh_degree: int
    fraction_bits: int
    flags: int


def write_spz(path: str | Path, splats: GaussianSplats, *, rasterize_mode: str = "antialiased") -> None:
    """Writes splats as SPZ of version 3; the same splats give the same bytes.

    Values are rounded: positions to 2⁻¹⁶ (coarser beyond ±127), opacities to 1/255, scales to steps of 6 % between
    4.5e-5 and 376, rotations to 0.2°, colour coefficients of band 0 to 0.03 within ±3.3 and of the others to 0.008
    within ±1.

    Args:
        path: the file to write; its folder must exist.
        splats: N Gaussians of any dtype on any device.
        rasterize_mode: ``"antialiased"`` or ``"classic"``, the mode they were made for, a flag of the file.

    Raises:
        ValueError: if a value cannot be drawn (see :meth:`GaussianSplats.validate`) or a position is too far away.
        FileNotFoundError: if the folder does not exist.
    """
    splats = splats.detach().to("cpu", torch.float32).validate().transform(HALF_TURN)
    bits = _fraction_bits(splats.means)
    flags = ANTIALIASED if rasterize_mode == "antialiased" else 0
    sections: list[Callable[[GaussianSplats], Tensor]] = [
        lambda part: _pack_positions(part.means, bits),
        lambda part: _to_bytes(part.opacities * 255),
        lambda part: _to_bytes(part.sh0 * (COLOR_SCALE * 255) + 127.5),
        lambda part: _to_bytes((part.scales.log() + 10) * 16),
        lambda part: _pack_rotations(part.quats),
        lambda part: _to_bytes(part.shN * 128 + 128),
    ]
    # Without time and name in gzip's own header, the bytes depend on the splats alone.
    with atomic_write(path) as file, gzip.GzipFile("", "wb", 6, file, mtime=0) as stream:
        stream.write(HEADER.pack(MAGIC, VERSION, len(splats), splats.sh_degree, bits, flags))
        for pack in sections:
            for start in range(0, len(splats), _ROWS):
                stream.write(pack(splats[start : start + _ROWS]).numpy().tobytes())


def read_spz(path: str | Path) -> GaussianSplats:
    """Reads an SPZ file of version 2 or 3.

    Returns:
        N Gaussians, float32 on the CPU, in the frame of PLY files.

    Raises:
        ValueError: naming the file and what is wrong with it.
        OSError: if it cannot be opened.
    """
    with _opened(path) as stream:
        return _read(stream, Path(path).stat().st_size)


def read_rasterize_mode(path: str | Path) -> str:
    """``"antialiased"`` or ``"classic"``, as the file's flag says.

    Raises:
        ValueError: if it is no SPZ file.
        OSError: if it cannot be opened.
    """
    with _opened(path) as stream:
        return "antialiased" if _read_header(stream).flags & ANTIALIASED else "classic"


@contextmanager
def _opened(path: str | Path) -> Iterator[BinaryIO]:
    """The file's content; errors of the block say which file they are about."""
    try:
        with open(path, "rb") as file:
            if file.peek(4)[:4] == MAGIC:
                raise ValueError("is SPZ of version 4 or later; versions 2 and 3 can be read.")
            with gzip.GzipFile(fileobj=file, mode="rb") as stream:
                yield cast(BinaryIO, stream)
    except (gzip.BadGzipFile, zlib.error, EOFError) as error:
        raise ValueError(f"{path}: is no whole gzip stream, as SPZ is up to version 3: {error}") from error
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def _read(stream: BinaryIO, size: int) -> GaussianSplats:
    header = _read_header(stream)
    n, rest = header.num_gaussians, num_sh_bases(header.sh_degree) - 1
    rotation = 4 if header.version == 3 else 3
    # No gzip stream holds more than 1,032 times its size: a false count is found before anything is allocated.
    if n * (16 + rotation + 3 * rest) > 1032 * size:
        raise ValueError(f"announces {n:,} Gaussians, more than its {size:,} bytes can hold.")
    means = _unpack_positions(_read_bytes(stream, n, 9), header.fraction_bits)
    opacities = _read_bytes(stream, n, 1)[:, 0].float() / 255
    sh0 = (_read_bytes(stream, n, 3).float() - 127.5) / (COLOR_SCALE * 255)
    scales = (_read_bytes(stream, n, 3).float() / 16 - 10).exp()
    quats = _unpack_rotations(_read_bytes(stream, n, rotation))
    shN = (_read_bytes(stream, n, 3 * rest).float() - 128).reshape(n, rest, 3) / 128
    stream.read(1)  # gzip compares its checksum at the end only
    return GaussianSplats(means, quats, scales, opacities, sh0[:, None], shN).transform(HALF_TURN)


def _read_header(stream: BinaryIO) -> Header:
    data = stream.read(HEADER.size)
    if len(data) < HEADER.size or not data.startswith(MAGIC):
        raise ValueError("does not start as an SPZ file does.")
    header = Header(*HEADER.unpack(data)[1:])
    if header.version not in (2, 3):
        raise ValueError(f"is SPZ of version {header.version}; versions 2 and 3 can be read.")
    if header.sh_degree > MAX_SH_DEGREE:
        raise ValueError(f"has SH degree {header.sh_degree}; at most {MAX_SH_DEGREE} can be read.")
    if not 1 <= header.fraction_bits <= 23:
        raise ValueError(f"has positions with a fraction of {header.fraction_bits} bits of 24.")
    return header


def _read_bytes(stream: BinaryIO, count: int, width: int) -> Tensor:
    """[count, width] uint8."""
    data = bytearray(stream.read(count * width))
    if len(data) < count * width:
        raise ValueError(f"ends too early: its header announces {count:,} Gaussians.")
    if not data:  # which `frombuffer` refuses
        return torch.zeros(count, width, dtype=torch.uint8)
    return torch.frombuffer(data, dtype=torch.uint8).view(count, width)


def _to_bytes(values: Tensor) -> Tensor:
    return values.round().clamp(0, 255).to(torch.uint8)


def _fraction_bits(means: Tensor) -> int:
    """How many of a position's 24 bits stand behind the point, so that the farthest one still fits."""
    farthest = float(means.abs().max()) if len(means) else 0.0
    for bits in range(MOST_FRACTION_BITS, 0, -1):
        if farthest * 2**bits <= POSITION_LIMIT:
            return bits
    raise ValueError(f"SPZ holds positions up to ±4,194,303; one is {farthest:g} away. Make the object smaller.")


def _pack_positions(means: Tensor, bits: int) -> Tensor:
    """[N, 9] three bytes a coordinate, lowest first, of a signed fixed-point number."""
    steps = (means.double() * 2**bits).round().to(torch.int32)
    return torch.stack([(steps >> shift) & 255 for shift in (0, 8, 16)], dim=-1).to(torch.uint8).flatten(1)


def _unpack_positions(data: Tensor, bits: int) -> Tensor:
    low, middle, high = data.view(-1, 3, 3).int().unbind(-1)
    steps = low | middle << 8 | high << 16
    return (steps - (steps >> 23 << 24)).float() / 2**bits  # bit 23 is the sign


def _pack_rotations(quats: Tensor) -> Tensor:
    """[N, 4] bytes, lowest first, of two bits that name the largest component and ten for each of the others.

    Those are in the order x, y, z, w: a sign, relative to that of the largest, and nine bits of size.
    """
    xyzw = torch.nn.functional.normalize(quats, dim=-1)[:, [1, 2, 3, 0]]
    largest = xyzw.abs().argmax(dim=1, keepdim=True)
    xyzw = torch.where(xyzw.gather(1, largest) < 0, -xyzw, xyzw)
    sizes = (xyzw.abs() / COMPONENT_LIMIT * 511).round().clamp(max=511).long()
    packed = largest[:, 0]
    for axis in range(4):
        field = (xyzw[:, axis] < 0).long() << 9 | sizes[:, axis]
        packed = torch.where(largest[:, 0] == axis, packed, packed << 10 | field)
    return torch.stack([(packed >> shift) & 255 for shift in (0, 8, 16, 24)], dim=-1).to(torch.uint8)


def _unpack_rotations(data: Tensor) -> Tensor:
    """[N, 4] wxyz from the four bytes of version 3, or from x, y and z in a byte each of version 2."""
    if data.shape[1] == 3:
        xyz = data.float() / 127.5 - 1
        w = (1 - xyz.square().sum(dim=1, keepdim=True)).clamp(min=0).sqrt()
        return torch.nn.functional.normalize(torch.cat([w, xyz], dim=1), dim=-1)
    first, second, third, fourth = data.long().unbind(1)
    packed = first | second << 8 | third << 16 | fourth << 24
    largest, xyzw = packed >> 30, torch.zeros(len(data), 4)
    for axis in reversed(range(4)):
        size = (packed & 511).float() / 511 * COMPONENT_LIMIT
        value = torch.where((packed >> 9 & 1).bool(), -size, size)
        xyzw[:, axis] = torch.where(largest == axis, 0.0, value)
        packed = torch.where(largest == axis, packed, packed >> 10)
    rest = (1 - xyzw.square().sum(dim=1)).clamp(min=0).sqrt()
    xyzw[torch.arange(len(data)), largest] = rest
    return torch.nn.functional.normalize(xyzw[:, [3, 0, 1, 2]], dim=-1)
