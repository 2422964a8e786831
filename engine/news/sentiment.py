"""How good a headline is for what it is about: VADER, taught the words and phrases of markets.

Phrases are put into the text as single words of known valence, so that VADER's own rules of negation and
emphasis hold for them too. Everything said in words is data.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Final

from engine.news.comparing import compared
from engine.news.lexicon import Lexicon, Pattern, Phrase, taught
from engine.news.tagging import unnamed

WORD: Final = re.compile(r"[+\-−]?[$€£]?\d[\d.,]*[a-z%]*|[a-z][a-z0-9'.]*|[!?;,:]", re.IGNORECASE)
NUMBER: Final = re.compile(r"[+\-−]?[$€£]?\d")
GAP: Final = 5
"""Words at most that a * stands for."""


def sentiment(title: str) -> float:
    """-1 (bad for the price) .. 1 (good), 0 where it says nothing of either.

    >>> sentiment("Bitcoin fails to fall as exchange denies hack") > 0.4
    True
    >>> sentiment("Not bullish: ether slips below $3,000") < -0.4
    True
    >>> sentiment("Developers publish the agenda of their meeting")
    0.0
    """
    lexicon = taught()
    told = tuple(compared(spelt(unnamed(title))))
    tone = float(lexicon.vader.polarity_scores(" ".join(rewritten(told, lexicon)))["compound"])
    if any(
        end(told, at, phrase.pattern, lexicon.parting)
        for phrase in lexicon.explaining
        for at in range(len(told))
    ):
        return tone * lexicon.explains
    return tone * lexicon.asks if title.rstrip().endswith("?") else tone


def explains(told: Sequence[str], lexicon: Lexicon) -> bool:
    """Whether a title promises a lesson or an overview, no news."""
    return any(
        end(told, at, phrase.pattern, lexicon.parting)
        for at in range(len(told))
        for phrase in lexicon.explaining
    )


def spelt(title: str) -> list[str]:
    """Lower-case words, numbers and marks; hyphens part words, possessives are dropped."""
    text = title.lower().replace("’", "'")
    return [found.group().rstrip(".").removesuffix("'s") for found in WORD.finditer(text)]


def rewritten(told: Sequence[str], lexicon: Lexicon) -> Iterator[str]:
    """The words with every phrase as one word; what a * stands for stays in front of it."""
    at = 0
    while at < len(told):
        for phrase in candidates(told[at], lexicon):
            if stop := end(told, at, phrase.pattern, lexicon.parting):
                yield from between(told[at:stop], phrase.pattern)
                yield phrase.word
                at = stop
                break
        else:
            yield moved(told[at])
            at += 1


def candidates(word: str, lexicon: Lexicon) -> tuple[Phrase, ...]:
    return lexicon.numeric if NUMBER.match(word) else lexicon.starting.get(word, ())


def end(told: Sequence[str], at: int, pattern: Pattern, parting: frozenset[str]) -> int:
    """Where a pattern that begins at a word ends, 0 = it does not stand there."""
    if not pattern:
        return at
    first, rest = pattern[0], pattern[1:]
    if first == "*":
        for place in range(at, min(at + GAP, len(told)) + 1):
            if stop := end(told, place, rest, parting):
                return stop
            if place < len(told) and told[place] in parting:
                return 0
        return 0
    if at < len(told) and fits(told[at], first):
        return end(told, at + 1, rest, parting)
    return 0


def fits(word: str, wanted: frozenset[str] | str) -> bool:
    if wanted == "#":
        return NUMBER.match(word) is not None
    return word in wanted if isinstance(wanted, frozenset) else word == wanted


def between(told: Sequence[str], pattern: Pattern) -> Sequence[str]:
    """The words a * stood for."""
    if "*" not in pattern:
        return ()
    at = pattern.index("*")
    return told[at : len(told) - (len(pattern) - at - 1)]


def moved(word: str) -> str:
    """A signed percentage as a word of ours: +5% is a rise."""
    if word.endswith("%") and word[0] in "+-−":
        return "gained" if word[0] == "+" else "lost"
    return word
