"""What assets are called in headlines, from the data file; and a headline's words, as they are compared."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any, Final

import yaml

from engine.records import Frozen

WORD: Final = re.compile(r"[$+]?[^\W_](?:[\w.'’]|,(?=\d))*%?|&")


@dataclass(frozen=True, slots=True)
class Word(Frozen):
    """One word of a headline as written, and as it is compared."""

    written: str
    plain: str

    @property
    def capital(self) -> bool:
        return self.written[:1].isupper()


@dataclass(frozen=True, slots=True)
class Called(Frozen):
    """How one asset is called; see the data file for what counts when."""

    asset: str
    name: frozenset[tuple[str, ...]]
    tickers: frozenset[str]
    proper: frozenset[tuple[str, ...]]
    doubtful: frozenset[tuple[str, ...]]
    bound: frozenset[tuple[str, ...]]
    beside: frozenset[str]
    never: frozenset[str]
    any_case: bool


@dataclass(frozen=True, slots=True)
class Names(Frozen):
    """The whole data file, ready to look up; `starting` holds the assets by the first word of each name."""

    masked: Mapping[str, tuple[tuple[str, ...], ...]]
    context: frozenset[str]
    shouted: frozenset[str]
    assets: Mapping[str, Called]
    starting: Mapping[str, tuple[Called, ...]]


def words(text: str) -> tuple[Word, ...]:
    """Words and numbers in order; hyphens and slashes part them, cashtags keep their sign."""
    written = (found.group().rstrip(".'’") for found in WORD.finditer(text))
    return tuple(Word(one, plain(one)) for one in written if one)


def plain(written: str) -> str:
    return "and" if written == "&" else written.lower().replace("’", "'").removesuffix("'s")


@cache
def known() -> Names:
    """The names, read once."""
    told = yaml.safe_load(files("engine.news").joinpath("data/names.yaml").read_text(encoding="utf-8"))
    assets = {asset: called(asset, rows) for asset, rows in told["assets"].items()}
    masks: dict[str, list[tuple[str, ...]]] = {}
    for phrase in phrases(told["masked"]):
        masks.setdefault(phrase[0], []).append(phrase)
    starting: dict[str, dict[str, Called]] = {}
    for one in assets.values():
        for phrase in one.name | one.proper | one.doubtful | one.bound:
            starting.setdefault(phrase[0], {})[one.asset] = one
    return Names(
        {first: tuple(rest) for first, rest in masks.items()},
        frozenset(told["context"].split()),
        frozenset(told["shouted"]),
        assets,
        {first: tuple(rest.values()) for first, rest in starting.items()},
    )


def called(asset: str, rows: Mapping[str, Any]) -> Called:
    return Called(
        asset,
        frozenset(phrases(rows.get("name", ()))),
        frozenset(rows.get("tickers", ())),
        frozenset(phrases(rows.get("proper", ()))),
        frozenset(phrases(rows.get("doubtful", ()))),
        frozenset(phrases(rows.get("bound", ()))),
        frozenset(rows.get("beside", ())),
        frozenset(rows.get("never", ())),
        bool(rows.get("any_case", False)),
    )


def phrases(told: Sequence[str]) -> Iterator[tuple[str, ...]]:
    """Each phrase as the words it is compared by."""
    for phrase in told:
        yield tuple(word.plain for word in words(phrase))
