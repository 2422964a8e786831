"""What a title comes to once wording is taken off: for telling one story from another."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Final

import yaml

from engine.news.comparing import amount
from engine.news.names import words
from engine.news.tagging import hits
from engine.records import Frozen

WAYS: Final = frozenset({"rise", "fall"})

FEWEST: Final = 3
"""Telling words a title must have to be compared; of a shorter one all words must be the same."""


@dataclass(frozen=True, slots=True)
class Gist(Frozen):
    """What two wordings of one story have in common."""

    words: frozenset[str]
    assets: frozenset[str]
    numbers: frozenset[float]


def gist_of(title: str) -> Gist:
    """The telling words of a title, with synonyms, assets and numbers in one spelling.

    >>> gist = gist_of("Ether plunges under $3K after SEC sues 2 exchanges")
    >>> sorted(gist.words), sorted(gist.assets), sorted(gist.numbers)
    (['2', '3000', 'ETH', 'exchange', 'fall', 'sec', 'sue'], ['ETH'], [2.0, 3000.0])
    """
    told = words(title)
    found = {hit.begin: hit for hit in hits(told)}
    spelt = [word.plain for word in told]
    told_words, numbers, at = set(), set(), 0
    while at < len(told):
        if at in found:
            told_words.add(found[at].asset)
            at = found[at].end
            continue
        value = amount(spelt, at)
        if value is not None:
            numbers.add(value)
        told_words.add(f"{value:g}" if value is not None else alike_word(spelt[at]))
        at += 1
    if len(told_words - {""}) < FEWEST:
        told_words.update(spelt)
    return Gist(
        frozenset(told_words - {""}), frozenset(hit.asset for hit in found.values()), frozenset(numbers)
    )


def alike(left: Gist, right: Gist) -> float:
    """Share of words that two titles have in common, 0 where they cannot be the same story.

    Assets must not disagree, nor all numbers differ, nor one rise and the other fall, nor one deny the other.
    """
    if min(len(left.words), len(right.words)) < FEWEST:
        return float(left.words == right.words)
    if not (left.assets <= right.assets or right.assets <= left.assets):
        return 0.0
    if (left.numbers and right.numbers and not left.numbers & right.numbers) or opposed(left, right):
        return 0.0
    return len(left.words & right.words) / len(left.words | right.words)


def opposed(left: Gist, right: Gist) -> bool:
    """Whether one denies what the other says, or one rises where the other falls."""
    ways = left.words & WAYS, right.words & WAYS
    return ("not" in left.words) != ("not" in right.words) or (all(ways) and ways[0] != ways[1])


def alike_word(word: str) -> str:
    """A word as all words that mean it are written, "" for one that says nothing."""
    passed, same = synonyms()
    if word in passed:
        return ""
    if word in same:
        return same[word]
    for ending in ("ing", "ed", "es", "s"):
        if word.endswith(ending) and len(word) > len(ending) + 3:
            return word.removesuffix(ending).rstrip("e")
    return word.rstrip("e") if len(word) > 4 else word


@cache
def synonyms() -> tuple[frozenset[str], dict[str, str]]:
    """Words to pass over, and words that stand for another, read once."""
    told = yaml.safe_load(files("engine.news").joinpath("data/same.yaml").read_text(encoding="utf-8"))
    rows: Iterable[list[str]] = (row.split() for row in told["same"])
    return frozenset(told["passed"].split()), {word: row[0] for row in rows for word in row}
