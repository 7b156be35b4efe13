"""How the CPU kernels are compiled: one decorator, so that every kernel has the same options.

This module imports numba, which takes half a second: import it where a kernel is needed, not at a package's door.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba

# `nogil` lets ranges of work run in plain Python threads. Contraction (fused multiply-add) only removes roundings;
# re-association stays off because it would break the compensated formulas of the rasteriser's projection.
OPTIONS: dict[str, Any] = {"nogil": True, "error_model": "numpy", "fastmath": {"contract"}}


def kernel(function: Callable[..., Any], **changes: Any) -> Callable[..., Any]:
    """Compile `function` on its first call and keep the machine code on disk for the next process.

    numba writes beside the source file or, where that is read-only, to the user's cache folder; where neither can
    be written it refuses to decorate, and the kernel is then compiled anew in every process. Numba notices a change
    of the kernel's own file only: after an edit of a helper in another file delete its `__pycache__`.

    Args:
        function: what numba can compile.
        changes: options of `numba.njit` that differ from `OPTIONS`.
    """
    options = {**OPTIONS, **changes}
    try:
        return numba.njit(cache=True, **options)(function)
    except RuntimeError:
        return numba.njit(**options)(function)


def inlined(function: Callable[..., Any], **changes: Any) -> Callable[..., Any]:
    """A kernel that others take into themselves: left to itself, the compiler calls what is asked for every point.

    A fifth of the rasteriser's time was spent so. Arguments as in :func:`kernel`.
    """
    return kernel(function, forceinline=True, **changes)
