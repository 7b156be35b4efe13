"""How the CPU kernels are compiled: one decorator, so that every kernel has the same options.

This module and the kernel modules import numba; the front door imports them only when a CPU render is asked for.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba

# `nogil` lets the tile ranges run in plain Python threads. Contraction (fused multiply-add) only removes
# roundings; re-association stays off because it would break the compensated formulas of `projection.py`.
OPTIONS: dict[str, Any] = {"nogil": True, "error_model": "numpy", "fastmath": {"contract"}}


def kernel(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile `function` on its first call and keep the machine code on disk for the next process.

    numba writes beside the source file or, where that is read-only, to the user's cache folder; where neither can
    be written it refuses to decorate, and the kernel is then compiled anew in every process. Numba notices a change
    of the kernel's own file only: after an edit of a helper in another file delete its `__pycache__`.
    """
    try:
        return numba.njit(cache=True, **OPTIONS)(function)
    except RuntimeError:
        return numba.njit(**OPTIONS)(function)
