"""Rows of the exchange: microseconds, headers, what a market cannot have made; and real files."""

from __future__ import annotations

import csv
import hashlib
from datetime import UTC, datetime

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from dataflows.backfill.archive import digest
from dataflows.backfill.rows import HEADERS, answered, parsed, settled
from dataflows.backfill.series import Series
from dataflows.backfill.spans import FOREVER, Range
from dataflows.backfill.zips import unpacked
from dataflows.connectors.binance.parse import candle_of
from engine.errors import CorruptRecord, SourceError
from tests.checks import market_data

HOUR = 3_600_000
ALWAYS = Range(0, FOREVER)
BTC = Series("klines", "spot", "BTCUSDT", "1h")
FUNDING = Series("funding", "um", "BTCUSDT")
METRICS = Series("metrics", "um", "BTCUSDT")
GOOD = "3600000,10,12,9,11,5,7199999,55,3,2,22,0"
JANUARY = 1_735_689_600_000


def text(*lines: str) -> bytes:
    return "\n".join(lines).encode()


def test_milliseconds_and_microseconds_give_the_same_row() -> None:
    milli = parsed(BTC, text(f"{JANUARY},1,2,1,2,3,{JANUARY + HOUR - 1},4,5,6,7,0"), ALWAYS, "x")
    micro = parsed(BTC, text(f"{JANUARY}000,1,2,1,2,3,{JANUARY + HOUR - 1}999,4,5,6,7,0"), ALWAYS, "x")

    assert milli.rows.equals(micro.rows)
    assert milli.rows.row(0) == (JANUARY, 1, 2, 1, 2, 3, JANUARY + HOUR - 1, 4, 5, 6, 7)


@pytest.mark.parametrize("end", ["", "\n", "\r\n"])
def test_a_header_is_seen_by_what_it_says(end: str) -> None:
    bare = parsed(BTC, text(GOOD) + end.encode(), ALWAYS, "x")
    headed = parsed(BTC, text(",".join(HEADERS["klines"]), GOOD) + end.encode(), ALWAYS, "x")

    assert headed.rows.height == 1
    assert headed.rows.equals(bare.rows)
    assert not headed.refused


@pytest.mark.parametrize(
    "body",
    [
        b"open,close\n1,2",
        b"<html><body>",
        b"3600000,10,12,9",
        ",".join(reversed(HEADERS["klines"])).encode() + b"\n" + GOOD.encode(),
        GOOD.encode() + b"\n" + GOOD.encode() + b",1,2,3",
        ",".join(HEADERS["klines"]).encode() + b"\n1,2,3",
    ],
)
def test_another_table_is_refused(body: bytes) -> None:
    with pytest.raises(SourceError, match=r"^a\.zip: "):
        parsed(BTC, body, ALWAYS, "a.zip")


@pytest.mark.parametrize("body", [b"", b"\n", ",".join(HEADERS["klines"]).encode()])
def test_a_table_without_rows_is_empty(body: bytes) -> None:
    assert parsed(BTC, body, ALWAYS, "x").rows.is_empty()


def test_rows_come_by_time_each_once_the_first_wins() -> None:
    later = GOOD.replace("3600000", "7200000").replace("7199999", "10799999")
    read = parsed(BTC, text(later, GOOD, GOOD.replace("55", "99")), ALWAYS, "x")

    assert read.rows["open_time"].to_list() == [3_600_000, 7_200_000]
    assert read.rows["quote_volume"].to_list() == [55.0, 55.0]


prices = st.sampled_from(["10", "9", "12", "0", "-1", "nan", "inf", "-inf", "1e-320", "1e308", "", "x"])
opens = st.sampled_from([0, 3_600_000, 3_600_001, JANUARY, JANUARY * 1000, -HOUR, "", "x"])


@given(
    opens,
    st.tuples(prices, prices, prices, prices, prices),
    st.sampled_from([-1, 0, 1, HOUR - 1, HOUR]),
    st.tuples(*[st.sampled_from(["1", "0", "", "x", "1.5"])] * 4),
)
@example(3_600_000, ("10", "12", "9", "11", "5"), HOUR - 1, ("1", "1", "1", "1"))
def test_a_row_is_kept_exactly_when_it_makes_a_candle(
    opened: int | str, five: tuple[str, ...], lasts: int, four: tuple[str, ...]
) -> None:
    ends = opened + lasts * (1000 if opened > 10**14 else 1) if isinstance(opened, int) else opened
    row = [opened, *five, ends, *four, "0"]
    try:
        candle_of([opened, *five, ends, four[0], four[1], *four[2:]], "BTCUSDT", "1h")
        makes = True
    except CorruptRecord:
        makes = False
    from_archive = parsed(BTC, text(GOOD, ",".join(map(str, row))), ALWAYS, "x")
    from_rest = answered([row], HOUR, ALWAYS, "x")

    assert from_rest.rows.height == makes
    assert len(from_rest.refused) == (not makes)
    assert len(from_archive.refused) == (not makes)


@pytest.mark.parametrize("row", [[], None, "x", [3_600_000, "1"], {}])
def test_half_a_row_of_rest_is_counted(row: object) -> None:
    read = answered([row], HOUR, ALWAYS, "klines")

    assert (read.rows.height, len(read.refused)) == (0, 1)
    assert read.first is not None


def test_funding_that_is_none_is_left_out() -> None:
    header = ",".join(HEADERS["funding"])
    body = text(header, "3600000,8,0.0001", "7200000,8,nan", "x,8,0.1", "10800007,8,-0.00025")
    read = parsed(FUNDING, body, ALWAYS, "x")
    rest = settled(
        [
            {"fundingTime": 1, "fundingRate": "0.1", "markPrice": ""},
            {"fundingTime": 2, "fundingRate": "0.2", "markPrice": "7.5"},
            {"fundingTime": 3, "fundingRate": "5"},
            7,
        ],
        ALWAYS,
        "x",
    )

    assert read.rows["funding_time"].to_list() == [3_600_000, 10_800_007]
    assert len(read.refused) == 2
    assert rest.rows["mark_price"].to_list() == [None, 7.5]
    assert len(rest.refused) == 2


def test_a_metric_some_seconds_beside_its_mark_is_put_on_it() -> None:
    lines = (
        '2023-05-01 00:05:01,BTCUSDT,100.5,200,"",1.5,,2.5',
        "2023-05-01 00:12:30,BTCUSDT,100.5,200,1,1,1,1",
        "2023-05-01 00:15:00,BTCUSDT,nan,200,1,1,1,1",
        "2023-05-02 00:00:00,BTCUSDT,1,,1,1,1,1",
    )
    day = round(datetime(2023, 5, 1, tzinfo=UTC).timestamp() * 1000)
    read = parsed(
        METRICS, text(",".join(HEADERS["metrics"]), *lines), Range(day, day + 24 * HOUR), "metrics.zip"
    )

    assert [row[:2] for row in read.rows.iter_rows()] == [(day + 300_000, 100.5), (day + 24 * HOUR, 1.0)]
    assert read.rows.row(0)[3:] == (None, 1.5, None, 2.5)
    assert len(read.refused) == 2


@pytest.mark.market
@pytest.mark.parametrize("day", [1, 2, 3])
def test_real_zips_are_proven_and_read_to_the_last_digit(day: int) -> None:
    name = f"BTCUSDT-1m-2020-01-0{day}.zip"
    zipped = market_data("raw", "binance_archive", name).read_bytes()
    line = market_data("raw", "binance_archive", f"{name}.CHECKSUM").read_bytes()
    body = unpacked(zipped, name)
    begin = round(datetime(2020, 1, day, tzinfo=UTC).timestamp() * 1000)
    read = parsed(Series("klines", "spot", "BTCUSDT", "1m"), body, Range(begin, begin + 24 * HOUR), name)
    plain = [
        (int(row[0]), *map(float, row[1:6]), int(row[6]), float(row[7]), int(row[8]), *map(float, row[9:11]))
        for row in csv.reader(body.decode().splitlines())
    ]

    assert hashlib.sha256(zipped).hexdigest() == digest(line, name)
    assert list(read.rows.iter_rows()) == plain
    assert len(plain) == 1440


@pytest.mark.market
def test_a_real_file_in_microseconds_is_read_whole() -> None:
    body = market_data(
        "raw", "binance_archive", "BTCUSDT-1h-2025-01_headerless_microseconds.csv"
    ).read_bytes()
    read = parsed(BTC, body, ALWAYS, "x")

    assert not read.refused
    assert read.rows["open_time"].to_list() == list(range(JANUARY, JANUARY + 745 * HOUR, HOUR))


@pytest.mark.market
def test_a_real_file_of_metrics_is_read_whole() -> None:
    body = market_data("raw", "binance_archive", "BTCUSDT-metrics-2022-01-01.csv").read_bytes()
    day = round(datetime(2022, 1, 1, tzinfo=UTC).timestamp() * 1000)
    read = parsed(METRICS, body, Range(day, day + 24 * HOUR), "x")

    assert (read.rows.height, len(read.refused)) == (288, 0)
    assert read.rows["count_long_short_ratio"].null_count() == 288
