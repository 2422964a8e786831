"""The rows a training learns from, made of recorded candles by the code that runs live.

Only open, high, low, close and volume are read. An optional column (trades, taker volume, funding) may enter
where it is present in 99 % of the rows of every symbol, or `usable` refuses it by name: what is missing must
not tell a model which symbol or which year it is looking at.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from itertools import repeat
from pathlib import Path
from typing import Any, Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from dataflows.connectors.history import History
from engine.errors import CorruptRecord, StorageError
from engine.records import INTERVALS, Candle, Listing
from engine.research import Array, Ints
from engine.research.labels import moves
from engine.research.rows import Track, frames, track
from engine.symbols import Market, asset_of

HORIZON: Final = 12
"""Candles after which a prediction is judged."""

STRIDE: Final = 5
"""Of so many closes one becomes a row: neighbouring labels share eleven of twelve candles. Coprime with the
24 hours of a day, so that all of them come."""

WARM_UP: Final = 1_000
"""Candles after which features no longer know when they began."""

SPANS: Final = 8
"""Parts of the time whose market frames are measured side by side: a frame looks back one window."""

OPTIONAL: Final[tuple[str, ...]] = ()
"""Columns beyond price and volume that a row is made of: none."""

Singles = NDArray[np.float32]
Told = Callable[[str, float], None]


@dataclass(frozen=True)
class Ask:
    """What to read: closes in (`begin`, `end`], ms UTC, and `WARM_UP` before; nothing behind `end`.

    `others` are intervals of signals by whose moves the model is calibrated too, `optional` columns beyond
    price and volume.
    """

    folder: Path
    market: Market
    interval: str
    begin: int
    end: int
    others: tuple[str, ...] = ()
    stride: int = STRIDE
    optional: tuple[str, ...] = OPTIONAL

    @property
    def step(self) -> int:
        return INTERVALS[self.interval]


@dataclass(frozen=True, eq=False)
class Source:
    """One symbol's sampled closes: `time` (n,), `inputs` (n, INPUTS), `moves` (n,), `others` (n, k) each.

    A move whose last candle is not there is nan. `closes` are those of all candles, sampled or not.
    """

    symbol: str
    segment: str
    closes: Ints
    time: Ints
    inputs: Singles
    moves: Array
    others: Mapping[str, Array]

    def candles(self, until: int) -> int:
        """How many candles had closed by `until`."""
        return int(np.searchsorted(self.closes, until, side="right"))


def sources(
    ask: Ask, pairs: Sequence[tuple[str, str]], minimum: int, pool: Executor, told: Told
) -> list[Source]:
    """What there is of each (symbol, segment), in their order.

    No row of a symbol comes before its `minimum`th candle: live it would be silent there too.
    """
    tracks: list[Track] = []
    for one in pool.map(featured, repeat(ask), [symbol for symbol, _ in pairs]):
        tracks.append(one)
        told("features", len(tracks) / len(pairs))
    crowd = crowded(ask, [one for one in tracks if len(one.time)], dict(pairs), pool, told)
    return [
        source(ask, one, segment, crowd.get(one.symbol), minimum)
        for one, (_, segment) in zip(tracks, pairs, strict=True)
    ]


def featured(ask: Ask, symbol: str) -> Track:
    """One symbol's features; a row that no market can have made is left out, as live.

    Raises `StorageError` for an optional column that is not `usable`.
    """
    begin = ask.begin - WARM_UP * ask.step
    rows = History(ask.folder, ask.market).candles(symbol, ask.interval, begin, ask.end)
    usable(rows.filter(pl.col("time") > ask.begin), ask.optional)
    candles = (candle_of(row) for row in rows.iter_rows())
    return track(symbol, ask.interval, (candle for candle in candles if candle is not None))


def usable(frame: pl.DataFrame, columns: Sequence[str], share: float = 0.99) -> tuple[str, ...]:
    """The optional `columns` of candles of any symbols, each present in a `share` of the rows of every one.

    Raises `StorageError` naming column, symbol and share where one is present in less; nan is absent.

    >>> rows = pl.DataFrame({"symbol": ["BTCUSDT"] * 4, "trades": [3, 4, None, 5]})
    >>> usable(rows, ["trades"], share=0.75)
    ('trades',)
    >>> usable(rows, ["trades"])
    Traceback (most recent call last):
    engine.errors.StorageError: trades is present in 75.00 % of the rows of BTCUSDT: 99 % are needed
    """
    for column in columns:
        there = pl.col(column).cast(pl.Float64).fill_nan(None) if column in frame.columns else pl.lit(None)
        rows = frame.select("symbol", there.is_not_null().alias("there"))
        for symbol, present in rows.group_by("symbol").mean().sort("symbol").iter_rows():
            if present < share:
                found = f"{column} is present in {100 * present:.2f} % of the rows of {symbol}"
                raise StorageError(f"{found}: {100 * share:g} % are needed")
    return tuple(columns)


def candle_of(row: tuple[Any, ...]) -> Candle | None:
    try:
        return Candle(*row)
    except CorruptRecord:
        return None


def crowded(
    ask: Ask, tracks: Sequence[Track], segments: Mapping[str, str], pool: Executor, told: Told
) -> dict[str, Singles]:
    """Each symbol's market frames at its closes."""
    if not tracks:
        return {}
    returns = {one.symbol: (one.time, one.returns) for one in tracks}
    listings = sorted(
        (Listing(name, name, asset_of(name), segments[name]) for name in returns), key=lambda one: one.symbol
    )
    # Where there is no candle there is no frame, however far away the end was set.
    begin = max(ask.begin, min(int(one.time[0]) for one in tracks) - ask.step)
    end = max(begin, max(int(one.time[-1]) for one in tracks))
    closes = (end - begin) // ask.step
    edges = [begin + closes * part // SPANS * ask.step for part in range(SPANS + 1)]
    begins, ends = edges[:-1], edges[1:]
    found: dict[str, Singles] = {}
    same = (repeat(returns), repeat(listings), repeat(ask.interval))
    answers = pool.map(frames, *same, begins, ends, repeat(ask.stride))
    for done, answer in enumerate(answers, 1):
        found = {name: joined(found.get(name), part) for name, part in answer.items()}
        told("market", done / SPANS)
    return found


def joined(known: Singles | None, part: Singles) -> Singles:
    """Frames of two spans: each is nan outside its own."""
    return part if known is None else np.where(np.isnan(known), part, known)


def source(ask: Ask, one: Track, segment: str, crowd: Singles | None, minimum: int) -> Source:
    """The sampled rows of one symbol with what followed them."""
    if crowd is None:
        blank = np.zeros((0, 0), np.float32)
        return Source(one.symbol, segment, one.time, one.time, blank, np.zeros(0), {})
    known = moves(one.time, one.prices[:, 3], ask.step, HORIZON)
    kept = (one.time > ask.begin) & (one.seen >= minimum) & (one.time // ask.step % ask.stride == 0)
    inputs = np.hstack([one.ratios[kept], crowd[kept]])
    others = {name: following(ask, one.symbol, name, one.time[kept]) for name in ask.others}
    return Source(one.symbol, segment, one.time, one.time[kept], inputs, known[kept], others)


def following(ask: Ask, symbol: str, interval: str, time: Ints) -> Array:
    """Moves of another interval's horizon from each of its closes until the next close of the model's.

    Shape (times, closes of it in a candle of the model's); nan where a candle is missing or is none.
    """
    step = INTERVALS[interval]
    count = ask.step // step
    candles = sound(History(ask.folder, ask.market).candles(symbol, interval, ask.begin, ask.end), step)
    closes = candles["time"].to_numpy().astype(np.int64)
    after = np.append(moves(closes, candles["close"].to_numpy(), step, HORIZON), np.nan)
    wanted = time[:, None] + step * np.arange(count)
    places = np.minimum(np.searchsorted(closes, wanted), len(closes) - 1) if len(closes) else wanted * 0 - 1
    exact = closes[places] == wanted if len(closes) else np.zeros(wanted.shape, bool)
    return np.where(exact, after[places], np.nan)


def sound(rows: pl.DataFrame, step: int) -> pl.DataFrame:
    """The rows that a `Candle` does not refuse; nan is above everything here."""
    low, high, volume = pl.col("low"), pl.col("high"), pl.col("volume")
    ends = [(low <= pl.col(name)) & (pl.col(name) <= high) for name in ("open", "close")]
    numbers = (low > 0) & high.is_finite() & (volume >= 0) & volume.is_finite()
    return rows.filter(numbers, *ends, pl.col("time") % step == 0)
