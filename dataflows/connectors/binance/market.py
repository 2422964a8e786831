"""One market's closes: what was handed on, what is held, what is wanted. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from engine.records import Candle

REMEMBERED: Final = 8
"""Closes per market whose values are kept to tell a repetition from a correction."""

WILD: Final = 10.0
"""A close this many times above or below the one before it is believed from REST only."""


@dataclass(frozen=True, slots=True)
class Ask:
    """A question for REST: the candles of one market that closed from `first` to `last`, both included."""

    symbol: str
    interval: str
    first: int
    last: int


@dataclass(slots=True)
class Counts:
    """What happened to a symbol's closes since the start."""

    handed: int = 0
    repaired: int = 0
    gaps: int = 0
    late: int = 0
    duplicates: int = 0
    corrections: int = 0
    suspects: int = 0


@dataclass(slots=True, eq=False)
class Market:
    """One symbol and interval. `last` is the newest close handed on; None before the first."""

    symbol: str
    interval: str
    step: int
    counts: Counts
    is_open: bool = False
    last: int | None = None
    recent: dict[int, list[Candle]] = field(default_factory=dict)
    held: dict[int, Candle] = field(default_factory=dict)
    held_since: tuple[int, float] = (0, 0.0)
    wanted: int = 0
    asking: bool = False
    asked: int = 0
    tries: int = 0
    not_before: tuple[int, float] = (0, 0.0)

    @property
    def complete(self) -> bool:
        """Nothing is held, and everything known to be due has come."""
        return not self.held and (self.last or 0) >= self.wanted

    def hand_on(self, candle: Candle) -> Candle:
        if self.last is not None:
            self.counts.gaps += (candle.time - self.last) // self.step - 1
        self.last = candle.time
        self.recent[candle.time] = [candle]
        if len(self.recent) > REMEMBERED:
            del self.recent[next(iter(self.recent))]
        self.counts.handed += 1
        self.tries = 0
        return candle

    def follow(self) -> Iterator[Candle]:
        """Hand on every held close whose turn has come."""
        while self.held and self.last is not None and (candle := self.held.pop(self.last + self.step, None)):
            yield self.hand_on(candle)

    def give_way(self, upto: int) -> Iterator[Candle]:
        """Believe the holes below every held close up to `upto`."""
        while self.held and min(self.held) <= upto:
            yield self.hand_on(self.held.pop(min(self.held)))
            yield from self.follow()

    def wild(self, candle: Candle) -> bool:
        if self.last is None or self.last not in self.recent:
            return False
        ratio = candle.close / self.recent[self.last][-1].close
        return not 1 / WILD < ratio < WILD


def same(one: Candle, other: Candle) -> bool:
    """Whether two candles of one close tell the same; a column that one source lacks tells nothing.

    >>> from dataclasses import replace
    >>> candle = Candle.of(10.0)
    >>> same(candle, replace(candle, trades=7)), same(candle, replace(candle, volume=2.0))
    (True, False)
    """
    if (one.open, one.high, one.low, one.close, one.volume) != (
        other.open,
        other.high,
        other.low,
        other.close,
        other.volume,
    ):
        return False
    return all(
        a is None or b is None or a == b
        for a, b in (
            (one.quote_volume, other.quote_volume),
            (one.trades, other.trades),
            (one.taker_base, other.taker_base),
            (one.taker_quote, other.taker_quote),
        )
    )
