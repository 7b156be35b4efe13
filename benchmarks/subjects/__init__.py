"""What can be measured: one module per subject, with a function ``run(settings)`` that yields rows."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module

from ..settings import Settings
from ..table import Row

SUBJECTS = {
    "generation": "prompt to PLY: cold, warm, and what its parts take; growth with the number of Gaussians",
    "heads": "queries per second of the function heads, and the share of the machine's peak that they reach",
    "extraction": "planes to Gaussians, beside the original's algorithm: time, memory and quality",
    "rasterizer": "drawing and its gradients, beside dense and sparse torch implementations",
    "fit": "Gaussians fitted to views, with our rasteriser and with torch's in its place",
    "training": "a step of the VAE and of the denoiser, and the share spent waiting for data",
    "io": "PLY files beside gsply, and what an import takes",
}


def run_subject(name: str, settings: Settings) -> Iterator[Row]:
    """The rows of a subject, each as soon as it is measured.

    Raises:
        KeyError: if there is no such subject.
    """
    if name not in SUBJECTS:
        raise KeyError(f"there is no subject {name!r}; there are {', '.join(SUBJECTS)}")
    yield from import_module(f".{name}", __name__).run(settings)
