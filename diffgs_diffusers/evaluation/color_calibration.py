"""Calibration of the colour judge on training objects painted in known colours, and the judge's own accuracy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from ..data.augmentation import augment, recolor_material
from ..data.captions import COLOR_NAMES, colors_in, dominant_colors
from ..data.colors import random_shade
from ..data.dataset import GaussianObjectDataset, ObjectRecord
from ..gaussians import GaussianSplats
from .colors import ColorJudge
from .views import evaluation_cameras, foreground_colors

_CALIBRATION_SIZE, _JUDGED_SIZE = 64, 128
_PIXELS_PER_OBJECT = 512


def painted(splats: GaussianSplats, record: ObjectRecord, material_ids: Tensor, rgb: np.ndarray) -> GaussianSplats:
    """The whole object in one colour, its shading and texture kept as brightness.

    Args:
        splats: N fitted Gaussians.
        record: tells the materials' colours before shading.
        material_ids: [N].
        rgb: [3] sRGB in [0, 1], before shading.
    """
    for material in record.materials:
        splats = recolor_material(splats, material_ids == material["index"], material["rgb"], rgb)
    return splats


def calibrate_judge(dataset: GaussianObjectDataset, seed: int = 0, objects_per_color: int = 40) -> ColorJudge:
    """Fits the judge to renders of training objects, each painted in one shade of one name.

    Args:
        dataset: training split.
        seed: draws objects, shades and pixels.
        objects_per_color: painted objects for each name.

    Raises:
        ValueError: if the dataset holds other objects than the training split's.
    """
    splits = {record.split for record in dataset.records}
    if splits != {"train"}:
        raise ValueError(f"The colour judge is calibrated on the training split only, got {sorted(splits)}.")
    generator = np.random.default_rng(seed)
    cameras = evaluation_cameras(_CALIBRATION_SIZE, 4)
    samples: dict[str, Tensor] = {}
    for name in COLOR_NAMES:
        pixels = []
        for index in generator.choice(len(dataset), min(objects_per_color, len(dataset)), replace=False):
            rgb = random_shade(name, generator)
            splats = painted(dataset.splats(index), dataset.records[index], dataset.material_ids(index), rgb)
            colors = foreground_colors(splats.render(cameras))
            pixels.append(colors[torch.from_numpy(generator.permutation(len(colors))[:_PIXELS_PER_OBJECT])])
        samples[name] = torch.cat(pixels)
    return ColorJudge.fit(samples)


def judge_accuracy(
    judge: ColorJudge, datasets: Sequence[GaussianObjectDataset], seed: int = 0
) -> Mapping[str, float]:
    """How often the judge names the colour that the materials of unseen objects have.

    Returns:
        ``accuracy_original`` of the objects as they are and ``accuracy_recolored`` of a recoloured copy of each,
        whose dominant colour is the first that its caption names; ``num_original`` and ``num_recolored``.
    """
    cameras = evaluation_cameras(_JUDGED_SIZE)
    right: dict[str, list[bool]] = {"original": [], "recolored": []}
    for dataset in datasets:
        for index, record in enumerate(dataset.records):
            splats, colors = dataset.splats(index), dominant_colors(record.materials)
            if colors:
                right["original"].append(judge.dominant(splats.render(cameras)) == colors[0])
            generator = np.random.default_rng((seed, index))
            copy, caption = augment(splats, record, dataset.material_ids(index), generator)
            named = colors_in(caption, [record.noun, *record.names])
            if named:
                right["recolored"].append(judge.dominant(copy.render(cameras)) == named[0])
    accuracies = {f"accuracy_{name}": sum(v) / len(v) if v else float("nan") for name, v in right.items()}
    return {**accuracies, **{f"num_{name}": len(values) for name, values in right.items()}}
