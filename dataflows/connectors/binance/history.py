"""Candles from REST: the warm-up, what was missed, and the answers to single questions.

Only candles that closed before they were asked for; a row that cannot be true is left out and counted.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeVar

from dataflows.connectors.binance.market import Ask
from dataflows.connectors.binance.parse import candle_of
from dataflows.connectors.binance.rest import LIMIT, Rest
from dataflows.connectors.binance.universe import spans
from engine.errors import CorruptRecord, EngineError, RateLimited, Refused, SourceError, UnknownSymbol
from engine.records import INTERVALS, Candle

AT_ONCE: Final = 8
MOST_MISSED: Final = 10
"""Times the warm-up that a market may have missed; beyond it only the newest warm-up is fetched."""

LONGEST_PAUSE: Final = 30.0

T = TypeVar("T")
Corrupt = Callable[[str, str, CorruptRecord], None]


@dataclass(frozen=True, slots=True)
class Span:
    """What history a start needs: `warm_up` candles per market that closed at or before `until`, ms UTC.

    `newest` are the closes already journaled: only what follows them is fetched, however much that is up to
    ten warm-ups.
    """

    warm_up: int
    until: int
    newest: Mapping[tuple[str, str], int]

    def ask(self, symbol: str, interval: str) -> Ask | None:
        """The candles to fetch for one market; None when there are none.

        >>> Span(3, 600_000, {}).ask("BTCUSDT", "1m")
        Ask(symbol='BTCUSDT', interval='1m', first=480000, last=600000)
        >>> Span(3, 600_000, {("BTCUSDT", "1m"): 300_000}).ask("BTCUSDT", "1m")
        Ask(symbol='BTCUSDT', interval='1m', first=360000, last=600000)
        """
        step = INTERVALS[interval]
        last = self.until // step * step
        newest = self.newest.get((symbol, interval))
        first = last - (self.warm_up - 1) * step
        if newest is not None and newest + step >= last - MOST_MISSED * self.warm_up * step:
            first = newest + step
        first = max(first, step)
        return Ask(symbol, interval, first, last) if first <= last else None


class History:
    """Fetches candles; `corrupt` is told of every row that is left out."""

    def __init__(self, rest: Rest, corrupt: Corrupt, *, at_once: int = AT_ONCE) -> None:
        self._rest = rest
        self._corrupt = corrupt
        self._slots = asyncio.Semaphore(at_once)

    async def fetch(self, ask: Ask) -> list[Candle]:
        """The answer to one question, oldest first. Raises `SourceError`; an unknown name has no candles."""
        out: list[Candle] = []
        async with self._slots:
            for name, multiplier, first, last in spans(ask.symbol, self._rest.market, ask.first, ask.last):
                out += await self._under(name, multiplier, Ask(ask.symbol, ask.interval, first, last))
        return out

    async def gather(
        self, asks: Sequence[Ask], told: Callable[[float], None]
    ) -> dict[tuple[str, str], list[Candle]]:
        """Every answer, however long the exchange makes us wait; `told` hears the share that is there."""
        out: dict[tuple[str, str], list[Candle]] = {}

        async def one(ask: Ask) -> None:
            out[ask.symbol, ask.interval] = await persist(lambda: self.fetch(ask))
            told(len(out) / len(asks))

        async with asyncio.TaskGroup() as group:
            for ask in asks:
                group.create_task(one(ask))
        return out

    async def _under(self, name: str, multiplier: int, ask: Ask) -> list[Candle]:
        step = INTERVALS[ask.interval]
        out: list[Candle] = []
        opened, end = -(-ask.first // step) * step - step, ask.last - step
        while opened <= end:
            limit = min(LIMIT, (end - opened) // step + 1)
            try:
                rows = await self._rest.klines(name, ask.interval, opened, end, limit)
            except UnknownSymbol:
                return out
            out += self._read(rows, ask, multiplier)
            # The next page begins where the last good row ended; a page without one would be asked for ever.
            if len(rows) < limit or not out or out[-1].time <= opened:
                return out
            opened = out[-1].time
        return out

    def _read(self, rows: Sequence[object], ask: Ask, multiplier: int) -> list[Candle]:
        out = []
        for row in rows:
            try:
                candle = candle_of(row, ask.symbol, ask.interval, multiplier)
            except CorruptRecord as error:
                self._corrupt(ask.symbol, ask.interval, error)
                continue
            if ask.first <= candle.time <= ask.last:
                out.append(candle)
        return out


async def persist(question: Callable[[], Awaitable[T]]) -> T:
    """The answer to something essential: asked again, at the exchange's pace, until it comes."""
    tries = 0
    while True:
        try:
            return await question()
        except SourceError as error:
            tries += 1
            await asyncio.sleep(pause(error, tries))


def pause(error: EngineError, tries: int) -> float:
    """Seconds until something essential is asked for again.

    >>> pause(RateLimited("429", 17.0), 1), pause(Refused("451", 451), 1), pause(SourceError("500"), 3)
    (17.1, 30.0, 4.0)
    """
    if isinstance(error, RateLimited):
        return error.retry_after + 0.1
    if isinstance(error, Refused):
        return LONGEST_PAUSE
    return float(min(LONGEST_PAUSE, 0.5 * 2**tries))
