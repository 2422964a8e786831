"""A simulated market, labelled so: correlated regimes, jumps, volume with a daily shape, from 2020 on.

Any candle is a pure function of (seed, symbol, time): every day can be made alone, and all intervals of a day
are sums of the same minutes.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from dataflows.replay.candles import DAY, EMPTY, MINUTE, SPANS, WIDTH, Candles, aggregate
from dataflows.replay.derivatives import Derivatives
from dataflows.replay.instruments import Instrument, Market
from dataflows.replay.seasons import FIRST_DAY, DayTotals, Seasons
from dataflows.replay.traits import default_symbols, instrument_of, seed_of, trait_of

Floats = NDArray[np.float64]

MINUTES: Final = DAY // MINUTE
KEPT: Final = {"1m": 3, "5m": 20, "15m": 60, "1h": 400, "4h": 400}
"""Days of each interval kept in memory; a day no longer kept is made again."""

SUMMED: Final = {"3m": "1m", "30m": "15m", "2h": "1h", "6h": "1h"}
"""Which kept interval another is summed from; all others come from 4h."""

# Busy when Europe and America are awake, quiet before Asia opens.
HOURLY: Final = (0.95, 0.9, 0.85, 0.8, 0.75, 0.75, 0.8, 0.95, 1.05, 1.05, 1.0, 1.0)
HOURLY_LATER: Final = (1.1, 1.35, 1.55, 1.5, 1.35, 1.2, 1.1, 1.0, 0.95, 0.9, 0.85, 0.85)
TICKET: Final = 900.0
"""A trade's mean size in quote currency."""


class Simulated:
    """Simulated candles of `symbols`; a symbol's path does not depend on which others are there.

    >>> market = Simulated(("BTCUSDT",), seed=7)
    >>> day = 19_723 * DAY
    >>> hour, minutes = (market.candles("BTCUSDT", name, day, day + 3_600_000) for name in ("1h", "1m"))
    >>> bool(hour.values[0, 1] == minutes.values[:, 1].max()), len(minutes)
    (True, 60)
    """

    simulated = True

    def __init__(self, symbols: Sequence[str] = (), seed: int = 0, market: Market = "spot") -> None:
        self.symbols = tuple(symbols) or default_symbols(market)
        self.seed = seed
        self._traits = [trait_of(symbol) for symbol in self.symbols]
        self._keys = [seed_of(symbol) for symbol in self.symbols]
        self._row = {symbol: at for at, symbol in enumerate(self.symbols)}
        self._seasons = Seasons(self._traits, self._keys, seed)
        self._blocks: dict[str, OrderedDict[int, Floats]] = {interval: OrderedDict() for interval in KEPT}
        self._shape = self._daily_shape()
        self._derivatives = Derivatives(self, seed)

    def lifetime(self, symbol: str) -> tuple[int, int]:
        """It begins with 2020 and does not end."""
        return FIRST_DAY * DAY, 1 << 60

    def instrument(self, symbol: str) -> Instrument:
        return instrument_of(symbol)

    def base(self, symbol: str, time: int) -> str | None:
        return "1m" if time >= FIRST_DAY * DAY else None

    def prepare(self, time: int) -> None:
        """Make the day that holds `time` now rather than when it is asked for."""
        self._block("4h", max(time // DAY, FIRST_DAY))

    def candles(self, symbol: str, interval: str, start: int, end: int) -> Candles:
        """Candles that open in [start, end), in ms."""
        if interval not in self._blocks:
            return self._summed(symbol, interval, start, end)
        span, row = SPANS[interval], self._row[symbol]
        first, last = max(start // DAY, FIRST_DAY), (end - 1) // DAY
        if last < first:
            return EMPTY
        values = np.concatenate([self._block(interval, day)[row] for day in range(first, last + 1)])
        time = np.arange(first * DAY, (last + 1) * DAY, span, dtype=np.int64)
        return Candles(time, values).between(start, end)

    def _summed(self, symbol: str, interval: str, start: int, end: int) -> Candles:
        span = SPANS.get(interval, 0)
        if span < MINUTE:
            return EMPTY
        finer = self.candles(symbol, SUMMED.get(interval, "4h"), start - span, end + span)
        return aggregate(finer, span).between(start, end)

    def _block(self, interval: str, day: int) -> Floats:
        """(S, candles of the day, 9); made, with all its intervals, where it is not kept."""
        blocks = self._blocks[interval]
        if day not in blocks:
            self._make(day)
        blocks.move_to_end(day)
        return blocks[day]

    def _make(self, day: int) -> None:
        minutes = self._minutes(day)
        for interval, kept in KEPT.items():
            blocks = self._blocks[interval]
            blocks[day] = summed(minutes, SPANS[interval] // MINUTE)
            while len(blocks) > kept:
                blocks.popitem(last=False)

    def _minutes(self, day: int) -> Floats:
        """One day of every symbol, (S, 1440, 9)."""
        totals = self._seasons.day(day)
        rng = np.random.default_rng([self.seed, 3, day])
        waves = self._waves(rng)  # (1440,) share of a day's volatility in each minute, squares sum to 1
        shared = bridge(
            rng.standard_normal((4, MINUTES)),
            waves,
            self._seasons.shared_vol * totals.liveliness,
            totals.shared,
        )
        out = np.empty((len(self.symbols), MINUTES, WIDTH))
        rngs = [np.random.default_rng([self.seed, 4, day, key]) for key in self._keys]
        noise = np.stack([rng.standard_normal((5, MINUTES), dtype=np.float32) for rng in rngs], axis=1)
        own = bridge(noise[0], waves, self._seasons.own_vol * totals.liveliness, totals.own)
        moves = self._seasons.loadings @ shared + own
        levels = self._levels(moves, totals)
        self._prices(out, levels, noise, waves, totals)
        self._volumes(out, moves, noise, waves, totals)
        return out

    def _waves(self, rng: np.random.Generator) -> Floats:
        knots = rng.standard_normal(25) * 0.35
        knots[0] = knots[-1] = 0.0
        slow = np.interp(np.arange(MINUTES), np.arange(25) * 60, knots)
        waves = self._shape * np.exp(slow)
        return np.asarray(waves / np.sqrt((waves**2).sum()))

    def _daily_shape(self) -> Floats:
        hours = np.array((*HOURLY, *HOURLY_LATER, HOURLY[0]))
        return np.asarray(np.interp(np.arange(MINUTES), np.arange(25) * 60, hours))

    def _levels(self, moves: Floats, totals: DayTotals) -> Floats:
        """Log levels at the end of each minute, (S, 1440); the last one is the day's."""
        steps = moves.copy()
        steps[np.arange(len(steps)), totals.jump_minute] += totals.jump
        rest = totals.after - totals.level - steps.sum(axis=1)
        steps += (rest / MINUTES)[:, None]
        return np.asarray(totals.level[:, None] + np.cumsum(steps, axis=1))

    def _prices(
        self, out: Floats, levels: Floats, noise: NDArray[np.float32], waves: Floats, totals: DayTotals
    ) -> None:
        start = np.array([t.price for t in self._traits])[:, None]
        scale = np.array([10.0**t.price_decimals for t in self._traits])[:, None]
        close = start * np.exp(levels)
        before = start * np.exp(totals.level[:, None])
        open_ = np.concatenate((before, close[:, :-1]), axis=1)
        vol = self._volatility(waves, totals) * 0.5
        high = np.maximum(open_, close) * (1.0 + np.abs(noise[1]) * vol)
        low = np.minimum(open_, close) * (1.0 - np.abs(noise[2]) * vol)
        for column, prices in enumerate((open_, high, low, close)):
            out[:, :, column] = np.maximum(np.rint(prices * scale), 1.0) / scale

    def _volatility(self, waves: Floats, totals: DayTotals) -> Floats:
        """(S, 1440) volatility of one minute."""
        shared = (self._seasons.loadings * self._seasons.shared_vol) ** 2
        daily = np.sqrt(shared.sum(axis=1) + self._seasons.own_vol**2) * totals.liveliness
        return np.asarray(daily[:, None] * waves)

    def _volumes(
        self, out: Floats, moves: Floats, noise: NDArray[np.float32], waves: Floats, totals: DayTotals
    ) -> None:
        turnover = np.array([t.turnover for t in self._traits])[:, None] / MINUTES
        places = np.array([10.0**t.quantity_decimals for t in self._traits])[:, None]
        pushed = moves / self._volatility(waves, totals)
        busy = totals.liveliness * waves * np.sqrt(MINUTES) * (0.55 + 0.55 * np.abs(pushed))
        quote = turnover * busy * np.exp(0.45 * noise[3])
        typical = (out[:, :, 0] + out[:, :, 1] + out[:, :, 2] + out[:, :, 3]) / 4.0
        base = np.maximum(np.rint(quote / typical * places), 1.0) / places
        taker = np.clip(0.5 + 0.12 * np.tanh(pushed) + 0.05 * noise[4], 0.05, 0.95)
        out[:, :, 4] = base
        out[:, :, 5] = np.round(base * typical, 8)
        out[:, :, 6] = np.maximum(np.rint(out[:, :, 5] / TICKET), 1.0)
        out[:, :, 7] = np.rint(base * taker * places) / places
        out[:, :, 8] = np.round(out[:, :, 7] * typical, 8)

    def funding(self, symbol: str, start: int, end: int) -> list[tuple[int, float, float]]:
        return self._derivatives.funding(symbol, start, end)

    def open_interest(self, symbol: str, start: int, end: int) -> list[tuple[int, float, float]]:
        return self._derivatives.open_interest(symbol, start, end)

    def ratio(self, kind: str, symbol: str, start: int, end: int) -> list[tuple[int, float]]:
        return self._derivatives.ratio(kind, symbol, start, end)

    def premium(self, symbol: str, time: int) -> float:
        return self._derivatives.premium(symbol, time)

    def liquidations(self, symbol: str, start: int, end: int) -> list[tuple[int, str, float, float]]:
        return self._derivatives.liquidations(symbol, start, end)


def bridge(normal: NDArray[np.floating], waves: Floats, vol: Floats, total: Floats) -> Floats:
    """Minutes of volatility `vol` x `waves` that sum to `total`, by row; the rest is spread by variance.

    >>> bridge(np.ones((1, 2)), np.array([0.6, 0.8]), np.ones(1), np.array([3.0])).sum().round(12)
    np.float64(3.0)
    """
    moves = normal * vol[:, None] * waves
    return np.asarray(moves + (total - moves.sum(axis=1))[:, None] * waves**2)


def summed(minutes: Floats, count: int) -> Floats:
    """(S, n, 9) minutes as (S, n / count, 9) longer candles."""
    if count == 1:
        return minutes
    parts = minutes.reshape(len(minutes), -1, count, WIDTH)
    out: Floats = parts.sum(axis=2)
    out[:, :, 0] = parts[:, :, 0, 0]
    out[:, :, 1] = parts[:, :, :, 1].max(axis=2)
    out[:, :, 2] = parts[:, :, :, 2].min(axis=2)
    out[:, :, 3] = parts[:, :, -1, 3]
    return out
