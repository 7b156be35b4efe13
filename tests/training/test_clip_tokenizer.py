"""The learned tokenizer: CLIP's files, whole words for what it has seen, bytes for what it has not."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from transformers import CLIPTokenizer

from diffgs_diffusers.training.clip_tokenizer import train_clip_tokenizer

COLORS = ("red", "blue", "dark green", "white")
NOUNS = ("armchair", "coffee table", "floor lamp", "wardrobe")
CAPTIONS = [f"a {color} {noun}" for color in COLORS for noun in NOUNS]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("tokenizer")
    train_clip_tokenizer(CAPTIONS, path)
    return path


@pytest.fixture(scope="module")
def tokenizer(folder: Path) -> CLIPTokenizer:
    return CLIPTokenizer.from_pretrained(str(folder))


def reference_encode(folder: Path, word: str) -> list[int]:
    """BPE of one lower-case ASCII word by its definition: again and again the earliest merge that fits."""
    vocabulary = json.loads((folder / "vocab.json").read_text(encoding="utf-8"))
    lines = (folder / "merges.txt").read_text(encoding="utf-8").splitlines()[1:]
    rank = {tuple(line.split(" ")): index for index, line in enumerate(lines)}
    parts = [*word[:-1], word[-1] + "</w>"]
    while len(parts) > 1:
        best = min(pairwise(parts), key=lambda pair: rank.get(pair, len(rank)))
        if best not in rank:
            break
        at = next(i for i in range(len(parts)) if (parts[i], parts[i + 1]) == best)
        parts[at : at + 2] = ["".join(best)]
    return [vocabulary[part] for part in parts]


def test_seen_words_are_single_tokens(tokenizer: CLIPTokenizer) -> None:
    for caption in CAPTIONS:
        assert len(tokenizer(caption)["input_ids"]) == len(caption.split()) + 2


@pytest.mark.parametrize("word", ["armchair", "chair", "tablecloth", "redred", "zyx", "w"])
def test_agrees_with_the_definition_of_bpe(folder: Path, tokenizer: CLIPTokenizer, word: str) -> None:
    assert tokenizer(word)["input_ids"][1:-1] == reference_encode(folder, word)


def test_starts_ends_pads_and_cuts_as_clip_does(tokenizer: CLIPTokenizer) -> None:
    assert tokenizer.model_max_length == 77
    long = tokenizer("red " * 200, padding="max_length", truncation=True)["input_ids"]
    assert len(long) == 77
    short = tokenizer("Red  ARMCHAIR", padding="max_length")["input_ids"]
    start, end = tokenizer.convert_tokens_to_ids(["<|startoftext|>", "<|endoftext|>"])
    assert end == len(tokenizer) - 1 == max(short)  # text encoders find the end as the greatest token
    assert (short[0], long[-1]) == (start, end)
    assert short[:4] == tokenizer("red armchair")["input_ids"]
    assert set(short[3:]) == {end}


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=st.text(st.characters(exclude_categories=("Cc", "Cs")), max_size=30))
def test_any_text_encodes_without_unknown_tokens(tokenizer: CLIPTokenizer, text: str) -> None:
    """Every byte has a token, so what comes back is the normalised text."""
    tokens = tokenizer(text)["input_ids"]
    body = [token for token in tokens if token not in (tokens[0], tokens[-1])]
    decoded = tokenizer.decode(body).replace(" ", "")
    normal = tokenizer.backend_tokenizer.normalizer.normalize_str(text)
    assert decoded == "".join(normal.split()).replace("<|startoftext|>", "").replace("<|endoftext|>", "")


def test_survives_save_pretrained(tokenizer: CLIPTokenizer, tmp_path: Path) -> None:
    tokenizer.save_pretrained(str(tmp_path))
    again = CLIPTokenizer.from_pretrained(str(tmp_path))
    for text in (*CAPTIONS, "éclair №5 日本"):
        assert again(text)["input_ids"] == tokenizer(text)["input_ids"]


def test_refuses_a_vocabulary_without_room(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="vocab_size"):
        train_clip_tokenizer(CAPTIONS, tmp_path, vocab_size=514)
