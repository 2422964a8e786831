"""A folder of history: its own files first, sums of finer ones where it has none, holes left as holes."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from dataflows.replay.candles import HOUR, MINUTE
from dataflows.replay.history import History
from engine.errors import StorageError
from tests.dataflows.replay.conftest import START, write_klines


def test_an_interval_without_a_file_is_summed_from_the_finest_that_has_data(tmp_path: Path) -> None:
    write_klines(tmp_path, "1h", "BTCUSDT", [(START + at * HOUR, 100.0 + at) for at in range(8)])
    write_klines(tmp_path, "5m", "BTCUSDT", [(START + at * 5 * MINUTE, 500.0 + at) for at in range(12)])
    history = History(tmp_path)

    quarter = history.candles("BTCUSDT", "15m", START, START + HOUR)
    assert quarter.values[:, 3].tolist() == [502.0, 505.0, 508.0, 511.0]
    four_hours = history.candles("BTCUSDT", "4h", START, START + 8 * HOUR)
    assert four_hours.values[:, 3].tolist() == [103.0, 107.0]
    assert four_hours.values[:, 4].tolist() == [8.0, 8.0]


def test_an_own_row_wins_over_a_sum(tmp_path: Path) -> None:
    write_klines(tmp_path, "1h", "BTCUSDT", [(START, 7.0)])
    write_klines(tmp_path, "5m", "BTCUSDT", [(START + at * 5 * MINUTE, 500.0) for at in range(24)])

    hours = History(tmp_path).candles("BTCUSDT", "1h", START, START + 2 * HOUR)

    assert hours.values[:, 3].tolist() == [7.0, 500.0]


def test_a_hole_shortens_a_sum_or_leaves_none(tmp_path: Path) -> None:
    rows = [(START + at * HOUR, float(at)) for at in range(16) if at not in (2, 3, 4, 5, 6, 7)]
    write_klines(tmp_path, "1h", "BTCUSDT", rows)

    four_hours = History(tmp_path).candles("BTCUSDT", "4h", START, START + 16 * HOUR)

    assert four_hours.time.tolist() == [START, START + 8 * HOUR, START + 12 * HOUR]
    assert four_hours.values[0, 3] == 1.0


def test_a_sum_cut_short_by_the_end_of_its_file_is_left_out(tmp_path: Path) -> None:
    write_klines(tmp_path, "1h", "BTCUSDT", [(START + at * HOUR, 1.0) for at in range(6)])

    assert len(History(tmp_path).candles("BTCUSDT", "4h", 0, START + 99 * HOUR)) == 1


def test_intervals_finer_than_the_data_are_empty(tmp_path: Path) -> None:
    write_klines(tmp_path, "1h", "BTCUSDT", [(START, 1.0)])
    history = History(tmp_path)

    assert len(history.candles("BTCUSDT", "5m", 0, START + HOUR)) == 0
    assert history.base("BTCUSDT", START + MINUTE) == "1h"
    assert history.base("BTCUSDT", START + HOUR) is None


def test_null_columns_count_as_nothing(tmp_path: Path) -> None:
    write_klines(tmp_path, "1h", "BTCUSDT", [(START, 1.0)])

    assert History(tmp_path).candles("BTCUSDT", "1h", START, START + 1).values[0, 5:].tolist() == [0.0] * 4


def test_the_price_step_is_the_one_the_prices_need(tmp_path: Path) -> None:
    write_klines(tmp_path, "1h", "BTCUSDT", [(START, 10.25), (START + HOUR, 10.5)])

    instrument = History(tmp_path).instrument("BTCUSDT")

    assert (instrument.price_step, instrument.base, instrument.quote) == ("0.01", "BTC", "USDT")


def test_a_folder_without_klines_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=r"no klines in .*klines/spot"):
        History(tmp_path)


def test_funding_is_served_from_its_file_and_is_empty_without_one(tmp_path: Path) -> None:
    write_klines(tmp_path, "1h", "BTCUSDT", [(START, 1.0)], market="um")
    folder = tmp_path / "futures" / "funding"
    folder.mkdir(parents=True)
    pl.DataFrame(
        {"funding_time": [START, START + 8 * HOUR], "funding_rate": [1e-4, -2e-4], "mark_price": [None, 5.0]}
    ).write_parquet(folder / "BTCUSDT.parquet")
    history = History(tmp_path, "um")

    assert history.funding("BTCUSDT", START, START + 8 * HOUR) == [(START, 1e-4, 0.0)]
    assert history.funding("ETHUSDT", START, START + 8 * HOUR) == []
    assert history.open_interest("BTCUSDT", START, START + 8 * HOUR) == []
    assert history.ratio("accounts", "BTCUSDT", START, START + HOUR) == []


@pytest.mark.market
def test_real_four_hour_candles_are_the_sums_of_the_real_hours(market_data: Path) -> None:
    history = History(market_data, "spot", ("BTCUSDT",))
    start = 1_714_521_600_000  # 2024-05-01
    hours, four = (history.candles("BTCUSDT", name, start, start + 48 * HOUR) for name in ("1h", "4h"))

    assert len(four) == 12
    assert four.values[:, 3].tolist() == hours.values[3::4, 3].tolist()
    assert four.values[:, 1].tolist() == hours.values[:, 1].reshape(12, 4).max(axis=1).tolist()
