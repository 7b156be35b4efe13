"""The machine in words: what a reader needs to judge the numbers, and nothing that identifies it."""

from __future__ import annotations

import os
import platform
from importlib.metadata import version
from pathlib import Path

import torch

from .flops import gemm_peak
from .settings import Settings, available_cores

CPU_INFO = Path("/proc/cpuinfo")


def describe_machine(settings: Settings) -> dict[str, str]:
    """Cores, processor, memory, versions, load and the measured peak of matrix products, as texts by name."""
    peaks = {dtype: measured_peak(dtype, settings) / 1e9 for dtype in (torch.float32, torch.bfloat16)}
    return {
        "processor": f"{processor()}, {available_cores()} cores, {torch.backends.cpu.get_cpu_capability()}",
        "memory": memory_size(),
        "threads": str(torch.get_num_threads()),
        "GEMM peak": f"{peaks[torch.float32]:.0f} GFLOP/s float32, {peaks[torch.bfloat16]:.0f} GFLOP/s bfloat16",
        "load": f"{os.getloadavg()[0]:.1f} before the run",
        "system": f"{platform.system()} {platform.machine()}",
        "versions": f"Python {platform.python_version()}, "
        + ", ".join(f"{name} {version(name)}" for name in ("torch", "diffusers", "numba", "numpy")),
        "measured": "tiny sizes: the numbers mean nothing" if settings.quick else "full sizes",
    }


def measured_peak(dtype: torch.dtype, settings: Settings) -> float:
    """Floating-point operations a second that matrix products in a precision reach here, at this moment."""
    return gemm_peak(dtype, settings.pick((1024, 2048, 4096), (128,)))


def processor() -> str:
    """The processor's name."""
    if CPU_INFO.exists():
        for line in CPU_INFO.read_text(encoding="utf-8").splitlines():
            name, _, value = line.partition(":")
            if name.strip() == "model name":
                return value.strip()
    return platform.processor() or platform.machine()


def memory_size() -> str:
    """Main memory in GB."""
    return f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 1e9:.0f} GB"
