"""Recorded candles: what is there, under whatever name, and nothing that is not."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import polars as pl
import pytest

from dataflows.connectors.history import History, Span, activated, records
from dataflows.replay.history import History as Played
from engine.errors import CorruptRecord, StorageError
from engine.records import INTERVALS, Activation, Candle, Listing, Live, Tick, Universe
from engine.symbols import instant
from tests.checks import market, market_data

MINUTE, HOUR = INTERVALS["1m"], INTERVALS["1h"]
START = instant("2024-06-03T00:00+00:00")
RENAME = instant("2024-09-10T03:00+00:00")


def save(
    folder: Path, name: str, candles: Sequence[Candle], market: str = "spot", factor: float = 1.0
) -> Path:
    """Write candles as a file of the layout; a contract's prices are `factor` times a coin's."""
    path = folder / "klines" / market / candles[0].interval / f"{name}.parquet"
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = [
        (c.open_time, c.open * factor, c.high * factor, c.low * factor, c.close * factor, c.volume / factor)
        for c in candles
    ]
    columns = ["open_time", "open", "high", "low", "close", "volume"]
    optional = [pl.lit(1.0).alias("quote_volume"), pl.lit(2).alias("trades")]
    optional += [pl.lit(0.5).alias("taker_buy_base"), pl.lit(0.5).alias("taker_buy_quote")]
    pl.DataFrame(rows, schema=columns, orient="row").with_columns(optional).write_parquet(path)
    return path


def times(frame: pl.DataFrame) -> list[int]:
    return frame["time"].to_list()


def test_a_span_is_open_at_its_beginning_and_closed_at_its_end(tmp_path: Path) -> None:
    save(tmp_path, "BTCUSDT", market(10, interval="1h", start=START))
    found = History(tmp_path, "spot").candles("BTCUSDT", "1h", START + 2 * HOUR, START + 5 * HOUR)

    assert times(found) == [START + 3 * HOUR, START + 4 * HOUR, START + 5 * HOUR]
    assert found.columns[:3] == ["symbol", "interval", "time"]


def test_both_names_of_one_coin_are_one_history_with_a_hole_between(tmp_path: Path) -> None:
    old = market(20, 1, interval="1h", start=RENAME - 10 * HOUR)
    save(tmp_path, "MATICUSDT", old)
    save(tmp_path, "POLUSDT", market(100, 2, interval="1h", start=RENAME))
    found = History(tmp_path, "spot").candles("POLUSDT", "1h", RENAME - 5 * HOUR, RENAME + 90 * HOUR)

    assert times(found)[:5] == [RENAME + at * HOUR for at in range(-4, 1)]
    assert times(found)[5] == instant("2024-09-13T11:00+00:00")
    assert set(found["symbol"]) == {"POLUSDT"}
    assert found["close"][:5].to_list() == [candle.close for candle in old[5:10]]


def test_a_contract_of_a_thousand_coins_is_shown_as_one_coin(tmp_path: Path) -> None:
    candles = market(5, interval="1h", start=START, price=0.01)
    save(tmp_path, "1000PEPEUSDT", candles, "um", factor=1000.0)
    found = History(tmp_path, "um").candles("PEPEUSDT", "1h", 0, START + 9 * HOUR)

    assert found["close"].to_list() == pytest.approx([candle.close for candle in candles])
    assert found["volume"].to_list() == pytest.approx([candle.volume for candle in candles])


def test_higher_intervals_are_summed_of_what_is_there(tmp_path: Path) -> None:
    minutes = market(180, interval="1m", start=START)
    del minutes[65:70]
    save(tmp_path, "BTCUSDT", minutes)
    found = History(tmp_path, "spot").candles("BTCUSDT", "1h", START, START + 3 * HOUR)
    second = [candle for candle in minutes if START + HOUR < candle.time <= START + 2 * HOUR]

    assert times(found) == [START + at * HOUR for at in (1, 2, 3)]
    assert found.row(1)[3:8] == (
        second[0].open,
        max(candle.high for candle in second),
        min(candle.low for candle in second),
        second[-1].close,
        pytest.approx(sum(candle.volume for candle in second)),
    )


def test_a_bucket_that_the_recording_cuts_is_no_candle(tmp_path: Path) -> None:
    save(tmp_path, "BTCUSDT", market(150, interval="1m", start=START + 10 * MINUTE))
    found = History(tmp_path, "spot").candles("BTCUSDT", "1h", START, START + 5 * HOUR)

    assert times(found) == [START + 2 * HOUR]


def test_a_files_own_candles_win_and_finer_ones_fill_what_it_lacks(tmp_path: Path) -> None:
    hours = market(5, 1, interval="1h", start=START)
    minutes = market(300, 2, interval="1m", start=START)
    save(tmp_path, "BTCUSDT", [*hours[:2], *hours[3:]])
    save(tmp_path, "BTCUSDT", minutes)
    found = History(tmp_path, "spot").candles("BTCUSDT", "1h", START, START + 5 * HOUR)
    closes = found["close"].to_list()

    assert times(found) == [candle.time for candle in hours]
    assert closes == [
        hours[0].close,
        hours[1].close,
        minutes[179].close,
        hours[3].close,
        hours[4].close,
    ]


def test_a_row_given_twice_counts_once_and_any_order_will_do(tmp_path: Path) -> None:
    candles = market(6, interval="1h", start=START)
    save(tmp_path, "BTCUSDT", [candles[3], *candles, candles[3]])

    assert times(History(tmp_path, "spot").candles("BTCUSDT", "1h", 0, 1 << 50)) == [c.time for c in candles]


@pytest.mark.parametrize("interval", ["5m", "15m", "1h", "4h"])
def test_the_replay_exchange_plays_the_same_candles(tmp_path: Path, interval: str) -> None:
    minutes = market(900, 3, interval="1m", start=START, holes=0.01)
    end = minutes[-1].time
    save(tmp_path, "BTCUSDT", minutes)
    save(tmp_path, "BTCUSDT", market(100, 4, interval="5m", start=START + HOUR, holes=0.05))
    ours = History(tmp_path, "spot").candles("BTCUSDT", interval, START, end)
    played = Played(tmp_path).candles("BTCUSDT", interval, START, end)
    closed = played.time + INTERVALS[interval] <= end

    assert times(ours) == (played.time[closed] + INTERVALS[interval]).tolist()
    assert (
        ours.select("open", "high", "low", "close").to_numpy().tolist() == played.values[closed, :4].tolist()
    )
    assert ours["volume"].to_list() == pytest.approx(played.values[closed, 4].tolist())


def test_a_folder_without_candles_of_the_market_is_named(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=r"no recorded candles here, .*klines/um is missing"):
        History(tmp_path, "um")


@pytest.mark.parametrize("content", [b"no parquet", b""])
def test_a_file_that_cannot_be_read_is_named_in_one_line(tmp_path: Path, content: bytes) -> None:
    save(tmp_path, "BTCUSDT", market(5, interval="1h")).write_bytes(content)

    with pytest.raises(StorageError, match=r"BTCUSDT\.parquet: cannot read candles: ") as raised:
        History(tmp_path, "spot").candles("BTCUSDT", "1h", 0, 1 << 50)
    assert len(str(raised.value).splitlines()) == 1


def test_a_file_without_a_column_is_named(tmp_path: Path) -> None:
    path = save(tmp_path, "BTCUSDT", market(5, interval="1h"))
    pl.read_parquet(path).drop("close").write_parquet(path)

    with pytest.raises(StorageError, match="close"):
        History(tmp_path, "spot").candles("BTCUSDT", "1h", 0, 1 << 50)


def test_optional_columns_may_be_absent(tmp_path: Path) -> None:
    path = save(tmp_path, "BTCUSDT", market(5, interval="1h"))
    pl.read_parquet(path).drop("trades", "quote_volume").write_parquet(path)
    found = History(tmp_path, "spot").candles("BTCUSDT", "1h", 0, 1 << 50)

    assert found["trades"].to_list() == [None] * 5
    assert found["taker_buy_base"].to_list() == [0.5] * 5


SPAN = Span("1h", ("1h", "4h"), START + 40 * HOUR, START + 60 * HOUR, 40, 20)
PAIRS = (("BTCUSDT", "majors"), ("DOGEUSDT", "memes"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """BTC from the beginning with a hole, DOGE listed later."""
    hours = market(60, 1, interval="1h", start=START)
    del hours[49]
    save(tmp_path, "BTCUSDT", hours)
    save(tmp_path, "DOGEUSDT", market(50, 2, interval="1h", start=START + 10 * HOUR, price=0.1))
    return tmp_path


def test_records_come_as_a_live_run_journals_them(folder: Path) -> None:
    made, absent, count = records(History(folder, "spot"), PAIRS, SPAN)
    all_of_it = list(made)
    ticks = [record.time for record in all_of_it if isinstance(record, Tick)]
    candles = [record for record in all_of_it if isinstance(record, Candle)]

    assert isinstance(all_of_it[0], Universe)
    assert all_of_it[1] == Live(SPAN.begin, "replay")
    assert absent == []
    assert ticks == [START + at * HOUR for at in range(1, 61)]
    assert len(candles) == count
    assert ("BTCUSDT", START + 50 * HOUR) not in {(c.symbol, c.time) for c in candles if c.interval == "1h"}


def test_every_candle_of_a_close_stands_before_its_tick_and_behind_the_one_before(folder: Path) -> None:
    newest = 0
    for record in records(History(folder, "spot"), PAIRS, SPAN)[0]:
        if isinstance(record, Tick):
            newest = record.time
        if isinstance(record, Candle):
            assert newest < record.time <= newest + HOUR or newest == 0


def test_a_symbol_is_expected_from_its_first_candle_on(folder: Path) -> None:
    made = list(records(History(folder, "spot"), PAIRS, SPAN)[0])
    universes = [record for record in made if isinstance(record, Universe)]
    joined = made.index(universes[1])

    assert [universe.symbols for universe in universes] == [("BTCUSDT",), ("BTCUSDT", "DOGEUSDT")]
    assert universes[1].time == START + 10 * HOUR
    assert made[joined - 1] == Tick(START + 10 * HOUR)
    assert isinstance(made[joined + 1], Candle)


def test_the_price_step_is_read_off_the_prices(folder: Path) -> None:
    made = list(records(History(folder, "spot"), PAIRS, SPAN)[0])
    universes = [record for record in made if isinstance(record, Universe)]
    steps = {listing.symbol: listing.price_step for listing in universes[-1].listings}

    assert steps == {"BTCUSDT": 0.01, "DOGEUSDT": 0.00001}


def test_a_new_name_is_listed_from_its_first_close_on(tmp_path: Path) -> None:
    save(tmp_path, "MATICUSDT", market(20, 1, interval="1h", start=RENAME - 20 * HOUR))
    save(tmp_path, "POLUSDT", market(20, 2, interval="1h", start=RENAME + 79 * HOUR))
    span = Span("1h", ("1h",), RENAME - 5 * HOUR, RENAME + 99 * HOUR, 15, 10)
    made = list(records(History(tmp_path, "spot"), [("POLUSDT", "alts")], span)[0])
    listed: list[Listing] = [
        one for record in made if isinstance(record, Universe) for one in record.listings
    ]

    assert [one.exchange_symbol for one in listed] == ["MATICUSDT", "POLUSDT"]
    assert [one.symbol for one in listed] == ["POLUSDT", "POLUSDT"]


def test_a_longer_span_begins_with_the_same_records(folder: Path) -> None:
    history = History(folder, "spot")
    for hours, more in pairwise((42, 45, 50, 51, 60)):
        first, second = (
            list(records(history, PAIRS, Span("1h", ("1h", "4h"), SPAN.begin, START + end * HOUR, 40, 20))[0])
            for end in (hours, more)
        )

        assert second[: len(first)] == first


VERSIONS = [
    Activation(START + hour * HOUR - 1, "boosted", f"v{hour}", START + hour * HOUR)
    for hour in (-100, 2, 45, 45, 50, 61)
]


def test_a_version_comes_before_every_candle_it_may_serve_and_behind_every_other(folder: Path) -> None:
    made = list(activated(records(History(folder, "spot"), PAIRS, SPAN)[0], VERSIONS))
    plain = list(records(History(folder, "spot"), PAIRS, SPAN)[0])

    assert [one for one in made if not isinstance(one, Activation)] == plain
    assert [one for one in made if isinstance(one, Activation)] == VERSIONS[:-1]
    for place, record in enumerate(made):
        if isinstance(record, Activation):
            assert all(
                one.time < record.serves_from for one in made[:place] if isinstance(one, Candle | Tick)
            )
            assert all(one.time >= record.serves_from for one in made[place:] if isinstance(one, Candle))


def test_a_longer_span_and_later_versions_change_nothing_before(folder: Path) -> None:
    history = History(folder, "spot")
    for hours, more in pairwise((42, 45, 50, 51, 60)):
        spans = (Span("1h", ("1h", "4h"), SPAN.begin, START + end * HOUR, 40, 20) for end in (hours, more))
        first, second = (list(activated(records(history, PAIRS, span)[0], VERSIONS)) for span in spans)
        known = [one for one in VERSIONS if one.serves_from <= START + hours * HOUR]
        fewer = list(
            activated(
                records(history, PAIRS, Span("1h", ("1h", "4h"), SPAN.begin, START + hours * HOUR, 40, 20))[
                    0
                ],
                known,
            )
        )

        assert second[: len(first)] == first
        assert fewer == first


def test_symbols_without_a_candle_in_the_span_are_named(folder: Path) -> None:
    made, absent, _ = records(History(folder, "spot"), [*PAIRS, ("ETHUSDT", "majors")], SPAN)

    assert absent == ["ETHUSDT"]
    assert {record.symbol for record in made if isinstance(record, Candle)} == {"BTCUSDT", "DOGEUSDT"}


def test_a_corrupt_row_is_refused_and_the_others_come(folder: Path) -> None:
    path = folder / "klines/spot/1h/BTCUSDT.parquet"
    hurt = pl.when(pl.col("open_time") == START + 30 * HOUR).then(None).otherwise(pl.col("high"))
    pl.read_parquet(path).with_columns(hurt.alias("high")).write_parquet(path)
    refused: list[CorruptRecord] = []
    span = Span("1h", ("1h",), SPAN.begin, SPAN.end, 40, 20)
    made, _, count = records(History(folder, "spot"), PAIRS, span, refused.append)
    candles = [record for record in made if isinstance(record, Candle)]

    assert [str(error) for error in refused] == [
        f"BTCUSDT 1h candle closing at {START + 31 * HOUR}: high was nan"
    ]
    assert len(candles) == count - 1


@pytest.mark.market
@pytest.mark.parametrize(("symbol", "interval"), [("POLUSDT", "1h"), ("BTCUSDT", "15m"), ("PEPEUSDT", "4h")])
def test_real_candles_are_those_the_replay_exchange_plays(symbol: str, interval: str) -> None:
    folder = market_data()
    begin, end = instant("2024-08-01T00:00+00:00"), instant("2024-08-08T00:00+00:00")
    ours = History(folder, "spot").candles(symbol, interval, begin, end)
    name = "MATICUSDT" if symbol == "POLUSDT" else symbol
    played = Played(folder, "spot", (name,)).candles(name, interval, begin, end)

    assert times(ours) == (played.time + INTERVALS[interval]).tolist()
    assert ours["close"].to_list() == played.values[:, 3].tolist()
