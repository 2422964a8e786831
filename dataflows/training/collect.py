"""The candles a training reads, brought into its history folder: what the journal has, the rest from REST.

Only what lies outside a file's first and last row is asked for; what the journal has corrected is corrected.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import orjson

from dataflows.connectors.binance.history import History, pause
from dataflows.connectors.binance.market import Ask
from dataflows.connectors.binance.rest import Rest
from dataflows.connectors.history import extent
from dataflows.connectors.journal import Journal
from dataflows.training.candles import read_file, write_file
from engine.errors import CorruptRecord, RateLimited
from engine.records import INTERVALS, Candle
from engine.settings import Settings
from engine.symbols import Alias, Market, names

AT_ONCE: Final = 4
DAY: Final = 86_400_000
FINE_DAYS: Final = 60
"""Days of the decision interval: what a model is calibrated for it on."""

DEMO: Final = 5_000
"""Candles of each interval that a demo trains on."""

LONGEST_WAIT: Final = 300.0
"""Seconds the exchange may ask to wait; told to wait longer, collecting fails and is tried again later."""

ROWS: Final = """
SELECT time, body FROM journal
WHERE kind <= 2 AND symbol = ? AND interval = ? AND time > ? AND time <= ? ORDER BY seq
"""


@dataclass(frozen=True, slots=True)
class Want:
    """The candles of one symbol and interval that close in (begin, until], ms UTC."""

    symbol: str
    interval: str
    begin: int
    until: int


def wanted(settings: Settings, until: int, profile: str = "full") -> list[Want]:
    """Everything one training reads: the model's candles, and recent ones of the decision interval.

    >>> found = wanted(Settings(), 1_760_000_400_000)
    >>> len(found), {(want.interval, (want.until - want.begin) // DAY) for want in found} == {
    ...     ("1h", 1095), ("5m", 60)}
    (34, True)
    """
    boosted = settings.models.boosted
    spans = {settings.decide.interval: float(FINE_DAYS)}
    spans[boosted.interval] = max(boosted.window_days, spans.get(boosted.interval, 0.0))
    wants = []
    for interval, days in spans.items():
        span = round(days * DAY)
        if profile == "demo":
            span = min(span, DEMO * INTERVALS[interval])
        wants += [Want(symbol, interval, until - span, until) for symbol in settings.all_symbols]
    return wants


async def collect(
    wants: Sequence[Want],
    rest: Rest,
    journal: Journal | None,
    folder: Path,
    told: Callable[[float], None] = lambda share: None,
) -> None:
    """Bring every file of `folder` up to date; `told` hears the share of the wants that is there.

    What has come stays when another part fails. Raises `SourceError`, `StorageError`.
    """
    done = 0
    slots = asyncio.Semaphore(AT_ONCE)
    history = History(rest, ignore, at_once=AT_ONCE)

    async def one(want: Want) -> None:
        nonlocal done
        async with slots:
            await bring(want, history, rest.market, journal, folder)
        done += 1
        told(done / len(wants))

    results = await asyncio.gather(*(one(want) for want in wants), return_exceptions=True)
    for result in results:
        if isinstance(result, BaseException):
            raise result


async def bring(want: Want, history: History, market: Market, journal: Journal | None, folder: Path) -> None:
    """Bring the files of one symbol and interval up to date, one for each name it had."""
    journaled = from_journal(journal, want)
    for alias in names(want.symbol, market):
        path = folder / "klines" / market / want.interval / f"{alias.exchange_symbol}.parquet"
        own = [candle for candle in journaled if alias.covers(candle.time)]
        known = {candle.time for candle in own}
        fetched: list[Candle] = []
        for first, last in missing(want, alias, extent(path, want.interval), known):
            fetched += await patient(history, Ask(want.symbol, want.interval, first, last))
        if fetched or own:
            write_file(path, read_file(path), [*fetched, *own], alias.multiplier)


def missing(want: Want, alias: Alias, held: tuple[int, int], known: set[int]) -> list[tuple[int, int]]:
    """The spans of closes to ask for, first and last included: outside the file's, and not `known`.

    `held` is the file's first open and last close: a hole between them was asked for when it was filled.

    >>> want = Want("BTCUSDT", "1m", 0, 600_000)
    >>> missing(want, Alias("BTC", "spot", "BTCUSDT"), (120_000, 300_000), {480_000})
    [(60000, 120000), (360000, 420000), (540000, 600000)]
    """
    step = INTERVALS[want.interval]
    begin = max(want.begin, alias.begins)
    end = want.until if alias.ends is None else min(want.until, alias.ends)
    first, last = (begin // step + 1) * step, end // step * step
    if held == (0, 0):
        return list(runs(first, last, step, known))
    older = runs(first, min(last, held[0] // step * step), step, known)
    newer = runs(max(first, held[1] + step), last, step, known)
    return [*older, *newer]


def runs(first: int, last: int, step: int, known: set[int]) -> Iterator[tuple[int, int]]:
    """The spans between `first` and `last`, on the grid, that hold nothing known.

    >>> list(runs(1, 9, 1, {1, 4, 5, 9}))
    [(2, 3), (6, 8)]
    """
    for time in (*sorted(time for time in known if first <= time <= last), last + step):
        if first < time:
            yield first, time - step
        first = time + step


def from_journal(journal: Journal | None, want: Want) -> list[Candle]:
    """What the flow has seen of one market, a Correction in the place of what it corrects."""
    if journal is None:
        return []
    rows: Iterable[tuple[int, bytes]] = journal.database.rows(
        ROWS, want.symbol, want.interval, want.begin, want.until
    )
    newest = {time: Candle(want.symbol, want.interval, time, *orjson.loads(body)) for time, body in rows}
    return [newest[time] for time in sorted(newest)]


async def patient(history: History, ask: Ask) -> list[Candle]:
    """The answer to one question, however often the exchange asks for a short wait."""
    while True:
        try:
            return await history.fetch(ask)
        except RateLimited as error:
            if error.banned or error.retry_after > LONGEST_WAIT:
                raise
            await asyncio.sleep(pause(error, 1))


def ignore(symbol: str, interval: str, error: CorruptRecord) -> None:
    """A row that cannot be true stays a gap: training makes nothing up."""
