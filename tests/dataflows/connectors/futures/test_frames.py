"""Frames of the futures' market stream: marks, forced orders, and everything else that comes there."""

from __future__ import annotations

import json

import orjson
import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from dataflows.connectors.binance.parse import Shutdown
from dataflows.connectors.futures.frames import Coin, Forced, Mark, frame
from engine.errors import CorruptRecord
from tests.checks import market_data
from tests.hostile import ANY_JSON, broken
from tests.providers import fixture_folder

COINS = {"BTCUSDT": Coin("BTC", 1), "1000PEPEUSDT": Coin("PEPE", 1000)}
MARKED = {
    "stream": "1000pepeusdt@markPrice@1s",
    "data": {
        "e": "markPriceUpdate",
        "E": 1_790_000_001_000,
        "s": "1000PEPEUSDT",
        "p": "0.00912000",
        "ap": "0.00912000",
        "i": "0.00914000",
        "P": "0.00914000",
        "r": "-0.00031000",
        "T": 1_790_006_400_000,
        "st": 1,
    },
}
SALE = {
    "e": "forceOrder",
    "E": 1_790_000_002_010,
    "o": {
        "s": "1000PEPEUSDT",
        "S": "SELL",
        "o": "LIMIT",
        "f": "IOC",
        "q": "1000",
        "p": "0.00900000",
        "ap": "0.00910000",
        "X": "FILLED",
        "l": "400",
        "z": "900",
        "T": 1_790_000_002_000,
    },
}


def test_a_mark_is_of_one_coin() -> None:
    heard = frame(orjson.dumps(MARKED), COINS)

    assert isinstance(heard, Mark)
    assert (heard.asset, heard.time) == ("PEPE", 1_790_000_001_000)
    assert heard.price == pytest.approx(9.12e-6)
    assert heard.underlying == pytest.approx(9.14e-6)


def test_a_forced_sale_closes_a_long_for_what_was_filled_at_the_average_price() -> None:
    heard = frame(orjson.dumps(SALE), COINS)
    bought = frame(orjson.dumps({**SALE, "o": {**SALE["o"], "S": "BUY"}}), COINS)  # type: ignore[dict-item]

    assert isinstance(heard, Forced)
    assert (heard.asset, heard.time, heard.long) == ("PEPE", 1_790_000_002_000, True)
    assert heard.usd == pytest.approx(900 * 0.0091)
    assert heard.price == pytest.approx(9.1e-6)
    assert isinstance(bought, Forced)
    assert not bought.long


def test_an_order_without_a_fill_counts_with_its_own_size_and_price() -> None:
    order = {key: value for key, value in SALE["o"].items() if key not in ("ap", "z")}  # type: ignore[attr-defined]
    heard = frame(orjson.dumps({**SALE, "o": order}), COINS)

    assert isinstance(heard, Forced)
    assert heard.usd == pytest.approx(1000 * 0.009)


@pytest.mark.parametrize(
    "frame_",
    [
        {**MARKED["data"], "st": 2},  # type: ignore[dict-item]
        {**SALE, "st": 2},
        {**MARKED["data"], "s": "ETHUSDT"},  # type: ignore[dict-item]
        {"e": "kline", "s": "BTCUSDT"},
        {"result": None, "id": 1},
        [1, 2],
    ],
)
def test_coin_margined_unasked_and_other_events_are_not_read(frame_: object) -> None:
    assert frame(orjson.dumps(frame_), COINS) is None


def test_the_announcement_of_an_end_is_read() -> None:
    assert frame(b'{"stream":"!serverShutdown","data":{"e":"serverShutdown","E":17}}', COINS) == Shutdown(17)


@pytest.mark.parametrize(
    ("change", "words"),
    [({"S": "HOLD"}, "HOLD"), ({"z": "0", "q": "0"}, "0.0 at"), ({"z": "x", "q": None}, "0.0 at")],
)
def test_an_order_that_cannot_be_is_refused_by_name(change: dict[str, object], words: str) -> None:
    with pytest.raises(CorruptRecord, match=words) as caught:
        frame(orjson.dumps({**SALE, "o": {**SALE["o"], **change}}), COINS)  # type: ignore[dict-item]

    assert "PEPE" in str(caught.value)


@examples(max_examples=50, deadline=None)
@given(broken([MARKED, SALE]) | ANY_JSON | st.sampled_from([b"", b"{", b"\xff"]))
def test_whatever_comes_is_a_record_nothing_or_corrupt(body: object) -> None:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    try:
        heard = frame(raw, COINS)
    except CorruptRecord:
        return
    if isinstance(heard, Forced):
        assert 0 < heard.usd < float("inf")
    if isinstance(heard, Mark):
        assert 0 < heard.price < float("inf")


def test_the_fixtures_are_read() -> None:
    folder = fixture_folder("binance")
    told = json.loads((folder / "fut_ws_market_combined.json").read_text())["messages"]
    told += json.loads((folder / "fut_ws_forceOrder_arr.json").read_text())["messages"]
    heard = [frame(orjson.dumps(message), COINS) for message in told]

    assert [type(one).__name__ for one in heard] == ["Mark", "Forced", "NoneType", "Forced"]
    assert isinstance(heard[1], Forced)
    assert heard[1].usd == pytest.approx(0.014 * 9910)


@pytest.mark.market
def test_of_a_real_session_nothing_is_corrupt() -> None:
    raw = market_data("raw", "binance_ws", "usdm_2021-07-22_sushi_akro_keep_ctk.jsonl").read_text()
    heard = [frame(json.loads(line)["raw"], {"SUSHIUSDT": Coin("SUSHI", 1)}) for line in raw.splitlines()]

    assert len(heard) > 1000
    assert set(heard) == {None}  # books, trades and candles: none of it is read here
