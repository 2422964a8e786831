"""When stream time has passed a decision close: one Tick each, in order. Pure.

A Tick never overtakes what belongs before it: closes of later moments wait behind it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from heapq import merge
from typing import Final

from engine.records import INTERVALS, Candle, Correction, Tick

PATIENCE: Final = 1.0
"""Wall seconds that a due Tick waits for REST's answer about a missing close."""


class Ticks:
    """The Ticks of one decision interval, `step` ms, each at least `grace` ms of stream time after its close.

    Examples
    --------
    >>> ticks = Ticks(step=300_000, grace=5_000)
    >>> ticks.start(300_000)
    >>> ticks.admit([Candle.of(1.0, time=600_000)])
    []
    >>> ticks.advance(305_000, 0.0, lambda time: False)
    [Tick(time=300000), Candle(symbol='BTCUSDT', interval='1m', time=600000, open=1.0, high=1.0, low=1.0, \
close=1.0, volume=1.0, quote_volume=None, trades=None, taker_base=None, taker_quote=None)]
    """

    def __init__(self, step: int, grace: int, patience: float = PATIENCE) -> None:
        self.step = step
        self.grace = grace
        self.patience = patience
        self.next: int | None = None
        self._due_since: float | None = None
        self._parked: list[Candle | Correction] = []

    @property
    def waiting(self) -> int:
        """Closes that wait behind the next Tick."""
        return len(self._parked)

    def start(self, time: int) -> None:
        """The first close to be ticked."""
        self.next = time

    def admit(self, records: Iterable[Candle | Correction]) -> list[Candle | Correction]:
        """What may be handed on before the next Tick; the rest follows behind it."""
        out: list[Candle | Correction] = []
        for record in records:
            early = self.next is not None and record.time >= self.next + self.step
            (self._parked if early else out).append(record)
        return out

    def advance(
        self, now: int, wall: float, pending: Callable[[int], bool]
    ) -> list[Candle | Correction | Tick]:
        """Every Tick due at stream time `now` (ms), with what waited behind it.

        Where `pending` says that asking may still bring something, a Tick waits at most `patience` seconds.
        """
        out: list[Candle | Correction | Tick] = []
        while self.next is not None and now >= self.next + self.grace:
            if self._due_since is None:
                self._due_since = wall
            if wall - self._due_since < self.patience and pending(self.next):
                return out
            out.append(Tick(self.next))
            self.next += self.step
            parked, self._parked = self._parked, []
            out += self.admit(parked)
        self._due_since = None
        return out


def ordered(
    markets: Iterable[Iterable[Candle]], step: int, first: int | None, until: int
) -> Iterator[Candle | Tick]:
    """History in its one order: by close time, interval, symbol; Ticks `first`, `first` + `step` ... `until`.

    Each of `markets` is oldest first. A Tick comes after every candle closing at or before it and before
    every later one; `first` None = no Ticks.
    """
    for candle in merge(*markets, key=place):
        while first is not None and first <= until and candle.time > first:
            yield Tick(first)
            first += step
        yield candle
    while first is not None and first <= until:
        yield Tick(first)
        first += step


def place(candle: Candle) -> tuple[int, int, str]:
    return candle.time, INTERVALS[candle.interval], candle.symbol
