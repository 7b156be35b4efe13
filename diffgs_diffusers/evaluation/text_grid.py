"""The text table: does a prompt's colour and category come out?"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..data.captions import compose_caption
from ..extraction import EmptySurfaceError
from ..gaussians import GaussianSplats
from ..pipelines import DiffGSPipeline
from ..pipelines.mending import default_mending_steps
from .categories import CATEGORIES, CategoryClassifier, shape_views
from .clip_scores import ClipJudge
from .colors import ColorJudge
from .views import evaluation_cameras

COLORS = ("red", "blue", "green", "white", "black", "brown")


@dataclass(frozen=True)
class GridSettings:
    """What is generated.

    Args:
        colors: asked colours.
        categories: asked nouns.
        seeds: one object for each seed and prompt.
        num_gaussians: Gaussians per object.
        options: further arguments of the pipeline's call, such as ``num_inference_steps``.
    """

    colors: tuple[str, ...] = COLORS
    categories: tuple[str, ...] = CATEGORIES
    seeds: tuple[int, ...] = (0, 1, 2, 3)
    num_gaussians: int = 16384
    options: tuple[tuple[str, Any], ...] = ()


@dataclass(frozen=True)
class Verdict:
    """What was asked for and what the judges saw.

    Args:
        prompt: the text.
        seed: of the noise.
        color: asked.
        category: asked.
        seen_color: dominant colour of the render, "" for an empty object.
        seen_category: the most likely of the six categories, "" for an empty object.
        seen_class: the most likely of the six and "other", "" for an empty object.
        color_share: share of the object's pixels in the asked colour.
        clip_score: as :class:`~diffgs_diffusers.evaluation.clip_scores.ClipVerdict`; None without a CLIP model.
        retrieved: the prompt of the grid that CLIP finds most similar, "" for an empty object; None as above.
    """

    prompt: str
    seed: int
    color: str
    category: str
    seen_color: str
    seen_category: str
    seen_class: str
    color_share: float
    clip_score: float | None = None
    retrieved: str | None = None


def generate_objects(
    pipe: DiffGSPipeline, prompt: str | None, seeds: Sequence[int], num_gaussians: int, **options: Any
) -> list[GaussianSplats | None]:
    """One object for each seed, each as if it were generated alone; None where nothing came out.

    Args:
        pipe: the pipeline.
        prompt: text, or None for unconditional samples.
        seeds: of the noise.
        num_gaussians: Gaussians per object.
        options: further arguments of the call.
    """
    generators = [torch.Generator().manual_seed(seed) for seed in seeds]
    counts: dict[str, Any] = (
        {"num_objects": len(seeds)} if prompt is None else {"num_objects_per_prompt": len(seeds)}
    )
    steps = options.pop("mending_steps", default_mending_steps(pipe.vae))
    calls = {**counts, **options}
    latents: Any = pipe(prompt, generator=generators, output_type="latent", return_dict=False, **calls)[0]
    return [
        _decode(pipe, latent[None], num_gaussians, generator, steps)
        for latent, generator in zip(latents, generators)
    ]


def _decode(
    pipe: DiffGSPipeline, latent: Tensor, num_gaussians: int, generator: torch.Generator, mending_steps: int
) -> GaussianSplats | None:
    """One empty object must not end a table of many."""
    try:
        return pipe.decode_latents(latent, num_gaussians, generator, mending_steps=mending_steps)[0].to("cpu")
    except EmptySurfaceError:
        return None


def judge_object(
    splats: GaussianSplats | None, judge: ColorJudge, classifier: CategoryClassifier
) -> tuple[dict[str, float], str, tuple[str, str]]:
    """Shares of the colours, the dominant one, and the category of six and of seven; "" for an empty object."""
    if splats is None:
        return dict.fromkeys(judge.names, 0.0), "", ("", "")
    views = splats.render(evaluation_cameras(128))
    return judge.shares(views), judge.dominant(views), classifier.judge(shape_views(splats))


def grid_prompts(settings: GridSettings) -> list[str]:
    """The prompts of a grid, each once, in order."""
    return [compose_caption(category, [color]) for category in settings.categories for color in settings.colors]


def text_grid(
    pipe: DiffGSPipeline,
    judge: ColorJudge,
    classifier: CategoryClassifier,
    settings: GridSettings,
    clip: ClipJudge | None = None,
) -> Iterator[tuple[Verdict, GaussianSplats | None]]:
    """Generates and judges every colour × category × seed, prompt after prompt.

    Args:
        pipe: the pipeline.
        judge: of colours.
        classifier: of categories.
        settings: what is asked.
        clip: of the prompts that :func:`grid_prompts` lists; None leaves its verdicts out.
    """
    for category in settings.categories:
        for color in settings.colors:
            prompt = compose_caption(category, [color])
            objects = generate_objects(
                pipe, prompt, settings.seeds, settings.num_gaussians, **dict(settings.options)
            )
            for seed, splats in zip(settings.seeds, objects, strict=True):
                shares, seen_color, seen = judge_object(splats, judge, classifier)
                found = clip.judge(splats, prompt) if clip is not None else None
                by_clip = (None, None) if found is None else (found.score, found.retrieved)
                verdict = Verdict(prompt, seed, color, category, seen_color, *seen, shares[color], *by_clip)
                yield verdict, splats


def grid_summary(verdicts: Sequence[Verdict]) -> dict[str, Any]:
    """Shares of right colours and categories: of all objects, and by what was asked.

    With verdicts of CLIP also ``clip_score``, the mean, and ``r_precision``: the share of objects whose own prompt
    is the most similar one of the grid (Park et al. 2021), ``1 / num_prompts`` by chance.
    """
    color_right = [v.color == v.seen_color for v in verdicts]
    category_right = [v.category == v.seen_category for v in verdicts]
    scores = [v.clip_score for v in verdicts if v.clip_score is not None]
    by_clip = {"clip_score": sum(scores) / len(scores)} if scores else {}
    if scores:
        by_clip["r_precision"] = _share([v.retrieved == v.prompt for v in verdicts])
    return {
        "num_objects": len(verdicts),
        "num_prompts": len({v.prompt for v in verdicts}),
        **by_clip,
        "color_accuracy": _share(color_right),
        "category_accuracy": _share(category_right),
        "category_accuracy_with_other": _share([v.category == v.seen_class for v in verdicts]),
        "both_accuracy": _share([a and b for a, b in zip(color_right, category_right, strict=True)]),
        "color_accuracy_by_color": {
            color: _share([v.seen_color == color for v in verdicts if v.color == color])
            for color in dict.fromkeys(v.color for v in verdicts)
        },
        "category_accuracy_by_category": {
            category: _share([v.seen_category == category for v in verdicts if v.category == category])
            for category in dict.fromkeys(v.category for v in verdicts)
        },
    }


def _share(values: Sequence[bool]) -> float:
    return sum(values) / len(values) if values else float("nan")
