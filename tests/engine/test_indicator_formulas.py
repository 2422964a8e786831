"""What TA-Lib lacks is held against a second formula: the definition, on the whole series, by brute force."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from math import pi, sin

import numpy as np
import pytest
import talib
from numpy.typing import NDArray

from engine.indicators import (
    OBV,
    RSI,
    VWAP,
    BandPosition,
    Channel,
    Clock,
    Distances,
    Divergence,
    EMACross,
    FairValueGaps,
    Impulse,
    Indicator,
    Levels,
    OrderBlocks,
    Panel,
    Patterns,
    Ranges,
    Returns,
    Shape,
    Slopes,
    Volatility,
    VolumeRatio,
    VWAPDistance,
)
from engine.records import INTERVALS, Candle
from tests import checks

Array = NDArray[np.float64]

MARKETS = {
    "plain": checks.market(900, seed=11),
    "holes": checks.market(900, seed=12, holes=0.03, quiet=0.1),
    "minutes": checks.market(1500, seed=13, interval="1m", price=3e-5, tick=1e-3),
    "few ticks": checks.market(900, seed=14, tick=5e-3),
}


@pytest.fixture(params=MARKETS, ids=list(MARKETS))
def series(request: pytest.FixtureRequest) -> Series:
    return Series(MARKETS[request.param])


class Series:
    """A whole market in columns, to look things up in both directions."""

    def __init__(self, candles: Sequence[Candle]) -> None:
        self.candles = candles
        rows = np.array([(c.open, c.high, c.low, c.close, c.volume) for c in candles], dtype=float)
        self.open, self.high, self.low, self.close, self.volume = rows.T.copy()
        self.interval = INTERVALS[candles[0].interval]
        self.number = [c.time // self.interval for c in candles]
        self.size = len(candles)

    def of(self, indicator: Indicator) -> dict[str, Array]:
        """The indicator's own columns over the whole series."""
        panel = Panel((indicator,))
        values: Array = np.array(checks.run(panel, self.candles), dtype=float).T
        return dict(zip([column.name for column in panel.columns], values, strict=True))

    def in_a_row(self, n: int, count: int) -> bool:
        return n >= count - 1 and self.number[n] - self.number[n - count + 1] == count - 1

    @cached_property
    def atr(self) -> Array:
        """TA-Lib's at prices about 1e9, where its sense of zero does no harm."""
        lift = 2.0**30 / 2.0 ** round(np.log2(self.close[0]))
        true = talib.ATR(self.high * lift, self.low * lift, self.close * lift) / lift
        return np.asarray(np.maximum(true, 1e-5 * self.close))

    @cached_property
    def sessions(self) -> list[int | None]:
        """The session of each candle; None while none was seen from its beginning."""
        length = 28_800_000 if self.interval == 60_000 else 86_400_000
        found: list[int | None] = []
        begun = False
        for n, candle in enumerate(self.candles):
            session = candle.open_time // length
            begun = begun or candle.open_time % length == 0
            begun = begun or (n > 0 and self.candles[n - 1].open_time // length != session)
            found.append(session if begun else None)
        return found

    def turns(self, prices: Array, side: int, wing: int = 3) -> list[tuple[int, int]]:
        """(extreme, candle that confirms it) of every swing; `side` +1 for highs, -1 for lows."""
        level = side * prices
        return [
            (n, n + wing)
            for n in range(wing, self.size - wing)
            if level[n] > max(level[n - wing : n]) and level[n] >= max(level[n + 1 : n + wing + 1])
        ]

    def remembered(self, turns: list[tuple[int, int]], now: int) -> list[tuple[int, int]]:
        """(extreme, number) of the last four confirmed by candle `now` and at most 200 intervals old."""
        known = [(n, self.number[confirmed] - 3) for n, confirmed in turns if confirmed <= now][-4:]
        return [(n, number) for n, number in reversed(known) if self.number[now] - number <= 200]


def test_vwap_is_the_sessions_turnover_over_its_volume(series: Series) -> None:
    typical = (series.high + series.low + series.close) / 3
    found = series.of(VWAP())["vwap"]
    for n, session in enumerate(series.sessions):
        members = [
            m for m in range(max(0, n - 500), n + 1) if session is not None and series.sessions[m] == session
        ]
        volume = series.volume[members].sum()
        wanted = typical[n] if not volume else (typical[members] * series.volume[members]).sum() / volume

        assert found[n] == pytest.approx(wanted if members else np.nan, rel=1e-12, nan_ok=True)


def test_session_obv_is_talibs_obv_since_the_session_began(series: Series) -> None:
    whole = talib.OBV(series.close, series.volume)
    found = series.of(OBV(by_session=True))["obv"]
    base, current = np.nan, None
    for n, session in enumerate(series.sessions):
        if session != current:
            # The first candle of the series has no move: TA-Lib counts its volume as an up move.
            base, current = (whole[n - 1] if n else whole[0]), session

        assert found[n] == pytest.approx(whole[n] - base if session else np.nan, abs=1e-6, nan_ok=True)


def test_volume_against_its_window(series: Series) -> None:
    found = series.of(VolumeRatio(20))
    signed = series.volume * np.sign(np.diff(series.close, prepend=series.close[0]))
    for n in range(20, series.size):
        window = series.volume[n - 19 : n + 1]
        mean, deviation = window.mean(), window.std()
        if not mean:
            wanted = (1.0, 0.0, 0.0, 1.0)
        else:
            z = (window[-1] - mean) / deviation if deviation > 1e-9 * mean else 0.0
            wanted = (
                window[-1] / mean,
                z,
                signed[n - 19 : n + 1].sum() / window.sum(),
                window[-5:].mean() / mean,
            )

        assert [found[name][n] for name in found] == pytest.approx(wanted, rel=1e-9, abs=1e-12)


def test_channel_is_the_place_between_talibs_minimum_and_maximum(series: Series) -> None:
    low, high = talib.MIN(series.low, 20), talib.MAX(series.high, 20)
    with np.errstate(invalid="ignore"):
        wanted = np.where(high > low, (series.close - low) / (high - low), 0.5)
    wanted[:19] = np.nan

    np.testing.assert_allclose(series.of(Channel(20))["channel_20"], wanted, rtol=1e-12)


def test_returns_and_volatility_are_those_of_log_prices(series: Series) -> None:
    logs = np.log(series.close)
    found = series.of(Returns()) | series.of(Volatility())
    for span in (1, 3, 6, 12, 24):
        np.testing.assert_allclose(found[f"return_{span}"][span:], logs[span:] - logs[:-span], atol=1e-13)
    moves = np.diff(logs)
    for n in range(96, series.size):
        low, middle, high = (np.sqrt((moves[n - span : n] ** 2).mean()) for span in (6, 24, 96))
        path = np.abs(moves[n - 24 : n]).sum()
        wanted = (
            low,
            middle,
            high,
            low / high if high else 1.0,
            abs(moves[n - 24 : n].sum()) / path if path else 0,
        )
        names = "volatility_6", "volatility_24", "volatility_96", "volatility_ratio", "efficiency_24"

        assert [found[name][n] for name in names] == pytest.approx(wanted, rel=1e-9, abs=1e-11)


def test_swings_and_levels_are_the_remembered_turns(series: Series) -> None:
    found = series.of(Levels())
    highs, lows = series.turns(series.high, 1), series.turns(series.low, -1)
    for n in range(20, series.size):
        tops = [series.high[m] for m, _ in series.remembered(highs, n)]
        bottoms = [series.low[m] for m, _ in series.remembered(lows, n)]
        floor, ceiling = series.low[n - 19 : n + 1].min(), series.high[n - 19 : n + 1].max()
        close, levels = series.close[n], tops + bottoms
        support = max((level for level in levels if level < close), default=floor)
        resistance = min((level for level in levels if level > close), default=ceiling)
        wanted = (tops[0] if tops else ceiling, bottoms[0] if bottoms else floor, support, resistance)
        distances = ((close - support) / series.atr[n], (resistance - close) / series.atr[n])

        assert [found[k][n] for k in ("swing_high", "swing_low", "support", "resistance")] == list(wanted)
        assert [found[k][n] for k in ("support_distance", "resistance_distance")] == pytest.approx(
            distances, rel=1e-9, abs=1e-12
        )


def test_fair_value_gaps_are_open_until_traded_through(series: Series) -> None:
    found = series.of(FairValueGaps())
    for side, name, first, second in (
        (1, "bull", series.high, series.low),
        (-1, "bear", -series.low, -series.high),
    ):
        close, alive = side * series.close, list[int]()
        for n in range(14, series.size):
            gone = [m for m in alive if second[n] <= first[m - 2]]
            alive = [m for m in alive if m not in gone and series.number[n] - series.number[m] <= 200]
            made = series.in_a_row(n, 3) and second[n] - first[n - 2] > 0.1 * series.atr[n]
            alive = [*alive, n][-3:] if made else alive
            tops = [second[m : n + 1].min() for m in alive]
            distances = [max(close[n] - top, 0.0) / series.atr[n] for top in tops]

            assert (found["fvg"][n] == side) == made
            assert found[f"fvg_{name}_open"][n] == len(alive)
            assert found[f"fvg_{name}_distance"][n] == pytest.approx(min([*distances, 10.0]), rel=1e-9)
            if gone:
                assert found["fvg_filled"][n] in (side, 0.0)
            else:
                assert found["fvg_filled"][n] in (-side, 0.0)


def test_order_blocks_are_the_last_opposite_candles_before_breaks(series: Series) -> None:
    found = series.of(OrderBlocks())
    for side, name, top, bottom in (
        (1, "bull", series.high, series.low),
        (-1, "bear", -series.low, -series.high),
    ):
        close, opened = side * series.close, side * series.open
        turns = series.turns(series.high if side > 0 else series.low, side)
        broken, alive = 0, list[tuple[int, int]]()
        for n in range(series.size):
            known = series.remembered(turns, n)
            alive = [(m, k) for m, k in alive if close[n] >= bottom[m] and series.number[n] - k <= 200]
            made = False
            if known and close[n] > top[known[0][0]] and known[0][1] != broken:
                broken = known[0][1]
                before = [m for m in range(max(0, n - 10), n) if close[m] < opened[m]]
                if before and bottom[before[-1]] <= close[n]:
                    block = before[-1], series.number[n] - (n - before[-1])
                    made = all(
                        (top[m], bottom[m], k) != (top[block[0]], bottom[block[0]], block[1])
                        for m, k in alive
                    )
                    alive = [*alive, block][-2:] if made else alive
            if n < 14:
                continue
            distances = [max(close[n] - top[m], 0.0) / series.atr[n] for m, _ in alive]

            assert (found["order_block"][n] == side) == made
            assert found[f"order_block_{name}_distance"][n] == pytest.approx(
                min([*distances, 10.0]), rel=1e-9
            )


def test_divergence_stands_for_twelve_candles_after_disagreeing_swings(series: Series) -> None:
    found = series.of(Divergence())
    strength = series.of(RSI(14))["rsi_14"]
    wanted = np.zeros(series.size)
    events = [(at, -1, n) for n, at in series.turns(series.high, 1)]
    events += [(at, 1, n) for n, at in series.turns(series.low, -1)]
    last = dict[int, tuple[float, float, int]]()
    # At one candle a high's word comes after a low's.
    for at, side, n in sorted(events, key=lambda event: (event[0], -event[1])):
        if at < 19:
            continue
        price = -side * (series.low[n] if side > 0 else series.high[n])
        now = (price, side * strength[n], series.number[at] - 3)
        if side in last:
            before = last[side]
            if now[0] > before[0] and now[1] >= before[1] + 1.0 and now[2] - before[2] <= 60:
                wanted[at : at + 12] = side
        last[side] = now
    back = np.arange(19, series.size)

    np.testing.assert_array_equal(found["rsi_divergence"][19:], wanted[19:])
    np.testing.assert_allclose(found["rsi_slope"][19:], strength[19:] - strength[back - 5], atol=1e-9)
    np.testing.assert_allclose(
        found["price_slope"][19:], (series.close[19:] - series.close[back - 5]) / series.atr[19:], rtol=1e-9
    )


def test_ema_crosses_where_talibs_averages_do() -> None:
    series = Series(MARKETS["plain"])
    found = series.of(EMACross())
    spread = talib.EMA(series.close, 9) - talib.EMA(series.close, 21)
    wanted = np.zeros(series.size)
    wanted[21:] = (spread[21:] > 0) & (spread[20:-1] <= 0)
    wanted[21:] -= (spread[21:] < 0) & (spread[20:-1] >= 0)
    crossings = np.flatnonzero(wanted)
    ages = [min([n - m for m in crossings if m <= n] + [96]) for n in range(20, series.size)]

    assert len(crossings) > 10
    np.testing.assert_array_equal(found["ema_cross"][20:], wanted[20:])
    np.testing.assert_array_equal(found["ema_cross_age"][20:], ages)


def candles_of(*shapes: tuple[float, float, float, float]) -> list[Candle]:
    return [Candle("BTCUSDT", "1m", 60_000 * n, *shape, 1.0) for n, shape in enumerate(shapes, 1)]


FLAT = (10.0, 11.0, 9.0, 10.0)


@pytest.mark.parametrize(
    ("shapes", "pattern", "sign"),
    [
        ((FLAT, (10, 10.5, 8.9, 9), (9, 11.5, 8.9, 11)), "engulfing", 1.0),
        ((FLAT, (9, 10.1, 8.9, 10), (10, 10.2, 8, 8.5)), "engulfing", -1.0),
        ((FLAT, FLAT, (10, 10.5, 8, 10.4)), "pin_bar", 1.0),
        ((FLAT, FLAT, (10, 12, 9.9, 10.1)), "pin_bar", -1.0),
        ((FLAT, FLAT, (10, 11, 9, 10.1)), "doji", 1.0),
        ((FLAT, FLAT, (10, 10.9, 9.1, 10.5)), "inside_bar", 1.0),
        (((10, 12, 10, 12), (12, 14, 12, 14), (14, 16, 14, 16)), "three_line", 1.0),
        (((16, 16, 14, 14), (14, 14, 12, 12), (12, 12, 10, 10)), "three_line", -1.0),
        (((14, 14, 10, 10), (10, 10.5, 9.5, 10.2), (10.2, 13, 10, 12.5)), "star", 1.0),
        (((10, 14, 10, 14), (14, 14.5, 13.5, 13.9), (13.9, 14, 11, 11.5)), "star", -1.0),
    ],
)
def test_patterns_and_their_signs(
    shapes: tuple[tuple[float, float, float, float], ...], pattern: str, sign: float
) -> None:
    patterns, holed = Patterns(), Patterns()
    candles = candles_of(*shapes)
    values = [patterns.update(candle) for candle in candles][-1]
    late = Candle("BTCUSDT", "1m", 60_000 * 9, *shapes[-1], 1.0)
    after_a_hole = [holed.update(candle) for candle in (*candles[:-1], late)][-1]

    assert values[pattern] == sign
    assert after_a_hole[pattern] == (sign if pattern in ("pin_bar", "doji") else 0.0)


def test_patterns_turn_their_sign_when_the_market_is_turned_upside_down() -> None:
    candles = MARKETS["few ticks"]
    turned = [
        Candle(
            c.symbol, c.interval, c.time, 1000 - c.open, 1000 - c.low, 1000 - c.high, 1000 - c.close, c.volume
        )
        for c in candles
    ]
    up, down = Series(candles).of(Patterns()), Series(turned).of(Patterns())
    for name, sign in (("engulfing", -1), ("three_line", -1), ("inside_bar", 1)):
        assert np.abs(up[name][2:]).sum() > 3
        np.testing.assert_array_equal(up[name][2:], sign * down[name][2:])


def test_body_and_shadows_are_the_whole_range() -> None:
    found = Series(MARKETS["plain"]).of(Shape())
    parts = np.abs(found["body"]) + found["upper_shadow"] + found["lower_shadow"]

    np.testing.assert_allclose(parts[parts > 0], 1.0)
    assert (parts > 0).mean() > 0.9


def test_the_clock_knows_noon_and_sunday() -> None:
    noon_on_sunday = 1_700_395_200_000
    values = Clock().update(Candle.of(1.0, time=noon_on_sunday))

    assert values["day_cos"] == pytest.approx(-1.0)
    # 1970 began on a Thursday: Sunday noon is three days and a half into the week counted from it.
    assert values["week_sin"] == pytest.approx(sin(2 * pi * 3.5 / 7), abs=1e-12)


def test_positions_and_distances_are_in_bands_and_average_ranges() -> None:
    series = Series(MARKETS["plain"])
    upper, mid, lower = talib.BBANDS(series.close, 20)
    macd, _, histogram = talib.MACD(series.close)
    found: dict[str, Array] = {}
    for indicator in (BandPosition(), Distances(), Slopes(), Impulse(), Ranges(), VWAPDistance()):
        found |= series.of(indicator)
    averages = {
        "ema_9": talib.EMA(series.close, 9),
        "sma_200": talib.SMA(series.close, 200),
        "vwap": found["vwap"],
    }
    wanted = {f"{name}_distance": (series.close - a) / series.atr for name, a in averages.items()}
    wanted["ema_9_slope"] = np.diff(averages["ema_9"], prepend=np.nan) / series.atr
    wanted |= {"macd_atr": macd / series.atr, "macd_histogram_atr": histogram / series.atr}
    wanted |= {"bb_position": (series.close - lower) / (upper - lower), "bb_width": (upper - lower) / mid}
    wanted |= {"atr_ratio": series.atr / series.close}
    wanted |= {"true_range_atr": talib.TRANGE(series.high, series.low, series.close) / series.atr}
    for name, values in wanted.items():
        np.testing.assert_allclose(found[name], values, rtol=1e-8, atol=1e-9, err_msg=name)
