"""Training samples for the Gaussian VAE: an object's features, and its three functions at sampled points."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
from scipy.spatial import cKDTree
from torch import Tensor

from ..functional.gaupf import QueryMix, core_distances, probability_targets, sample_queries
from ..functional.quaternions import quaternions_to_matrices
from ..functional.spacing import local_spacing
from ..gaussians import GaussianSplats
from ..models.point_encoder import point_features
from .augmentation import augment
from .dataset import GaussianObjectDataset, SampleKey, read_object


@dataclass(frozen=True)
class FunctionSampling:
    """How many points of an object a training sample asks about.

    Args:
        num_queries: points at which GauPF is asked.
        num_centers: Gaussians whose colour, shape and opacity are asked.
        encoder_gaussians: Gaussians that the encoder sees, drawn anew for every sample.
        center_jitter: standard deviation of the offset from a centre at which its attributes are asked, in local
            spacings: extracted points do not lie exactly on centres.
        normal_jitter: the same along the thinnest axis: extracted points form a layer of some thickness about the
            surface, of which the outermost are seen.
        mix: where GauPF is asked.
    """

    num_queries: int = 6144
    num_centers: int = 2048
    encoder_gaussians: int = 4096
    center_jitter: float = 0.2
    normal_jitter: float = 0.5
    mix: QueryMix = field(default_factory=QueryMix)


class FunctionTargets:
    """What the three functions of one object should be, at points that are drawn anew each time.

    Args:
        splats: the object, on the CPU, in the unit box.
        sampling: numbers of points.
        truncation: δ of GauPF.
        core: as in :class:`~diffgs_diffusers.models.GaussianVAE`.
        sh_degree: degree of the colours; higher harmonics of the object are left out, missing ones are 0.
    """

    def __init__(
        self, splats: GaussianSplats, sampling: FunctionSampling, *, truncation: float, core: float, sh_degree: int
    ) -> None:
        self.splats, self.sampling = splats.with_sh_degree(sh_degree), sampling
        self.truncation, self.core = truncation, core
        self._tree = cKDTree(splats.means.numpy())

    def sample(self, generator: np.random.Generator) -> dict[str, Tensor]:
        """Points and the functions there.

        Returns:
            ``query_points`` [M, 3] and ``probability`` [M]; ``centers`` [P, 3] with their ``sh`` [P, K, 3],
            ``scales`` [P, 3] in local spacings, ``quats`` [P, 4] and ``opacities`` [P].
        """
        splats, sampling = self.splats, self.sampling
        queries = sample_queries(splats.means, sampling.num_queries, sampling.mix, generator)
        shapes = (splats.means, splats.quats, splats.scales)
        distances = core_distances(queries, *shapes, self._tree, self.core, self.truncation)
        chosen = torch.from_numpy(generator.integers(0, len(splats), sampling.num_centers))
        centers = splats.select(chosen)
        means = splats.means.numpy()
        spacing = torch.from_numpy(local_spacing(means, means[chosen.numpy()], self._tree))
        jitter = _normal(generator, sampling.num_centers, 3) * sampling.center_jitter
        jitter += _normal(generator, sampling.num_centers, 1) * sampling.normal_jitter * _thinnest_axes(centers)
        return {
            "query_points": queries,
            "probability": probability_targets(distances, self.truncation),
            "centers": centers.means + jitter * spacing[:, None],
            "sh": centers.colors,
            "scales": centers.scales / spacing[:, None],
            "quats": centers.quats,
            "opacities": centers.opacities,
        }


def function_sample(
    splats: GaussianSplats,
    sampling: FunctionSampling,
    generator: np.random.Generator,
    *,
    truncation: float,
    core: float,
    sh_degree: int,
) -> dict[str, Tensor]:
    """One object as the VAE's loss takes it.

    Args:
        splats, sampling, truncation, core, sh_degree: as for :class:`FunctionTargets`.
        generator: draws the points, and the Gaussians that the encoder sees.

    Returns:
        what :meth:`FunctionTargets.sample` does, and ``features`` [E, F].
    """
    targets = FunctionTargets(splats, sampling, truncation=truncation, core=core, sh_degree=sh_degree)
    sample = targets.sample(generator)
    seen = torch.from_numpy(_draw(generator, len(splats), sampling.encoder_gaussians))
    return {"features": point_features(splats.select(seen), sh_degree), **sample}


def _normal(generator: np.random.Generator, *shape: int) -> Tensor:
    return torch.from_numpy(generator.standard_normal(shape).astype(np.float32))


def _thinnest_axes(splats: GaussianSplats) -> Tensor:
    """[N, 3] unit vectors along each Gaussian's smallest scale."""
    axes = quaternions_to_matrices(splats.quats)
    return axes[torch.arange(len(splats)), :, splats.scales.argmin(dim=1)]


def _draw(generator: np.random.Generator, available: int, wanted: int) -> np.ndarray:
    """``wanted`` indices, without repetition as long as there are enough."""
    if available >= wanted:
        return generator.choice(available, wanted, replace=False, shuffle=False)
    return np.concatenate([np.arange(available), generator.integers(0, available, wanted - available)])


class FunctionSampleDataset(torch.utils.data.Dataset):
    """Augmented :func:`function_sample` of every object of a split; items depend on nothing but their key.

    Args:
        objects: the fitted objects.
        sampling: numbers of points.
        truncation: δ of GauPF.
        core: of the Gaussians, from which GauPF measures distance.
        sh_degree: degree of the features.
        augmented: whether objects are recoloured, mirrored and stretched.
    """

    def __init__(
        self,
        objects: GaussianObjectDataset,
        sampling: FunctionSampling,
        *,
        truncation: float,
        core: float,
        sh_degree: int,
        augmented: bool = True,
    ) -> None:
        self.objects, self.sampling, self.augmented = objects, sampling, augmented
        self.truncation, self.core, self.sh_degree = truncation, core, sh_degree

    def __len__(self) -> int:
        return len(self.objects)

    def __getitem__(self, key: SampleKey) -> dict[str, Tensor]:
        generator = np.random.default_rng(key.seed)
        record = self.objects.records[key.index]
        splats, materials = read_object(self.objects.root, record.id)
        if self.augmented:
            splats, _ = augment(splats, record, materials, generator)
        return function_sample(
            splats,
            self.sampling,
            generator,
            truncation=self.truncation,
            core=self.core,
            sh_degree=self.sh_degree,
        )
