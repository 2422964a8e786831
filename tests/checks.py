"""What every plug must do, as checks that take any of them; and the market they are tried on.

A check fails by an AssertionError that names the column and the candle.
"""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable, Iterable, Sequence
from math import exp, isinf, isnan
from pathlib import Path
from struct import pack
from typing import Protocol

import numpy as np
import polars as pl
import pytest

from engine.indicators import Column
from engine.records import INTERVALS, Candle

START = 1_700_006_400_000
"""2023-11-15 00:00 UTC: the close of the first candle is one interval later."""

Values = tuple[float, ...]


class Stepper(Protocol):
    """Whatever goes through candles: answers each with its values, in the order of `columns`."""

    @property
    def columns(self) -> tuple[Column, ...]: ...
    def update(self, candle: Candle) -> Values: ...
    def peek(self, candle: Candle) -> Values: ...


Make = Callable[[Sequence[Candle]], Stepper]
"""A new stepper; it is shown the series it will be given, which only a cheat looks at."""


def market(
    n: int,
    seed: int = 0,
    *,
    symbol: str = "BTCUSDT",
    interval: str = "1h",
    price: float = 100.0,
    start: int = START,
    tick: float = 1e-4,
    quiet: float = 0.0,
    holes: float = 0.0,
) -> list[Candle]:
    """`n` candles of a market that trends, jumps and calms down; the same for the same arguments.

    Prices are multiples of `tick` x `price`, so ties happen as on an exchange. `quiet` is the share of
    stretches without any trade (flat, volume 0), `holes` the share of candles that are missing.
    """
    rng = np.random.default_rng(seed)
    ms, unit = INTERVALS[interval], tick * price
    last, time, sigma, drift, still = round(1 / tick), start, 0.004, 0.0, False
    candles: list[Candle] = []
    while len(candles) < n:
        if len(candles) % 24 == 0:
            sigma = float(rng.choice([0.001, 0.004, 0.012]))
            drift = float(rng.normal(0, sigma / 6)) - 2e-3 * (last * tick - 1)
            still = bool(rng.random() < quiet)
        time += ms * (1 + int(rng.integers(1, 6)) if rng.random() < holes else 1)
        path = last * np.exp(np.cumsum(rng.normal(drift / 8, sigma / 8**0.5, 8)))
        if rng.random() < 0.01:
            path[-1] *= exp(rng.normal(0, 5 * sigma))
        steps = [last] if still else [last, *np.maximum(np.rint(path), 1).astype(int).tolist()]
        volume = 0.0 if still else float(np.round(rng.lognormal(3, 0.8), 3))
        last, top, bottom = steps[-1], max(steps), min(steps)
        candles.append(
            Candle(symbol, interval, time, steps[0] * unit, top * unit, bottom * unit, last * unit, volume)
        )
    return candles


def scaled(candles: Iterable[Candle], price: float = 1.0, volume: float = 1.0) -> list[Candle]:
    """The same market in another currency and another unit of volume."""
    return [
        Candle(
            c.symbol,
            c.interval,
            c.time,
            c.open * price,
            c.high * price,
            c.low * price,
            c.close * price,
            c.volume * volume,
        )
        for c in candles
    ]


def market_data(*parts: str) -> Path:
    """A path in the folder of real data; skips the test, saying so, where it is absent."""
    folder = Path(os.environ.get("MARKET_DATA", Path(__file__).parents[2] / "shared" / "market"))
    path = folder.joinpath(*parts)
    if not path.exists():
        pytest.skip(f"real market data is not here: {path} (set MARKET_DATA)")
    return path


def real_candles(symbol: str, interval: str, n: int, market: str = "spot") -> list[Candle]:
    """The last `n` real candles of a market."""
    rows = pl.read_parquet(market_data("klines", market, interval, f"{symbol}.parquet")).sort("open_time")
    columns = rows.tail(n).select("open_time", "open", "high", "low", "close", "volume")
    ms = INTERVALS[interval]
    return [Candle(symbol, interval, time + ms, *prices) for time, *prices in columns.iter_rows()]


def run(stepper: Stepper, candles: Iterable[Candle]) -> list[Values]:
    return [stepper.update(candle) for candle in candles]


def assert_same_bytes(columns: Sequence[Column], left: Values, right: Values, where: str) -> None:
    """Equal to the last bit; nan equals nan."""
    differing = [
        f"{column.name} ({a!r} and {b!r})"
        for column, a, b in zip(columns, left, right, strict=True)
        if pack("d", a) != pack("d", b) and not (isnan(a) and isnan(b))
    ]

    assert not differing, f"{where}: {', '.join(differing)}"


def check_prefix_invariant(make: Make, candles: Sequence[Candle], cuts: Iterable[int]) -> None:
    """The value at t from candles[0..t] is the value at t of the full series: nothing looks ahead."""
    whole = run(make(candles), candles)
    for cut in cuts:
        prefix = candles[:cut]
        stepper = make(prefix)

        assert_same_bytes(stepper.columns, run(stepper, prefix)[-1], whole[cut - 1], f"seen to candle {cut}")


def check_start_invariant(
    make: Make, candles: Sequence[Candle], ends: Iterable[int], history: int = 1000
) -> None:
    """The value at t from the last `history` candles has the bytes of the value at t from all."""
    whole = run(make(candles), candles)
    for end in ends:
        recent = candles[end - history : end]
        stepper = make(recent)

        assert_same_bytes(stepper.columns, run(stepper, recent)[-1], whole[end - 1], f"at candle {end}")


def check_scale_invariant(make: Make, candles: Sequence[Candle], price: float, volume: float) -> None:
    """Powers of two as factors: ratios keep their bits, prices and volumes are multiplied exactly."""
    here, there = make(candles), make(candles)
    factors = {"ratio": 1.0, "price": price, "volume": volume}
    for n, (left, right) in enumerate(zip(candles, scaled(candles, price, volume), strict=True), start=1):
        wanted = tuple(
            v * factors[column.unit] for column, v in zip(here.columns, here.update(left), strict=True)
        )

        assert_same_bytes(here.columns, wanted, there.update(right), f"price x {price} at candle {n}")


def check_peek_is_pure(make: Make, candles: Sequence[Candle]) -> None:
    """`peek` answers what `update` then answers, and whoever peeked goes on as if it had not."""
    curious, plain = make(candles), make(candles)
    for n, candle in enumerate(candles, start=1):
        forming = scaled([candle], price=1.5, volume=3.0)[0]
        curious.peek(forming)
        seen = curious.peek(candle)
        updated = plain.update(candle)

        assert_same_bytes(plain.columns, seen, updated, f"peeked at candle {n}")
        assert_same_bytes(plain.columns, curious.update(candle), updated, f"after peeking at candle {n}")


def check_survives_pickling(make: Make, candles: Sequence[Candle], every: int = 37) -> None:
    """Pickled and read back at any candle, it goes on as if nothing had happened."""
    moved, plain = make(candles), make(candles)
    for n, candle in enumerate(candles):
        if n % every == 0:
            moved = pickle.loads(pickle.dumps(moved))

        assert_same_bytes(plain.columns, moved.update(candle), plain.update(candle), f"moved by candle {n}")


def check_bounded(make: Make, candles: Sequence[Candle], slack: int = 256) -> None:
    """State does not grow: its pickle is no larger at the end than a third of the way in."""
    stepper = make(candles)
    third = len(candles) // 3
    run(stepper, candles[:third])
    early = len(pickle.dumps(stepper))
    run(stepper, candles[third:])

    late = len(pickle.dumps(stepper))
    assert late <= early + slack, f"state grew from {early} to {late} bytes"


def check_first_valid(make: Make, candles: Sequence[Candle]) -> None:
    """No column is ever infinite, and none is nan once its first candle has come."""
    stepper = make(candles)
    for n, values in enumerate(run(stepper, candles), start=1):
        for column, value in zip(stepper.columns, values, strict=True):
            assert not isinf(value), f"{column.name} at candle {n} was {value}"
            assert n < column.first or not isnan(value), f"{column.name} was nan at candle {n}"
