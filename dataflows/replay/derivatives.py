"""Simulated futures statistics: funding, open interest, long/short ratios, liquidations.

Each is a pure function of (seed, symbol, time) and of the simulated candles it follows.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from dataflows.replay.candles import DAY, HOUR, MINUTE, Candles
from dataflows.replay.traits import seed_of, trait_of

Floats = NDArray[np.float64]

FUNDING_EVERY: Final = 8 * HOUR
STEP: Final = 5 * MINUTE
KINDS: Final = ("top_positions", "top_accounts", "accounts", "taker")
PREMIUM: Final = 3e-4
SQUEEZE: Final = 0.0025
"""A minute's move (relative) from which on positions are closed by force."""


class CandleSource(Protocol):
    """Whose candles the statistics follow."""

    def candles(self, symbol: str, interval: str, start: int, end: int) -> Candles: ...


class Derivatives:
    """What a futures market shows beside its candles."""

    def __init__(self, candles: CandleSource, seed: int) -> None:
        self.seed = seed
        self._candles = candles

    def funding(self, symbol: str, start: int, end: int) -> list[tuple[int, float, float]]:
        """(time, rate, mark price) settled in [start, end): dear after a rise, cheap after a fall."""
        before = self._candles.candles(symbol, "8h", start - 2 * FUNDING_EVERY, end)
        rows = []
        for opened, row in zip(before.time.tolist(), before.values.tolist(), strict=True):
            time = opened + FUNDING_EVERY
            if start <= time < end:
                wobble = float(self._wander(symbol, 20, time, time + 1, HOUR, 4e-5)[0])
                rate = 1e-4 + 0.01 * (row[3] / row[0] - 1.0) + wobble
                rows.append((time, round(max(-0.0075, min(0.0075, rate)), 8), row[3]))
        return rows

    def open_interest(self, symbol: str, start: int, end: int) -> list[tuple[int, float, float]]:
        """(time, contracts, value) every 5 minutes in [start, end)."""
        first = -(-start // STEP) * STEP
        candles = self._candles.candles(symbol, "5m", first - STEP, end - STEP)
        trait = trait_of(symbol)
        swing = np.exp(self._wander(symbol, 10, first, first + STEP * len(candles), STEP, 0.12))
        amounts = np.round(trait.turnover / trait.price * 0.8 * swing, 3)
        rows = zip(candles.time.tolist(), amounts.tolist(), candles.values[:, 3].tolist(), strict=True)
        return [(opened + STEP, amount, amount * price) for opened, amount, price in rows]

    def ratio(self, kind: str, symbol: str, start: int, end: int) -> list[tuple[int, float]]:
        """(time, long / short) every 5 minutes in [start, end)."""
        first = -(-start // STEP) * STEP
        stream = 11 + KINDS.index(kind)
        lift = 0.0 if kind == "taker" else 0.4
        values = np.exp(lift + self._wander(symbol, stream, first, end, STEP, 0.18))
        return [(first + at * STEP, round(float(value), 4)) for at, value in enumerate(values)]

    def premium(self, symbol: str, time: int) -> float:
        """How far the contract is above its index at `time`, as a fraction: some hundredths of a percent."""
        return float(self._wander(symbol, 16, time, time + 1, HOUR, PREMIUM)[0])

    def liquidations(self, symbol: str, start: int, end: int) -> list[tuple[int, str, float, float]]:
        """(time, side of the order, quantity, price) in [start, end): one in a minute that moved hard."""
        minutes = self._candles.candles(symbol, "1m", start - MINUTE, end)
        rows = []
        for opened, row in zip(minutes.time.tolist(), minutes.values.tolist(), strict=True):
            time = opened + 20_000 + seed_of(symbol) % 20_000
            move = row[3] / row[0] - 1.0
            if abs(move) >= SQUEEZE and start <= time < end:
                rows.append(
                    (time, "SELL" if move < 0 else "BUY", row[4] * 0.01, row[2] if move < 0 else row[1])
                )
        return rows

    def _wander(self, symbol: str, stream: int, start: int, end: int, step: int, spread: float) -> Floats:
        """A smooth wandering number at start, start + step, ...: hourly knots, joined by lines."""
        times = np.arange(start, end, step, dtype=np.int64)
        knots_at = np.arange(start // HOUR, -(-end // HOUR) + 1)
        knots = self._knots(symbol, stream)
        return np.interp(times / HOUR, knots_at, [spread * knots(int(at)) for at in knots_at])

    def _knots(self, symbol: str, stream: int) -> Callable[[int], float]:
        days: dict[int, Floats] = {}
        hours = DAY // HOUR

        def knot(hour: int) -> float:
            day = hour // hours
            if day not in days:
                rng = np.random.default_rng([self.seed, stream, seed_of(symbol), day])
                days[day] = rng.standard_normal(hours)
            return float(days[day][hour % hours])

        return knot
