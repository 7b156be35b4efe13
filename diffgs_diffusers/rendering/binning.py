"""Lists of Gaussians per 16x16 tile, front to back.

Parts of the Gaussians count their entries per tile, running totals give each part its own places in every list, and
the parts fill them in order. Each list is then sorted by depth on its own: it fits the cache, and lists can be
sorted at the same time. No split into parts changes the result, since equal depths keep the order of the Gaussians.
"""

# Kernels are typed by numba on their first call.
# mypy: allow-untyped-defs

from __future__ import annotations

import numpy as np

from ..functional.compilation import inlined, kernel
from .projection import DETAIL_DEPTH

RADIX_BITS = 8
# Lists up to this length are sorted by insertion.
SHORT_LIST = 32
# What a tile costs beside its entries, in entries.
TILE_COST = 10


@kernel
def count_tiles(first, last, tile_boxes, tiles_x, counts):
    """Count the entries of Gaussians [first, last) per tile.

    Args:
        tile_boxes: int32 [C,N,4] from `project_forward`.
        counts: out, int64 [C,tiles], zeros on entry.
    """
    for camera in range(tile_boxes.shape[0]):
        for index in range(first, last):
            box = tile_boxes[camera, index]
            for row in range(box[2], box[3]):
                for tile in range(row * tiles_x + box[0], row * tiles_x + box[1]):
                    counts[camera, tile] += 1


@kernel
def place_parts(counts, tile_starts):
    """Turn the counts [parts,C*tiles] into each part's first place in each tile's list.

    Args:
        counts: in and out, int64.
        tile_starts: out, int64 [C*tiles+1], where each tile's list starts.
    """
    total = 0
    for tile in range(counts.shape[1]):
        tile_starts[tile] = total
        for part in range(counts.shape[0]):
            count = counts[part, tile]
            counts[part, tile] = total
            total += count
    tile_starts[counts.shape[1]] = total


@kernel
def share_tiles(tile_starts, ends):
    """Cut the tiles into ranges of about equal work: ends out, int64 [ranges+1], from 0 to the number of tiles."""
    tiles, ranges = tile_starts.shape[0] - 1, ends.shape[0] - 1
    work = tile_starts[tiles] + TILE_COST * tiles
    ends[0] = tile = 0
    for number in range(1, ranges + 1):
        while (tile_starts[tile] + TILE_COST * tile) * ranges < work * number:
            tile += 1
        ends[number] = tile


@kernel
def fill_tiles(first, last, details, tile_boxes, tiles_x, places, entries):
    """Enter Gaussians [first, last) into the lists of their tiles.

    Args:
        details: [C,N,DETAILS] from `project_forward`.
        places: int64 [C,tiles], where this part's next entry of each tile goes; moved on.
        entries: out, uint64 [total], single precision bits of the depth above the index of the Gaussian: depths are
            positive, so bits and values agree in order.
    """
    for camera in range(tile_boxes.shape[0]):
        for index in range(first, last):
            box = tile_boxes[camera, index]
            if box[1] == 0:
                continue
            depth = np.float32(details[camera, index, DETAIL_DEPTH]).view(np.uint32)
            entry = (np.uint64(depth) << np.uint64(32)) | np.uint64(index)
            for row in range(box[2], box[3]):
                for tile in range(row * tiles_x + box[0], row * tiles_x + box[1]):
                    entries[places[camera, tile]] = entry
                    places[camera, tile] += 1


@inlined
def gaussian(entry):
    """The index of the Gaussian in an entry of a tile's list."""
    return np.int64(entry & np.uint64(0xFFFFFFFF))


@kernel
def sort_tiles(first, last, tile_starts, entries):
    """Sort the lists of tiles [first, last) by depth, equal depths by index."""
    longest = 0
    for tile in range(first, last):
        longest = max(longest, tile_starts[tile + 1] - tile_starts[tile])
    spare = np.empty(longest, np.uint64)
    starts = np.empty(1 << RADIX_BITS, np.int64)
    for tile in range(first, last):
        keys = entries[tile_starts[tile] : tile_starts[tile + 1]]
        if keys.shape[0] <= SHORT_LIST:
            _insertion_sort(keys)
        else:
            _radix_sort(keys, spare, starts)


@inlined
def _insertion_sort(keys):
    for place in range(1, keys.shape[0]):
        key = keys[place]
        while place > 0 and keys[place - 1] > key:
            keys[place] = keys[place - 1]
            place -= 1
        keys[place] = key


@inlined
def _radix_sort(keys, spare, starts):
    """Sort by the upper 32 bits, which is enough because the list arrives in the order of the lower ones."""
    low, high = keys[0], keys[0]
    for key in keys:
        low, high = min(low, key), max(high, key)
    low = (low >> np.uint64(32)) << np.uint64(32)
    source, target, swapped = keys, spare[: keys.shape[0]], False
    for shift in range(32, 64, RADIX_BITS):
        if (high - low) >> np.uint64(shift) == np.uint64(0):
            break
        starts[:] = 0
        for key in source:
            starts[_digit(key - low, shift)] += 1
        total = 0
        for digit in range(starts.shape[0]):
            count = starts[digit]
            starts[digit] = total
            total += count
        for key in source:
            digit = _digit(key - low, shift)
            target[starts[digit]] = key
            starts[digit] += 1
        source, target = target, source
        swapped = not swapped
    if swapped:
        keys[:] = spare[: keys.shape[0]]


@inlined
def _digit(key, shift):
    """The RADIX_BITS of an unsigned key from bit `shift` on."""
    return np.int64((key >> np.uint64(shift)) & np.uint64((1 << RADIX_BITS) - 1))


@kernel
def entry_starts(tile_boxes, starts):
    """Running totals, int64 [C*N+1], of the entries of each Gaussian in each camera."""
    total = 0
    gaussians = tile_boxes.shape[1]
    for camera in range(tile_boxes.shape[0]):
        for index in range(gaussians):
            box = tile_boxes[camera, index]
            starts[camera * gaussians + index] = total
            total += (box[1] - box[0]) * (box[3] - box[2])
    starts[tile_boxes.shape[0] * gaussians] = total


@inlined
def gradient_row(entry, camera, row, column, tile_boxes, starts):
    """Where the gradient of an entry of a tile's list lies: by camera, Gaussian and tile of its box.

    Args:
        row, column: of the tile in its image.
        starts: int64 [C*N+1] from `entry_starts`.
    """
    index = gaussian(entry)
    box = tile_boxes[camera, index]
    return starts[camera * tile_boxes.shape[1] + index] + (row - box[2]) * (box[1] - box[0]) + column - box[0]
