"""What an object is called: corrected catalogue names, and the coarse category of a noun."""

from __future__ import annotations

import re

from .vocabulary import (
    CATEGORY_EXCEPTIONS,
    CATEGORY_WORDS,
    CORRECTIONS,
    NOT_SPOKEN,
    PLURALS,
    SPOKEN_CATEGORIES,
)


def noun_of(name: str) -> str:
    """The common noun for a catalogue name: lower case, typos mended, brands replaced.

    Example:
        >>> noun_of("Teck chair")
        'teak chair'
    """
    noun = re.sub(r"\s+", " ", name.strip().lower())
    noun = CORRECTIONS.get(noun, noun)
    noun = re.sub(r"^parking slot.*", "parking slot", noun)
    noun = re.sub(r"^bill (\d+) ?€$", r"\1 euro banknote", noun)
    noun = re.sub(r"^frame .*", "picture frame", noun)
    for word, better in (("female", "woman"), ("male", "man")):
        if "mannequin" not in noun:
            noun = re.sub(rf"\b{word}\b", better, noun)
    return re.sub(r"^lying down ", "lying ", noun) or "object"


def category_of(noun: str) -> str:
    """The coarse category of a noun: chair, table, sofa, lamp, bed, cabinet, plant, vehicle, …, or other."""
    if noun in CATEGORY_EXCEPTIONS:
        return CATEGORY_EXCEPTIONS[noun]
    head = noun.split(" with ")[0].split(" for ")[0]
    for pattern in (r"\b(?:{})$", r"\b(?:{})\b"):
        for category, words in CATEGORY_WORDS.items():
            if re.search(pattern.format("|".join(words)), head):
                return category
    return "other"


def names_for(noun: str) -> list[str]:
    """The noun, and the coarser word that people would also use for it where there is one."""
    coarse = "car" if re.search(r"\bcar$", noun) else category_of(noun)
    spoken = coarse in SPOKEN_CATEGORIES and not any(word in noun for word in NOT_SPOKEN)
    if spoken and coarse != noun:
        return [noun, coarse]
    return [noun]


def is_plural(noun: str) -> bool:
    """Whether a noun takes no article: plurals, and what is not counted."""
    return noun in PLURALS or noun.split(" with ")[0].split(" ")[-1] in PLURALS
