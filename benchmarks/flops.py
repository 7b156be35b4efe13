"""Arithmetic that a function does, counted where it is executed, and what the machine can do at most."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from diffgs_diffusers.functional.linear import has_onednn, linear

from .timing import measure


def count_flops(function: Callable[[], Any]) -> int:
    """Floating-point operations of the matrix products and convolutions of one call; a product counts twice.

    Counted while it runs, so the figure follows the code whatever its layers are turned into.
    """
    counts = {torch.ops.mkldnn._linear_pointwise: _linear_flops} if has_onednn() else {}
    with torch.no_grad(), FlopCounterMode(display=False, custom_mapping=counts) as counter:
        function()
    return int(counter.get_total_flops())


def _linear_flops(inputs: Sequence[int], weight: Sequence[int], *_: Any, **__: Any) -> int:
    """Of the shapes of a linear layer."""
    return 2 * math.prod(inputs) * weight[0]


def square_gemm(size: int, dtype: torch.dtype) -> tuple[Callable[[], torch.Tensor], int]:
    """A product of two square matrices, by the faster of torch's libraries, and its operations."""
    generator = torch.Generator().manual_seed(0)
    left, right = (torch.randn(size, size, generator=generator).to(dtype) for _ in range(2))
    layer = nn.Linear(size, size, bias=False)
    layer.weight = nn.Parameter(right, requires_grad=False)
    out = torch.empty(size, size, dtype=dtype)
    products = (lambda: torch.mm(left, right, out=out), lambda: linear(left, layer))
    fastest = min(products, key=lambda product: min(measure(product).seconds for _ in range(3)))
    return fastest, 2 * size**3


def gemm_peak(dtype: torch.dtype, sizes: Sequence[int], repetitions: int = 5) -> float:
    """Most floating-point operations a second of a square matrix product, with torch's current threads."""
    best = 0.0
    for size in sizes:
        product, operations = square_gemm(size, dtype)
        product()
        best = max(best, *(operations / measure(product).seconds for _ in range(repetitions)))
    return best
