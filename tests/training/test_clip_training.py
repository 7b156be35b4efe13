"""The CLIP script from a dataset folder to components that load, and the images that it trains on."""

from __future__ import annotations

import json
import pickle
import runpy
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import (
    CLIPImageProcessor,
    CLIPModel,
    CLIPTextModel,
    CLIPTokenizer,
    CLIPVisionModelWithProjection,
)

from diffgs_diffusers.data.dataset import GaussianObjectDataset
from diffgs_diffusers.training.clip_renders import (
    CaptionedRenders,
    caption_collator,
    normalize_pixels,
    replace_noun,
    thinned,
    vocabulary_texts,
)
from diffgs_diffusers.training.sampling import SampleKey
from diffgs_diffusers.training.validation_clip import Question, answer_accuracy, category_questions, color_questions
from tests.evaluation.primitives import colored, sphere_points, toy_objects, write_dataset

SCRIPT = Path(__file__).parents[2] / "training" / "train_clip.py"
SMALL = "--hidden_size 32 --num_text_layers 1 --num_vision_layers 1 --num_attention_heads 2 --projection_dim 16"


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_dataset(tmp_path_factory.mktemp("clip") / "data", toy_objects(["train", "validation"]))


def train(data: Path, output: Path, *more: str) -> dict[str, Any]:
    options = "--train_batch_size 4 --max_train_steps 3 --logging_steps 1 --validation_steps 3 --image_size 32"
    arguments = [
        "--train_data_dir",
        str(data),
        "--output_dir",
        str(output),
        *SMALL.split(),
        *options.split(),
        *more,
    ]
    runpy.run_path(str(SCRIPT))["main"](arguments)
    lines = (output / "stats.jsonl").read_text(encoding="utf-8").splitlines()
    return {key: value for line in lines for key, value in json.loads(line).items()}


@pytest.fixture(scope="module")
def folder(data: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A model after three steps."""
    output = tmp_path_factory.mktemp("run")
    last = train(data, output)
    assert {"loss", "validation/color_accuracy", "validation/category_accuracy"} <= set(last)
    return str(output / "clip")


def test_what_is_saved_loads_and_agrees(folder: str) -> None:
    clip, tokenizer = CLIPModel.from_pretrained(folder).eval(), CLIPTokenizer.from_pretrained(folder)
    text, vision = CLIPTextModel.from_pretrained(folder), CLIPVisionModelWithProjection.from_pretrained(folder)
    tokens = tokenizer(["a red lamp", "a table"], padding="max_length", return_tensors="pt")
    assert tokens.input_ids.shape == (2, 77)
    pixels = CLIPImageProcessor.from_pretrained(folder)(
        torch.rand(3, 50, 40), return_tensors="pt", do_rescale=False
    )
    with torch.no_grad():
        outputs = clip(**tokens, **pixels)
        states = text.eval()(**tokens)
        projected = clip.text_projection(states.pooler_output)
        image = vision.eval()(**pixels).image_embeds
    torch.testing.assert_close(torch.nn.functional.normalize(projected, dim=-1), outputs.text_embeds)
    torch.testing.assert_close(torch.nn.functional.normalize(image, dim=-1), outputs.image_embeds)


def test_the_pooled_state_is_that_of_the_end_token(folder: str) -> None:
    """A text encoder with the wrong end token would pool the same position for every text."""
    text = CLIPTextModel.from_pretrained(folder).eval()
    tokens = CLIPTokenizer.from_pretrained(folder)("a blue lamp", return_tensors="pt")
    with torch.no_grad():
        outputs = text(**tokens)
    torch.testing.assert_close(outputs.pooler_output[0], outputs.last_hidden_state[0, -1])


def test_a_resumed_run_equals_a_whole_one(data: Path, tmp_path: Path) -> None:
    whole, halves = tmp_path / "whole", tmp_path / "halves"
    schedule = ("--lr_scheduler", "constant", "--validation_steps", "0")
    train(data, whole, *schedule)
    train(data, halves, *schedule, "--max_train_steps", "2")
    train(data, halves, *schedule, "--resume_from_checkpoint", "latest")
    first, second = (CLIPModel.from_pretrained(str(path / "clip")).state_dict() for path in (whole, halves))
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_images_depend_on_the_key_and_carry_true_captions(data: Path) -> None:
    objects = GaussianObjectDataset(data, split="train")
    renders = CaptionedRenders(objects, 24)
    items = [renders[SampleKey(0, seed)] for seed in range(12)]
    again = renders[SampleKey(0, 5)]
    assert torch.equal(again["pixel_values"], items[5]["pixel_values"])
    assert again["caption"] == items[5]["caption"]
    assert len({item["caption"] for item in items}) > 3
    assert all("table" in item["caption"] for item in items)
    assert items[0]["pixel_values"].shape == (3, 24, 24)
    for item in items:
        assert item["wrong_captions"] == [item["caption"].replace("table", "lamp")] * 2
    plain = CaptionedRenders(objects, 24, augmented=False)
    assert all("red" in plain[SampleKey(0, seed)]["caption"] for seed in range(6))


def test_replace_noun_mends_articles() -> None:
    assert replace_noun("an orange car", "car", "bed") == "an orange bed"
    assert replace_noun("a photo of an oven in red", "oven", "bed") == "a photo of a bed in red"


def test_the_vocabulary_covers_every_colour_and_noun(data: Path) -> None:
    texts = set(vocabulary_texts(GaussianObjectDataset(data, split="train")))
    assert {"a red lamp", "an orange table", "a purple lamp", "a beige table"} <= texts


def test_collator_pads_to_the_longest(folder: str) -> None:
    # spawned workers get it by pickle
    collate = pickle.loads(pickle.dumps(caption_collator(CLIPTokenizer.from_pretrained(folder))))
    image = torch.zeros(3, 4, 4)
    batch = collate(
        [
            {"pixel_values": image, "caption": "a lamp", "wrong_captions": ["a table"]},
            {"pixel_values": image, "caption": "a photo of a red lamp", "wrong_captions": []},
        ]
    )
    assert batch["pixel_values"].shape == (2, 3, 4, 4)
    assert batch["attention_mask"].sum(dim=1).tolist() == [4, 8, 4]


def test_normalize_pixels_is_the_image_processor() -> None:
    image = torch.rand(3, 8, 8)
    processor = CLIPImageProcessor(size={"shortest_edge": 8}, crop_size={"height": 8, "width": 8})
    expected = processor(image, return_tensors="pt", do_rescale=False)["pixel_values"][0]
    # The processor works on 8-bit pixels: half a step of them, in units of the smallest deviation.
    torch.testing.assert_close(normalize_pixels(image), expected, atol=0.5 / 255 / 0.26 * 2.01, rtol=0)


def test_thinned_keeps_the_covered_area() -> None:
    splats = colored(sphere_points(400), (0.5, 0.5, 0.5))
    part = thinned(splats, 100)
    assert torch.equal(part.means, splats.means[:100])
    torch.testing.assert_close((part.scales**2).sum(), (splats.scales**2).sum())


def test_questions_know_their_answers(data: Path) -> None:
    objects = GaussianObjectDataset(data, split="validation")
    colors = color_questions(objects, 16)
    assert [question.texts[question.answer] for question in colors[:3]] == [
        "a red table",
        "a blue table",
        "a white table",
    ]
    kinds = category_questions(objects, 16)
    assert [question.texts[question.answer] for question in kinds] == [
        f"a {color} {noun}" for noun in ("table", "lamp") for color in ("red", "blue", "white")
    ]
    assert all(len(question.texts) == 12 for question in color_questions(objects, 16, recolored=2))


def test_answer_accuracy_counts_the_true_text(folder: str) -> None:
    """Asked about each text in turn, one question in three is right, whatever the model prefers."""
    model, tokenizer = CLIPModel.from_pretrained(folder).eval(), CLIPTokenizer.from_pretrained(folder)
    images, texts = torch.rand(2, 3, 32, 32), ("a red lamp", "a blue lamp", "a table")
    assert answer_accuracy(model, tokenizer, [Question(images, texts, i) for i in range(3)]) == pytest.approx(1 / 3)
