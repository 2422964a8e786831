"""Moments about which no layer has an opinion, but for what a test says of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import reduce
from math import nan
from operator import add

from engine.features import SCHEMA
from engine.records import Candle, Features, LayerScore, Listing, MarketFrame, Moment, Mood, Reading

NOON = 1_710_000_000_000 // 14_400_000 * 14_400_000

LISTINGS = {
    asset: Listing(f"{asset}USDT", f"{asset}USDT", asset, segment)
    for asset, segment in (("BTC", "majors"), ("SOL", "alts"))
}

CALM = dict.fromkeys(SCHEMA.names, 0.0) | {
    "adx_14": 25.0,
    "plus_di_14": 20.0,
    "minus_di_14": 20.0,
    "rsi_14": 50.0,
    "rsi_7": 50.0,
    "support_distance": 5.0,
    "resistance_distance": 5.0,
    "order_block_bull_distance": 10.0,
    "order_block_bear_distance": 10.0,
    "fvg_bull_distance": 10.0,
    "fvg_bear_distance": 10.0,
    "bb_position": 0.5,
    "bb_width": 0.02,
    "volume_ratio": 1.0,
    "true_range_atr": 1.0,
    "atr_ratio": 0.005,
}

QUIET_FRAME = MarketFrame(
    "SOLUSDT",
    NOON,
    present=17,
    expected=17,
    btc_return=0.0,
    sector_return=0.0,
    market_return=0.0,
    own_return=0.0,
    beta=1.0,
    btc_correlation=0.8,
    btc_correlation_before=0.8,
    sector_correlation=0.8,
    sector_beta=1.0,
    spread_z=0.0,
    lead=0.0,
)


def features(interval: str, changed: Mapping[str, float]) -> Features:
    values = {**CALM, **changed}
    candle = Candle.of(100.0, time=NOON, symbol="SOLUSDT", interval=interval)
    return Features(
        "SOLUSDT", interval, NOON, candle, tuple(values[name] for name in SCHEMA.names), seen=1000
    )


def calm(
    changed: Mapping[str, float] | None = None,
    higher: Mapping[str, float] | None = None,
    *,
    interval: str = "5m",
    above: tuple[str, ...] = ("15m", "1h", "4h"),
    asset: str = "SOL",
    market: MarketFrame | None = QUIET_FRAME,
) -> Moment:
    """A moment with `changed` columns in the decision interval and `higher` ones in those `above` it."""
    known = {name: features(name, higher or {}) for name in above}
    known[interval] = features(interval, changed or {})
    return Moment(f"{asset}USDT", interval, NOON, LISTINGS[asset], known, market=market)


def frame(**changed: float) -> MarketFrame:
    """The quiet frame with some numbers changed."""
    return replace(QUIET_FRAME, **changed)  # type: ignore[arg-type]


def unknown_frame() -> MarketFrame:
    """A frame of the first candle: nothing measured yet."""
    names = [name for name in MarketFrame.__slots__ if name not in ("symbol", "time", "present", "expected")]
    return frame(**dict.fromkeys(names, nan))


def total(score: LayerScore, component: str | None = None) -> float:
    """The points of a score's reasons, of one component or of all."""
    points = [r.points for r in score.reasons if component in (None, r.component)]
    return reduce(add, points, 0.0)  # one by one, as the score was: sum() is compensated from Python 3.12 on


def hearing(
    values: Mapping[str, float],
    *,
    age: float | Mapping[str, float] = 0.0,
    moods: tuple[Mood, ...] = (),
    changed: Mapping[str, float] | None = None,
    higher: Mapping[str, float] | None = None,
) -> Moment:
    """A calm moment at which metrics have these values, as old as `age` says, in hours."""
    hours = age if isinstance(age, Mapping) else dict.fromkeys(values, age)
    times = {name: NOON - round(hours.get(name, 0.0) * 3_600_000) for name in values}
    readings = {name: Reading(name, times[name], times[name], value) for name, value in values.items()}
    return replace(calm(changed, higher), readings=readings, moods=moods)
