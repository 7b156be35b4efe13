"""How Gaussians are found: settings and their names. ``extraction`` and ``original_extraction`` follow them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

Precision = Literal["float32", "bfloat16"]


@dataclass(frozen=True)
class ExtractionConfig:
    """How surface is searched for.

    Args:
        start_resolution: cells along a side at the octree's first level.
        octree_depth: how often they are halved.
        threshold: least GauPF of a point that counts as surface.
        refinement_steps: moves uphill per candidate; many gather points on bumps of a decoded GauPF.
        oversampling: candidates per Gaussian asked for; more give a more even spread at the cost of the search.
        chunk_size: points evaluated at once; None for so few that a layer finds the values of the one before in the
            cache.
        min_candidates: candidates at least, so that small counts see all parts of the object.
        finest_spacing: in cells of the planes. The functions say nothing finer than a cell, so smaller Gaussians
            only draw where the surface is half a pixel off. Points that lie closer together are drawn as large as
            this spacing asks for, twice their own size at most, and share the opacity that one of them would have
            (more of it on what is thin all over; a VAE with a sharing head corrects both). 0 for none.
        precision: of GauPF's products in the search. In "bfloat16" it takes its steps without looking back, for its
            values are too coarse to be compared, and the points that are kept take one more in float32. GauCF and
            GauTF, which are asked once a point, stay in float32.
        relative_scale: of GauTF's scales. Below 1, as the points do not lie on the surface but fill a thin layer
            around it, in which several cover each other; much smaller ones leave it open where it is a single one.
    """

    start_resolution: int = 32
    octree_depth: int = 1
    threshold: float = 0.75
    refinement_steps: int = 4
    oversampling: float = 1.25
    chunk_size: int | None = None
    min_candidates: int = 32768
    finest_spacing: float = 0.5
    relative_scale: float = 0.95
    precision: Precision = "float32"

    def __post_init__(self) -> None:
        if self.chunk_size is not None and self.chunk_size < 1:
            raise ValueError(f"`chunk_size` must be at least 1 or None, got {self.chunk_size}.")
        if self.precision not in get_args(Precision):
            raise ValueError(
                f"`precision` must be one of {', '.join(get_args(Precision))}, got {self.precision!r}."
            )
        if self.precision == "bfloat16" and self.refinement_steps < 1:
            raise ValueError(f"`refinement_steps` must be at least 1 in bfloat16, got {self.refinement_steps}.")


@dataclass(frozen=True)
class OriginalExtractionConfig:
    """The original's numbers.

    Args:
        half_side: of the cube that is searched.
        splits: cells that a cell's side becomes, level by level.
        keep_share: of a level's cells that are split further.
        refinement_steps: of the copies.
        step: length of one, in each coordinate.
        reach: most that a copy is moved in each coordinate.
        batch_size: points asked at once; the original's 2^20 take 12 to 15 GB.
        opacity: of every Gaussian.
        scale_exponent: scales are raised to it: scales of about 0.001, which 100,000 Gaussians were fitted with,
            become twice as large at 0.9.
    """

    half_side: float = 1.0
    splits: tuple[int, ...] = (16, 4, 4, 4)
    keep_share: float = 0.2
    refinement_steps: int = 20
    step: float = 1e-5
    reach: float = 1e-3
    batch_size: int = 2**17
    opacity: float = 0.95
    scale_exponent: float = 0.9

    @property
    def num_cells(self) -> int:
        """Cells of the last level."""
        cells = 1
        for level, splits in enumerate(self.splits):
            cells = (self.num_kept(cells) if level else 1) * splits**3
        return cells

    def num_kept(self, cells: int) -> int:
        """How many of a level's cells are split further."""
        return cells - int((1 - self.keep_share) * cells)


# A ridge that says so well where it is needs no fourth move, and what ends below it is not of it.
SHARP = ExtractionConfig(refinement_steps=3, threshold=0.9)  # for refined latents
EXTRACTIONS: dict[str, ExtractionConfig | OriginalExtractionConfig] = {
    "even": ExtractionConfig(),
    "fast": ExtractionConfig(precision="bfloat16", refinement_steps=2, octree_depth=2),
    "sharp": SHARP,
    "original": OriginalExtractionConfig(),
}


REFINEMENT_STEPS = 50  # of latents, where an object is reconstructed: more find little
PICTURE_STEPS = 40  # after them, by pictures, too: 80 find a little more in twice the time


def default_extraction(refinement_steps: int) -> str:
    """The name in ``EXTRACTIONS`` of what suits latents of the encoder, refined in so many steps."""
    return "sharp" if refinement_steps else "even"


def find_extraction(
    extraction: str | ExtractionConfig | OriginalExtractionConfig,
) -> ExtractionConfig | OriginalExtractionConfig:
    """The settings of a name of ``EXTRACTIONS``, or those given.

    Raises:
        TypeError, ValueError: naming what is known.
    """
    known = f"one of {', '.join(EXTRACTIONS)}, an ExtractionConfig or an OriginalExtractionConfig"
    if isinstance(extraction, ExtractionConfig | OriginalExtractionConfig):
        return extraction
    if not isinstance(extraction, str):
        raise TypeError(f"`extraction` must be {known}, got {type(extraction).__name__}.")
    if extraction not in EXTRACTIONS:
        raise ValueError(f"`extraction` must be {known}, got {extraction!r}.")
    return EXTRACTIONS[extraction]


def check_count(num_gaussians: int, config: ExtractionConfig | OriginalExtractionConfig) -> None:
    """Raises ValueError if the original's octree has too few cells for so many Gaussians."""
    if isinstance(config, OriginalExtractionConfig) and num_gaussians > 2 * config.num_cells:
        raise ValueError(
            f"`num_gaussians` must be at most {2 * config.num_cells}, twice the octree's last cells, got "
            f"{num_gaussians}."
        )
