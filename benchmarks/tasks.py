"""What child processes do: ``python -m benchmarks.tasks NAME JSON`` ends with a line of JSON.

Each function imports what it needs, so that the command starts here as it does in a shell.
"""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Callable
from typing import Any

from .processes import peak_memory


def run_command(arguments: list[str]) -> None:
    """The process of the command ``diffgs``.

    Raises:
        RuntimeError: if it fails.
    """
    from diffgs_diffusers.cli import run

    with contextlib.redirect_stdout(sys.stderr):
        code = run(arguments)
    if code != 0:
        raise RuntimeError(f"diffgs {' '.join(arguments)} ended with code {code}")


def grow(num_gaussians: int, steps: int | None) -> dict[str, float | None]:
    """One object extracted and written by a process that has loaded the model: seconds, and peaks before and after.

    The object is extracted once before, at a small number, so that kernels are loaded.
    """
    import tempfile
    from pathlib import Path

    from .model import generate_latents, load_pipeline
    from .timing import Stopwatch

    pipe = load_pipeline()
    latents = generate_latents(pipe, steps)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "object.ply"
        pipe.decode_latents(latents, 100)[0].save(path)
        before = peak_memory()
        watch = Stopwatch()
        pipe.decode_latents(latents, num_gaussians)[0].save(path)
        sample = watch.read()
    return {"seconds": sample.seconds, "cpu_seconds": sample.cpu_seconds, "bytes_before": before}


def extract_ours(sizes: str, quick: bool, num_gaussians: int, who: str) -> None:
    """Our extraction by a name of its settings, for its memory."""
    from .subjects.extraction import make_functions, ours

    ours(make_functions(sizes, quick), num_gaussians, who)


def extract_original(sizes: str, quick: bool, num_gaussians: int, fraction: float) -> None:
    """The original's extraction, for its memory."""
    from .subjects.extraction import make_functions, original_rest, original_run, original_search

    functions, how = make_functions(sizes, quick), original_run(quick, fraction)
    original_rest(functions, original_search(functions, how), num_gaussians, how)


TASKS: dict[str, Callable[..., Any]] = {
    function.__name__: function for function in (run_command, grow, extract_ours, extract_original)
}


def main(name: str, options: str) -> None:
    result = TASKS[name](**json.loads(options))
    print(json.dumps({"result": result, "peak_bytes": peak_memory()}))


if __name__ == "__main__":
    main(*sys.argv[1:])
