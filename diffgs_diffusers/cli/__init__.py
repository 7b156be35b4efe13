"""The command ``diffgs``: generate, draw, convert, describe and compare 3D Gaussian objects.

Arguments are checked before anything heavy is imported or loaded, so that a mistake is answered at once.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from .arguments import build_parser

__all__ = ["main"]

FAILURE = 1
BAD_USE = 2
INTERRUPTED = 130


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
