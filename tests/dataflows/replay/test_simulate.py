"""The simulated market: reproducible, coherent over intervals, alive, made of candles that can be true."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from dataflows.replay.candles import DAY, HOUR, MINUTE, SPANS, aggregate
from dataflows.replay.seasons import FIRST_DAY, Seasons
from dataflows.replay.simulate import Simulated
from dataflows.replay.traits import TRAITS, default_symbols
from engine.records import INTERVALS, Candle
from tests.dataflows.replay.conftest import START


def returns(market: Simulated, symbol: str, days: int = 20) -> NDArray[np.float64]:
    closes = market.candles(symbol, "1h", START - days * DAY, START).values[:, 3]
    return np.asarray(np.diff(np.log(closes)))


@settings(max_examples=12, deadline=None)
@given(day=st.integers(FIRST_DAY, FIRST_DAY + 2000), seed=st.integers(0, 5), at=st.integers(0, 1439))
def test_any_minute_is_the_same_however_one_gets_there(day: int, seed: int, at: int) -> None:
    start = day * DAY + at * MINUTE
    alone = Simulated(("ETHUSDT",), seed).candles("ETHUSDT", "1m", start, start + MINUTE)
    among = Simulated(("BTCUSDT", "ETHUSDT", "PEPEUSDT"), seed)
    for other in range(5):
        among.prepare((day + other) * DAY)

    assert among.candles("ETHUSDT", "1m", start, start + MINUTE).values.tolist() == alone.values.tolist()


@pytest.mark.parametrize("interval", ["3m", "5m", "15m", "30m", "1h", "2h", "4h", "6h", "8h", "12h", "1d"])
def test_longer_candles_are_sums_of_the_minutes(interval: str) -> None:
    market = Simulated(("SOLUSDT",), 3)
    minutes = market.candles("SOLUSDT", "1m", START - 2 * DAY, START)
    longer = market.candles("SOLUSDT", interval, START - 2 * DAY, START)
    summed = aggregate(minutes, SPANS[interval])

    assert longer.time.tolist() == summed.time.tolist()
    np.testing.assert_array_equal(longer.values[:, :4], summed.values[:, :4])
    np.testing.assert_allclose(longer.values[:, 4:], summed.values[:, 4:], rtol=1e-12)


def test_every_candle_is_one_that_the_engine_accepts_and_follows_its_predecessor() -> None:
    market = Simulated(seed=2)
    for symbol in market.symbols:
        run = market.candles(symbol, "1m", START - 3 * HOUR, START + 3 * HOUR)
        for opened, row in zip(run.time.tolist(), run.values.tolist(), strict=True):
            Candle(symbol, "1m", opened + INTERVALS["1m"], *row[:5])

        assert run.values[1:, 0].tolist() == run.values[:-1, 3].tolist()
        assert (run.values[:, 7] <= run.values[:, 4] + 1e-9).all()


def test_assets_move_together_and_their_own_sector_more() -> None:
    market = Simulated(seed=4)
    table = np.corrcoef([returns(market, s, 60) for s in ("BTCUSDT", "ETHUSDT", "PEPEUSDT", "SHIBUSDT")])

    assert 0.6 < table[0, 1] < 0.99
    assert 0.2 < table[0, 2] < table[2, 3]


def test_seeds_give_different_markets() -> None:
    one, two = (Simulated(("BTCUSDT",), seed) for seed in (1, 2))

    assert abs(np.corrcoef(returns(one, "BTCUSDT"), returns(two, "BTCUSDT"))[0, 1]) < 0.3


def test_volume_has_a_daily_shape_and_follows_volatility() -> None:
    market = Simulated(("BTCUSDT",), 1)
    run = market.candles("BTCUSDT", "1h", START - 120 * DAY, START)
    by_hour = run.values[:, 4].reshape(-1, 24).mean(axis=0)
    ranges = np.log(run.values[:, 1] / run.values[:, 2])

    assert by_hour[14] > 1.3 * by_hour[4]
    assert np.corrcoef(ranges, run.values[:, 5])[0, 1] > 0.4


def test_prices_stay_near_their_level_for_years() -> None:
    seasons = Seasons(list(TRAITS.values()), range(len(TRAITS)), seed=9)
    levels = np.exp([seasons.day(FIRST_DAY + day).level for day in range(2500)])

    assert levels.shape == (2500, len(TRAITS))
    assert levels.min() > 1 / 12
    assert levels.max() < 12


def test_nothing_is_older_than_the_first_day() -> None:
    market = Simulated(("BTCUSDT",))

    assert len(market.candles("BTCUSDT", "1h", 0, FIRST_DAY * DAY)) == 0
    assert len(market.candles("BTCUSDT", "1h", 0, FIRST_DAY * DAY + 2 * HOUR)) == 2


def test_a_forgotten_day_comes_back_the_same() -> None:
    market = Simulated(("BTCUSDT",), 5)
    before = market.candles("BTCUSDT", "1m", START, START + HOUR).values.tolist()
    for day in range(1, 8):
        market.prepare(START + day * DAY)

    assert market.candles("BTCUSDT", "1m", START, START + HOUR).values.tolist() == before


def test_futures_trade_small_coins_in_thousands() -> None:
    spot, um = Simulated(("PEPEUSDT",), 1), Simulated(("1000PEPEUSDT",), 1, "um")
    one, thousand = (
        market.candles(market.symbols[0], "1h", START, START + HOUR).values[0, 3] for market in (spot, um)
    )

    assert thousand / one == pytest.approx(1000, rel=1e-2)
    assert "1000BONKUSDT" in default_symbols("um")


def test_unlisted_names_get_an_invented_market() -> None:
    market = Simulated(tuple(f"COIN{at}USDT" for at in range(30)))
    closes = [market.candles(s, "1d", START, START + DAY).values[0, 3] for s in market.symbols]

    assert len(set(closes)) == 30


def test_liquidations_follow_hard_minutes_only() -> None:
    market = Simulated(("WIFUSDT",), 1, "um")
    orders = market.liquidations("WIFUSDT", START, START + 2 * DAY)
    again = market.liquidations("WIFUSDT", START, START + DAY) + market.liquidations(
        "WIFUSDT", START + DAY, START + 2 * DAY
    )

    assert orders == again
    assert 0 < len(orders) < 2880
    for time, side, _, _ in orders:
        minute = market.candles("WIFUSDT", "1m", time // MINUTE * MINUTE, time).values[0]
        assert (side == "SELL") == (minute[3] < minute[0])
