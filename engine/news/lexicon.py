"""The words and phrases of markets from their data file, laid over VADER's lexicon, which stays as it was."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any, Final

import yaml
from vaderSentiment.vaderSentiment import SentimentIntensityAnalyzer

from engine.records import Frozen

MARKS: Final = ",;:!?"

Pattern = tuple[frozenset[str] | str, ...]


@dataclass(frozen=True, slots=True)
class Phrase(Frozen):
    """A pattern and what is put in its place: a word of VADER's, or one of ours with a valence."""

    pattern: Pattern
    word: str


@dataclass(frozen=True, slots=True)
class Lexicon(Frozen):
    """The whole data file, ready to use; `starting` holds the phrases by first word, the longest first."""

    vader: SentimentIntensityAnalyzer
    starting: Mapping[str, tuple[Phrase, ...]]
    numeric: tuple[Phrase, ...]
    explaining: tuple[Phrase, ...]
    parting: frozenset[str]
    asks: float
    explains: float


@cache
def taught() -> Lexicon:
    """VADER with our words, built once."""
    told = yaml.safe_load(files("engine.news").joinpath("data/lexicon.yaml").read_text(encoding="utf-8"))
    classes = {name: frozenset(inflected(words)) for name, words in told["classes"].items()}
    vader = SentimentIntensityAnalyzer()
    vader.lexicon = {word: told["everyday"] * valence for word, valence in vader.lexicon.items()}
    for word in inflected(told["neutral"]):
        vader.lexicon.pop(word, None)
    for valence, words in told["words"].items():
        vader.lexicon.update(dict.fromkeys(inflected(words), float(valence)))
    phrases = []
    for valence, rows in told["phrases"].items():
        word = f"valence{float(valence):+.1f}"
        vader.lexicon[word] = float(valence)
        phrases += [Phrase(parsed(row, classes), word) for row in rows]
    turned = [Phrase(parsed(row, classes), word) for word, rows in told["turned"].items() for row in rows]
    ordered = sorted(phrases + turned, key=lambda phrase: -specific(phrase.pattern))
    return Lexicon(
        vader,
        indexed(ordered),
        tuple(phrase for phrase in ordered if phrase.pattern[0] == "#"),
        tuple(Phrase(parsed(row, classes), "") for row in told["explaining"]),
        frozenset((*told["parting"].split(), *MARKS)),
        float(told["asks"]),
        float(told["explains"]),
    )


def inflected(words: str) -> Iterator[str]:
    """Words of the data file; a trailing ~ stands for the regular forms of a verb.

    >>> list(inflected("surge~ rally~ up"))
    ['surge', 'surges', 'surged', 'surging', 'rally', 'rallies', 'rallied', 'rallying', 'up']
    """
    for word in words.split():
        verb = word.removesuffix("~")
        yield verb
        if verb == word:
            continue
        if verb.endswith("e"):
            yield from (verb + "s", verb + "d", verb[:-1] + "ing")
        elif verb.endswith("y"):
            yield from (verb[:-1] + "ies", verb[:-1] + "ied", verb + "ing")
        else:
            plural = "es" if verb.endswith(("ch", "sh", "s", "x")) else "s"
            yield from (verb + plural, verb + "ed", verb + "ing")


def parsed(row: str, classes: Mapping[str, frozenset[str]]) -> Pattern:
    """A line of the data file as a pattern; an unknown <class> is a KeyError."""
    return tuple(classes[word[1:-1]] if word.startswith("<") else word for word in row.split())


def specific(pattern: Pattern) -> float:
    """How much a pattern asks for: words first, then that they stand together."""
    return len(pattern) - (1.5 if "*" in pattern else 0)


def indexed(phrases: Iterable[Phrase]) -> Mapping[str, tuple[Phrase, ...]]:
    """Phrases by each word they may begin with, in order."""
    starting: dict[str, list[Phrase]] = {}
    for phrase in phrases:
        first: Any = phrase.pattern[0]
        for word in first if isinstance(first, frozenset) else (first,):
            starting.setdefault(word, []).append(phrase)
    return {word: tuple(rows) for word, rows in starting.items()}
