"""Child processes: what a start from nothing costs, and the most memory that one task takes."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from .timing import Sample, Stopwatch

ROOT = Path(__file__).resolve().parents[1]
STATUS = Path("/proc/self/status")


def peak_memory() -> int:
    """Most bytes that this process has held in memory so far.

    Linux counts what the parent held at the fork into ``ru_maxrss``, so there it is read from /proc.
    """
    if STATUS.exists():
        fields = (line.split() for line in STATUS.read_text(encoding="utf-8").splitlines())
        return next(int(words[1]) * 1024 for words in fields if words[0] == "VmHWM:")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def run_python(arguments: list[str], environment: Mapping[str, str] | None = None) -> Sample:
    """Runs Python with these arguments from the repository's root.

    Args:
        arguments: after the interpreter's name.
        environment: variables to set beside this process's.

    Returns:
        wall and CPU time from start to end, and the child's standard output as ``result``.

    Raises:
        RuntimeError: with the end of the child's error output if it fails.
    """
    # First of all this checkout, whatever version of the package is installed.
    path = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as errors:
        started = time.perf_counter()
        child = subprocess.Popen(
            [sys.executable, *arguments],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(path), **(environment or {})},
            stdout=output,
            stderr=errors,
        )
        _, status, usage = os.wait4(child.pid, 0)
        seconds = time.perf_counter() - started
        child.returncode = os.waitstatus_to_exitcode(status)
        output.seek(0)
        errors.seek(0)
        if child.returncode != 0:
            tail = errors.read().decode(errors="replace").strip()[-2000:]
            raise RuntimeError(f"python {' '.join(arguments)} ended with code {child.returncode}:\n{tail}")
        text = output.read().decode(errors="replace")
    return Sample(seconds, usage.ru_utime + usage.ru_stime, result=text)


def run_task(name: str, threads: int, *, here: bool = False, **options: Any) -> Sample:
    """Runs a function of :mod:`benchmarks.tasks` in a child process.

    Args:
        name: of the function.
        threads: torch threads of the child.
        here: run it in this process instead: quicker, and its times and memory mean nothing.
        options: its arguments, as JSON knows them.

    Returns:
        time from start to end, the child's peak memory, and what the function returned.
    """
    if here:
        from .tasks import TASKS

        watch = Stopwatch()
        result = TASKS[name](**options)
        return replace(watch.read(result=result), peak_bytes=peak_memory())
    variables = {"OMP_NUM_THREADS": str(threads), "HF_HUB_OFFLINE": "1"}
    sample = run_python(["-m", "benchmarks.tasks", name, json.dumps(options)], variables)
    answer = json.loads(sample.result.splitlines()[-1])
    return replace(sample, peak_bytes=answer["peak_bytes"], result=answer["result"])
