"""Kernels of GauPF's distances on the CPU; importing them loads numba, so it is done on first use.

The nearest box is looked for in a binary tree of axis-aligned bounds. The tree is implicit: node k has the children
2k and 2k + 1, the root is node 1, and the last half of the nodes are leaves of ``LEAF`` boxes that follow each
other in an order given by the caller. A leaf's boxes are asked together, with vector instructions.
"""

# Kernels are typed by numba on their first call.
# mypy: allow-untyped-defs

from __future__ import annotations

import math

import numpy as np

from .compilation import inlined, kernel
from .quaternion_kernels import matrix_of

LEAF = 16  # boxes: what scipy's KD-tree puts into its leaves, and more are hardly faster
_DEPTH = 64  # of the stack: more than the levels of any tree


@kernel
def box_tree(order, means, quats, reach):
    """Boxes in tree order and the bounds of the nodes.

    Args:
        order: [N] permutation in which neighbours are near each other.
        means: [N, 3] centres.
        quats: [N, 4] wxyz of any length but 0.
        reach: [N, 3] half sides.

    Returns:
        boxes [L, 15, LEAF] of L leaves: rotation by rows, centre, half sides (−∞ where there is no box);
        nodes [2L, 6]: lower and upper corner.
    """
    leaves = 1
    while leaves * LEAF < len(order):
        leaves *= 2
    boxes = np.zeros((leaves, 15, LEAF), np.float32)
    boxes[:, 12:] = -np.inf
    nodes = np.empty((2 * leaves, 6), np.float32)
    nodes[:, :3], nodes[:, 3:] = np.inf, -np.inf
    for place in range(len(order)):
        member = order[place]
        w, x, y, z = quats[member]
        rotation = matrix_of(w, x, y, z)
        leaf = place // LEAF
        box, node = boxes[leaf, :, place % LEAF], nodes[leaves + leaf]
        for axis in range(3):
            half = np.float32(0.0)
            for column in range(3):
                box[3 * axis + column] = rotation[axis][column]
                half += abs(rotation[axis][column]) * reach[member, column]
            box[9 + axis], box[12 + axis] = means[member, axis], reach[member, axis]
            node[axis] = min(node[axis], means[member, axis] - half)
            node[3 + axis] = max(node[3 + axis], means[member, axis] + half)
    for parent in range(leaves - 1, 0, -1):
        for axis in range(3):
            nodes[parent, axis] = min(nodes[2 * parent, axis], nodes[2 * parent + 1, axis])
            nodes[parent, 3 + axis] = max(nodes[2 * parent, 3 + axis], nodes[2 * parent + 1, 3 + axis])
    return boxes, nodes


@inlined
def squared_to_bounds(node, x, y, z):
    """Squared distance from a point to a node's bounds, infinite for a node without boxes."""
    zero = np.float32(0.0)
    dx = max(node[0] - x, x - node[3], zero)
    dy = max(node[1] - y, y - node[4], zero)
    dz = max(node[2] - z, z - node[5], zero)
    return dx * dx + dy * dy + dz * dz


@inlined
def squared_to_boxes(leaf, x, y, z, squares):
    """Squared distances [LEAF] from a point to a leaf's boxes [15, LEAF], 0 inside and infinite to missing ones."""
    zero = np.float32(0.0)
    for lane in range(LEAF):
        dx, dy, dz = x - leaf[9, lane], y - leaf[10, lane], z - leaf[11, lane]
        a = max(abs(leaf[0, lane] * dx + leaf[3, lane] * dy + leaf[6, lane] * dz) - leaf[12, lane], zero)
        b = max(abs(leaf[1, lane] * dx + leaf[4, lane] * dy + leaf[7, lane] * dz) - leaf[13, lane], zero)
        c = max(abs(leaf[2, lane] * dx + leaf[5, lane] * dy + leaf[8, lane] * dz) - leaf[14, lane], zero)
        squares[lane] = a * a + b * b + c * c


@kernel
def nearest_box(first, last, queries, boxes, nodes, limit, distances):
    """Distances [M] from queries [M, 3] to the nearest box, infinite from ``limit`` on; a range of the queries."""
    leaves = len(nodes) // 2
    waiting, bounds = np.empty(_DEPTH, np.int64), np.empty(_DEPTH, np.float32)
    squares = np.empty(LEAF, np.float32)
    for number in range(first, last):
        x, y, z = queries[number]
        best = limit * limit
        waiting[0], bounds[0], depth = 1, squared_to_bounds(nodes[1], x, y, z), 1
        while depth > 0:
            depth -= 1
            node, bound = waiting[depth], bounds[depth]
            # the nearer child first: what it finds rules most of the others out
            while bound < best and node < leaves:
                near, far = 2 * node, 2 * node + 1
                bound, other = squared_to_bounds(nodes[near], x, y, z), squared_to_bounds(nodes[far], x, y, z)
                if other < bound:
                    near, far, bound, other = far, near, other, bound
                if other < best:
                    waiting[depth], bounds[depth] = far, other
                    depth += 1
                node = near
            if bound < best:
                squared_to_boxes(boxes[node - leaves], x, y, z, squares)
                for lane in range(LEAF):
                    best = min(best, squares[lane])
        distances[number] = math.sqrt(best) if best < limit * limit else np.inf
