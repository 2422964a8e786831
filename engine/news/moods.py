"""What the headlines come to for one asset: means in which every headline fades with its age.

A mood rests on the headlines of its window alone. Sums are taken anew each time, newest first, so it does not
matter when the engine started or in which order the headlines came.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from math import exp, log
from operator import itemgetter
from typing import Final, Literal

from engine.records import Headline, Mood

HOUR: Final = 3_600_000

MOST: Final = 256
"""Headlines of one kind and scope that a mood is made of, the newest."""

KEPT: Final = 2 * MOST
"""Those in memory: some may have been learned after the moment that is asked for."""

Kind = Literal["news", "social"]
Scope = Literal["asset", "market"]
Row = tuple[int, int, str, str, Headline]
"""When it was told, when learned, its id and source, and a headline: in this order, oldest first."""

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

    def update(self, headline: Headline) -> None:
        """One headline, in any order. A story counts once; one too old for every moment is passed over."""
        late = headline.learned - headline.time >= self.window_hours * HOUR
        if late or not headline.weight:
            return
        told = min(headline.time, headline.learned)
        row = (told, headline.learned, headline.id, headline.source, headline)
        for scope in SCOPES:
            if scope == "market" or self.asset in headline.assets:
                rows = self._rows[headline.kind, scope]
                if any(known[2] == headline.id for known in rows):
                    continue
                insort(rows, row, key=itemgetter(0, 1, 2, 3))
                del rows[:-KEPT]

    def at(self, time: int) -> tuple[Mood, ...]:
        """The moods when a candle closes at `time` (ms UTC); none for a kind and scope without headlines."""
        moods = (self._mood(kind, scope, time) for kind, scope in self._rows)
        return tuple(mood for mood in moods if mood is not None)

    def _mood(self, kind: Kind, scope: Scope, time: int) -> Mood | None:
        rows = self._rows[kind, scope]
        begin = bisect_left(rows, time - self.window_hours * HOUR + 1, key=itemgetter(0))
        told = [row for row in reversed(rows[begin:]) if row[1] < time][:MOST]
        pace = log(2) / (self.half_life_hours * HOUR)
        weights = [row[4].weight * exp(pace * (row[0] - time)) for row in told]
        total = sum(weights)
        if not total:
            return None
        pulls = [weight * row[4].sentiment for weight, row in zip(weights, told, strict=True)]
        mean = max(-1.0, min(1.0, sum(pulls) / total))
        size = list(map(abs, pulls))
        strongest = told[size.index(max(size))][4]
        return Mood(kind, scope, mean, total, len(told), told[0][0], strongest.title, strongest.source)
