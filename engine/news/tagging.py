"""Which assets a headline is about. What they are called is data; what a word must show to count is here.

"Link", "near", "dot", "optimism" are words first: a name that is one counts only where the headline says so.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from engine.news.names import Called, Names, Word, known, words
from engine.records import Frozen

PAIR: Final = re.compile(r"(USDT|USDC|USD|PERP|EUR)$")
MOVE: Final = re.compile(r"\+?\d[\d.,]*%$")


@dataclass(frozen=True, slots=True)
class Hit(Frozen):
    """Words `begin` up to `end` of a headline name `asset`."""

    asset: str
    begin: int
    end: int


def assets_of(title: str, summary: str = "") -> tuple[str, ...]:
    """The assets a headline is about, in the order of their first mention.

    The summary is only asked whether an ambiguous name of the title is meant as one.

    >>> assets_of("Ether and $LINK slip as Bitcoin nears $60K")
    ('ETH', 'LINK', 'BTC')
    >>> assets_of("Optimism grows near the Avalanche arena, no link to a dot-com crash")
    ()
    """
    return tuple(dict.fromkeys(hit.asset for hit in hits(words(title), words(summary))))


def unnamed(title: str) -> str:
    """A title with each asset by its ticker, so that no word of a name is read as a word.

    >>> unnamed("Optimism token slips 9% as optimism fades")
    'OP token slips 9% as optimism fades'
    """
    told = words(title)
    for hit in hits(told):
        name = r"\W+".join(re.escape(word.written) for word in told[hit.begin : hit.end])
        title = re.sub(name, hit.asset, title, count=1)
    return title


def hits(title: Sequence[Word], summary: Sequence[Word] = ()) -> tuple[Hit, ...]:
    """Every mention of an asset in a title, in order, none overlapping."""
    names = known()
    hidden = masked(title, names)
    sure = dict(certain(title, hidden, names))
    found = dict(sure)
    believed = bool(names.context & ({word.plain for word in title} | {word.plain for word in summary}))
    believed = believed or bool(sure) or any(moves(word) for word in title)
    for hit in doubtful(title, hidden, names):
        called = names.assets[hit.asset]
        phrase = tuple(word.plain for word in title[hit.begin : hit.end])
        if (
            (phrase in called.proper and title[hit.begin].capital)
            or (phrase in called.doubtful and believed)
            or (phrase in called.bound and bound(title, hit, called, sure))
        ):
            found.setdefault(hit.begin, hit)
    return tuple(found[at] for at in sorted(found))


def certain(title: Sequence[Word], hidden: frozenset[int], names: Names) -> Iterator[tuple[int, Hit]]:
    """Names, tickers, cashtags and pairs that need nobody's support, by where they begin."""
    shouting = len(title) > 3 and not any(letter.islower() for word in title for letter in word.written)
    told = {word.plain for word in title}
    at = 0
    while at < len(title):
        hit = None if at in hidden else (phrased(title, at, names) or ticker(title[at], at, names))
        if hit is not None and not refuted(title[at], hit, names, told, shouting):
            yield at, hit
            at = hit.end
        else:
            at += 1


def phrased(title: Sequence[Word], at: int, names: Names) -> Hit | None:
    """The longest name that begins at a word."""
    for called in names.starting.get(title[at].plain, ()):
        if end := longest(title, at, called.name):
            return Hit(called.asset, at, end)
    return None


def ticker(word: Word, at: int, names: Names) -> Hit | None:
    """A ticker in capitals, a cashtag in any case, or a pair quoted in money."""
    bare = word.written.removeprefix("$").removesuffix("'s").removesuffix("’s")
    bare = PAIR.sub("", bare) or bare
    told = bare.upper() if word.written.startswith("$") else bare
    for called in names.assets.values():
        if told in called.tickers:
            return Hit(called.asset, at, at + 1)
    return None


def refuted(word: Word, hit: Hit, names: Names, told: set[str], shouting: bool) -> bool:
    """Whether a ticker means something else here; a cashtag and a longer name never do."""
    called = names.assets[hit.asset]
    if word.written.startswith("$") or hit.end - hit.begin > 1 or (word.plain,) in called.name:
        return False
    return bool(called.never & told) or (shouting and word.written in names.shouted)


def doubtful(title: Sequence[Word], hidden: frozenset[int], names: Names) -> Iterator[Hit]:
    """Mentions that are ordinary words as well, unless something in the title speaks against them."""
    told = {word.plain for word in title}
    for at, word in enumerate(title):
        for called in names.starting.get(word.plain, ()) if at not in hidden else ():
            end = longest(title, at, called.proper | called.doubtful | called.bound)
            if end and not called.never & told and (word.capital or called.any_case):
                yield Hit(called.asset, at, end)


def bound(title: Sequence[Word], hit: Hit, called: Called, sure: Mapping[int, Hit]) -> bool:
    """Whether a name stands beside its own words, in a list with another asset, or moves by percents."""
    before, after = title[max(0, hit.begin - 1) : hit.begin], title[hit.end : hit.end + 2]
    if any(word.plain in called.beside for word in after[:1]) or any(moves(word) for word in after):
        return True
    left = {other.end for other in sure.values()}
    joined = any(word.plain in ("and", "or") for word in before)
    follows = {hit.end, hit.end + 1} if after and after[0].plain in ("and", "or") else {hit.end}
    return hit.begin - joined in left or bool(follows & sure.keys())


def moves(word: Word) -> bool:
    return MOVE.match(word.written) is not None


def masked(title: Sequence[Word], names: Names) -> frozenset[int]:
    """Places of the words that belong to a phrase with another meaning."""
    hidden: set[int] = set()
    for at, word in enumerate(title):
        if end := longest(title, at, names.masked.get(word.plain, ())):
            hidden.update(range(at, end))
    return frozenset(hidden)


def longest(title: Sequence[Word], at: int, phrases: Collection[tuple[str, ...]]) -> int:
    """Where the longest of the phrases that stand at a word ends, 0 = none does."""
    ends = (
        at + len(phrase)
        for phrase in phrases
        if len(title) >= at + len(phrase)
        and all(title[at + step].plain == word for step, word in enumerate(phrase))
    )
    return max(ends, default=0)
