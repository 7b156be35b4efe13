"""Training of the category classifier on renders of the training split, and its file in a cache folder."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from ..cameras import orbit_cameras
from ..data.augmentation import augment
from ..data.dataset import GaussianObjectDataset
from ..gaussians import GaussianSplats
from ..training.clip_renders import thinned
from .categories import CLASSES, VIEW_SIZE, ViewClassifier, judged_category, shape_channels, shape_views


@dataclass(frozen=True)
class ClassifierTraining:
    """How the classifier is trained.

    Args:
        seed: of everything random.
        variants: recoloured, stretched, thinned and jittered copies of each object.
        views: views of each copy.
        epochs: passes over all views.
        batch_size: views per step.
        learning_rate: peak of a one-cycle schedule.
    """

    seed: int = 0
    variants: int = 4
    views: int = 4
    epochs: int = 12
    batch_size: int = 64
    learning_rate: float = 2e-3


def training_views(dataset: GaussianObjectDataset, training: ClassifierTraining) -> tuple[Tensor, Tensor]:
    """Renders every object that has a clear category.

    Returns:
        views [M, 2, H, W] uint8 and class indices [M].

    Raises:
        ValueError: if the dataset is not the training split: a judge must not have seen what it is tested on.
    """
    splits = {record.split for record in dataset.records}
    if splits != {"train"}:
        raise ValueError(f"The classifier is trained on the training split only, got {sorted(splits)}.")
    images, labels = [], []
    for index, record in enumerate(dataset.records):
        category = judged_category(record.noun, record.category)
        if category is None:
            continue
        generator = np.random.default_rng((training.seed, index))
        splats, materials = dataset.splats(index), dataset.material_ids(index)
        for _ in range(training.variants):
            count = int(len(splats) * generator.uniform(0.12, 0.5))
            variant, _caption = augment(thinned(splats, count), record, materials[:count], generator)
            cameras = orbit_cameras(
                training.views,
                VIEW_SIZE,
                elevation=generator.uniform(8.0, 35.0),
                azimuth=generator.uniform(0.0, 360.0),
            )
            channels = shape_channels(jittered(variant, generator).render(cameras))
            images.append((channels * 255).round().to(torch.uint8))
        labels += [CLASSES.index(category)] * (training.variants * training.views)
    return torch.cat(images), torch.tensor(labels)


def jittered(splats: GaussianSplats, generator: np.random.Generator, most: float = 0.008) -> GaussianSplats:
    """The object with uncertain centres, as generated ones have: a judge must not lean on clean detail.

    Args:
        splats: a fitted object.
        generator: draws the offsets.
        most: greatest standard deviation of the offsets, object units.
    """
    offsets = generator.normal(0.0, generator.uniform(0.0, most), tuple(splats.means.shape))
    return replace(splats, means=splats.means + torch.from_numpy(offsets).to(splats.means))


def fit_classifier(images: Tensor, labels: Tensor, training: ClassifierTraining) -> ViewClassifier:
    """Minimises cross-entropy weighted towards rare classes; equal input gives an equal classifier.

    Args:
        images: [M, 2, H, W] uint8.
        labels: [M] class indices.
        training: seed, epochs, batch size and learning rate.

    Returns:
        the classifier in eval mode.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(training.seed)
        classifier = ViewClassifier()
        counts = torch.bincount(labels, minlength=len(CLASSES)).clamp(min=1)
        weights = counts.float().rsqrt() / counts.float().rsqrt().mean()
        optimizer = torch.optim.AdamW(classifier.parameters(), lr=training.learning_rate, weight_decay=1e-2)
        steps = training.epochs * -(-len(labels) // training.batch_size)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, training.learning_rate, total_steps=steps)
        classifier.train()
        for _ in range(training.epochs):
            for batch in torch.randperm(len(labels)).split(training.batch_size):
                logits = classifier(images[batch].float() / 255)
                loss = torch.nn.functional.cross_entropy(logits, labels[batch], weights, label_smoothing=0.05)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                schedule.step()
    return classifier.eval()


def load_or_train_classifier(
    dataset: GaussianObjectDataset, cache_dir: str | Path, training: ClassifierTraining | None = None
) -> ViewClassifier:
    """The classifier of this training set and these settings, from the cache folder if it is there.

    Args:
        dataset: training split.
        cache_dir: folder that keeps the weights between runs; made if absent.
        training: settings.
    """
    training = training or ClassifierTraining()
    key = json.dumps([asdict(training), [(record.id, record.noun, record.category) for record in dataset.records]])
    path = Path(cache_dir) / f"category_classifier_{hashlib.sha256(key.encode()).hexdigest()[:12]}.safetensors"
    if path.exists():
        classifier = ViewClassifier()
        classifier.load_state_dict(load_file(path))
        return classifier.eval()
    classifier = fit_classifier(*training_views(dataset, training), training)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    save_file(classifier.state_dict(), partial)
    partial.replace(path)
    return classifier


def classifier_accuracy(
    classifier: ViewClassifier, datasets: Sequence[GaussianObjectDataset]
) -> Mapping[str, float | int | dict[str, str]]:
    """How often the classifier is right about objects that it has not seen.

    Returns:
        ``accuracy`` over all objects with a clear category, ``accuracy_asked`` over those in the six asked
        categories, ``num_objects``, ``num_asked``, and ``per_category`` as "right/all".
    """
    right: dict[str, list[bool]] = {name: [] for name in CLASSES}
    for dataset in datasets:
        for index, record in enumerate(dataset.records):
            category = judged_category(record.noun, record.category)
            if category is not None:
                judged = CLASSES[int(classifier.classify(shape_views(dataset.splats(index))).argmax())]
                right[category].append(judged == category)
    asked = [value for name in CLASSES[:-1] for value in right[name]]
    every = asked + right[CLASSES[-1]]
    return {
        "accuracy": float(np.mean(every)) if every else float("nan"),
        "accuracy_asked": float(np.mean(asked)) if asked else float("nan"),
        "num_objects": len(every),
        "num_asked": len(asked),
        "per_category": {name: f"{sum(values)}/{len(values)}" for name, values in right.items()},
    }
