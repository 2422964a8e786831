"""The rows a training learns from, made of recorded candles by the code that runs live.

Of candles only open, high, low, close and volume are read. An optional input (funding, fear & greed, ...) may
enter a segment where it is present in 99 % of the rows of every symbol in it, or `usable` refuses it by name:
what is missing must not tell a model which symbol or which year it is looking at.
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
from dataflows.connectors.past import Past
from engine.errors import CorruptRecord
from engine.extras import EXTRAS, Extras
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

SHARE: Final = 0.99
"""Of the rows of every symbol, in which an optional input must be known."""

LOOK_BACK: Final = 32 * 86_400_000
"""Ms before the first row of which metrics are read: more than any of them looks back."""

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

    `extras` (n, EXTRAS) are what was known beside the candles, nan where nothing was. A move whose last
    candle is not there is nan. `closes` are those of all candles, sampled or not.
    """

    symbol: str
    segment: str
    closes: Ints
    time: Ints
    inputs: Singles
    moves: Array
    others: Mapping[str, Array]
    extras: Singles

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
    kept = [sampled(ask, one, minimum) for one in tracks]
    times = [one.time[mine] for one, mine in zip(tracks, kept, strict=True)]
    extras = pool.map(known, repeat(ask), [symbol for symbol, _ in pairs], times)
    return [
        source(ask, one, segment, crowd.get(one.symbol), mine, beside)
        for one, (_, segment), mine, beside in zip(tracks, pairs, kept, extras, strict=True)
    ]


def sampled(ask: Ask, one: Track, minimum: int) -> NDArray[np.bool_]:
    """Which of a symbol's closes become rows."""
    grid = one.time // ask.step % ask.stride == 0
    return np.asarray((one.time > ask.begin) & (one.seen >= minimum) & grid)


def featured(ask: Ask, symbol: str) -> Track:
    """One symbol's features; a row that no market can have made is left out, as live."""
    begin = ask.begin - WARM_UP * ask.step
    rows = History(ask.folder, ask.market).candles(symbol, ask.interval, begin, ask.end)
    candles = (candle_of(row) for row in rows.iter_rows())
    return track(symbol, ask.interval, (candle for candle in candles if candle is not None))


def known(ask: Ask, symbol: str, times: Ints) -> Singles:
    """What was known of one symbol beside its candles at these closes, (n, EXTRAS), by the flow's code."""
    out = np.full((len(times), len(EXTRAS)), np.nan, np.float32)
    learned = iter(Past(ask.folder).learned([symbol], ask.begin - LOOK_BACK, ask.end))
    following = next(learned, None)
    if following is None:
        return out
    extras = Extras(asset_of(symbol))
    for place, time in enumerate(times.tolist()):
        while following is not None and following.learned < time:
            extras.update(following)
            following = next(learned, None)
        out[place] = extras.at(time)
    return out


def usable(extras: Mapping[str, Singles]) -> tuple[tuple[str, ...], dict[str, str]]:
    """Of one segment's symbols' extras (n, EXTRAS) those present everywhere; of the others which lack where.

    Present is what is known in `SHARE` of the rows of every symbol.

    >>> rows = np.full((4, len(EXTRAS)), 0.5, np.float32)
    >>> rows[1, 0] = np.nan
    >>> names, refused = usable({"BTCUSDT": rows})
    >>> EXTRAS[0] in names, EXTRAS[1] in names, refused[EXTRAS[0]]
    (False, True, 'known in 75.0 % of the rows of BTCUSDT: 99 % are needed')
    """
    refused = {}
    for place, name in enumerate(EXTRAS):
        shares = {symbol: float(np.isfinite(rows[:, place]).mean()) for symbol, rows in extras.items()}
        symbol = min(shares, key=lambda one: (shares[one], one))
        if shares[symbol] < SHARE:
            found = f"known in {100 * shares[symbol]:.1f} % of the rows of {symbol}"
            refused[name] = f"{found}: {100 * SHARE:g} % are needed"
    return tuple(name for name in EXTRAS if name not in refused), refused


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


def source(
    ask: Ask, one: Track, segment: str, crowd: Singles | None, kept: NDArray[np.bool_], extras: Singles
) -> Source:
    """The sampled rows of one symbol with what followed them."""
    if crowd is None:
        blank = np.zeros((0, 0), np.float32)
        return Source(one.symbol, segment, one.time, one.time, blank, np.zeros(0), {}, extras)
    followed = moves(one.time, one.prices[:, 3], ask.step, HORIZON)
    inputs = np.hstack([one.ratios[kept], crowd[kept]])
    others = {name: following(ask, one.symbol, name, one.time[kept]) for name in ask.others}
    return Source(one.symbol, segment, one.time, one.time[kept], inputs, followed[kept], others, extras)


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
