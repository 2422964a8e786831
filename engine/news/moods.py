"""What the headlines come to for one asset: means in which every headline fades with its age.

A mood rests on the headlines of its window alone. Sums are taken anew each time, newest first, so it does not
matter when the engine started or in which order the headlines came.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from math import exp, log
from operator import itemgetter
from typing import Any, Final, Literal, NamedTuple

from engine.records import Headline, Mood

HOUR: Final = 3_600_000

MOST: Final = 256
"""Headlines of one kind and scope that a mood is made of, the newest."""

KEPT: Final = 2 * MOST
"""Those in memory: some may have been learned after the moment that is asked for."""

Kind = Literal["news", "social"]
Scope = Literal["asset", "market"]
Row = tuple[int, int, str, str, float, float, str]
"""A headline: when it was told and learned, its id, source, weight, sentiment and title; oldest first."""


class Felt(NamedTuple):
    """What the headlines from the `begin`th on say together, all learned by `learned`; weight at `newest`."""

    begin: int
    learned: int
    mean: float
    weight: float
    many: int
    newest: int
    title: str
    source: str


KINDS: Final[tuple[Kind, ...]] = ("news", "social")
SCOPES: Final[tuple[Scope, ...]] = ("asset", "market")


class Moods:
    """The moods of one asset: of its own headlines and of all, news and social apart.

    A headline counts for moments after it was learned, while it is younger than the window. It weighs its
    credibility x 0.5 ** (age / half-life).

    Parameters
    ----------
    asset
        Whose headlines the scope "asset" takes.
    half_life_hours
        Age at which a headline counts half.
    window_hours
        Age from which on it does not count.

    Examples
    --------
    >>> moods = Moods("BTC", half_life_hours=6, window_hours=48)
    >>> for at, tone in ((0, 0.5), (6 * HOUR, -0.5)):
    ...     moods.update(Headline(f"{at:016x}", "wire", at, "told", "", ("BTC",), tone, 1.0, learned=at))
    >>> mood, market = moods.at(6 * HOUR + 1)
    >>> mood.scope, market.scope, mood.count, round(mood.sentiment, 3), round(mood.weight, 3)
    ('asset', 'market', 2, -0.167, 1.5)
    """

    def __init__(self, asset: str, half_life_hours: float = 6, window_hours: float = 48) -> None:
        self.asset = asset
        self.half_life_hours = half_life_hours
        self.window_hours = window_hours
        self._rows: dict[tuple[Kind, Scope], list[Row]] = {
            (kind, scope): [] for kind in KINDS for scope in SCOPES
        }
        self._felt: dict[tuple[Kind, Scope], Felt] = {}

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_felt": {}}

    def update(self, headline: Headline) -> None:
        """One headline, in any order. A story counts once; one too old for every moment is passed over."""
        late = headline.learned - headline.time >= self.window_hours * HOUR
        if late or not headline.weight:
            return
        told = min(headline.time, headline.learned)
        row = (
            *(told, headline.learned, headline.id, headline.source),
            *(headline.weight, headline.sentiment, headline.title),
        )
        for scope in SCOPES:
            if scope == "market" or self.asset in headline.assets:
                rows = self._rows[headline.kind, scope]
                if any(known[2] == headline.id for known in rows):
                    continue
                insort(rows, row, key=itemgetter(0, 1, 2, 3))
                del rows[:-KEPT]
                self._felt.pop((headline.kind, scope), None)

    def at(self, time: int) -> tuple[Mood, ...]:
        """The moods when a candle closes at `time` (ms UTC); none for a kind and scope without headlines."""
        moods = (self._mood(kind, scope, time) for kind, scope in self._rows)
        return tuple(mood for mood in moods if mood is not None)

    def _mood(self, kind: Kind, scope: Scope, time: int) -> Mood | None:
        """All fade alike: until another one counts, or one of them no longer, only the weight changes."""
        rows = self._rows[kind, scope]
        begin = bisect_left(rows, time - self.window_hours * HOUR + 1, key=itemgetter(0))
        found = self._felt.get((kind, scope))
        if found is None or found.begin != begin or found.learned >= time:
            found = self._together(rows[begin:], begin, time)
            if found is None:
                return None
            if found.learned < time:
                self._felt[kind, scope] = found
        weight = found.weight * exp(self._pace * (found.newest - time))
        return Mood(kind, scope, found.mean, weight, found.many, found.newest, found.title, found.source)

    @property
    def _pace(self) -> float:
        return log(2) / (self.half_life_hours * HOUR)

    def _together(self, rows: list[Row], begin: int, time: int) -> Felt | None:
        told = [row for row in reversed(rows) if row[1] < time][:MOST]
        if not told:
            return None
        pace, newest = self._pace, told[0][0]
        weights = [row[4] * exp(pace * (row[0] - newest)) for row in told]
        pulls = [weight * row[5] for weight, row in zip(weights, told, strict=True)]
        total = sum(weights)
        mean = max(-1.0, min(1.0, sum(pulls) / total))
        size = list(map(abs, pulls))
        strongest = told[size.index(max(size))]
        learned = max([row[1] for row in rows])
        return Felt(begin, learned, mean, total, len(told), newest, strongest[6], strongest[3])
