"""The condition tables: objects that were held out, generated from a picture, from a part, and from points.

Each is put beside what needs no generation: the training object that fits the condition best, a random one, the
part itself, or the VAE's own reconstruction.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from scipy.spatial import cKDTree
from torch import Tensor

from ..cameras import Cameras
from ..data.condition_samples import scanned_points
from ..data.object_views import random_picture, side_camera
from ..data.partial import one_chunk
from ..extraction import EmptySurfaceError
from ..extraction_settings import PICTURE_STEPS, REFINEMENT_STEPS
from ..functional.pictures import centered_on_white
from ..gaussians import GaussianSplats
from ..pipelines import DiffGSPipeline
from .metrics import chamfer_distance, f_score
from .novelty import ReferenceSet, surface_points, visible_centers
from .picture_index import PictureIndex
from .reconstruction import compare_images
from .seam import near_seam, seam_psnr, seam_weights
from .view_similarity import ViewFeatures, view_similarity
from .views import evaluation_cameras, render_on_white

CONDITIONS = ("image", "partial", "points")
NUM_POINTS = 10_000
START_STRENGTH = 0.15  # of what begins as its points
NOTHING_KEPT = "generated, nothing kept"  # has no seam: what the seam of a completion is measured beside
_VIEW_SIZE = 64  # pixels, at which training objects are compared with a picture


@dataclass(frozen=True)
class ConditionScores:
    """How like the true object one is.

    Args:
        psnr: dB, mean over eight views.
        ssim: 1 for equal images.
        chamfer: object units, as :func:`~diffgs_diffusers.evaluation.metrics.chamfer_distance`.
        f_score: in [0, 1], as :func:`~diffgs_diffusers.evaluation.metrics.f_score`.
        similarity: cosine in features, :func:`~diffgs_diffusers.evaluation.view_similarity.view_similarity`; None
            without a vision model.
        seam_psnr: dB where a kept part and the rest meet, as :func:`~diffgs_diffusers.evaluation.seam.seam_psnr`;
            None for other conditions, and where no view shows it.
    """

    psnr: float
    ssim: float
    chamfer: float
    f_score: float
    similarity: float | None = None
    seam_psnr: float | None = None


class ConditionJudge:
    """Generates from conditions of held-out objects and scores what comes out.

    Args:
        pipe: the pipeline.
        train: the training objects, for the baselines.
        num_gaussians: of each generated object.
        seed: of conditions and noise.
        options: further arguments of the pipeline's call.
        features: of images, for similarities; None leaves them out.
        num_candidates: of which one is chosen by its picture, a row of its own if there are several.
        refinement_steps: of the reconstruction of points that are taken for Gaussians.
        picture_steps: after them.
    """

    def __init__(
        self,
        pipe: DiffGSPipeline,
        train: Sequence[GaussianSplats],
        num_gaussians: int,
        seed: int = 0,
        options: Mapping[str, Any] | None = None,
        features: ViewFeatures | None = None,
        num_candidates: int = 1,
        refinement_steps: int = REFINEMENT_STEPS,
        picture_steps: int = PICTURE_STEPS,
    ) -> None:
        self.pipe, self.train, self.num_gaussians, self.seed = pipe, train, num_gaussians, seed
        self.options, self.features = dict(options or {}), features
        self.num_candidates = num_candidates
        self.refinement_steps, self.picture_steps = refinement_steps, picture_steps
        self.references = ReferenceSet([surface_points(one) for one in train])
        self.cameras = evaluation_cameras(256)

    def objects(self, condition: str, truth: GaussianSplats, number: int) -> dict[str, GaussianSplats | None]:
        """What is made from a condition of one object, and the baselines.

        Args:
            condition: of ``CONDITIONS``.
            truth: the fitted object.
            number: of the object, for its random numbers.

        Returns:
            "generated" first; None where nothing came out.
        """
        makers: dict[str, Callable[..., Iterator[tuple[str, GaussianSplats | None]]]] = {
            "image": self._from_image,
            "partial": self._from_part,
            "points": self._from_points,
        }
        return dict(makers[condition](truth, number, self._random(number)))

    def scores(
        self, condition: str, objects: Mapping[str, GaussianSplats | None], truth: GaussianSplats, number: int
    ) -> dict[str, ConditionScores | None]:
        """Scores of :meth:`objects` against the true one, from the same condition and number."""
        target, weights = render_on_white(truth, self.cameras), None
        if condition == "partial":
            near = near_seam(truth, one_chunk(truth, self._random(number)))
            weights = seam_weights(truth, near, self.cameras)
        return {
            name: None if made is None else self._score(made, truth, target, weights)
            for name, made in objects.items()
        }

    def _random(self, number: int) -> np.random.Generator:
        return np.random.default_rng((self.seed, number))

    def _from_image(
        self, truth: GaussianSplats, number: int, generator: np.random.Generator
    ) -> Iterator[tuple[str, GaussianSplats | None]]:
        taken, side = random_picture(truth, 128, generator)
        yield "generated", self._generate(number, image=taken)
        if self.num_candidates > 1:
            name = f"generated, the most like it of {self.num_candidates}"
            yield name, self._generate(number, image=taken, num_candidates=self.num_candidates)
        yield "nearest picture of a training object", self.train[self.pictures.nearest(centered_on_white(taken))]
        camera = side_camera(side, _VIEW_SIZE)
        yield "nearest from the very same side", self.train[self._nearest_in_view(truth, camera)]
        yield "a random training object", self.train[int(generator.integers(len(self.train)))]

    def _from_part(
        self, truth: GaussianSplats, number: int, generator: np.random.Generator
    ) -> Iterator[tuple[str, GaussianSplats | None]]:
        part = truth.select(one_chunk(truth, generator))
        made = self._generate(number, partial=part)
        if made is not None and not torch.equal(
            made[: len(part)].with_sh_degree(part.sh_degree).to_tensor(), part.to_tensor()
        ):
            raise RuntimeError("The completion does not begin with its input.")
        yield "generated", made
        yield NOTHING_KEPT, self._generate(number, partial=part, keep_input=False)
        yield "the part alone", part
        yield "nearest to the part", self.train[self._nearest_to_part(part)]

    def _from_points(
        self, truth: GaussianSplats, number: int, generator: np.random.Generator
    ) -> Iterator[tuple[str, GaussianSplats | None]]:
        points, colors = scanned_points(truth, NUM_POINTS, generator)
        cloud, given = torch.cat([points, colors], dim=1), GaussianSplats.from_points(points, colors)
        yield "generated", self._generate(number, points=cloud)
        begun = self._generate(number, points=cloud, gaussians=given, strength=START_STRENGTH)
        yield f"generated, begun as flat Gaussians, strength {START_STRENGTH}", begun
        yield "flat Gaussians, reconstructed", self._reconstruct(given, number)
        refined = self._reconstruct(given, number, self.refinement_steps, self.picture_steps)
        yield "flat Gaussians, reconstructed with refined latents", refined
        yield "the VAE's reconstruction", self._reconstruct(truth, number)
        yield "nearest training object", self.train[self.references.nearest(surface_points(truth)).index]

    def _generate(self, number: int, **condition: Any) -> GaussianSplats | None:
        generator = torch.Generator().manual_seed(self.seed + number)
        largest = max(self.num_gaussians, 2 * len(condition["partial"]) if "partial" in condition else 0)
        options: dict[str, Any] = {**condition, **self.options, "return_dict": False}
        try:
            ((made,),) = self.pipe(num_gaussians=largest, generator=generator, **options)
        except EmptySurfaceError:
            return None
        return made.to("cpu")

    def _reconstruct(
        self, splats: GaussianSplats, number: int, refinement_steps: int = 0, picture_steps: int = 0
    ) -> GaussianSplats | None:
        generator = torch.Generator().manual_seed(self.seed + number)
        try:
            (made,) = self.pipe.reconstruct(
                splats,
                self.num_gaussians,
                generator,
                refinement_steps=refinement_steps,
                picture_steps=picture_steps,
            )
        except EmptySurfaceError:
            return None
        return made.to("cpu")

    @cached_property
    def pictures(self) -> PictureIndex:
        """The training objects from all sides."""
        return PictureIndex(self.train)

    def _nearest_in_view(self, truth: GaussianSplats, camera: Cameras) -> int:
        """The training object that looks most like it from where the picture was taken, which no other is told."""
        seen = render_on_white(truth, camera)
        errors = [float((render_on_white(one, camera) - seen).square().mean()) for one in self.train]
        return int(np.argmin(errors))

    def _nearest_to_part(self, part: GaussianSplats) -> int:
        """The training object whose surface lies nearest to the part's Gaussians."""
        centers = visible_centers(part)
        return int(np.argmin([tree.query(centers)[0].mean() for tree in self.references.trees]))

    def _score(
        self, made: GaussianSplats, truth: GaussianSplats, target: Tensor, weights: Tensor | None
    ) -> ConditionScores:
        views = render_on_white(made, self.cameras)
        images = compare_images(views, target)
        similarity = None if self.features is None else view_similarity(views, target, self.features)
        seam = None if weights is None else seam_psnr(views, target, weights)
        ours, theirs = visible_centers(made), visible_centers(truth)
        trees = cKDTree(ours), cKDTree(theirs)
        distance = chamfer_distance(ours, trees[1], trees[0])
        return ConditionScores(images.psnr, images.ssim, distance, f_score(*trees), similarity, seam)


def condition_summary(objects: Sequence[Mapping[str, ConditionScores | None]]) -> dict[str, dict[str, float]]:
    """Means over objects, for each row of a table, and how many came out empty.

    ``similarity`` and ``seam_psnr`` are there where they were measured, the latter over the objects whose seam is
    seen.
    """
    rows: dict[str, dict[str, float]] = {}
    for name in objects[0] if objects else ():
        made = [asdict(one[name]) for one in objects if one[name] is not None]  # type: ignore[arg-type]
        rows[name] = {"num_objects": len(made), "num_empty": len(objects) - len(made)}
        for metric in ("psnr", "ssim", "chamfer", "f_score"):
            rows[name][metric] = float(np.mean([values[metric] for values in made])) if made else float("nan")
        for metric in ("similarity", "seam_psnr"):
            found = [values[metric] for values in made if values[metric] is not None]
            if found:
                rows[name][metric] = float(np.mean(found))
    return rows
