"""The endpoints and the addresses that only futures have."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest
from websockets.asyncio.client import connect

from dataflows.replay.candles import DAY, HOUR, MINUTE
from dataflows.replay.history import History
from dataflows.replay.simulate import Simulated
from tests.dataflows.replay.clients import (
    closes,
    eventually,
    everything,
    get,
    klines,
    receive,
    streams,
    until,
)
from tests.dataflows.replay.conftest import START, Opener, write_klines

RATIOS = ("topLongShortPositionRatio", "topLongShortAccountRatio", "globalLongShortAccountRatio")


async def test_klines_take_1500_rows_and_no_more(opened: Opener) -> None:
    exchange = await opened("um")
    answer = await get(exchange, "/fapi/v1/klines", symbol="BTCUSDT", interval="5m", limit=1501)

    assert len(await klines(exchange, "BTCUSDT", "5m", limit=1500)) == 1500
    assert (answer.status_code, answer.json()["code"]) == (400, -1130)


@pytest.mark.parametrize(("limit", "weight"), [(99, 1), (100, 2), (499, 2), (500, 5), (1000, 5), (1001, 10)])
async def test_klines_weigh_by_their_limit(opened: Opener, limit: int, weight: int) -> None:
    exchange = await opened("um")
    answer = await get(exchange, "/fapi/v1/klines", symbol="BTCUSDT", interval="5m", limit=limit)

    assert answer.headers["x-mbx-used-weight-1m"] == str(weight)


async def test_exchange_info_lists_perpetuals(opened: Opener) -> None:
    body = (await get(await opened("um"), "/fapi/v1/exchangeInfo")).json()
    pepe = body["symbols"][1]

    assert body["futuresType"] == "U_MARGINED"
    assert (pepe["symbol"], pepe["baseAsset"], pepe["contractType"]) == (
        "1000PEPEUSDT",
        "1000PEPE",
        "PERPETUAL",
    )


async def test_funding_is_listed_oldest_first_and_stamped_every_eight_hours(opened: Opener) -> None:
    exchange = await opened("um")
    newest = (await get(exchange, "/fapi/v1/fundingRate", symbol="BTCUSDT", limit=3)).json()
    since = (
        await get(exchange, "/fapi/v1/fundingRate", symbol="BTCUSDT", startTime=START - DAY, limit=2)
    ).json()

    assert [row["fundingTime"] for row in newest] == [START - 16 * HOUR, START - 8 * HOUR, START]
    assert [row["fundingTime"] for row in since] == [START - DAY, START - 16 * HOUR]
    assert set(newest[0]) == {"symbol", "fundingTime", "fundingRate", "markPrice", "rateType"}


async def test_the_premium_index_is_one_entry_or_all(opened: Opener) -> None:
    exchange = await opened("um", start=START + HOUR)
    one = (await get(exchange, "/fapi/v1/premiumIndex", symbol="BTCUSDT")).json()
    all_ = (await get(exchange, "/fapi/v1/premiumIndex")).json()
    settled = (await get(exchange, "/fapi/v1/fundingRate", symbol="BTCUSDT", limit=1)).json()

    assert one["lastFundingRate"] == settled[0]["fundingRate"]
    assert one["nextFundingTime"] == START + 8 * HOUR
    assert [entry["symbol"] for entry in all_] == ["BTCUSDT", "1000PEPEUSDT"]


async def test_statistics_come_by_period_and_reach_back_thirty_days(opened: Opener) -> None:
    exchange = await opened("um")
    query = {"symbol": "BTCUSDT", "period": "1h"}
    interest = (await get(exchange, "/futures/data/openInterestHist", **query, limit=4)).json()
    old = await get(
        exchange, "/futures/data/openInterestHist", **query, startTime=START - 90 * DAY, limit=500
    )
    taker = (await get(exchange, "/futures/data/takerlongshortRatio", **query)).json()

    assert [row["timestamp"] for row in interest] == [START - at * HOUR for at in (3, 2, 1, 0)]
    assert old.json()[0]["timestamp"] >= START - 30 * DAY
    assert len(taker) == 30
    assert set(taker[0]) == {"buySellRatio", "buyVol", "sellVol", "timestamp"}
    assert float(taker[0]["buyVol"]) / float(taker[0]["sellVol"]) == pytest.approx(
        float(taker[0]["buySellRatio"]), rel=1e-3
    )


@pytest.mark.parametrize("name", RATIOS)
async def test_shares_of_a_ratio_sum_to_one(opened: Opener, name: str) -> None:
    rows = (await get(await opened("um"), f"/futures/data/{name}", symbol="BTCUSDT", period="5m")).json()

    assert len(rows) == 30
    for row in rows:
        assert float(row["longAccount"]) + float(row["shortAccount"]) == pytest.approx(1, abs=2e-4)


async def test_statistics_refuse_a_wrong_period_and_an_unknown_symbol(opened: Opener) -> None:
    exchange = await opened("um")
    wrong = await get(exchange, "/futures/data/openInterestHist", symbol="BTCUSDT", period="7m")
    unknown = await get(exchange, "/futures/data/openInterestHist", symbol="NOPE", period="5m")

    assert (wrong.json()["code"], unknown.json()["code"]) == (-1130, -1121)


async def test_what_a_folder_does_not_have_is_empty_not_invented(opened: Opener, tmp_path: Path) -> None:
    write_klines(tmp_path, "1h", "BTCUSDT", [(START - HOUR, 5.0), (START, 5.0)], market="um")
    exchange = await opened("um", source=History(tmp_path, "um"), end=START + HOUR)
    paths = ["/futures/data/openInterestHist", *(f"/futures/data/{name}" for name in RATIOS)]
    answers = [(await get(exchange, path, symbol="BTCUSDT", period="5m")).json() for path in paths]
    premium = (await get(exchange, "/fapi/v1/premiumIndex", symbol="BTCUSDT")).json()
    interest = await get(exchange, "/fapi/v1/openInterest", symbol="BTCUSDT")

    assert answers == [[]] * 4
    assert (await get(exchange, "/fapi/v1/fundingRate", symbol="BTCUSDT")).json() == []
    assert (premium["lastFundingRate"], premium["nextFundingTime"]) == ("", 0)
    assert (interest.status_code, interest.json()["code"]) == (400, -4108)


async def test_funding_of_a_folder_is_shown_only_once_settled(opened: Opener, tmp_path: Path) -> None:
    write_klines(tmp_path, "1h", "BTCUSDT", [(START + at * HOUR, 5.0) for at in range(-1, 10)], market="um")
    (tmp_path / "futures" / "funding").mkdir(parents=True)
    pl.DataFrame(
        {"funding_time": [START, START + 8 * HOUR], "funding_rate": [1e-4, 2e-4], "mark_price": [5.0, None]}
    ).write_parquet(tmp_path / "futures" / "funding" / "BTCUSDT.parquet")
    exchange = await opened("um", source=History(tmp_path, "um"), start=START + HOUR, end=None)

    rows = (await get(exchange, "/fapi/v1/fundingRate", symbol="BTCUSDT")).json()

    assert [(row["fundingTime"], row["fundingRate"]) for row in rows] == [(START, "0.00010000")]


@pytest.mark.parametrize("path", ["ws/btcusdt@kline_1m", "stream?streams=btcusdt@kline_1m"])
async def test_the_retired_address_accepts_and_withholds(opened: Opener, path: str) -> None:
    exchange = await opened("um")
    base = f"ws://127.0.0.1:{exchange.port}"
    async with (
        connect(f"{base}/{path}", close_timeout=0.2) as retired,
        streams(exchange, "btcusdt@kline_1m") as live,
    ):
        await retired.send('{"method":"SUBSCRIBE","params":["btcusdt@kline_5m"],"id":1}')

        assert await receive(retired) == {"result": None, "id": 1}
        assert len(await closes(live, 20)) == 20
        await eventually(lambda: exchange.player.phase == "ended")
        assert await everything(retired, exchange) == []


@pytest.mark.parametrize("path", ["public", "private"])
async def test_the_other_addresses_have_no_candles(opened: Opener, path: str) -> None:
    exchange = await opened("um")
    async with (
        connect(f"ws://127.0.0.1:{exchange.port}/{path}/ws/btcusdt@kline_1m", close_timeout=0.2) as other,
        streams(exchange, "btcusdt@kline_1m"),
    ):
        await eventually(lambda: exchange.player.phase == "ended")

        assert await everything(other, exchange) == []


async def test_mark_prices_come_with_funding(opened: Opener) -> None:
    exchange = await opened("um", end=START + 20 * MINUTE)
    async with streams(exchange, "btcusdt@markPrice@1s", "btcusdt@kline_1m", "!markPrice@arr") as ws:
        frames = await everything(ws, exchange)
    marks = [frame["data"] for frame in frames if frame["stream"] == "btcusdt@markPrice@1s"]
    lists = [frame["data"] for frame in frames if frame["stream"] == "!markPrice@arr"]

    assert len(marks) >= 20
    assert set(marks[0]) == {"e", "E", "s", "p", "ap", "i", "P", "r", "T", "st"}
    assert marks[0]["T"] == START + 8 * HOUR
    assert [entry["s"] for entry in lists[0]] == ["BTCUSDT", "1000PEPEUSDT"]


async def test_forced_orders_are_pushed_when_a_minute_moves_hard(opened: Opener) -> None:
    source = Simulated(("WIFUSDT",), 1, "um")
    expected = source.liquidations("WIFUSDT", START + HOUR, START + 23 * HOUR)
    exchange = await opened("um", source=source, end=START + DAY)
    async with streams(exchange, "wifusdt@forceOrder", "wifusdt@kline_5m") as ws:
        frames = await everything(ws, exchange)
    orders = [frame["data"] for frame in frames if frame["stream"].endswith("forceOrder")]
    orders = [order for order in orders if START + HOUR <= order["o"]["T"] < START + 23 * HOUR]

    assert [order["o"]["T"] for order in orders] == [time for time, *_ in expected]
    assert [order["o"]["S"] for order in orders] == [side for _, side, *_ in expected]
    assert set(orders[0]["o"]) == {"s", "S", "o", "f", "q", "p", "ap", "X", "l", "z", "T"}


async def test_mini_tickers_carry_the_market_marks(opened: Opener) -> None:
    exchange = await opened("um")
    async with streams(exchange, "btcusdt@miniTicker", "btcusdt@kline_1m") as ws:
        ticker = (await until(ws, lambda frame: frame["stream"].endswith("miniTicker")))[-1]["data"]

    assert (ticker["st"], ticker["ps"], ticker["e"]) == (1, "BTCUSDT", "24hrMiniTicker")
