"""GauPF, the Gaussian probability function: its targets and where to ask for them (DiffGS, section 3.2).

p(q) = max(0, 1 − d(q) / δ), d the distance from the query to the nearest Gaussian. The paper takes the distance to
the nearest *centre*, which is smooth only if centres are dense (its fits have 350k). Here the distance is to the
nearest Gaussian's *core*, the box of ±``core`` standard deviations about its centre: 8k flat Gaussians then
describe a closed surface. ``core=0`` is the paper's definition. Above 1, cores grow along the surface only: the
outline of a rendered object lies farther out than one standard deviation, its faces hardly do.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from scipy.spatial import cKDTree
from torch import Tensor

from .threads import run_ranges

_GRAIN = 2048  # queries worth a thread of their own


@dataclass(frozen=True)
class QueryMix:
    """Where GauPF is asked while training: shares of the queries and their spread, in object units.

    Args:
        near_share: around random centres with the near standard deviation.
        middle_share: around random centres with the middle standard deviation; the rest is uniform in the box.
        near_sigma: standard deviation of the near offsets.
        middle_sigma: standard deviation of the middle offsets.
        half_side: half the side of the box that the uniform queries fill.
    """

    near_share: float = 0.55
    middle_share: float = 0.3
    near_sigma: float = 0.006
    middle_sigma: float = 0.03
    half_side: float = 0.55


def sample_queries(means: Tensor, num_queries: int, mix: QueryMix, generator: np.random.Generator) -> Tensor:
    """Query points [num_queries, 3] for one object with centres ``means`` [N, 3]."""
    num_near = int(num_queries * mix.near_share)
    num_middle = int(num_queries * mix.middle_share)
    chosen = generator.integers(0, len(means), num_near + num_middle)
    sigma = np.repeat([mix.near_sigma, mix.middle_sigma], [num_near, num_middle])
    around = means.numpy()[chosen] + generator.standard_normal((len(chosen), 3)) * sigma[:, None]
    uniform = generator.uniform(-mix.half_side, mix.half_side, (num_queries - len(chosen), 3))
    queries = np.concatenate([around, uniform]).clip(-mix.half_side, mix.half_side)
    return torch.from_numpy(queries.astype(np.float32))


def core_distances(
    queries: Tensor,
    means: Tensor,
    quats: Tensor,
    scales: Tensor,
    tree: cKDTree,
    core: float = 1.0,
    limit: float = math.inf,
) -> Tensor:
    """Distances [M] from queries [M, 3] to the nearest Gaussian's core, in object units.

    Everything lies on the CPU, outside of any autograd graph.

    Args:
        queries: [M, 3], object frame.
        means: [N, 3] centres.
        quats: [N, 4] wxyz.
        scales: [N, 3] standard deviations.
        tree: KD-tree over ``means``, balanced; cores are searched in the order of its leaves.
        core: half sides of the core in standard deviations, at most 1 of them along the thinnest axis; 0 measures
            to the centres.
        limit: distances from here on are given as infinity. Far queries are the slowest ones; where GauPF is
            wanted, the truncation loses nothing.
    """
    from . import gaupf_kernels

    thinnest = scales == scales.amin(dim=1, keepdim=True)
    half_sides = scales * torch.where(thinnest, min(core, 1.0), core)
    at, *gaussians = (
        np.ascontiguousarray(value.numpy(), np.float32) for value in (queries, means, quats, half_sides)
    )
    boxes, nodes = gaupf_kernels.box_tree(tree.indices, *gaussians)
    distances = np.empty(len(at), np.float32)
    run_ranges(gaupf_kernels.nearest_box, len(at), _GRAIN, at, boxes, nodes, np.float32(limit), distances)
    return torch.from_numpy(distances)


def probability_targets(distances: Tensor, truncation: float) -> Tensor:
    """GauPF values in [0, 1] of distances: truncated (λ) and mapped linearly (τ)."""
    return (1 - distances / truncation).clamp(min=0)
