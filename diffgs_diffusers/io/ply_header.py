"""The header of a PLY file: what its bytes mean and where they start."""

from __future__ import annotations

from dataclasses import dataclass
from typing import BinaryIO

MAX_HEADER_BYTES = 65_536
BYTE_ORDERS = {"binary_little_endian": "<", "binary_big_endian": ">"}
FORMATS = ("ascii", *BYTE_ORDERS)
# numpy type codes without a byte order.
SCALAR_TYPES = {
    "char": "i1",
    "uchar": "u1",
    "short": "i2",
    "ushort": "u2",
    "int": "i4",
    "uint": "u4",
    "float": "f4",
    "double": "f8",
    "int8": "i1",
    "uint8": "u1",
    "int16": "i2",
    "uint16": "u2",
    "int32": "i4",
    "uint32": "u4",
    "float32": "f4",
    "float64": "f8",
}


@dataclass(frozen=True)
class PlyProperty:
    """One column of an element.

    Attributes:
        name: as in the file.
        type: numpy code of a value, without a byte order.
        count_type: numpy code of a list's length; None for a scalar.
    """

    name: str
    type: str
    count_type: str | None = None

    @property
    def min_bytes(self) -> int:
        """The fewest bytes that one value takes in a binary file."""
        return int((self.count_type or self.type)[1])


@dataclass(frozen=True)
class PlyElement:
    """A table of the file: ``count`` rows of ``properties``."""

    name: str
    count: int
    properties: tuple[PlyProperty, ...]

    @property
    def has_lists(self) -> bool:
        return any(one.count_type for one in self.properties)

    @property
    def min_row_bytes(self) -> int:
        """The fewest bytes of a row in a binary file; exact where no property is a list."""
        return sum(one.min_bytes for one in self.properties)


@dataclass(frozen=True)
class PlyHeader:
    """A parsed header.

    Attributes:
        format: ``ascii``, ``binary_little_endian`` or ``binary_big_endian``.
        elements: in file order.
        comments: their texts, in file order.
        data_start: offset of the first data byte.
    """

    format: str
    elements: tuple[PlyElement, ...]
    comments: tuple[str, ...]
    data_start: int


def read_header(stream: BinaryIO) -> PlyHeader:
    """Reads the header at the start of a stream.

    Args:
        stream: at offset 0.

    Raises:
        ValueError: naming the first thing that is wrong with the header.
    """
    lines, data_start = _header_lines(stream.read(MAX_HEADER_BYTES))
    file_format: str | None = None
    comments: list[str] = []
    elements: list[tuple[str, int, list[PlyProperty]]] = []
    for line in lines:
        keyword, *words = line.split() or [""]
        if keyword == "comment":
            comments.append(line.removeprefix("comment").strip())
        elif keyword == "format":
            file_format = words[0] if words else ""
        elif keyword == "element":
            elements.append((*_parse_element(words), []))
        elif keyword == "property" and elements:
            elements[-1][2].append(_parse_property(words))
        elif keyword not in ("", "obj_info"):
            raise ValueError(f"header line {line[:60]!r} is not PLY.")
    if file_format not in FORMATS:
        raise ValueError(f"format must be one of {', '.join(FORMATS)}; got {file_format!r}.")
    tables = tuple(_checked_element(name, count, properties) for name, count, properties in elements)
    return PlyHeader(file_format, tables, tuple(comments), data_start)


def _header_lines(head: bytes) -> tuple[list[str], int]:
    """The lines between ``ply`` and ``end_header``, and the offset after them."""
    if not head.startswith((b"ply\n", b"ply\r\n")):
        raise ValueError("not a PLY file (it does not start with a line 'ply').")
    lines: list[str] = []
    start = 0
    while (end := head.find(b"\n", start)) >= 0:
        line = head[start:end].rstrip(b"\r").decode("utf-8", errors="replace").strip()
        start = end + 1
        if line == "end_header":
            return lines[1:], start
        lines.append(line)
    raise ValueError(
        f"the header does not end ('end_header' is missing from the first {len(head)} bytes); "
        "the file is cut short or not a PLY file."
    )


def _parse_element(words: list[str]) -> tuple[str, int]:
    if len(words) != 2 or not (words[1].isascii() and words[1].isdigit()):
        raise ValueError(f"an element needs a name and a count of 0 or more; the header says {' '.join(words)!r}.")
    if len(words[1]) > 18:
        raise ValueError(f"the header claims {words[1][:40]} rows, more than any file holds.")
    return words[0], int(words[1])


def _parse_property(words: list[str]) -> PlyProperty:
    is_list = words[:1] == ["list"]
    types = words[1:3] if is_list else words[:1]
    if len(words) != (4 if is_list else 2) or any(one not in SCALAR_TYPES for one in types):
        raise ValueError(f"property {' '.join(words)[:60]!r} has no type that PLY knows.")
    codes = [SCALAR_TYPES[one] for one in types]
    if is_list:
        if codes[0].startswith("f"):
            raise ValueError(f"the length of list {words[-1]!r} must be an integer, not {types[0]}.")
        return PlyProperty(words[-1], codes[1], codes[0])
    return PlyProperty(words[-1], codes[0])


def _checked_element(name: str, count: int, properties: list[PlyProperty]) -> PlyElement:
    names = [one.name for one in properties]
    for one in names:
        if names.count(one) > 1:
            raise ValueError(f"element {name!r} has two properties named {one!r}.")
    return PlyElement(name, count, tuple(properties))
