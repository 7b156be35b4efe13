"""Objects to latents: several augmented versions of each, with captions that are true of them."""

from __future__ import annotations

import hashlib
import os
import zlib
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from torch import Tensor

from ..data.augmentation import augment
from ..data.captions import colors_in, compose_caption
from ..data.dataset import GaussianObjectDataset, read_settings
from ..data.latents import LatentRecord
from ..data.object_views import random_picture, small_view
from ..gaussians import GaussianSplats
from ..models.base_vae import BaseGaussianVAE
from ..models.loading import vae_class


def object_versions(
    dataset: GaussianObjectDataset, index: int, num_augmentations: int, seed: int
) -> tuple[list[GaussianSplats], LatentRecord]:
    """The object as it is and `num_augmentations` changed versions.

    Args:
        dataset: with the object.
        index: which object.
        num_augmentations: recoloured, mirrored and stretched versions; 0 for held-out objects.
        seed: of the encoding.

    Returns:
        1 + num_augmentations objects and their record.
    """
    record = dataset.records[index]
    names = list(record.names) or [record.noun]
    versions, captions = [], []
    for number in range(num_augmentations + 1):
        splats, caption, generator = _version(dataset, index, number, seed)
        versions.append(splats)
        captions.append(_variants(caption, names, generator))
    plain = [compose_caption(name, []) for name in names]
    return versions, LatentRecord(record.id, record.split, record.category, record.weight, captions, plain)


def object_version(dataset: GaussianObjectDataset, index: int, number: int, seed: int) -> GaussianSplats:
    """One of :func:`object_versions`: it depends on (seed, id of the object, number) alone."""
    return _version(dataset, index, number, seed)[0]


def version_views(
    versions: Sequence[GaussianSplats], record: LatentRecord, size: int, num_views: int, seed: int
) -> tuple[Tensor, Tensor]:
    """Pictures of every version, each from another side.

    Returns:
        views [V, num_views, size, size, 3] uint8, and their sides [V, num_views, 2], elevation and azimuth in
        degrees.
    """
    views, sides = [], []
    for number, splats in enumerate(versions):
        generator = np.random.default_rng((seed, _entropy(record.id), number, 1))
        drawn = [random_picture(splats, 2 * size, generator) for _ in range(num_views)]
        views.append(torch.stack([small_view(seen, size) for seen, _ in drawn]))
        sides.append(torch.tensor([side for _, side in drawn]))
    return torch.stack(views), torch.stack(sides)


def _version(
    dataset: GaussianObjectDataset, index: int, number: int, seed: int
) -> tuple[GaussianSplats, str, np.random.Generator]:
    """A version, its caption, and the generator that goes on to word it."""
    record = dataset.records[index]
    generator = np.random.default_rng((seed, _entropy(record.id), number))
    if number == 0:
        return dataset.splats(index), record.caption, generator
    return *augment(dataset.splats(index), record, dataset.material_ids(index), generator), generator


def _entropy(object_id: str) -> int:
    return zlib.crc32(object_id.encode())


def _variants(caption: str, names: Sequence[str], generator: np.random.Generator) -> list[str]:
    """A caption and the same colours said in other words, for each name of the object."""
    colors = colors_in(caption, names)
    if not colors:
        return [caption]
    composed = [compose_caption(name, colors, source) for name in names for source in (None, generator)]
    return list(dict.fromkeys([caption, *composed]))


@torch.no_grad()
def encode_versions(
    vae: BaseGaussianVAE, versions: Sequence[GaussianSplats], batch_size: int
) -> tuple[Tensor, Tensor]:
    """Posterior mean and log variance [V, C, L] of V objects, on the CPU in float32."""
    means, logvars = [], []
    for start in range(0, len(versions), batch_size):
        (posterior,) = vae.encode(list(versions[start : start + batch_size]), return_dict=False)
        means.append(posterior.mean.float().cpu())
        logvars.append(posterior.logvar.float().cpu())
    return torch.cat(means), torch.cat(logvars)


def weights_digest(folder: str | Path) -> str:
    """SHA-256 of a model folder's safetensors files, which tells whether latents are still those of this VAE.

    Raises:
        FileNotFoundError: if there are none.
    """
    paths = sorted(Path(folder).glob("*.safetensors"))
    if not paths:
        raise FileNotFoundError(f"{folder} has no safetensors weights: name the folder of a trained GaussianVAE.")
    digest = hashlib.sha256()
    for path in paths:
        digest.update(path.read_bytes())
    return digest.hexdigest()


def metadata_digest(root: str | Path) -> str:
    """SHA-256 of a dataset's records: the captions and splits that latents carry must be those that hold now.

    Raises:
        FileNotFoundError: if the folder is not a dataset.
    """
    read_settings(root)
    return hashlib.sha256((Path(root) / "metadata.jsonl").read_bytes()).hexdigest()


def write_latent_statistics(folder: str | Path, mean: Sequence[float], std: Sequence[float]) -> None:
    """Puts ``latents_mean`` and ``latents_std`` into the ``config.json`` of a VAE, at once or not at all."""
    model = vae_class(folder)
    vae = model.from_config(model.load_config(str(folder)))
    vae.register_to_config(latents_mean=list(mean), latents_std=list(std))
    # Inside the folder, as only a rename within one file system is atomic.
    with TemporaryDirectory(dir=folder) as temporary:
        vae.save_config(temporary)
        os.replace(Path(temporary) / "config.json", Path(folder) / "config.json")
