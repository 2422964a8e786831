"""Every registered indicator passes the indicator checks; what TA-Lib has equals it from its first value."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction
from math import frexp, sqrt

import numpy as np
import pytest
import talib
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from engine.indicators import (
    ADX,
    ATR,
    EMA,
    MACD,
    OBV,
    RSI,
    SMA,
    Bollinger,
    Indicator,
    Panel,
    names_of,
    standard,
)
from engine.records import Candle
from tests import checks

Array = NDArray[np.float64]

REGISTRY = standard()
MARKET = checks.market(1400, seed=3, quiet=0.15, holes=0.01)


def indicator_ids() -> list[str]:
    return [f"{type(i).__name__}-{i.columns[0].name}" for i in REGISTRY]


@pytest.fixture(params=range(len(REGISTRY)), ids=indicator_ids())
def make(request: pytest.FixtureRequest) -> checks.Make:
    place: int = request.param
    return lambda candles: Panel((standard()[place],))


def test_nothing_looks_ahead(make: checks.Make) -> None:
    checks.check_prefix_invariant(make, MARKET[:700], cuts=(1, 2, 30, 201, 333, 650))


def test_a_thousand_candles_give_the_bytes_of_any_longer_history(make: checks.Make) -> None:
    checks.check_start_invariant(make, MARKET, ends=(1100, 1234, 1400))


def test_scale_changes_no_ratio(make: checks.Make) -> None:
    checks.check_scale_invariant(make, MARKET[:600], price=2.0**-20, volume=2.0**7)


def test_peeking_changes_nothing(make: checks.Make) -> None:
    checks.check_peek_is_pure(make, MARKET[:400])


def test_a_pickle_goes_on_as_the_original(make: checks.Make) -> None:
    checks.check_survives_pickling(make, MARKET[:600])


def test_state_does_not_grow(make: checks.Make) -> None:
    checks.check_bounded(make, MARKET)


@pytest.mark.parametrize("price", [1e-8, 1.0, 1e8])
def test_every_value_is_there_from_its_first_candle_on(make: checks.Make, price: float) -> None:
    checks.check_first_valid(make, scaled_market(price))


def scaled_market(price: float) -> list[Candle]:
    return checks.market(700, seed=5, price=price, quiet=0.3, holes=0.02)


@pytest.mark.parametrize("place", range(len(REGISTRY)), ids=indicator_ids())
def test_the_readable_way_gives_the_same_values_by_name(place: int) -> None:
    alone, panel = standard()[place], Panel((standard()[place],))
    width = len(alone.columns)
    for candle in MARKET[:60]:
        forming = alone.peek(candle)
        named = alone.update(candle)

        assert tuple(named) == names_of(alone)
        assert list(map(repr, named.values())) == list(map(repr, panel.update(candle)[-width:]))
        assert repr(forming) == repr(named)


def test_parts_are_advanced_once_however_many_read_them() -> None:
    ema = EMA(2)
    panel = Panel([ema, ema])

    assert [panel.update(Candle.of(close)) for close in (10.0, 12.0, 14.0)][-1] == (13.0,)


# What TA-Lib says


Oracle = Mapping[str, Array]


def arrays(candles: Sequence[Candle]) -> tuple[Array, Array, Array, Array]:
    rows = np.array([(c.high, c.low, c.close, c.volume) for c in candles], dtype=float)
    return rows[:, 0].copy(), rows[:, 1].copy(), rows[:, 2].copy(), rows[:, 3].copy()


def talib_values(candles: Sequence[Candle]) -> Oracle:
    """TA-Lib on the same market at prices about 2^30: below 1e-14 it takes everything for zero."""
    exponent = 30 - frexp(candles[0].close)[1]
    high, low, close, volume = arrays(candles)
    high, low, close = (np.ldexp(a, exponent) for a in (high, low, close))
    prices: dict[str, Array] = {"atr_14": talib.ATR(high, low, close)}
    prices |= {f"ema_{n}": talib.EMA(close, n) for n in (9, 21)}
    prices |= {f"sma_{n}": talib.SMA(close, n) for n in (50, 200)}
    for names, found in (
        (("macd", "macd_signal", "macd_histogram"), talib.MACD(close)),
        (("bb_upper", "bb_mid", "bb_lower"), talib.BBANDS(close, 20)),
    ):
        prices |= dict(zip(names, found, strict=True))
    return {name: np.ldexp(a, -exponent) for name, a in prices.items()} | {
        "rsi_14": talib.RSI(close, 14),
        "rsi_7": talib.RSI(close, 7),
        "adx_14": talib.ADX(high, low, close),
        "plus_di_14": talib.PLUS_DI(high, low, close),
        "minus_di_14": talib.MINUS_DI(high, low, close),
        "obv": talib.OBV(close, volume),
    }


def ours() -> Panel:
    return Panel(
        (RSI(14), RSI(7), MACD(), EMA(9), EMA(21), SMA(50), SMA(200), ADX(14), Bollinger(), ATR(14), OBV())
    )


def exact_deviation(closes: Sequence[float]) -> float:
    """The population deviation, its variance summed in rational numbers."""
    shares = [Fraction(close) / Fraction(closes[0]) for close in closes]
    mean = sum(shares, Fraction()) / len(shares)
    variance = sum(((share - mean) ** 2 for share in shares), Fraction()) / len(shares)
    return closes[0] * sqrt(variance)


def assert_equals_talib(candles: Sequence[Candle]) -> None:
    panel = ours()
    found: Array = np.array(checks.run(panel, candles), dtype=float).T
    closes = np.array([c.close for c in candles])
    theirs = talib_values(candles)
    for column, values in zip(panel.columns, found, strict=True):
        wanted = theirs[column.name]
        if column.name.startswith("rsi"):
            wanted = flat_is_50(wanted, closes)
        elif column.name in ("bb_upper", "bb_lower"):
            wanted = mended(wanted, closes, 2.0 if column.name == "bb_upper" else -2.0)
        # Differences of prices pass through zero: there 1e-9 of themselves is less than a price's last bit.
        floor = 1e-12 * closes.max() if column.name.startswith("macd") else 0.0

        np.testing.assert_allclose(values, wanted, rtol=1e-9, atol=floor, err_msg=column.name)


FADED = 150
"""Candles without a move after which the last moves may have faded: TA-Lib goes on as before, we say 50."""


def longest_stillness(candles: Sequence[Candle]) -> int:
    """The longest run of candles without a move, after one that moved."""
    runs = "".join("." if c.high == c.low else "x" for c in candles).lstrip(".").split("x")
    return max(map(len, runs))


def flat_is_50(wanted: Array, closes: Array) -> Array:
    """Where no close has differed yet TA-Lib answers 0 and we 50; that is tested on its own."""
    moved = np.flatnonzero(np.diff(closes, prepend=closes[0]))
    first = moved[0] if moved.size else closes.size
    return np.where(~np.isnan(wanted) & (np.arange(closes.size) < first), 50.0, wanted)


def mended(wanted: Array, closes: Array, width: float) -> Array:
    """TA-Lib's running squares drown a deviation under 1e-7 of the price: there the exact sum stands."""
    mended = wanted.copy()
    for n in range(19, closes.size):
        window = closes[n - 19 : n + 1].tolist()
        if np.ptp(window) < 1e-5 * closes[: n + 1].max():
            mended[n] = sum(window) / 20 + width * exact_deviation(window)
    return mended


@settings(max_examples=60, deadline=None)
@given(
    n=st.integers(30, 320),
    seed=st.integers(0, 2**32),
    price=st.sampled_from([1e-8, 3.1e-5, 0.07, 1.0, 613.0, 99_991.0, 1e8]),
    tick=st.sampled_from([1e-2, 1e-4, 1e-7]),
    quiet=st.sampled_from([0.0, 0.3, 0.7]),
    holes=st.sampled_from([0.0, 0.05]),
)
def test_equals_talib_from_its_first_value_on_any_market(
    n: int, seed: int, price: float, tick: float, quiet: float, holes: float
) -> None:
    candles = checks.market(n, seed, price=price, tick=tick, quiet=quiet, holes=holes)
    assume(longest_stillness(candles) < FADED)

    assert_equals_talib(candles)


@settings(max_examples=40, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(-300, 300), st.integers(0, 200), st.integers(0, 3)), min_size=40, max_size=260
    ),
    st.sampled_from([1e-8, 1.0, 1e8]),
)
def test_equals_talib_where_hypothesis_draws_every_candle(
    moves: list[tuple[int, int, int]], price: float
) -> None:
    unit, last, candles = price / 20_000, 20_000, []
    for n, (move, shadow, volume) in enumerate(moves, start=1):
        opened, last = last, max(last + move, 1_000)
        high, low = max(opened, last) + shadow, max(min(opened, last) - shadow // 2, 1)
        time = n * 60_000
        candles.append(
            Candle("X", "1m", time, opened * unit, high * unit, low * unit, last * unit, float(volume))
        )

    assert_equals_talib(candles)


@pytest.mark.market
@pytest.mark.parametrize("symbol", ["BTCUSDT", "PEPEUSDT", "SHIBUSDT", "DOGEUSDT"])
def test_equals_talib_from_its_first_value_on_real_data(symbol: str) -> None:
    assert_equals_talib(checks.real_candles(symbol, "1h", 3000))


# Where TA-Lib and we part on purpose, and markets that stand still


def last_of(indicator: Indicator, candles: Sequence[Candle]) -> dict[str, float]:
    return [indicator.update(candle) for candle in candles][-1]


def test_a_market_that_never_moved_has_an_rsi_of_50() -> None:
    flat = [Candle.of(7.0, time=60_000 * n) for n in range(1, 60)]

    assert last_of(RSI(14), flat) == {"rsi_14": 50.0}


def test_a_market_that_only_rises_has_an_rsi_of_100() -> None:
    rising = [Candle.of(7.0 + n, time=60_000 * n) for n in range(1, 60)]

    assert last_of(RSI(14), rising) == {"rsi_14": 100.0}


def test_a_market_without_moves_and_volume_is_in_the_middle_of_everything() -> None:
    panel = Panel(standard())
    flat = [
        Candle.of(0.1, time=checks.START + 3_600_000 * n, interval="1h", volume=0.0) for n in range(1, 601)
    ]
    names = [column.name for column in panel.columns]
    values = dict(zip(names, checks.run(panel, flat)[-1], strict=True))
    moves = {"macd", "macd_signal", "macd_histogram", "atr_14"}
    prices = {column.name for column in panel.columns if column.unit == "price"} - moves
    zeros = [n for n in names if n.endswith(("_atr", "_slope")) or n.startswith(("return", "volatility_2"))]

    assert {name: values[name] for name in prices} == pytest.approx(dict.fromkeys(prices, 0.1), rel=1e-15)
    assert values["volume_ratio"] == values["volume_trend"] == values["volatility_ratio"] == 1.0
    assert values["bb_position"] == values["channel_20"] == 0.5
    assert {values[name] for name in (*zeros, "adx_14", "bb_width", "volume_z", "obv_ratio_20", "doji")} == {
        0.0
    }
    assert values["rsi_14"] == values["rsi_7"] == 50.0


def test_a_market_that_stopped_fades_to_the_middle_and_its_next_move_counts() -> None:
    panel = Panel((RSI(14), ADX(14), ATR(14)))
    moved = checks.market(50, seed=1)
    stop = moved[-1]
    flat = [Candle.of(stop.close, time=stop.time + 3_600_000 * n, interval="1h") for n in range(1, 1001)]
    still = checks.run(panel, [*moved, *flat])
    risen = panel.update(Candle.of(2 * stop.close, time=flat[-1].time + 3_600_000, interval="1h"))

    assert still[150][0] == pytest.approx(still[50][0])
    assert still[-1] == (50.0, 0.0, 0.0, 0.0, 0.0)
    assert risen[0] == 100.0


def test_bands_keep_a_spread_of_a_ten_millionth_of_the_price() -> None:
    closes = [1e8 + (n % 7) for n in range(40)]
    values = last_of(Bollinger(), [Candle.of(close, time=60_000 * n) for n, close in enumerate(closes, 1)])
    deviation = exact_deviation(closes[-20:])

    assert values["bb_upper"] - values["bb_mid"] == pytest.approx(2 * deviation, rel=1e-7)
