"""``python -m diffgs_diffusers``, where the command ``diffgs`` is not on the path."""

import sys

from .cli import run

if __name__ == "__main__":
    sys.exit(run())
