"""Lists of Gaussians per 16x16 tile, front to back.

Gaussians are sorted once by depth; filling the tile lists in that order leaves each list sorted. That replaces the
sort over (tile, depth) pairs of the CUDA renderers, which is longer by the number of tiles a Gaussian touches.
"""

# Kernels are typed by numba on their first call.
# mypy: allow-untyped-defs

from __future__ import annotations

import numpy as np

from ..functional.compilation import kernel
from .projection import DEPTH

RADIX_BITS = 11


@kernel
def count_tiles(tile_boxes, tiles_x, tile_starts, slot_starts):
    """Count entries per tile and per Gaussian, as running totals.

    Args:
        tile_boxes: int32 [C,N,4] from `project_forward`.
        tile_starts: out, int64 [C*tiles+1], zeros on entry; where each tile's list starts.
        slot_starts: out, int64 [C*N+1]; where each Gaussian's entries start in Gaussian order.

    Returns:
        The number of entries and the number of visible (camera, Gaussian) pairs.
    """
    cameras, gaussians = tile_boxes.shape[0], tile_boxes.shape[1]
    tiles = (tile_starts.shape[0] - 1) // cameras
    total, visible = 0, 0
    for camera in range(cameras):
        for index in range(gaussians):
            box = tile_boxes[camera, index]
            slot_starts[camera * gaussians + index] = total
            total += (box[1] - box[0]) * (box[3] - box[2])
            visible += box[1] > 0
            for row in range(box[2], box[3]):
                for tile in range(camera * tiles + row * tiles_x + box[0], camera * tiles + row * tiles_x + box[1]):
                    tile_starts[tile + 1] += 1
    slot_starts[cameras * gaussians] = total
    for tile in range(cameras * tiles):
        tile_starts[tile + 1] += tile_starts[tile]
    return total, visible


@kernel
def fill_tiles(records, tile_boxes, tiles_x, visible, tile_starts, slot_starts, entries, slots):
    """Write each tile's list of Gaussians in order of depth.

    Args:
        entries: out, int32 [total], flat (camera, Gaussian) index of each list entry.
        slots: out, int64 [total], the place of the same entry in Gaussian order, where its gradient is stored.
    """
    cameras, gaussians = tile_boxes.shape[0], tile_boxes.shape[1]
    tiles = (tile_starts.shape[0] - 1) // cameras
    order = _depth_order(records, tile_boxes, visible)
    ends = tile_starts[:-1].copy()
    for flat in order:
        camera = flat // gaussians
        box = tile_boxes[camera, flat - camera * gaussians]
        slot = slot_starts[flat]
        for row in range(box[2], box[3]):
            start = camera * tiles + row * tiles_x
            for tile in range(start + box[0], start + box[1]):
                entries[ends[tile]] = flat
                slots[ends[tile]] = slot
                ends[tile] += 1
                slot += 1


@kernel
def _digit(key, shift):
    """The RADIX_BITS of an unsigned key from bit `shift` on."""
    return np.int64((key >> np.uint32(shift)) & np.uint32((1 << RADIX_BITS) - 1))


@kernel
def _depth_order(records, tile_boxes, visible):
    """Flat indices of the visible pairs by camera-space depth, all cameras mixed; equal depths keep their order.

    A radix sort of the single precision bits, as the CUDA renderers do: depths are positive, so bits and values
    agree in order.
    """
    cameras, gaussians = tile_boxes.shape[0], tile_boxes.shape[1]
    depths = np.empty(visible, np.float32)
    order = np.empty(visible, np.int32)
    count = 0
    for camera in range(cameras):
        for index in range(gaussians):
            if tile_boxes[camera, index, 1] > 0:
                depths[count] = records[camera, index, DEPTH]
                order[count] = camera * gaussians + index
                count += 1
    keys = depths.view(np.uint32)
    for shift in range(0, 32, RADIX_BITS):
        starts = np.zeros((1 << RADIX_BITS) + 1, np.int64)
        for place in range(visible):
            starts[_digit(keys[place], shift) + 1] += 1
        for bucket in range(1 << RADIX_BITS):
            starts[bucket + 1] += starts[bucket]
        next_keys, next_order = np.empty_like(keys), np.empty_like(order)
        for place in range(visible):
            bucket = _digit(keys[place], shift)
            next_keys[starts[bucket]], next_order[starts[bucket]] = keys[place], order[place]
            starts[bucket] += 1
        keys, order = next_keys, next_order
    return order
