"""The REST side over a real socket: answers, errors and limits as the exchange has them."""

from __future__ import annotations

import asyncio
import math
import re
from pathlib import Path
from typing import Any

import httpx
import pytest

from dataflows.replay.candles import DAY, HOUR, MINUTE, SPANS
from dataflows.replay.history import History
from dataflows.replay.limits import Limits
from dataflows.replay.simulate import Simulated
from engine.errors import SettingsError
from tests.dataflows.replay.clients import browser, get, klines
from tests.dataflows.replay.conftest import START, Opener, write_klines

NOW = START + 7 * MINUTE + 30_000


async def test_ping_time_and_the_label_of_a_simulation(opened: Opener) -> None:
    exchange = await opened(start=NOW)
    ping, time = await get(exchange, "/api/v3/ping"), await get(exchange, "/api/v3/time")

    assert ping.json() == {}
    assert time.json() == {"serverTime": NOW}
    assert time.headers["x-simulated"] == "true"
    assert time.headers["content-type"].startswith("application/json")


async def test_one_connection_serves_many_requests(opened: Opener) -> None:
    exchange = await opened()
    async with browser(exchange, limits=httpx.Limits(max_connections=1)) as client:
        answers = await asyncio.gather(*(client.get("/api/v3/time") for _ in range(20)))
        sockets = {answer.extensions["network_stream"].get_extra_info("client_addr") for answer in answers}

    assert {answer.status_code for answer in answers} == {200}
    assert len(sockets) == 1


async def test_a_kline_row_has_twelve_columns_and_numbers_are_text(opened: Opener) -> None:
    exchange = await opened(start=NOW)
    rows = await klines(exchange, "BTCUSDT", "5m", limit=3)

    for row in rows:
        assert [type(value) for value in row] == [int, *[str] * 5, int, str, int, str, str, str]
        assert row[6] == row[0] + SPANS["5m"] - 1
        assert all(re.fullmatch(r"\d+\.\d{8}", row[at]) for at in (1, 2, 3, 4, 5, 7, 9, 10))
        assert row[11] == "0"


async def test_the_last_row_is_the_open_candle_and_grows_into_the_closed_one(opened: Opener) -> None:
    early = (await klines(await opened(start=NOW), "BTCUSDT", "15m", limit=1))[0]
    later = (await klines(await opened(start=START + 14 * MINUTE), "BTCUSDT", "15m", limit=1))[0]
    closed = (await klines(await opened(start=START + HOUR), "BTCUSDT", "15m", startTime=START, limit=1))[0]

    assert early[0] == later[0] == closed[0] == START
    assert early[1] == later[1] == closed[1]
    assert float(early[2]) <= float(later[2]) <= float(closed[2])
    assert float(early[5]) < float(later[5]) < float(closed[5])


async def test_the_open_candle_is_made_of_what_has_happened_only(opened: Opener) -> None:
    exchange = await opened(start=START + 4 * MINUTE)
    quarter = (await klines(exchange, "BTCUSDT", "15m", limit=1))[0]
    minutes = await klines(exchange, "BTCUSDT", "1m", startTime=START)

    assert len(minutes) == 5
    assert float(quarter[2]) == max(float(row[2]) for row in minutes)
    assert float(quarter[3]) == min(float(row[3]) for row in minutes)
    assert quarter[4] == minutes[-1][4]
    assert float(quarter[5]) == pytest.approx(sum(float(row[5]) for row in minutes))


@pytest.mark.parametrize(
    ("query", "first", "count"),
    [
        ({}, START - 499 * HOUR, 500),
        ({"limit": 2}, START - HOUR, 2),
        ({"limit": 5000}, START - 999 * HOUR, 1000),
        ({"startTime": START - 10 * HOUR, "limit": 3}, START - 10 * HOUR, 3),
        ({"startTime": START - 10 * HOUR + 1}, START - 9 * HOUR, 10),
        ({"endTime": START - 10 * HOUR, "limit": 2}, START - 11 * HOUR, 2),
        ({"startTime": START - 3 * HOUR, "endTime": START - HOUR}, START - 3 * HOUR, 3),
        ({"startTime": (START - 3 * HOUR) * 1000, "endTime": START - HOUR}, START - 3 * HOUR, 3),
        ({"startTime": START + HOUR}, None, 0),
        ({"startTime": START - HOUR, "endTime": START - 2 * HOUR}, None, 0),
    ],
)
async def test_start_end_and_limit_choose_the_rows(
    opened: Opener, query: dict[str, int], first: int | None, count: int
) -> None:
    exchange = await opened(start=NOW)
    rows = await klines(exchange, "BTCUSDT", "1h", **query)

    assert len(rows) == count
    assert not rows or rows[0][0] == first
    assert [row[0] for row in rows] == sorted(row[0] for row in rows)


async def test_pages_from_start_time_zero_begin_with_the_listing(opened: Opener, tmp_path: Path) -> None:
    write_klines(tmp_path, "1h", "BTCUSDT", [(START - 3000 * HOUR, 1.0), (START - HOUR, 2.0)])
    exchange = await opened(source=History(tmp_path), start=NOW)

    assert [row[4] for row in await klines(exchange, "BTCUSDT", "1h", startTime=0, limit=2)] == [
        "1.00000000",
        "2.00000000",
    ]
    assert await klines(exchange, "BTCUSDT", "1m") == []


async def test_microseconds_on_request(opened: Opener) -> None:
    exchange = await opened(start=NOW)
    async with browser(exchange, headers={"X-MBX-TIME-UNIT": "MICROSECOND"}) as client:
        time = (await client.get("/api/v3/time")).json()["serverTime"]
        row = (
            await client.get("/api/v3/klines", params={"symbol": "BTCUSDT", "interval": "1h", "limit": 1})
        ).json()[0]

    assert time == NOW * 1000
    assert (row[0], row[6]) == (START * 1000, (START + HOUR) * 1000 - 1)


@pytest.mark.parametrize(
    ("path", "query", "code"),
    [
        ("klines", {"symbol": "NOPE", "interval": "1h"}, -1121),
        ("klines", {"interval": "1h"}, -1102),
        ("klines", {"symbol": "BTCUSDT"}, -1102),
        ("klines", {"symbol": "BTCUSDT", "interval": "7h"}, -1120),
        ("klines", {"symbol": "BTCUSDT", "interval": "1H"}, -1120),
        ("klines", {"symbol": "BTCUSDT", "interval": "1h", "limit": "many"}, -1100),
        ("klines", {"symbol": "BTCUSDT", "interval": "1h", "limit": "0"}, -1130),
        ("klines", {"symbol": "BTCUSDT", "interval": "1h", "startTime": "-5"}, -1100),
        ("exchangeInfo", {"symbols": '["BTCUSDT","NOPE"]'}, -1121),
        ("exchangeInfo", {"symbols": "BTCUSDT"}, -1100),
        ("exchangeInfo", {"symbol": "BTCUSDT", "symbols": '["ETHUSDT"]'}, -1128),
        ("ticker/24hr", {"symbol": "BTCUSDT", "type": "HUGE"}, -1130),
    ],
)
async def test_errors_have_the_codes_of_the_exchange(
    opened: Opener, path: str, query: dict[str, str], code: int
) -> None:
    answer = await get(await opened(), f"/api/v3/{path}", **query)

    assert (answer.status_code, answer.json()["code"]) == (400, code)
    assert answer.json()["msg"]


async def test_unknown_paths_and_methods_are_refused(opened: Opener) -> None:
    exchange = await opened()
    async with browser(exchange) as client:
        statuses = [
            (await client.get("/api/v3/orders")).status_code,
            (await client.get("/fapi/v1/time")).status_code,
            (await client.post("/api/v3/time")).status_code,
        ]
        head = await client.head("/api/v3/time")

    assert statuses == [404, 404, 405]
    assert (head.status_code, head.content) == (200, b"")


async def test_what_is_not_http_is_answered_and_cut(opened: Opener) -> None:
    exchange = await opened()
    reader, writer = await asyncio.open_connection("127.0.0.1", exchange.port)
    writer.write(b"GARBAGE\r\n\r\n")
    answer = await asyncio.wait_for(reader.read(), 10)
    writer.close()

    assert answer.startswith(b"HTTP/1.1 400")


async def test_exchange_info_lists_what_trades_and_how(opened: Opener) -> None:
    body = (await get(await opened(), "/api/v3/exchangeInfo", symbols='["PEPEUSDT","BTCUSDT"]')).json()
    pepe, btc = body["symbols"]
    steps = {entry["filterType"]: entry for entry in btc["filters"]}

    assert body["simulated"] is True
    assert (pepe["symbol"], pepe["status"], pepe["baseAsset"], pepe["quoteAsset"]) == (
        "PEPEUSDT", "TRADING", "PEPE", "USDT",
    )  # fmt: skip
    assert steps["PRICE_FILTER"]["tickSize"] == "0.01000000"
    assert {limit["rateLimitType"]: limit["limit"] for limit in body["rateLimits"]}["REQUEST_WEIGHT"] == 6000


async def test_symbols_come_and_go_with_their_data(opened: Opener, tmp_path: Path) -> None:
    write_klines(tmp_path, "1h", "BTCUSDT", [(START + at * HOUR, 1.0) for at in range(10)])
    write_klines(tmp_path, "1h", "OLDUSDT", [(START - HOUR, 1.0)])
    write_klines(tmp_path, "1h", "NEWUSDT", [(START + 5 * HOUR, 1.0)])
    exchange = await opened(source=History(tmp_path), start=START + HOUR)
    entries = (await get(exchange, "/api/v3/exchangeInfo")).json()["symbols"]

    assert {entry["symbol"]: entry["status"] for entry in entries} == {
        "BTCUSDT": "TRADING",
        "OLDUSDT": "BREAK",
    }
    assert (await get(exchange, "/api/v3/klines", symbol="NEWUSDT", interval="1h")).json()["code"] == -1121
    assert len(await klines(exchange, "OLDUSDT", "1h")) == 1


async def test_the_ticker_covers_24_hours(opened: Opener) -> None:
    exchange = await opened(start=START + HOUR)
    full = (await get(exchange, "/api/v3/ticker/24hr", symbol="BTCUSDT")).json()
    all_ = (await get(exchange, "/api/v3/ticker/24hr", type="MINI")).json()
    price = (await get(exchange, "/api/v3/ticker/price", symbol="BTCUSDT")).json()
    rows = await klines(exchange, "BTCUSDT", "5m", startTime=START + HOUR - DAY)

    assert float(full["highPrice"]) == max(float(row[2]) for row in rows)
    assert float(full["volume"]) == pytest.approx(sum(float(row[5]) for row in rows), rel=1e-6)
    assert full["lastPrice"] == price["price"] == rows[-1][4]
    assert [entry["symbol"] for entry in all_] == ["BTCUSDT", "ETHUSDT", "PEPEUSDT"]
    assert "bidPrice" not in all_[0]


WEIGHTS: list[tuple[str, dict[str, Any], int]] = [
    ("ping", {}, 1),
    ("klines", {"symbol": "BTCUSDT", "interval": "1h"}, 2),
    ("exchangeInfo", {}, 20),
    ("ticker/24hr", {"symbol": "BTCUSDT"}, 2),
    ("ticker/24hr", {}, 80),
    ("ticker/price", {}, 4),
]


async def test_every_answer_tells_the_weight_used(opened: Opener) -> None:
    exchange = await opened()
    used = 0
    async with browser(exchange) as client:
        for path, query, weight in WEIGHTS:
            answer = await client.get(f"/api/v3/{path}", params=query)
            now = int(answer.headers["x-mbx-used-weight-1m"])

            assert now in (used + weight, weight)  # a new minute may have begun
            used = now


async def test_beyond_the_weight_comes_429_and_whoever_ignores_it_is_banned(opened: Opener) -> None:
    exchange = await opened(limits=Limits(weight=5, patience=2, ban=120.0))
    async with browser(exchange) as client:
        answers = [await client.get("/api/v3/ping") for _ in range(16)]
    statuses = [answer.status_code for answer in answers]
    limited = next(answer for answer in answers if answer.status_code == 429)

    assert statuses[0] == 200
    assert statuses[-1] == 418
    assert statuses.count(429) in (2, 3, 4)  # the minute may change under the test
    assert 1 <= int(limited.headers["retry-after"]) <= 60
    assert limited.json()["code"] == -1003
    assert 110 <= int(answers[-1].headers["retry-after"]) <= 120
    assert exchange.state()["bans"] == 1


async def test_the_clock_runs_at_its_speed_and_stops_at_its_end(opened: Opener) -> None:
    exchange = await opened(speed=100_000, end=START + HOUR)
    await asyncio.wait_for(exchange.ended(), 10)

    assert (await get(exchange, "/api/v3/time")).json()["serverTime"] == START + HOUR + 2000
    assert exchange.state()["phase"] == "ended"


async def test_a_stepped_clock_stands_still_without_clients(opened: Opener) -> None:
    exchange = await opened(speed=math.inf)
    await asyncio.sleep(0.2)

    assert (await get(exchange, "/api/v3/time")).json()["serverTime"] == START
    assert exchange.state()["phase"] == "waiting"


async def test_a_port_in_use_is_said_in_one_line(opened: Opener) -> None:
    taken = await opened()

    with pytest.raises(SettingsError, match=rf"cannot listen on 127\.0\.0\.1:{taken.port}"):
        await opened(port=taken.port)


async def test_the_control_endpoint_tells_and_takes_faults(opened: Opener) -> None:
    exchange = await opened()
    async with browser(exchange) as client:
        await client.get("/api/v3/time")
        wrong = await client.post("/_control/faults", json={"name": "dorp"})
        added = await client.post("/_control/faults", json=[{"name": "silence"}, {"name": "late", "by": 3}])
        state = (await client.get("/_control/state")).json()
        cleared = await client.delete("/_control/faults")

    assert (wrong.status_code, "did you mean 'drop'" in wrong.json()["msg"]) == (400, True)
    assert [entry["name"] for entry in added.json()["faults"]] == ["silence", "late"]
    assert state["requests"] == {"/api/v3/time": 1}
    assert state["clock"] == START
    assert cleared.json() == {"faults": []}


async def test_a_long_list_of_symbols_starts_quickly_and_each_has_its_market(opened: Opener) -> None:
    names = tuple(f"COIN{at}USDT" for at in range(60))
    exchange = await opened(source=Simulated(names))
    tickers = (await get(exchange, "/api/v3/ticker/price")).json()

    assert len({entry["price"] for entry in tickers}) == 60
