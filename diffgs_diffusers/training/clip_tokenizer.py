"""A ``CLIPTokenizer`` whose vocabulary is learned from captions."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, trainers
from transformers import CLIPTokenizer

START_TOKEN = "<|startoftext|>"
END_TOKEN = "<|endoftext|>"
END_OF_WORD = "</w>"
# How CLIP cuts text into words (Radford et al. 2021): contractions, runs of letters, single digits, other signs.
WORD_PATTERN = r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"


def train_clip_tokenizer(
    texts: Iterable[str], output_dir: str | Path, *, vocab_size: int = 2048, max_length: int = 77
) -> CLIPTokenizer:
    """Learns byte-level BPE merges and writes the files of a ``CLIPTokenizer``.

    The vocabulary is laid out as CLIP's: 256 bytes, the same bytes at the end of a word, the merges in the order
    in which they were learned, start and end token. Any text can be encoded, as every byte has a token.

    Args:
        texts: Captions, and whatever else should be cut into few tokens.
        output_dir: Folder for ``vocab.json``, ``merges.txt`` and ``tokenizer_config.json``; made if absent.
        vocab_size: Tokens at most; fewer when the texts hold no further pairs.
        max_length: Tokens that a text is cut to, start and end included.

    Returns:
        The tokenizer as loaded from the folder.

    Raises:
        ValueError: If `vocab_size` leaves no room for a merge.
    """
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    fixed = alphabet + [sign + END_OF_WORD for sign in alphabet]
    if vocab_size <= len(fixed) + 2:
        raise ValueError(
            f"`vocab_size` must be above {len(fixed) + 2}, the bytes and special tokens; got {vocab_size}."
        )
    # The trainer counts only those bytes towards its size that it has seen; ask for more and cut.
    merges = _learn_merges(texts, vocab_size, alphabet)[: vocab_size - len(fixed) - 2]
    tokens = fixed + ["".join(pair) for pair in merges] + [START_TOKEN, END_TOKEN]
    folder = Path(output_dir)
    folder.mkdir(parents=True, exist_ok=True)
    vocabulary = {token: index for index, token in enumerate(tokens)}
    (folder / "vocab.json").write_text(json.dumps(vocabulary, ensure_ascii=False) + "\n", encoding="utf-8")
    lines = ["#version: 0.2", *(" ".join(pair) for pair in merges)]
    (folder / "merges.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    config = {
        "tokenizer_class": "CLIPTokenizer",
        "model_max_length": max_length,
        "bos_token": START_TOKEN,
        "eos_token": END_TOKEN,
        "unk_token": END_TOKEN,
        "pad_token": END_TOKEN,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    return CLIPTokenizer.from_pretrained(str(folder))


def _learn_merges(texts: Iterable[str], vocab_size: int, alphabet: list[str]) -> list[tuple[str, str]]:
    """Pairs to merge, most frequent first."""
    tokenizer = Tokenizer(models.BPE(continuing_subword_prefix="", end_of_word_suffix=END_OF_WORD))
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Lowercase()]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(WORD_PATTERN), behavior="removed", invert=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        min_frequency=1,
        initial_alphabet=alphabet,
        continuing_subword_prefix="",
        end_of_word_suffix=END_OF_WORD,
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    learned = json.loads(tokenizer.to_str())["model"]["merges"]
    return [tuple(pair) if isinstance(pair, list) else tuple(pair.split(" ")) for pair in learned]
