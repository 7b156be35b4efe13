"""What all tables are measured on, and how much of it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...data.dataset import SPLITS, GaussianObjectDataset
from ...extraction_settings import PICTURE_STEPS, REFINEMENT_STEPS
from ...gaussians import GaussianSplats
from ...pipelines import DiffGSPipeline
from ..categories import CATEGORIES
from ..clip_scores import ClipTowers
from ..text_grid import COLORS, GridSettings
from ..view_similarity import ViewFeatures, view_features
from ..views import evaluation_cameras, render_on_white

PICTURE_SIZE = 96


@dataclass
class EvaluationRun:
    """A pipeline, a dataset and the sizes of the tables.

    Args:
        pipe: what is measured.
        data: dataset folder.
        cache_dir: keeps what judges learned.
        pictures: folder for picture sheets, or None for none.
        clip: both towers of a CLIP model, or None.
        lpips_net: backbone of LPIPS.
        lpips_weights: file of its weights; None looks where torchvision keeps them.
        seed: of choices, conditions and noise.
        counts: numbers of Gaussians of the reconstruction table.
        refinement_steps: for each object of the tables with refined latents, and for points in that of conditions.
        picture_steps: after them.
        prefixes: of the progressive table, out of ``whole``.
        whole: Gaussians of the larger result there.
        num_objects: of each split, at most.
        image_size: pixels a side in the tables of reconstructions.
        num_samples: unconditional samples.
        colors: of the prompts of the text grid.
        categories: of these prompts.
        num_seeds: objects for each prompt of the text grid.
        num_gaussians: of each generated object.
        num_candidates: tried for each picture, where one is chosen by it.
        guidance: scales of the sweep.
        guidance_seeds: objects for each prompt there, at least 2.
        bound_steps: timesteps of the variational bound.
        options: further arguments of the pipeline's call.
    """

    pipe: DiffGSPipeline
    data: Path
    cache_dir: Path
    pictures: Path | None = None
    clip: ClipTowers | None = None
    lpips_net: str = "alex"
    lpips_weights: Path | None = None
    seed: int = 0
    counts: tuple[int, ...] = (4096, 10_000, 50_000, 100_000, 200_000, 350_000)
    refinement_steps: int = REFINEMENT_STEPS
    picture_steps: int = PICTURE_STEPS
    prefixes: tuple[int, ...] = (4096, 10_000, 50_000)
    whole: int = 200_000
    num_objects: int = 40
    image_size: int = 256
    num_samples: int = 64
    colors: tuple[str, ...] = COLORS
    categories: tuple[str, ...] = CATEGORIES
    num_seeds: int = 4
    num_gaussians: int = 16_384
    num_candidates: int = 8
    guidance: tuple[float, ...] = (1.0, 2.0, 3.0, 5.0, 8.0)
    guidance_seeds: int = 2
    bound_steps: int = 100
    options: dict[str, Any] = field(default_factory=dict)

    def objects(self, split: str) -> GaussianObjectDataset:
        """All objects of a split."""
        return GaussianObjectDataset(self.data, split=split)

    def held_out(self) -> list[GaussianObjectDataset]:
        """The validation and the test split."""
        return [self.objects(split) for split in SPLITS[1:]]

    def chosen(self, split: str) -> Iterator[tuple[int, GaussianSplats]]:
        """``num_objects`` objects of a split, a choice of the seed, with their places in it, ascending."""
        objects = self.objects(split)
        for index in self.chosen_indices(split):
            yield index, objects.splats(index)

    def chosen_indices(self, split: str) -> list[int]:
        """The places of :meth:`chosen`."""
        order = np.random.default_rng(self.seed).permutation(len(self.objects(split)))[: self.num_objects]
        return [int(index) for index in np.sort(order)]

    def grid(self, num_seeds: int, **options: Any) -> GridSettings:
        """The text grid with so many objects for each prompt; options come before those of the run."""
        merged = tuple({**self.options, **options}.items())
        return GridSettings(self.colors, self.categories, tuple(range(num_seeds)), self.num_gaussians, merged)

    @property
    def features(self) -> ViewFeatures | None:
        """Of images: those of the CLIP model, or else of the pipeline's own vision model."""
        return view_features(self.clip, self.pipe.image_encoder, self.pipe.image_processor)


def small_picture(splats: GaussianSplats | None) -> Tensor:
    """[96, 96, 3] first view on white; blank for an empty object."""
    if splats is None:
        return torch.ones(PICTURE_SIZE, PICTURE_SIZE, 3)
    return render_on_white(splats, evaluation_cameras(PICTURE_SIZE).select(slice(0, 1)))[0]
