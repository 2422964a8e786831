"""Funding rates, open interest and long/short ratios: from the archive, and the newest rates from REST."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from dataflows.backfill.series import METRICS, RATIOS
from dataflows.replay.faults import Fault
from dataflows.replay.history import History as Folder
from tests.dataflows.backfill.rig import DAY, HOUR, NOVEMBER, NOW, Rig, rig

MIDNIGHT = NOW // DAY * DAY
KINDS = ("top_accounts", "top_positions", "accounts", "taker")


def funding(made: Rig, symbol: str = "BTCUSDT") -> pl.DataFrame:
    return pl.read_parquet(made.folder / "futures" / "funding" / f"{symbol}.parquet")


def metrics(made: Rig, symbol: str = "BTCUSDT") -> pl.DataFrame:
    return pl.read_parquet(made.folder / "futures" / "open_interest" / "5m" / f"{symbol}.parquet")


def test_funding_is_that_of_the_exchange_with_the_mark_price_where_it_is_told(um: Rig) -> None:
    report = um.run("BTCUSDT", "PEPEUSDT", intervals=(), funding=True)
    settled = um.exchange.venue.source.funding("1000PEPEUSDT", NOVEMBER + 1, NOW + 1)
    rows = funding(um, "1000PEPEUSDT")
    march = rows["funding_time"] >= NOVEMBER + 120 * DAY

    assert report.failed == []
    assert rows.columns == ["funding_time", "funding_rate", "mark_price", "src"]
    assert list(zip(rows["funding_time"], rows["funding_rate"], strict=True)) == [
        (time, pytest.approx(rate, abs=1e-12)) for time, rate, _ in settled
    ]
    assert rows.filter(~march)["mark_price"].null_count() == (~march).sum()
    assert rows.filter(march)["mark_price"].null_count() == 0
    assert um.asked["/fapi/v1/fundingRate"] == 2


def test_a_second_run_asks_only_for_the_newest_rates(um: Rig) -> None:
    um.run(intervals=(), funding=True)
    before, rows = um.asked, funding(um)
    um.run(intervals=(), funding=True)

    assert um.asked - before == {"/fapi/v1/time": 1, "/fapi/v1/fundingRate": 1}
    assert funding(um).equals(rows)


def test_a_rate_that_is_known_is_not_doubled_by_some_milliseconds(um: Rig) -> None:
    um.run(intervals=(), funding=True)
    rows = funding(um)
    file = um.folder / "futures" / "funding" / "BTCUSDT.parquet"
    late = rows.head(200).gather_every(2).with_columns(pl.col("funding_time") + 7, src=pl.lit("me"))
    late.write_parquet(file)
    um.run(intervals=(), funding=True)
    found = funding(um)

    assert found.height == rows.height
    assert found.filter(src="me").equals(late)


def test_funding_over_years_comes_in_pages(tmp_path: Path) -> None:
    with rig(tmp_path, "um") as made:
        made.exchange.add(Fault("status", path="/data/", status=404))
        begin = NOW - 500 * DAY
        made.run(intervals=(), funding=True, begin=begin)

        assert funding(made).height == 1500


def test_a_coin_of_another_market_brings_its_contract(um: Rig) -> None:
    um.run("PEPEUSDT", begin=NOW - 3 * DAY, intervals=(), funding=True, metrics=True)

    assert funding(um, "1000PEPEUSDT").height == 9
    assert metrics(um, "1000PEPEUSDT").height == 2 * 288


def test_metrics_are_those_of_the_exchange(um: Rig) -> None:
    begin = MIDNIGHT - 10 * DAY
    report = um.run(begin=begin, intervals=(), metrics=True)
    rows, source = metrics(um), um.exchange.venue.source
    end = MIDNIGHT - DAY
    interest = source.open_interest("BTCUSDT", begin + 1, end + 1)

    assert (report.failed, report.zips) == ([], 9)
    assert rows.columns == list(METRICS)
    assert [list(row) for row in rows.select(tuple(METRICS)[:3]).iter_rows()] == [
        [time, pytest.approx(amount), pytest.approx(value)] for time, amount, value in interest
    ]
    for column, kind in zip(RATIOS, KINDS, strict=True):
        ratios = source.ratio(kind, "BTCUSDT", begin + 1, end + 1)
        assert rows[column].to_list() == [ratio for _, ratio in ratios]


def test_metrics_of_both_ways_to_stamp_them_have_one_time_each(tmp_path: Path) -> None:
    """From 2026-06-25 on the archive stamps the beginning of five minutes; known is their end."""
    relabelled = 1_782_345_600_000
    with rig(tmp_path, "um", now=relabelled + 5 * DAY) as made:
        made.run(begin=relabelled - 2 * DAY, end=relabelled + 2 * DAY, intervals=(), metrics=True)

        assert metrics(made)["time"].to_list() == list(
            range(relabelled - 2 * DAY + 300_000, relabelled + 2 * DAY + 1, 300_000)
        )


def test_a_day_that_is_not_published_yet_is_asked_for_again_and_an_old_one_is_not(um: Rig) -> None:
    um.exchange.add(Fault("status", path="/data/", status=404))
    first = um.run(begin=MIDNIGHT - 20 * DAY, intervals=(), metrics=True)
    um.exchange.faults.clear()
    before = um.asked
    um.run(begin=MIDNIGHT - 20 * DAY, intervals=(), metrics=True)
    again = {path for path in um.asked - before if path.endswith(".CHECKSUM")}

    assert first.empty == ["futures/open_interest/5m/BTCUSDT.parquet"]
    assert len(again) == 7
    assert metrics(um).height == 6 * 288


def test_a_day_that_cannot_be_proven_is_still_missing(um: Rig) -> None:
    um.exchange.add(Fault("truncated", path="/data/futures/um/daily/metrics/BTCUSDT/", times=4))
    report = um.run(begin=MIDNIGHT - 2 * DAY, end=MIDNIGHT - DAY, intervals=(), metrics=True)

    assert len(report.failed) == 1
    assert "metrics" in report.failed[0]
    assert um.run(begin=MIDNIGHT - 2 * DAY, end=MIDNIGHT - DAY, intervals=(), metrics=True).failed == []


def test_open_interest_without_ratios_gets_them_and_keeps_its_own(um: Rig) -> None:
    um.run(begin=MIDNIGHT - 5 * DAY, intervals=(), metrics=True)
    rows = metrics(um)
    file = um.folder / "futures" / "open_interest" / "5m" / "BTCUSDT.parquet"
    rows.select(tuple(METRICS)[:3]).with_columns(sum_open_interest=pl.lit(5.0)).write_parquet(file)
    um.run(begin=MIDNIGHT - 5 * DAY, intervals=(), metrics=True)
    found = metrics(um)

    assert found.select(RATIOS).equals(rows.select(RATIOS))
    assert set(found["sum_open_interest"]) == {5.0}


def test_what_is_filled_is_played_by_the_replay_exchange(um: Rig) -> None:
    um.run(begin=MIDNIGHT - 5 * DAY, funding=True, metrics=True)
    folder = Folder(um.folder, "um")

    assert len(folder.funding("BTCUSDT", MIDNIGHT - 2 * DAY, MIDNIGHT)) == 6
    assert len(folder.open_interest("BTCUSDT", MIDNIGHT - 2 * DAY, MIDNIGHT - DAY)) == 288
    assert len(folder.candles("BTCUSDT", "1h", MIDNIGHT - DAY, MIDNIGHT)) == DAY // HOUR
