"""What an indicator is: one step a candle over the shared past of a market.

What a candle changes is named in `keeps` and is a number or a tuple, replaced and never changed in place:
so peeking is saving and putting back.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, ClassVar, Final, Literal, NamedTuple, Protocol

from engine.indicators.past import Past
from engine.records import Candle

Unit = Literal["ratio", "price", "volume"]
"""`ratio` is free of scale: prices or volumes times any factor leave it as it is."""

SLIVER: Final = 1e-5
"""Share of the price below which an average range is no unit to measure in: the market stands still."""


class Column(NamedTuple):
    """One number that an indicator gives: its name, the candle from which it is there, its unit."""

    name: str
    first: int
    unit: Unit = "ratio"


class Indicator(Protocol):
    """One computation over a market's candles; nan = not yet.

    `columns` says what `step` returns, `parts` whose values it reads (they have stepped before it),
    `keeps` which attributes carry over to the next candle, `reach` and `depth` how many closes and
    how many whole candles of the past it looks at.
    """

    columns: tuple[Column, ...]
    parts: tuple[Indicator, ...] = ()
    keeps: ClassVar[tuple[str, ...]] = ()
    reach: int = 2
    depth: int = 2
    alone: Panel | None = None

    def step(self, past: Past) -> tuple[float, ...]:
        """The values at the newest candle of `past`, one per column."""
        ...

    def update(self, candle: Candle) -> dict[str, float]:
        """Advance by one closed candle of a market that this indicator has for itself."""
        return self._named(self._panel().update(candle))

    def peek(self, candle: Candle) -> dict[str, float]:
        """What `update` would answer; nothing changes."""
        return self._named(self._panel().peek(candle))

    def _panel(self) -> Panel:
        if self.alone is None:
            self.alone = Panel((self,))
        return self.alone

    def _named(self, values: tuple[float, ...]) -> dict[str, float]:
        return dict(zip(names_of(self), values[-len(self.columns) :], strict=True))


def names_of(indicator: Indicator) -> tuple[str, ...]:
    """The names of its columns, in order."""
    return tuple(column.name for column in indicator.columns)


def parts_first(indicators: Iterable[Indicator]) -> Iterator[Indicator]:
    """Every indicator and every part of one, each once, no one before its parts."""
    met: set[int] = set()

    def walk(some: Iterable[Indicator]) -> Iterator[Indicator]:
        for indicator in some:
            if id(indicator) not in met:
                met.add(id(indicator))
                yield from walk(indicator.parts)
                yield indicator

    yield from walk(indicators)


class Panel:
    """Indicators advanced together over one past, each once a candle, however many read it.

    >>> from engine.indicators import EMA, EMACross
    >>> fast, slow = EMA(1), EMA(2)
    >>> panel = Panel([EMACross(fast, slow), fast])
    >>> [column.name for column in panel.columns]
    ['ema_1', 'ema_2', 'ema_cross', 'ema_cross_age', 'ema_spread']
    """

    __slots__ = ("indicators", "past", "steps")

    def __init__(self, indicators: Iterable[Indicator]) -> None:
        self._assemble(tuple(parts_first(indicators)))
        self.past = Past(
            max((i.reach for i in self.indicators), default=2),
            max((i.depth for i in self.indicators), default=2),
        )

    def _assemble(self, indicators: tuple[Indicator, ...]) -> None:
        self.indicators = indicators
        self.steps = [indicator.step for indicator in indicators]

    @property
    def columns(self) -> tuple[Column, ...]:
        return tuple(column for indicator in self.indicators for column in indicator.columns)

    def update(self, candle: Candle) -> tuple[float, ...]:
        """Every column at this candle, in order."""
        past = self.past
        past.push(candle)
        values: list[float] = []
        for step in self.steps:
            values += step(past)
        return tuple(values)

    def peek(self, candle: Candle) -> tuple[float, ...]:
        """What `update` would answer; nothing changes."""
        carried, kept = self.past.carried(), self.kept()
        try:
            return self.update(candle)
        finally:
            self.past.take_back(carried)
            self.put_back(kept)

    def kept(self) -> tuple[Any, ...]:
        """What the indicators carry over, flat."""
        return tuple([getattr(i, name) for i in self.indicators for name in i.keeps])

    def put_back(self, kept: tuple[Any, ...]) -> None:
        """Let the indicators stand where `kept()` was asked."""
        values = iter(kept)
        for indicator in self.indicators:
            for name in indicator.keeps:
                setattr(indicator, name, next(values))

    def __getstate__(self) -> tuple[object, ...]:
        return self.indicators, self.past

    def __setstate__(self, state: tuple[tuple[Indicator, ...], Past]) -> None:
        # The indicators may still be empty here: pickle fills an object after those that it holds.
        indicators, self.past = state
        self._assemble(indicators)
