"""Frames and rows as Binance sends them."""

from __future__ import annotations

import copy
import os
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataflows.connectors.binance.parse import Heard, Shutdown, candle_of, frame
from engine.errors import CorruptRecord
from engine.records import Listing

BNB = {"BNBUSDT": Listing("BNBUSDT", "BNBUSDT", "BNB", "majors")}
PEPE = {"1000PEPEUSDT": Listing("PEPEUSDT", "1000PEPEUSDT", "PEPE", "memes", 1000)}
CLOSED: dict[str, Any] = {
    "e": "kline",
    "E": 1_672_515_840_005,
    "s": "BNBUSDT",
    "k": {
        "t": 1_672_515_780_000,
        "T": 1_672_515_839_999,
        "s": "BNBUSDT",
        "i": "1m",
        "f": 100,
        "L": 260,
        "o": "10",
        "c": "21",
        "h": "25",
        "l": "9",
        "v": "1610",
        "n": 161,
        "x": True,
        "q": "1.7",
        "V": "810",
        "Q": "0.860",
        "B": "0",
    },
}


def changed(**fields: Any) -> bytes:
    data = copy.deepcopy(CLOSED)
    for name, value in fields.items():
        (data["k"] if name in data["k"] and name != "s" else data)[name] = value
    return orjson.dumps(data)


def test_a_closed_kline_is_a_candle_at_its_exclusive_end() -> None:
    heard = frame(orjson.dumps({"stream": "bnbusdt@kline_1m", "data": CLOSED}), BNB)

    assert isinstance(heard, Heard)
    assert heard.candle is not None
    assert (heard.symbol, heard.interval, heard.time, heard.price) == ("BNBUSDT", "1m", 1_672_515_840_005, 21)
    assert heard.candle.time == 1_672_515_840_000
    assert (heard.candle.trades, heard.candle.taker_base, heard.candle.taker_quote) == (161, 810, 0.86)


def test_a_forming_kline_is_only_a_price() -> None:
    heard = frame(changed(x=False), BNB)

    assert heard == Heard("BNBUSDT", "1m", 1_672_515_840_005, 21, None)


def test_a_thousandfold_contract_is_told_per_coin() -> None:
    heard = frame(changed(s="1000PEPEUSDT"), PEPE)

    assert isinstance(heard, Heard)
    assert heard.candle is not None
    assert (heard.symbol, heard.price, heard.candle.high) == ("PEPEUSDT", 0.021, 0.025)
    assert (heard.candle.volume, heard.candle.taker_base) == (1_610_000, 810_000)
    assert heard.candle.quote_volume == 1.7


def test_microseconds_say_the_same_as_milliseconds() -> None:
    fine = changed(E=1_672_515_840_005_000, t=1_672_515_780_000_000, T=1_672_515_839_999_999)

    assert frame(fine, BNB) == frame(changed(), BNB)


def test_the_end_of_a_connection_is_announced_in_both_forms() -> None:
    data = {"e": "serverShutdown", "E": 1_770_123_456_789}

    assert frame(orjson.dumps(data), BNB) == Shutdown(1_770_123_456_789)
    assert frame(orjson.dumps({"stream": "!serverShutdown", "data": data}), BNB) == Shutdown(
        1_770_123_456_789
    )


@pytest.mark.parametrize(
    "raw",
    [
        b'{"result":null,"id":1}',
        b'{"code":2,"msg":"Invalid request: missing field"}',
        b'{"stream":"bnbusdt@aggTrade","data":{"e":"aggTrade","E":1,"s":"BNBUSDT"}}',
        b'{"stream":"x","data":[1,2]}',
        changed(s="XRPUSDT"),
        changed(st=2),
    ],
)
def test_what_is_not_read_here_is_passed_over(raw: bytes) -> None:
    assert frame(raw, BNB) is None


@pytest.mark.parametrize(
    ("fields", "found"),
    [
        ({"c": "NaN"}, "close was nan"),
        ({"c": "0"}, "close was 0"),
        ({"l": "-1"}, "low was -1"),
        ({"c": None}, "BNBUSDT"),
        ({"c": "abc"}, "BNBUSDT"),
        ({"h": "inf"}, "high was inf"),
        ({"h": "20"}, "high 20.0 is below"),
        ({"t": 1_672_515_780_001, "T": 1_672_515_840_000}, "grid"),
        ({"T": 1_672_515_840_000}, "ends at 1672515840000"),
        ({"T": "1672515839999"}, "time was '1672515839999'"),
        ({"i": "7m"}, "interval was '7m'"),
        ({"x": "true"}, "closed was 'true'"),
        ({"E": None}, "time was None"),
        ({"E": 1_672_515_800_000}, "was closed at 1672515800000"),
        ({"k": None}, "BNBUSDT kline frame"),
    ],
)
def test_a_kline_that_cannot_be_true_is_refused_by_name(fields: dict[str, Any], found: str) -> None:
    data = copy.deepcopy(CLOSED)
    for name, value in fields.items():
        (data if name in ("E", "k") else data["k"])[name] = value

    with pytest.raises(CorruptRecord, match=found):
        frame(orjson.dumps(data), BNB)


@given(
    st.binary(max_size=200)
    | st.recursive(st.none() | st.integers(0, 2**60) | st.text(), st.lists).map(orjson.dumps)
)
def test_garbage_is_refused_or_passed_over(raw: bytes) -> None:
    try:
        heard = frame(raw, BNB)
    except CorruptRecord:
        return

    assert heard is None


@given(
    st.sampled_from(sorted(CLOSED["k"])),
    st.none() | st.text(max_size=5) | st.integers() | st.booleans() | st.floats(),
)
def test_one_wrong_field_makes_a_frame_true_or_corrupt_and_nothing_else(name: str, value: Any) -> None:
    data = copy.deepcopy(CLOSED)
    data["k"][name] = value if not isinstance(value, int) or abs(value) < 2**63 else 0
    try:
        heard = frame(orjson.dumps(data), BNB)
    except CorruptRecord:
        return

    assert isinstance(heard, Heard)
    assert heard.candle is None or 0 < heard.candle.low <= heard.candle.high


@pytest.mark.parametrize("row", [[], None, 7, [1, 2, 3], ["x"] * 12, [0.5] * 12])
def test_a_row_that_is_none_is_refused(row: Any) -> None:
    with pytest.raises(CorruptRecord):
        candle_of(row, "BTCUSDT", "1m")


def market() -> Path:
    folder = Path(os.environ.get("MARKET_DATA", "../shared/market"))
    if not folder.is_dir():
        pytest.skip(f"no market data at {folder}")
    return folder / "raw"


@pytest.mark.market
@pytest.mark.parametrize("name", ["spot_2021-10-12_nkn_blz_lrc_rune", "usdm_2021-07-22_sushi_akro_keep_ctk"])
def test_recorded_frames_of_the_exchange_are_read(name: str) -> None:
    lines = (market() / "binance_ws" / f"{name}.jsonl").read_bytes().splitlines()
    frames = [orjson.loads(line)["raw"] for line in lines]
    bodies = [orjson.loads(raw) for raw in frames]
    symbols = {body["data"]["s"] for body in bodies if body["data"].get("e") == "kline"}
    listings = {symbol: Listing(symbol, symbol, symbol[:-4], "alts") for symbol in symbols}

    heard = [frame(raw, listings) for raw in frames]

    klines = [body["data"]["k"] for body in bodies if body["data"].get("e") == "kline"]
    read = [one for one in heard if isinstance(one, Heard) and one.interval]
    assert [one.price for one in read] == [float(k["c"]) for k in klines]
    assert sum(one.candle is not None for one in read) == sum(k["x"] for k in klines)


@pytest.mark.market
def test_recorded_rows_of_the_exchange_are_read() -> None:
    rows = orjson.loads((market() / "binance_rest" / "api_v3_klines_BTCUSDT_1h_2023-03-01.json").read_bytes())

    candles = [candle_of(row, "BTCUSDT", "1h") for row in rows]

    assert [candle.open_time for candle in candles] == [row[0] for row in rows]
    assert [candle.close for candle in candles] == [float(row[4]) for row in rows]
