"""``diffgs reconstruct``: an object, or points of one, through the VAE and back, in any number of Gaussians."""

from __future__ import annotations

import argparse
from pathlib import Path

from ..extraction_settings import check_count, find_extraction
from ..io import POINT_SUFFIXES, SUPPORTED_SUFFIXES, load_points
from .conditions import read_splats
from .generate import find_model, load_pipeline, write_object
from .paths import check_input, check_outputs, output_paths


def run_reconstruct(options: argparse.Namespace) -> None:
    """Checks, encodes, refines, decodes and writes.

    Raises:
        ValueError, OSError: saying what is wrong, before any file is written.
    """
    source = Path(options.file)
    check_input(source, POINT_SUFFIXES if options.points else SUPPORTED_SUFFIXES)
    if options.extraction is not None:
        check_count(options.num_gaussians, find_extraction(options.extraction))
    (output,) = output_paths(options.output, [f"{source.stem} reconstructed"], 1)
    check_outputs([output], [source], with_sheets=not options.no_sheet)
    model = find_model(options.model)
    import torch

    from ..gaussians import GaussianSplats

    splats = GaussianSplats.from_points(*load_points(source)) if options.points else read_splats(source)
    pipe = load_pipeline(model, options.device)
    (made,) = pipe.reconstruct(
        splats,
        options.num_gaussians,
        torch.Generator().manual_seed(options.seed),
        extraction=options.extraction,
        refinement_steps=options.refinement_steps,
        picture_steps=options.picture_steps,
    )
    write_object(made, output, with_sheet=not options.no_sheet)
    print(f"{output}: {len(made)} Gaussians, from {len(splats)} {'points' if options.points else 'Gaussians'}")
