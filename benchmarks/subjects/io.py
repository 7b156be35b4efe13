"""PLY and SPZ files beside gsply, and what imports take."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch

from diffgs_diffusers.gaussians import GaussianSplats
from diffgs_diffusers.io import load_splats, save_splats

from ..processes import run_python
from ..scenes import colorful_sphere
from ..settings import Settings
from ..table import OURS, Row, compare
from ..timing import alternate

GSPLY = "gsply"
IMPORTS = {
    "Python alone": "pass",
    "import diffgs_diffusers": "import diffgs_diffusers",
    "the command, for --help": "import diffgs_diffusers.cli.arguments as a; a.build_parser()",
    "import torch": "import torch",
    "from diffgs_diffusers import DiffGSPipeline": "from diffgs_diffusers import DiffGSPipeline",
    "from diffusers import DiffusionPipeline": "from diffusers import DiffusionPipeline",
}


def run(settings: Settings) -> Iterator[Row]:
    """Rows of writing and reading at several sizes, then of imports."""
    with tempfile.TemporaryDirectory() as folder:
        for count in settings.pick((50_000, 350_000, 1_000_000), (500,)):
            for sh_degree in (0, 3):
                for suffix in (".ply", ".spz"):
                    yield from _files(count, sh_degree, suffix, Path(folder), settings)
    yield from _imports(settings)


def _files(count: int, sh_degree: int, suffix: str, folder: Path, settings: Settings) -> Iterator[Row]:
    splats = colorful_sphere(count, sh_degree)
    paths = {who: folder / f"{who}-{count}-{sh_degree}{suffix}" for who in (OURS, GSPLY)}
    writers: dict[str, Callable[[], object]] = {OURS: partial(save_splats, splats, paths[OURS])}
    readers: dict[str, Callable[[], object]] = {OURS: partial(_discard, load_splats, paths[OURS])}
    installed = find_spec("gsply") is not None
    if installed:
        writers[GSPLY] = partial(write_with_gsply, splats, paths[GSPLY])
        readers[GSPLY] = partial(_discard, read_with_gsply, paths[GSPLY])
    case = f"{suffix[1:].upper()} of {count:,} Gaussians of SH degree {sh_degree}"
    # Writers first: the readers read what they have written.
    for verb, competitors in (("write", writers), ("read", readers)):
        for row in compare("io", f"{verb} a {case}", alternate(competitors, **settings.timing)):
            yield replace(row, figures={"MB": paths[row.who].stat().st_size / 1e6})
        if not installed:
            yield Row("io", f"{verb} a {case}", GSPLY, note="left out: pip install diffgs-diffusers[bench]")


def _discard(function: Callable[[Path], object], path: Path) -> None:
    """A call without its result, which would be kept until all rounds are over."""
    function(path)


def write_with_gsply(splats: GaussianSplats, path: Path) -> None:
    """The same file by gsply, which takes values before activation; it leaves the axes of SPZ as they are."""
    import gsply

    values = [
        splats.means.numpy(),
        splats.scales.log().numpy(),
        splats.quats.numpy(),
        torch.logit(splats.opacities, eps=1e-7).numpy(),
        splats.sh0[:, 0].numpy(),
        splats.shN.numpy() if splats.shN.shape[1] else None,
    ]
    if path.suffix == ".ply":
        gsply.plywrite(path, *values)
    else:
        gsply.write_spz(str(path), gsply.GSData.from_arrays(*values))


def read_with_gsply(path: Path) -> GaussianSplats:
    """The same Gaussians by gsply, brought to tensors after activation."""
    import gsply

    data = gsply.plyread(path) if path.suffix == ".ply" else gsply.read_spz(str(path))

    def tensor(values: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(np.ascontiguousarray(values))

    count = len(data.means)
    rest = np.empty((count, 0, 3), np.float32) if data.shN is None else data.shN.reshape(count, -1, 3)
    return GaussianSplats(
        means=tensor(data.means),
        quats=torch.nn.functional.normalize(tensor(data.quats), dim=-1),
        scales=tensor(data.scales).exp(),
        opacities=tensor(data.opacities).sigmoid(),
        sh0=tensor(data.sh0)[:, None],
        shN=tensor(rest),
    )


def _imports(settings: Settings) -> Iterator[Row]:
    chosen = settings.pick(list(IMPORTS), list(IMPORTS)[:2])
    competitors = {who: partial(run_python, ["-c", IMPORTS[who]]) for who in chosen}
    samples = alternate(competitors, **settings.timing, warm_up=not settings.quick)
    yield from compare("io", "start of a process", samples)
