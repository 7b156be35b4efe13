"""Training of the category classifier on renders of the training split, and its file in a cache folder."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save
from torch import Tensor

from ..data.augmentation import augment
from ..data.dataset import GaussianObjectDataset
from ..gaussians import GaussianSplats
from ..io.atomic import atomic_write
from ..training.clip_renders import thinned
from .categories import CLASSES, CategoryClassifier, judged_category, shape_views
from .shape_features import shape_features


@dataclass(frozen=True)
class ClassifierTraining:
    """How the classifier is trained.

    Args:
        seed: of everything random.
        variants: recoloured, stretched, thinned and jittered copies of each object beside itself.
        num_components: principal components that are kept.
        penalty: weight of the squared coefficients.
        iterations: of L-BFGS, at most.
    """

    seed: int = 0
    variants: int = 3
    num_components: int = 256
    penalty: float = 1e-2
    iterations: int = 100


def training_views(dataset: GaussianObjectDataset, training: ClassifierTraining) -> tuple[Tensor, Tensor]:
    """Renders every object that has a clear category, and variants of it.

    Returns:
        views [M, C, 2, H, W] uint8 and class indices [M].

    Raises:
        ValueError: if the dataset is not the training split: a judge must not have seen what it is tested on.
    """
    splits = {record.split for record in dataset.records}
    if splits != {"train"}:
        raise ValueError(f"The classifier is trained on the training split only, got {sorted(splits)}.")
    views, labels = [], []
    for index, record in enumerate(dataset.records):
        category = judged_category(record.noun, record.category)
        if category is None:
            continue
        generator = np.random.default_rng((training.seed, index))
        splats, materials = dataset.splats(index), dataset.material_ids(index)
        shown = [splats]
        for _ in range(training.variants):
            count = int(len(splats) * generator.uniform(0.12, 0.5))
            variant, _caption = augment(thinned(splats, count), record, materials[:count], generator)
            shown.append(jittered(variant, generator))
        views += [(shape_views(one) * 255).round().to(torch.uint8) for one in shown]
        labels += [CLASSES.index(category)] * len(shown)
    return torch.stack(views), torch.tensor(labels)


def jittered(splats: GaussianSplats, generator: np.random.Generator, most: float = 0.008) -> GaussianSplats:
    """The object with uncertain centres, as generated ones have: a judge must not lean on clean detail.

    Args:
        splats: a fitted object.
        generator: draws the offsets.
        most: greatest standard deviation of the offsets, object units.
    """
    offsets = generator.normal(0.0, generator.uniform(0.0, most), tuple(splats.means.shape))
    return replace(splats, means=splats.means + torch.from_numpy(offsets).to(splats.means))


def fit_classifier(views: Tensor, labels: Tensor, training: ClassifierTraining) -> CategoryClassifier:
    """Minimises the cross-entropy, every class counting the same; equal input gives an equal classifier.

    Args:
        views: [M, C, 2, H, W] uint8.
        labels: [M] class indices.
        training: settings.
    """
    features = torch.cat([shape_features(part.float() / 255) for part in views.split(64)])
    mean = features.mean(dim=0)
    components = _principal_directions(features - mean, training.num_components, training.seed)
    scores = (features - mean) @ components
    components, scores = components / scores.std(), scores / scores.std()
    counts = torch.bincount(labels, minlength=len(CLASSES)).clamp(min=1).float()
    weight = torch.zeros(scores.shape[1], len(CLASSES), requires_grad=True)
    bias = torch.zeros(len(CLASSES), requires_grad=True)
    optimizer = torch.optim.LBFGS([weight, bias], max_iter=training.iterations, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(scores @ weight + bias, labels, 1 / counts)
        loss = loss + training.penalty * (weight**2).sum()
        loss.backward()
        return loss

    optimizer.step(closure)
    return CategoryClassifier(mean, components, weight.detach(), bias.detach())


def _principal_directions(centered: Tensor, count: int, seed: int) -> Tensor:
    """[F, D] orthonormal basis of the main variation of [M, F] (randomised range finder, one power iteration)."""
    count = min(count, *centered.shape)
    probes = torch.randn(len(centered), count, generator=torch.Generator().manual_seed(seed))
    return torch.linalg.qr(centered.T @ (centered @ (centered.T @ probes)))[0]


def load_or_train_classifier(
    dataset: GaussianObjectDataset, cache_dir: str | Path, training: ClassifierTraining | None = None
) -> CategoryClassifier:
    """The classifier of this training set and these settings, from the cache folder if it is there.

    Args:
        dataset: training split.
        cache_dir: folder that keeps the weights between runs; made if absent.
        training: settings.
    """
    training = training or ClassifierTraining()
    objects = [(record.id, record.noun, record.category) for record in dataset.records]
    key = hashlib.sha256(json.dumps([asdict(training), objects]).encode()).hexdigest()[:12]
    path = Path(cache_dir) / f"category_classifier_{key}.safetensors"
    if path.exists():
        return CategoryClassifier(**load_file(path))
    classifier = fit_classifier(*training_views(dataset, training), training)
    path.parent.mkdir(parents=True, exist_ok=True)
    tensors = {field.name: getattr(classifier, field.name).contiguous() for field in fields(classifier)}
    with atomic_write(path) as stream:
        stream.write(save(tensors))
    return classifier


def classifier_accuracy(
    classifier: CategoryClassifier, datasets: Sequence[GaussianObjectDataset]
) -> dict[str, Any]:
    """How often the classifier is right about objects that it has not seen.

    Returns:
        ``accuracy`` between the six categories and ``accuracy_with_other`` between these and "other", both over the
        ``num_objects`` objects of the six; ``per_category`` as "right/all" of the first; ``accuracy_of_all`` over
        the ``num_of_all`` objects of all seven classes.
    """
    right: dict[str, list[bool]] = {name: [] for name in CLASSES[:-1]}
    strict: list[tuple[bool, bool]] = []  # right, and whether it is one of the six
    for dataset in datasets:
        for index, record in enumerate(dataset.records):
            category = judged_category(record.noun, record.category)
            if category is not None:
                of_six, of_seven = classifier.judge(shape_views(dataset.splats(index)))
                strict.append((of_seven == category, category in right))
                if category in right:
                    right[category].append(of_six == category)
    return {
        "accuracy": _share([value for values in right.values() for value in values]),
        "accuracy_with_other": _share([value for value, asked in strict if asked]),
        "accuracy_of_all": _share([value for value, _ in strict]),
        "num_objects": sum(len(values) for values in right.values()),
        "num_of_all": len(strict),
        "per_category": {name: f"{sum(values)}/{len(values)}" for name, values in right.items()},
    }


def _share(values: Sequence[bool]) -> float:
    return sum(values) / len(values) if values else float("nan")
