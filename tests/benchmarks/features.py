"""Microseconds per candle of every feature, beside talipp and TA-Lib on the specification's indicators.

`python -m tests.benchmarks.features [candles]`. Ratios travel better than microseconds: compare those.
"""

from __future__ import annotations

import os
import pickle
import sys
from collections.abc import Callable, Sequence
from time import process_time
from typing import Any

import numpy as np
import talib
import talipp.indicators as talipp
from talib import stream
from talipp.ohlcv import OHLCV

from engine.features import SCHEMA, FeatureSet
from engine.indicators import ADX, ATR, EMA, MACD, OBV, RSI, SMA, VWAP, Bollinger, Panel
from engine.records import Candle
from tests import checks

WARM = 400
ROUNDS = 9

Step = Callable[[Candle], object]


def best(make: Callable[[], Step], candles: Sequence[Candle]) -> float:
    """Microseconds of processor time per candle, the best of `ROUNDS`, after `WARM` candles."""
    found = []
    for _ in range(ROUNDS):
        step = make()
        for candle in candles[:WARM]:
            step(candle)
        start = process_time()
        for candle in candles[WARM:]:
            step(candle)
        found.append((process_time() - start) / (len(candles) - WARM) * 1e6)
    return min(found)


def all_features() -> Step:
    return FeatureSet("BTCUSDT", "1h").update


def all_features_peeked() -> Step:
    features = FeatureSet("BTCUSDT", "1h")

    def both(candle: Candle) -> None:
        features.peek(candle)
        features.update(candle)

    return both


def eleven_of_ours() -> Step:
    """The specification's eleven: what the others below compute too."""
    return Panel(
        (RSI(14), RSI(7), MACD(), EMA(9), EMA(21), SMA(50), SMA(200), ADX(14), Bollinger(), ATR(14), OBV())
    ).update


def ours_by_name() -> Step:
    """The same through the readable `update` of each class, and VWAP: one past each, a dict each."""
    each = [
        RSI(14),
        RSI(7),
        MACD(),
        EMA(9),
        EMA(21),
        SMA(50),
        SMA(200),
        ADX(14),
        Bollinger(),
        ATR(14),
        VWAP(),
    ]
    return lambda candle: [indicator.update(candle) for indicator in each]


def talipps() -> Step:
    of_closes = [
        *(talipp.RSI(14), talipp.RSI(7), talipp.MACD(12, 26, 9), talipp.EMA(9), talipp.EMA(21)),
        *(talipp.SMA(50), talipp.SMA(200), talipp.BB(20, 2.0)),
    ]
    of_candles = [talipp.ADX(14, 14), talipp.ATR(14), talipp.OBV()]

    def step(candle: Candle) -> None:
        close = candle.close
        whole = OHLCV(candle.open, candle.high, candle.low, close, candle.volume)
        for indicator in of_closes:
            indicator.add(close)
        for indicator in of_candles:
            indicator.add(whole)

    return step


def talib_handles(candles: Sequence[Candle]) -> Callable[[], Step]:
    """TA-Lib's streaming handles, opened on the warm-up; they cannot be pickled."""
    rows = np.array([(c.high, c.low, c.close, c.volume) for c in candles[:WARM]])
    high, low, close, volume = (column.copy() for column in rows.T)

    def make() -> Step:
        of_closes: list[Any] = [
            *(stream.RSI(close, 14), stream.RSI(close, 7), stream.MACD(close), stream.EMA(close, 9)),
            *(stream.EMA(close, 21), stream.SMA(close, 50), stream.SMA(close, 200), stream.BBANDS(close, 20)),
        ]
        of_ranges: list[Any] = [stream.ADX(high, low, close, 14), stream.ATR(high, low, close, 14)]
        obv = stream.OBV(close, volume)

        def step(candle: Candle) -> None:
            last = candle.close
            for handle in of_closes:
                handle.update(last)
            for handle in of_ranges:
                handle.update(candle.high, candle.low, last)
            obv.update(last, candle.volume)

        return step

    return make


def talib_batch(candles: Sequence[Candle]) -> float:
    """All candles at once in C, per candle: the floor of what can be reached."""
    high, low, close, volume = np.array([(c.high, c.low, c.close, c.volume) for c in candles]).T.copy()
    found = []
    for _ in range(ROUNDS):
        start = process_time()
        for period in (14, 7):
            talib.RSI(close, period)
        for period in (9, 21):
            talib.EMA(close, period)
        for period in (50, 200):
            talib.SMA(close, period)
        talib.MACD(close), talib.BBANDS(close, 20), talib.OBV(close, volume)
        talib.ADX(high, low, close), talib.ATR(high, low, close)
        found.append((process_time() - start) / len(candles) * 1e6)
    return min(found)


def main(n: int = 4000) -> None:
    candles = checks.market(n, seed=1)
    figures = {
        f"all {len(SCHEMA.names)} features, update": best(all_features, candles),
        "all features, peek then update": best(all_features_peeked, candles),
        "eleven indicators, ours in one panel": best(eleven_of_ours, candles),
        "eleven indicators, ours each by name": best(ours_by_name, candles),
        "eleven indicators, talipp": best(talipps, candles),
        "eleven indicators, TA-Lib handles": best(talib_handles(candles), candles),
        "eleven indicators, TA-Lib batch": talib_batch(candles),
    }
    features = FeatureSet("BTCUSDT", "1h")
    for candle in candles:
        features.update(candle)
    yardstick = figures["eleven indicators, talipp"]
    load = ", ".join(f"{value:.2f}" for value in os.getloadavg())
    print(
        f"{n} candles, best of {ROUNDS}, {os.cpu_count()} cores, load {load}, Python {sys.version.split()[0]}"
    )
    print(f"{'':40} us/candle  x talipp")
    for name, figure in figures.items():
        print(f"{name:40} {figure:9.2f} {figure / yardstick:9.3f}")
    print(f"pickled state of one market and interval: {len(pickle.dumps(features))} bytes")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:2]))
