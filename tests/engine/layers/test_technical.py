"""The technical layer: what moves it, in which direction, and that every point has its reason."""

from __future__ import annotations

from functools import lru_cache
from math import isnan, nan, sin

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.errors import SettingsError
from engine.features import SCHEMA, FeatureSet
from engine.layers import LAYERS, Technical, condition
from engine.layers.technical import levels, momentum, patterns, trend
from engine.records import INTERVALS, Candle, Features, Moment
from tests.engine.layers.neutral import LISTINGS, NOON, calm, total

TRENDING, RANGING = {"adx_14": 40.0}, {"adx_14": 10.0}
SHARES = {
    "trend": trend.SHARE,
    "momentum": momentum.SHARE,
    "levels": levels.SHARE,
    "patterns": patterns.SHARE,
}

technical = Technical("5m")


def test_a_calm_market_has_no_opinion_and_is_fully_covered() -> None:
    score = technical(calm())

    assert (score.layer, score.symbol, score.time) == ("technical", "SOLUSDT", NOON)
    assert (score.score, score.coverage, score.reasons) == (0.0, 1.0, ())


@pytest.mark.parametrize(
    ("component", "changed", "sign", "text"),
    [
        ("trend", {"ema_21_distance": 1.0}, 1, "EMA 9 +1.00 ATR from EMA 21"),
        ("trend", {"ema_9_distance": 1.0}, -1, "EMA 9 -1.00 ATR from EMA 21"),
        ("trend", {"sma_50_distance": 3.0, "sma_200_distance": 3.0}, 1, "close +3.0 ATR from SMA 50"),
        ("trend", {"sma_200_distance": -6.0}, -1, "that -6.0 from SMA 200"),
        ("trend", {"vwap_distance": 4.0}, 1, "close +4.0 ATR from VWAP"),
        (
            "trend",
            {"adx_14": 40.0, "plus_di_14": 30.0, "minus_di_14": 10.0},
            1,
            "ADX 40, +DI 30 against -DI 10",
        ),
        ("trend", {"adx_14": 40.0, "plus_di_14": 5.0}, -1, "+DI 5 against -DI 20"),
        ("momentum", RANGING | {"rsi_14": 20.0, "rsi_7": 10.0}, 1, "RSI 14 at 20, RSI 7 at 10"),
        ("momentum", TRENDING | {"rsi_14": 20.0, "rsi_7": 10.0}, -1, "RSI 14 at 20, RSI 7 at 10"),
        ("momentum", RANGING | {"rsi_14": 80.0, "rsi_7": 90.0}, -1, "RSI 14 at 80"),
        ("momentum", {"macd_histogram_atr": 0.3}, 1, "MACD histogram +0.30 ATR"),
        ("momentum", {"ema_9_slope": -0.2}, -1, "averages part by -0.20 a candle"),
        ("momentum", {"rsi_divergence": 1.0}, 1, "RSI diverges +1 from swing to swing"),
        ("levels", RANGING | {"support_distance": 0.1}, 1, "support 0.1 ATR below, resistance 5.0 above"),
        ("levels", RANGING | {"resistance_distance": 0.0}, -1, "resistance 0.0 above"),
        ("levels", {"order_block_bull_distance": 0.0}, 1, "order blocks: bullish 0.0 ATR below"),
        ("levels", {"order_block_bear_distance": 0.2}, -1, "bearish 0.2 above"),
        ("levels", {"fvg_bull_distance": 0.3}, 1, "fair value gaps: bullish 0.3 ATR below"),
        ("levels", {"fvg_bear_distance": 0.3}, -1, "bearish 0.3 above"),
        ("levels", {"fvg_filled": 1.0}, -1, "filled +1"),
        ("levels", RANGING | {"bb_position": 1.1}, -1, "at 110% of the Bollinger bands"),
        ("levels", TRENDING | {"bb_position": 1.1}, 1, "at 110% of the Bollinger bands"),
        ("patterns", {"engulfing": 1.0}, 1, "engulfing on 1.0 x volume"),
        ("patterns", {"pin_bar": -1.0}, -1, "pin bar on 1.0 x volume"),
        ("patterns", {"star": -1.0, "three_line": -1.0}, -1, "three-line, star on 1.0 x volume"),
        ("patterns", {"body": 0.9, "volume_ratio": 3.0}, 1, "body +90% of its range on 3.0 x volume"),
        ("patterns", {"obv_ratio_20": -0.5}, -1, "on-balance volume -50% of 20 candles"),
    ],
)
def test_each_finding_moves_its_component_its_way_and_says_so(
    component: str, changed: dict[str, float], sign: int, text: str
) -> None:
    score = technical(calm(changed))

    [reason] = score.reasons
    assert (reason.component, reason.points * sign > 0) == (component, True)
    assert text in reason.text
    assert score.score == reason.points


@pytest.mark.parametrize(
    ("changed", "higher", "component", "sign", "text"),
    [
        ({}, {"ema_21_distance": 1.0}, "trend", 1, "3 of 3 higher intervals lean up"),
        ({}, {"ema_9_distance": 1.0}, "trend", -1, "0 of 3 higher intervals lean up"),
        ({}, {"rsi_divergence": -1.0}, "momentum", -1, "RSI diverges -3 on the higher intervals"),
        ({"rsi_slope": 12.0}, {"price_slope": -3.0}, "momentum", 1, "turns +12 points against"),
        ({"rsi_slope": -12.0}, {"price_slope": 3.0}, "momentum", -1, "turns -12 points against"),
    ],
)
def test_the_higher_intervals_have_a_say(
    changed: dict[str, float], higher: dict[str, float], component: str, sign: int, text: str
) -> None:
    [reason] = technical(calm(changed, higher)).reasons

    assert (reason.component, reason.points * sign > 0) == (component, True)
    assert text in reason.text


def test_an_rsi_that_goes_with_the_higher_price_is_no_divergence() -> None:
    assert technical(calm({"rsi_slope": 12.0}, {"price_slope": 3.0})).score == 0.0


def test_averages_count_more_the_more_the_market_trends() -> None:
    points = [technical(calm({"adx_14": adx, "ema_21_distance": 1.0})).score for adx in (10.0, 25.0, 40.0)]

    assert points == pytest.approx([points[2] / 2, points[2] * 0.75, points[2]])


def test_levels_count_less_the_more_the_market_trends() -> None:
    points = [technical(calm({"adx_14": adx, "support_distance": 0.0})).score for adx in (10.0, 25.0, 40.0)]

    assert points == pytest.approx([7.0, 4.9, 2.8])


def test_a_pattern_on_thin_volume_counts_half() -> None:
    thin, full = (technical(calm({"star": 1.0, "volume_ratio": v})).score for v in (0.2, 1.5))

    assert thin == pytest.approx(full / 2)


def test_small_addends_stand_together_and_still_count() -> None:
    score = technical(calm({"vwap_distance": 0.3, "obv_ratio_20": 0.1}))

    [reason] = score.reasons
    assert (reason.component, reason.text) == ("rest", "small addends together")
    assert score.score == reason.points > 0


def reached(values: dict[str, float]) -> dict[str, float]:
    """The most each component says of these values, small addends too."""
    score = technical(calm(values, values))
    return {component: total(score, component) for component in SHARES}


def test_no_component_exceeds_its_share_and_together_they_are_a_hundred() -> None:
    strong = {
        "adx_14": 60.0,
        "plus_di_14": 40.0,
        "minus_di_14": 0.0,
        "ema_21_distance": 9.0,
        "sma_50_distance": 20.0,
        "sma_200_distance": 60.0,
        "vwap_distance": 20.0,
        "rsi_14": 99.0,
        "rsi_7": 99.0,
        "macd_histogram_atr": 3.0,
        "ema_9_slope": 3.0,
        "rsi_divergence": 1.0,
        "engulfing": 1.0,
        "star": 1.0,
        "body": 1.0,
        "obv_ratio_20": 1.0,
        "volume_ratio": 5.0,
        "true_range_atr": 3.0,
    }
    turning = RANGING | {
        "support_distance": 0.0,
        "order_block_bull_distance": 0.0,
        "fvg_bull_distance": 0.0,
        "fvg_filled": -1.0,
        "bb_position": -0.2,
    }

    assert sum(SHARES.values()) == 100.0
    assert reached(strong)["trend"] == pytest.approx(40.0, abs=0.1)
    assert reached(strong)["patterns"] == pytest.approx(15.0, abs=0.2)
    assert 22.0 < reached(strong)["momentum"] <= 25.0
    assert reached(turning)["levels"] == pytest.approx(20.0)


numbers = st.floats(-1.0, 1.0) | st.just(nan)
SCALES = {
    "adx_14": (50.0, 50.0),
    "plus_di_14": (30.0, 30.0),
    "minus_di_14": (30.0, 30.0),
    "rsi_14": (50.0, 50.0),
    "rsi_7": (50.0, 50.0),
    "rsi_slope": (0.0, 40.0),
    "support_distance": (5.0, 5.0),
    "resistance_distance": (5.0, 5.0),
    "order_block_bull_distance": (5.0, 5.0),
    "order_block_bear_distance": (5.0, 5.0),
    "fvg_bull_distance": (5.0, 5.0),
    "fvg_bear_distance": (5.0, 5.0),
    "bb_position": (0.5, 1.0),
    "bb_width": (0.1, 0.1),
    "volume_ratio": (10.0, 10.0),
    "true_range_atr": (5.0, 5.0),
}
FLAGS = {"fvg_filled", "rsi_divergence", "engulfing", "pin_bar", "three_line", "star", "doji", "inside_bar"}
UNBOUNDED = {"body", "obv_ratio_20"}


@st.composite
def possible(draw: st.DrawFn) -> dict[str, float]:
    """Every column somewhere in its range, or nan."""
    values = draw(st.lists(numbers, min_size=len(SCHEMA.names), max_size=len(SCHEMA.names)))
    chosen = {}
    for name, value in zip(SCHEMA.names, values, strict=True):
        middle, reach = SCALES.get(name, (0.0, 1.0 if name in UNBOUNDED else 12.0))
        chosen[name] = middle + reach * value
        if name in FLAGS and not isnan(value):
            chosen[name] = float(round(value))
    return chosen


@given(possible(), possible(), st.sets(st.sampled_from(["15m", "1h", "4h"])))
@settings(max_examples=150, deadline=None)
def test_a_score_is_the_sum_of_its_reasons_whatever_the_market(
    now: dict[str, float], higher: dict[str, float], above: set[str]
) -> None:
    score = technical(calm(now, higher, above=tuple(sorted(above))))

    assert score.score == total(score)
    assert -100.0 <= score.score <= 100.0
    assert 0.0 <= score.coverage <= 1.0
    assert all(-share <= total(score, component) <= share for component, share in SHARES.items())
    assert all(reason.text and "nan" not in reason.text for reason in score.reasons)
    assert technical(calm(now, higher, above=tuple(sorted(above)))) == score


READ = (
    *("adx_14", "plus_di_14", "minus_di_14", "ema_9_distance", "ema_21_distance", "sma_50_distance"),
    *("sma_200_distance", "vwap_distance", "rsi_14", "rsi_7", "macd_histogram_atr", "ema_9_slope"),
    *("ema_21_slope", "rsi_divergence", "rsi_slope", "support_distance", "resistance_distance"),
    *("order_block_bull_distance", "order_block_bear_distance", "fvg_bull_distance", "fvg_bear_distance"),
    *("fvg_filled", "bb_position", "engulfing", "pin_bar", "three_line", "star", "body", "true_range_atr"),
    *("volume_ratio", "obv_ratio_20"),
)


@given(possible(), possible(), st.sampled_from(READ))
@settings(max_examples=150, deadline=None)
def test_a_missing_input_takes_its_addends_away_and_leaves_the_others(
    now: dict[str, float], higher: dict[str, float], missing: str
) -> None:
    whole, less = technical(calm(now, higher)), technical(calm(now | {missing: nan}, higher))

    lost = 100.0 * (whole.coverage - less.coverage)
    assert lost >= -1e-9
    if missing != "adx_14":  # ADX weighs the others
        assert abs(less.score - whole.score) <= lost + 1e-9


@pytest.mark.parametrize("missing", READ)
def test_every_input_that_is_missing_lowers_the_coverage_and_moves_nothing(missing: str) -> None:
    score = technical(calm({missing: nan}))

    assert 0.75 <= score.coverage < 1.0
    assert score.score == 0.0


@pytest.mark.parametrize("strong", ["ema_21_distance", "support_distance", "bb_position", "rsi_14"])
def test_without_adx_nothing_counts_more_than_in_any_market(strong: str) -> None:
    values = {"ema_21_distance": 1.0, "support_distance": 0.0, "bb_position": 1.0, "rsi_14": 90.0}
    changed = {strong: values[strong]}

    unknown = technical(calm(changed | {"adx_14": nan}))

    weakest = min(abs(technical(calm(changed | {"adx_14": adx})).score) for adx in range(61))
    assert abs(unknown.score) <= weakest + 1e-12 or unknown.score == 0.0


def test_higher_intervals_that_are_not_there_only_lower_the_coverage() -> None:
    strong = {"ema_21_distance": 2.0}
    whole, alone = technical(calm(strong)), technical(calm(strong, above=()))
    some = technical(calm(strong, above=("15m",)))

    assert (whole.score, some.score) == (alone.score, alone.score)
    assert (whole.coverage, alone.coverage) == (1.0, 0.9)
    assert alone.coverage < some.coverage < whole.coverage


def test_the_highest_interval_misses_nothing_above_it() -> None:
    assert Technical("4h").reads == ("4h",)
    assert Technical("4h")(calm(interval="4h", above=())).coverage == 1.0


def test_nothing_known_is_nothing_said() -> None:
    score = technical(calm(dict.fromkeys(SCHEMA.names, nan), above=()))

    assert (score.score, score.coverage, score.reasons) == (0.0, 0.0, ())


@lru_cache
def candles(interval: str, count: int) -> tuple[Candle, ...]:
    """A market that swings, jumps and rests, the same each time."""
    step = INTERVALS[interval]
    made, close = [], 1.0
    for n in range(1, count + 1):
        opened, close = close, close * (1 + 0.004 * sin(n * n) + 0.003 * sin(n / 17) + 0.0001 * (n % 7))
        high, low = (
            max(opened, close) * (1 + 0.002 * abs(sin(3 * n))),
            min(opened, close) * (1 - 0.002 * abs(sin(5 * n))),
        )
        time = NOON + (n - count) * step
        made.append(Candle("SOLUSDT", interval, time, opened, high, low, close, 10 + 9 * sin(n)))
    return tuple(made)


def walked(factor: float, count: int = 600) -> Moment:
    """A moment after real features of candles whose prices are times `factor`."""
    known: dict[str, Features] = {}
    for interval in ("5m", "1h"):
        features = FeatureSet("SOLUSDT", interval)
        for c in candles(interval, count):
            prices = (c.open * factor, c.high * factor, c.low * factor, c.close * factor)
            known[interval] = features.update(Candle("SOLUSDT", interval, c.time, *prices, c.volume))
    return Moment("SOLUSDT", "5m", NOON, LISTINGS["SOL"], known)


@given(st.floats(-6.0, 6.0), st.integers(560, 600))
@settings(max_examples=12, deadline=None)
def test_prices_times_any_factor_give_the_same_score(power: float, count: int) -> None:
    plain, scaled = technical(walked(1.0, count)), technical(walked(10.0**power, count))

    assert scaled.score == pytest.approx(plain.score, rel=1e-9, abs=1e-9)
    assert scaled.coverage == plain.coverage
    assert abs(plain.score) > 1.0


@pytest.mark.parametrize(
    ("adx", "width", "expected"),
    [
        (30.0, 0.02, "trending"),
        (25.0, 0.015, "trending"),
        (30.0, 0.01, "mixed"),
        (15.0, 0.02, "ranging"),
        (15.0, 0.03, "mixed"),
        (22.0, 0.02, "mixed"),
        (nan, 0.02, "mixed"),
        (30.0, nan, "mixed"),
        (15.0, nan, "mixed"),
    ],
)
def test_condition_follows_adx_and_the_width_of_the_bands(adx: float, width: float, expected: str) -> None:
    assert condition(calm({"adx_14": adx, "bb_width": width, "atr_ratio": 0.005})) == expected


def test_a_market_that_stands_still_is_ranging() -> None:
    assert condition(calm({"adx_14": 0.0, "bb_width": 0.0, "atr_ratio": 0.0})) == "ranging"


def test_an_unknown_interval_is_refused() -> None:
    with pytest.raises(SettingsError, match="technical layer: interval '7m' is not one of 1m, 5m"):
        Technical("7m")


def test_every_layer_is_registered_by_its_name() -> None:
    said = {name: make("5m")(calm()).layer for name, make in LAYERS.items()}

    assert said == {name: name for name in LAYERS}
