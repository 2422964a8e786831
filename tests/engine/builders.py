"""Moments, scores and signals for tests, each with only the facts that the test is about."""

from __future__ import annotations

from collections.abc import Iterable
from math import nan

from engine.features import SCHEMA
from engine.records import Candle, Direction, Features, LayerScore, Listing, Moment, Reason, Signal

STEP = 300_000
NOON = 1_700_000_100_000 // STEP * STEP


def moment(
    close: float = 100.0,
    *,
    atr: float = 1.0,
    support: float = nan,
    resistance: float = nan,
    step: float = 0.0,
    time: int = NOON,
    segment: str = "majors",
    degraded: tuple[str, ...] = (),
) -> Moment:
    values = [nan] * len(SCHEMA.names)
    for name, value in (("atr_14", atr), ("support", support), ("resistance", resistance)):
        values[SCHEMA.index[name]] = value
    candle = Candle.of(close, time=time, interval="5m")
    features = Features("BTCUSDT", "5m", time, candle, tuple(values), seen=1000)
    listing = Listing("BTCUSDT", "BTCUSDT", "BTC", segment, price_step=step)
    return Moment("BTCUSDT", "5m", time, listing, {"5m": features}, degraded)


def score(layer: str, points: float, coverage: float = 1.0) -> LayerScore:
    return LayerScore(
        layer, "BTCUSDT", NOON, points, coverage, (Reason("trend", points, f"{points:g} of 100"),)
    )


def scores(
    technical: float, correlation: float | None = None, coverage: float = 1.0
) -> dict[str, LayerScore]:
    said: Iterable[LayerScore] = [score("technical", technical, coverage)]
    if correlation is not None:
        said = [*said, score("correlation", correlation, coverage)]
    return {each.layer: each for each in said}


def signal(
    direction: Direction = "LONG",
    *,
    entry: float = 100.0,
    time: int = NOON,
    horizon: int = 12,
    symbol: str = "BTCUSDT",
    interval: str = "5m",
) -> Signal:
    """A signal as far as a ledger looks at it."""
    return Signal(
        id=f"{time:024x}",
        symbol=symbol,
        interval=interval,
        time=time,
        horizon_end=time + horizon * STEP,
        valid_until=time + STEP,
        direction=direction,
        confidence=52.5,
        score=30.0,
        p_up=None,
        p3=None,
        position_size=0.2,
        entry=entry,
        stop_loss=None,
        take_profit=None,
        risk_reward=None,
        layers={},
        degraded=(),
        sources={},
        feed="live",
    )
