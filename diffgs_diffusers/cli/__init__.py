"""The command ``diffgs``: generate, draw, convert, describe and compare 3D Gaussian objects.

Arguments are checked before anything heavy is imported or loaded, so that a mistake is answered at once.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Sequence

from .arguments import build_parser

__all__ = ["main", "run"]

FAILURE = 1
BAD_USE = 2
INTERRUPTED = 130
# Of new objects before the garbage collector looks, and of its looks before it looks at older ones.
_SELDOM = (20_000, 10, 10)


def run(arguments: Sequence[str] | None = None) -> int:
    """The process ``diffgs``: :func:`main`, in which the garbage collector does little.

    Importing torch, diffusers and transformers makes a million objects that live as long as the process. With
    Python's thresholds the collector goes through them again and again while they are made, and once more at the
    end: a quarter of a start from nothing. :func:`main` alone leaves its caller's collector as it is.
    """
    gc.set_threshold(*_SELDOM)
    try:
        return main(arguments)
    finally:
        gc.freeze()  # the process ends: nothing is looked at once more


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command.

    Args:
        arguments: without the program's name; those of the process if None.

    Returns:
        The exit code: 0; 2 for wrong arguments or input; 1 for any other failure; 130 after an interrupt.
    """
    options = build_parser().parse_args(arguments)
    try:
        options.run(options)
    except KeyboardInterrupt:
        return INTERRUPTED
    except (ImportError, MemoryError, OSError, RuntimeError, TypeError, ValueError) as error:
        if options.traceback:
            raise
        print(f"diffgs: error: {' '.join(str(error).split()) or type(error).__name__}", file=sys.stderr)
        return BAD_USE if isinstance(error, (OSError, TypeError, ValueError)) else FAILURE
    return 0
