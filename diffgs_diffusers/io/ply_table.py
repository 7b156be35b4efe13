"""Rows of one PLY element as numpy columns, whatever the file's format.

Nothing is allocated on a header's word.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import BinaryIO, Literal

import numpy as np

from .ply_header import BYTE_ORDERS, PlyElement, PlyHeader


def read_table(stream: BinaryIO, header: PlyHeader, element: PlyElement) -> Mapping[str, np.ndarray]:
    """Reads an element that has no list properties.

    Args:
        stream: the open file.
        header: of that file.
        element: one of ``header.elements``.

    Returns:
        Columns of length ``element.count`` by property name, in the types of the file (float64 for ascii).

    Raises:
        ValueError: if the file is shorter than its header claims, or a row cannot be read.
    """
    if element.has_lists:
        raise ValueError(f"element {element.name!r} has lists, where single values are needed.")
    size = os.fstat(stream.fileno()).st_size
    stream.seek(header.data_start)
    before = header.elements[: header.elements.index(element)]
    if header.format == "ascii":
        return _read_ascii(stream, before, element, size - header.data_start)
    order = BYTE_ORDERS[header.format]
    for other in before:
        _skip_binary(stream, other, order, size)
    return _read_binary(stream, element, order, size)


def _check_room(element: PlyElement, row_bytes: int, room: int) -> None:
    if element.count * row_bytes > room:
        raise ValueError(
            f"the header claims {element.count} rows of {element.name!r}, {row_bytes} bytes or more each, "
            f"but only {max(room, 0)} bytes follow; the file is cut short or its header is wrong."
        )


def _read_binary(stream: BinaryIO, element: PlyElement, order: str, size: int) -> Mapping[str, np.ndarray]:
    row = np.dtype([(one.name, order + one.type) for one in element.properties])
    _check_room(element, row.itemsize, size - stream.tell())
    rows = np.frombuffer(stream.read(element.count * row.itemsize), dtype=row)
    return {one.name: rows[one.name] for one in element.properties}


def _skip_binary(stream: BinaryIO, element: PlyElement, order: str, size: int) -> None:
    _check_room(element, element.min_row_bytes, size - stream.tell())
    if not element.has_lists:
        stream.seek(element.count * element.min_row_bytes, os.SEEK_CUR)
        return
    endianness: Literal["little", "big"] = "little" if order == "<" else "big"
    for _ in range(element.count):
        for one in element.properties:
            length = 1
            if one.count_type:
                raw = stream.read(int(one.count_type[1]))
                length = int.from_bytes(raw, endianness, signed=one.count_type.startswith("i"))
            stream.seek(max(length, 0) * int(one.type[1]), os.SEEK_CUR)
            if length < 0 or stream.tell() > size:
                raise ValueError(f"the file ends, or a list has a negative length, in {element.name!r}.")


def _read_ascii(
    stream: BinaryIO, before: tuple[PlyElement, ...], element: PlyElement, room: int
) -> Mapping[str, np.ndarray]:
    width = len(element.properties)
    # A value takes at least a digit and a separator; the last separator of the file may be missing.
    _check_room(element, 2 * width, room + 1)
    lines = [line for line in stream.read().splitlines() if line.strip()]
    first = sum(other.count for other in before)
    lines = lines[first : first + element.count]
    if len(lines) < element.count:
        raise ValueError(
            f"the header claims {element.count} rows of {element.name!r}, but the file ends after {len(lines)}."
        )
    table = np.empty((element.count, width))
    for number, line in enumerate(lines):  # row by row: a whole file of Python numbers takes ten times its size
        row = line.split()
        if len(row) != width:
            raise ValueError(
                f"row {number} of {element.name!r} has {len(row)} values, the header asks for {width}."
            )
        try:
            table[number] = [float(value) for value in row]
        except ValueError as error:
            raise ValueError(
                f"row {number} of {element.name!r} has a value that is not a number ({error})."
            ) from error
    return {one.name: table[:, column] for column, one in enumerate(element.properties)}
