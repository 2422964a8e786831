"""What a model is fitted on: the same features and market frames as live, row by row, from recorded candles.

A row depends on candles up to its close and on none behind it; the order of symbols is fixed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from math import log
from operator import attrgetter, itemgetter
from types import MappingProxyType
from typing import Final

import numpy as np
from numpy.typing import NDArray

from engine.extras import EXTRAS
from engine.extras import FAMILIES as EXTRA_FAMILIES
from engine.features import SCHEMA, FeatureSet
from engine.indicators import standard
from engine.market import Market
from engine.records import INTERVALS, NOT_YET, Candle, Features, Listing, MarketFrame, Row, Universe

MARKET: Final = (
    "btc_return",
    "sector_return",
    "market_return",
    "own_return",
    "beta",
    "btc_correlation",
    "btc_correlation_before",
    "sector_correlation",
    "sector_beta",
    "spread_z",
    "lead",
)
"""The market frame's numbers, in the order of a row."""

INPUTS: Final = (*SCHEMA.ratios, *MARKET)
"""The columns of a row: every scale-free feature, then the market frame's."""

INPUTS_HASH: Final = sha256("\n".join((SCHEMA.hash, *INPUTS)).encode()).hexdigest()[:16]
"""Names what the columns mean: a model fitted on other ones is refused."""

WINDOW: Final = 96
"""Closes that a market frame looks back on; before they are there, a row is not what it will be."""


def families() -> dict[str, str]:
    """The family of every input: that of its indicator, `market`, or an optional input's own."""
    known = {
        column.name: type(indicator).__module__.rpartition(".")[2]
        for indicator in standard()
        for column in indicator.columns
    }
    return {
        **{name: known[name] for name in SCHEMA.ratios},
        **dict.fromkeys(MARKET, "market"),
        **EXTRA_FAMILIES,
    }


FAMILIES: Final[Mapping[str, str]] = MappingProxyType(families())
"""By input, optional ones included, what kind of thing it tells of."""

RATIOS: Final = itemgetter(*(SCHEMA.index[name] for name in SCHEMA.ratios))
FRAME: Final = attrgetter(*MARKET)

Floats = NDArray[np.float64]
Singles = NDArray[np.float32]
Times = NDArray[np.int64]
Returns = Mapping[str, tuple[Times, Floats]]
"""By symbol, closes (n,) in ms and log returns (n,) that end there."""


def row_of(
    features: Features, frame: MarketFrame, extras: Sequence[float] = (), optional: Sequence[str] = ()
) -> tuple[float, ...]:
    """One row of `INPUTS` and these optional inputs, live and in training alike; nan = not known.

    `extras` are in the order of `EXTRAS`.
    """
    return (*RATIOS(features.values), *FRAME(frame), *(extras[EXTRAS.index(name)] for name in optional))


@dataclass(frozen=True)
class Track:
    """One symbol's closes: `time` (n,), `prices` (n, 4) open high low close, `ratios` (n, features).

    `returns` (n,) are log returns, nan behind a gap; `seen` (n,) counts candles since the last reset.
    """

    symbol: str
    time: Times
    prices: Floats
    ratios: Singles
    returns: Floats
    seen: Times


def track(symbol: str, interval: str, candles: Iterable[Candle]) -> Track:
    """Advance one symbol's features over its candles, oldest first.

    >>> one = track("BTCUSDT", "1h", [Candle.of(10.0, interval="1h", time=3_600_000 * n) for n in (1, 2)])
    >>> one.ratios.shape == (2, len(SCHEMA.ratios)), one.returns.tolist(), one.seen.tolist()
    (True, [nan, 0.0], [1, 2])
    """
    features = FeatureSet(symbol, interval)
    known: list[tuple[int, int, float]] = []
    prices: list[tuple[float, float, float, float]] = []
    ratios: list[tuple[float, ...]] = []
    before = NOT_YET
    for candle in candles:
        now = features.update(candle)
        move = NOT_YET if now.gap or now.seen < 2 else log(candle.close / before)
        before = candle.close
        known.append((candle.time, now.seen, move))
        prices.append((candle.open, candle.high, candle.low, candle.close))
        ratios.append(RATIOS(now.values))
    return Track(
        symbol,
        np.array([time for time, _, _ in known], np.int64),
        np.array(prices, np.float64).reshape(-1, 4),
        np.array(ratios, np.float32).reshape(-1, len(SCHEMA.ratios)),
        np.array([move for _, _, move in known], np.float64),
        np.array([seen for _, seen, _ in known], np.int64),
    )


def frames(
    returns: Returns, listings: Sequence[Listing], interval: str, begin: int, end: int, every: int = 1
) -> dict[str, Singles]:
    """Each symbol's market frames (n, MARKET) at its closes in (`begin`, `end`], nan at all others.

    A symbol is expected from its first close on. A frame looks back on `WINDOW` closes: only those are read
    before `begin`. With `every` only closes on that many times the interval's grid are measured.
    """
    step = INTERVALS[interval]
    places = {
        symbol: {int(at): place for place, at in enumerate(times)} for symbol, (times, _) in returns.items()
    }
    found = {symbol: np.full((len(at), len(MARKET)), np.nan, np.float32) for symbol, at in places.items()}
    market = Market(WINDOW)
    closes = range(begin - (WINDOW - 1) * step, end + 1, step)
    for record in crowd(returns, places, listings, closes, every):
        for frame in market.update(record):
            if frame.time > begin:
                found[frame.symbol][places[frame.symbol][frame.time]] = FRAME(frame)
    return found


def crowd(
    returns: Returns,
    places: Mapping[str, Mapping[int, int]],
    listings: Sequence[Listing],
    closes: range,
    every: int = 1,
) -> Iterator[Row | Universe]:
    """What symbols tell the market at `closes`: one row of each that has begun by then, there or not."""
    begun = [(int(returns[one.symbol][0][0]), one) for one in listings if len(returns[one.symbol][0])]
    members: tuple[Listing, ...] = ()
    universe = 0
    for time in closes:
        if len(now := tuple(one for first, one in begun if first <= time)) != len(members):
            members, universe = now, time - closes.step
            yield Universe(universe, members)
        asked = time // closes.step % every == 0
        for one in members:
            place = places[one.symbol].get(time)
            move = NOT_YET if place is None else float(returns[one.symbol][1][place])
            here = place is not None
            yield Row(one.symbol, time, universe, move, present=here, speaks=here and asked)
