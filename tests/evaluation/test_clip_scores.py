"""CLIP score and R-precision of a tiny real CLIP, against what the model itself answers."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import CLIPConfig, CLIPModel

from diffgs_diffusers.evaluation.clip_scores import ClipJudge, ClipTowers, ClipVerdict
from diffgs_diffusers.evaluation.view_similarity import view_features, view_similarity
from diffgs_diffusers.evaluation.views import evaluation_cameras, render_on_white
from tests.factories import sphere_splats
from tests.tiny_models import CAPTIONS, tiny_image_models, tiny_text_encoder, tiny_tokenizer


@pytest.fixture(scope="module")
def clip_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As ``train_clip.py`` leaves it: a CLIPModel, its tokenizer and its image processor."""
    folder = tmp_path_factory.mktemp("clip")
    tokenizer, image_models = tiny_tokenizer(folder / "vocabulary"), tiny_image_models()
    text_config = tiny_text_encoder(tokenizer).config.to_dict()
    vision_config = image_models["image_encoder"].config.to_dict()
    torch.manual_seed(5)
    model = CLIPModel(CLIPConfig(text_config=text_config, vision_config=vision_config, projection_dim=8))
    for part in (model, tokenizer, image_models["image_processor"]):
        part.save_pretrained(str(folder / "clip"))
    return folder / "clip"


def test_scores_are_the_models_own(clip_folder: Path) -> None:
    towers = ClipTowers.load(str(clip_folder))
    views = torch.rand(8, 16, 16, 3, generator=torch.Generator().manual_seed(0))
    pixels = towers.image_processor(
        images=list((views.movedim(-1, 1) * 255).round().byte()), return_tensors="pt"
    ).pixel_values
    tokens = towers.tokenizer(CAPTIONS, padding=True, return_tensors="pt")
    with torch.no_grad():
        found = towers.model(pixel_values=pixels, **tokens)
    cosines = found.logits_per_image / towers.model.logit_scale.detach().exp()
    judge = ClipJudge(towers, CAPTIONS)
    for index, prompt in enumerate(CAPTIONS):
        verdict = judge.judge_views(views, prompt)
        assert verdict.score == pytest.approx(100 * float(cosines[:, index].clamp(min=0).mean()), abs=1e-3)
        assert verdict.retrieved == CAPTIONS[int(cosines.mean(dim=0).argmax())]


def test_an_object_is_judged_by_its_renders_and_nothing_retrieves_nothing(clip_folder: Path) -> None:
    judge = ClipJudge(ClipTowers.load(str(clip_folder)), CAPTIONS)
    splats = sphere_splats(200)
    views = render_on_white(splats, evaluation_cameras(16))
    assert judge.judge(splats, CAPTIONS[0]) == judge.judge_views(views, CAPTIONS[0])
    assert judge.judge(None, CAPTIONS[0]) == ClipVerdict(0.0, "")


def test_a_prompt_that_stands_twice_cannot_be_retrieved(clip_folder: Path) -> None:
    with pytest.raises(ValueError, match="got 1 twice"):
        ClipJudge(ClipTowers.load(str(clip_folder)), [*CAPTIONS, CAPTIONS[0]])


def test_a_folder_that_is_not_there_is_named() -> None:
    with pytest.raises(FileNotFoundError, match=r"no CLIP folder \./nowhere"):
        ClipTowers.load("./nowhere")


def test_similarity_is_one_for_equal_views_and_the_cosine_else(clip_folder: Path) -> None:
    towers, models = ClipTowers.load(str(clip_folder)), tiny_image_models()
    first, second = (torch.rand(3, 16, 16, 3, generator=torch.Generator().manual_seed(seed)) for seed in (0, 1))
    of_clip = view_features(towers, **models)
    of_pipeline = view_features(None, **models)
    assert of_clip is not None
    assert of_pipeline is not None
    assert view_features(None, None, None) is None
    assert view_similarity(first, first, of_pipeline) == pytest.approx(1.0, abs=1e-5)
    embedded = towers.images(first), towers.images(second)
    expected = float((embedded[0] * embedded[1]).sum(dim=1).mean())
    assert view_similarity(first, second, of_clip) == pytest.approx(expected, abs=1e-5)
    assert view_similarity(first, second, of_pipeline) < 1 - 1e-6
