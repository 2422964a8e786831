"""The rows a training learns from, made of recorded candles by the code that runs live."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from itertools import repeat
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from dataflows.connectors.history import History
from engine.errors import CorruptRecord
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

Singles = NDArray[np.float32]
Told = Callable[[str, float], None]


@dataclass(frozen=True)
class Ask:
    """What to read: closes in (`begin`, `end`], ms UTC, and `WARM_UP` before; nothing behind `end`.

    `others` are intervals of signals by whose moves the model is calibrated too.
    """

    folder: Path
    market: Market
    interval: str
    begin: int
    end: int
    others: tuple[str, ...] = ()
    stride: int = STRIDE

    @property
    def step(self) -> int:
        return INTERVALS[self.interval]


@dataclass(frozen=True, eq=False)
class Source:
    """One symbol's sampled closes: `time` (n,), `inputs` (n, INPUTS), `moves` (n,), `others` (n, k) each.

    A move whose last candle is not there is nan. `candles` is how many there were, sampled or not.
    """

    symbol: str
    segment: str
    candles: int
    time: Ints
    inputs: Singles
    moves: Array
    others: Mapping[str, Array]


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
    """One symbol's features; a row that no market can have made is left out, as live."""
    begin = ask.begin - WARM_UP * ask.step
    rows = History(ask.folder, ask.market).candles(symbol, ask.interval, begin, ask.end)
    candles = (candle_of(row) for row in rows.iter_rows())
    return track(symbol, ask.interval, (candle for candle in candles if candle is not None))


def candle_of(row: tuple[Any, ...]) -> Candle | None:
    try:
        return Candle(*row)
    except CorruptRecord:
        return None


def crowded(
    ask: Ask, tracks: Sequence[Track], segments: Mapping[str, str], pool: Executor, told: Told
) -> dict[str, Singles]:
    """Each symbol's market frames at its closes."""
    returns = {one.symbol: (one.time, one.returns) for one in tracks}
    listings = sorted(
        (Listing(name, name, asset_of(name), segments[name]) for name in returns), key=lambda one: one.symbol
    )
    closes = -(-(ask.end - ask.begin) // ask.step)
    edges = [ask.begin + closes * part // SPANS * ask.step for part in range(SPANS + 1)]
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
        return Source(one.symbol, segment, 0, one.time, blank, np.zeros(0), {})
    known = moves(one.time, one.prices[:, 3], ask.step, HORIZON)
    kept = (one.time > ask.begin) & (one.seen >= minimum) & (one.time // ask.step % ask.stride == 0)
    inputs = np.hstack([one.ratios[kept], crowd[kept]])
    others = {name: following(ask, one.symbol, name, one.time[kept]) for name in ask.others}
    return Source(one.symbol, segment, len(one.time), one.time[kept], inputs, known[kept], others)


def following(ask: Ask, symbol: str, interval: str, time: Ints) -> Array:
    """Moves of another interval's horizon from each of its closes until the next close of the model's.

    Shape (times, closes of it in a candle of the model's); nan where a candle is missing.
    """
    step = INTERVALS[interval]
    count = ask.step // step
    candles = History(ask.folder, ask.market).candles(symbol, interval, ask.begin, ask.end)
    closes = candles["time"].to_numpy().astype(np.int64)
    after = np.append(moves(closes, candles["close"].to_numpy(), step, HORIZON), np.nan)
    wanted = time[:, None] + step * np.arange(count)
    places = np.minimum(np.searchsorted(closes, wanted), len(closes) - 1) if len(closes) else wanted * 0 - 1
    exact = closes[places] == wanted if len(closes) else np.zeros(wanted.shape, bool)
    return np.where(exact, after[places], np.nan)
