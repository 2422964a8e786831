"""Every fault over real sockets: what the client sees of it, and what REST says about it."""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from dataflows.replay.candles import HOUR, MINUTE
from dataflows.replay.exchange import ReplayExchange
from dataflows.replay.faults import Fault
from dataflows.replay.history import History
from dataflows.replay.subscriptions import Subscriptions
from tests.dataflows.replay.clients import (
    Frame,
    closed_by_server,
    closes,
    drain,
    eventually,
    everything,
    fault,
    forget,
    get,
    klines,
    streams,
    until,
    until_closed,
)
from tests.dataflows.replay.conftest import START, Opener, write_klines

T = START + 10 * MINUTE
MINUTES = "btcusdt@kline_1m"


async def candles(exchange: ReplayExchange, *names: str) -> list[Frame]:
    """Every kline event of a whole play."""
    async with streams(exchange, *(names or (MINUTES,))) as ws:
        return [frame["data"] for frame in await everything(ws, exchange)]


def opens(frames: list[Frame], symbol: str = "BTCUSDT") -> list[int]:
    return [frame["k"]["t"] for frame in frames if frame["s"] == symbol]


ALL = list(range(START - MINUTE, START + 2 * HOUR, MINUTE))


async def test_a_dropped_connection_ends_without_a_word_and_nothing_is_lost_for_rest(opened: Opener) -> None:
    exchange = await opened(faults=[Fault("drop", at=T)])
    async with streams(exchange, MINUTES) as ws:
        end, seen = await until_closed(ws)
    rows = await klines(exchange, "BTCUSDT", "1m", startTime=START - MINUTE)
    async with streams(exchange, MINUTES) as ws:
        rest = [frame["data"] for frame in await everything(ws, exchange)]

    assert end.rcvd is None
    assert opens(seen)[-1] < T
    assert sorted({*opens(seen), *(row[0] for row in rows[:-1]), *opens(rest)}) == ALL
    assert not set(opens(seen)) & set(opens(rest))


async def test_refused_connects_are_over_after_their_seconds(opened: Opener) -> None:
    exchange = await opened()
    await fault(exchange, name="refuse", seconds=0.5)
    with pytest.raises(InvalidStatus, match="503"):
        async with streams(exchange, MINUTES):
            pass
    async with asyncio.timeout(10):
        while True:
            try:
                async with streams(exchange, MINUTES) as ws:
                    await closes(ws, 1)
                break
            except InvalidStatus:
                await asyncio.sleep(0.05)

    assert exchange.state()["refused"] >= 1


async def test_a_frozen_symbol_is_silent_inside_a_live_connection(opened: Opener) -> None:
    until_ = T + 20 * MINUTE
    exchange = await opened(faults=[Fault("freeze", symbol="ETHUSDT", at=T, until=until_)])
    frames = await candles(exchange, MINUTES, "ethusdt@kline_1m")
    silent = [t for t in ALL if t + MINUTE not in range(T, until_)]

    assert opens(frames) == ALL
    assert opens(frames, "ETHUSDT") == silent
    assert len(await klines(exchange, "ETHUSDT", "1m", startTime=T, endTime=until_ - 1)) == 20


async def test_a_late_close_comes_late_and_carries_its_late_time(opened: Opener) -> None:
    exchange = await opened(faults=[Fault("late", symbol="BTCUSDT", interval="1m", at=T, by=90)])
    frames = await candles(exchange)
    late = next(frame for frame in frames if frame["k"]["t"] == T - MINUTE)

    assert late["E"] - T >= 90_000
    assert opens(frames) == [*ALL[:10], T, T - MINUTE, *ALL[12:]]


async def test_a_missing_close_is_never_pushed_but_rest_has_it(opened: Opener) -> None:
    exchange = await opened(faults=[Fault("missing_close", interval="1m", at=T)])
    frames = await candles(exchange)

    assert opens(frames) == [t for t in ALL if t != T - MINUTE]
    assert len(await klines(exchange, "BTCUSDT", "1m", startTime=T - MINUTE, endTime=T - MINUTE)) == 1


async def test_a_hole_is_a_hole_everywhere(opened: Opener) -> None:
    exchange = await opened(faults=[Fault("missing", at=T, until=T + HOUR)])
    frames = await candles(exchange, MINUTES, "ethusdt@kline_1m")
    rows = await klines(exchange, "BTCUSDT", "1m", startTime=START - MINUTE, limit=1000)
    gone = [t for t in ALL if not T <= t < T + HOUR]

    assert opens(frames) == opens(frames, "ETHUSDT") == gone
    assert [row[0] for row in rows[:-1]] == gone


async def test_one_candle_that_nobody_has(opened: Opener) -> None:
    exchange = await opened(faults=[Fault("missing", symbol="BTCUSDT", interval="1m", at=T)])
    frames = await candles(exchange, MINUTES, "btcusdt@kline_5m")

    assert [f["k"]["t"] for f in frames if f["k"]["i"] == "1m"] == [t for t in ALL if t != T - MINUTE]
    assert T - 5 * MINUTE in [f["k"]["t"] for f in frames if f["k"]["i"] == "5m"]
    assert await klines(exchange, "BTCUSDT", "1m", startTime=T - MINUTE, endTime=T - MINUTE) == []


async def test_a_duplicate_close_comes_twice_the_same(opened: Opener) -> None:
    frames = await candles(await opened(faults=[Fault("duplicate", interval="1m", at=T)]))
    twice = [frame for frame in frames if frame["k"]["t"] == T - MINUTE]

    assert len(frames) == len(ALL) + 1
    assert twice[0] == twice[1]


async def test_an_out_of_order_close_comes_after_its_successor(opened: Opener) -> None:
    frames = await candles(await opened(faults=[Fault("out_of_order", interval="1m", at=T)]))

    assert opens(frames) == [*ALL[:10], T, T - MINUTE, *ALL[12:]]


async def test_a_corrected_close_comes_again_changed_and_rest_agrees_from_then_on(opened: Opener) -> None:
    exchange = await opened(faults=[Fault("corrected", interval="1m", at=T, by=200)])
    frames = await candles(exchange)
    first, second = [frame for frame in frames if frame["k"]["t"] == T - MINUTE]
    row = (await klines(exchange, "BTCUSDT", "1m", startTime=T - MINUTE, endTime=T - MINUTE))[0]

    assert first["k"]["c"] != second["k"]["c"] == row[4]
    assert float(second["k"]["h"]) >= float(second["k"]["c"])
    assert second["E"] - first["E"] == 200_000


@pytest.mark.parametrize("value", ["NaN", "-1", "abc", "0", "1e12", -1.5, None, ""])
async def test_a_bad_price_is_in_the_frame_only(opened: Opener, value: Any) -> None:
    exchange = await opened(faults=[Fault("bad_price", interval="1m", at=T, value=value, field="c")])
    frames = await candles(exchange)
    bad = next(frame for frame in frames if frame["k"]["t"] == T - MINUTE)
    row = (await klines(exchange, "BTCUSDT", "1m", startTime=T - MINUTE, endTime=T - MINUTE))[0]

    assert bad["k"]["c"] == value
    assert float(row[4]) > 1
    assert opens(frames) == ALL


async def test_garbage_and_a_huge_frame_do_not_end_the_stream(opened: Opener) -> None:
    exchange = await opened(faults=[Fault("garbage", at=T), Fault("huge", at=T + MINUTE, size=8 << 20)])
    texts: list[str | bytes] = []
    async with streams(exchange, MINUTES) as ws:
        while len(texts) < len(ALL) + 2:
            texts.append(await asyncio.wait_for(ws.recv(), 10))
    sizes = [len(text) for text in texts]

    with pytest.raises(json.JSONDecodeError):
        json.loads(texts[10])
    assert max(sizes) > 8 << 20
    assert [json.loads(t)["data"]["k"]["t"] for at, t in enumerate(texts) if at not in (10, 12)] == ALL


async def test_the_24_hour_cut_says_goodbye(opened: Opener) -> None:
    exchange = await opened(faults=[Fault("cut", at=T)])
    async with streams(exchange, MINUTES) as ws:
        end = await closed_by_server(ws)

    assert end.rcvd is not None
    assert exchange.clock.now() < T + MINUTE


@pytest.mark.parametrize("kind", ["ws/", "stream?streams="])
async def test_a_shutdown_is_announced_before_the_cut(opened: Opener, kind: str) -> None:
    exchange = await opened(faults=[Fault("shutdown", at=T, by=0.2)], speed=1000.0)
    async with connect(f"{exchange.stream_url}/{kind}{MINUTES}") as ws:
        frames = await until(
            ws, lambda f: f.get("e") == "serverShutdown" or f.get("stream") == "!serverShutdown"
        )
        await closed_by_server(ws)

    assert set(frames[-1].get("data", frames[-1])) == {"e", "E"}


async def test_pings_go_on_while_every_stream_is_silent(opened: Opener) -> None:
    exchange = await opened(faults=[Fault("silence", at=T)])
    async with streams(exchange, MINUTES) as ws:
        frames = await everything(ws, exchange)
        await asyncio.wait_for(await ws.ping(), 10)

    assert opens([frame["data"] for frame in frames]) == [t for t in ALL if t + MINUTE < T]


async def test_a_paused_clock_stands_until_it_is_released(opened: Opener) -> None:
    exchange = await opened(faults=[Fault("pause", at=T)])
    async with streams(exchange, MINUTES) as ws:
        await until(ws, lambda frame: frame["data"]["k"]["T"] + 1 == T - MINUTE)
        await drain(ws)
        stood = exchange.clock.now()
        await forget(exchange, "pause")
        following = (await closes(ws, 1))[0]

    assert stood < T
    assert following["T"] + 1 == T


async def test_a_running_clock_pauses_too(opened: Opener) -> None:
    exchange = await opened(speed=600.0, end=None)
    await fault(exchange, name="pause", seconds=0.4)
    await eventually(lambda: exchange.clock.now() == exchange.clock.now())
    await asyncio.sleep(0.1)
    first = exchange.clock.now()
    await asyncio.sleep(0.1)

    assert exchange.clock.now() == first
    await eventually(lambda: exchange.clock.now() > first)


async def test_times_in_microseconds(opened: Opener) -> None:
    exchange = await opened(faults=[Fault("microseconds", at=T)])
    frames = await candles(exchange)
    lengths = {len(str(frame["k"]["T"])) for frame in frames}

    assert lengths == {13, 16}
    assert len(str((await get(exchange, "/api/v3/time")).json()["serverTime"])) == 16


@pytest.mark.parametrize("by", [300.0, -300.0])
async def test_the_clock_it_tells_may_be_wrong(opened: Opener, by: float) -> None:
    exchange = await opened(faults=[Fault("skew", by=by)])

    assert (await get(exchange, "/api/v3/time")).json()["serverTime"] == START + by * 1000


@pytest.mark.parametrize(
    ("given", "retry_after", "text"),
    [
        ({"status": 429}, None, "-1003"),
        ({"status": 429, "retry_after": 7}, "7", "-1003"),
        ({"status": 418, "retry_after": 120}, "120", "-1003"),
        ({"status": 503}, None, "-1008"),
        ({"status": 500}, None, "-1000"),
        ({"status": 451}, None, "restricted location"),
        ({"status": 403}, None, "<html>"),
    ],
)
async def test_an_error_status_as_often_as_asked(
    opened: Opener, given: dict[str, int], retry_after: str | None, text: str
) -> None:
    exchange = await opened()
    await fault(exchange, name="status", times=2, path="/api/v3/klines", **given)
    query = {"symbol": "BTCUSDT", "interval": "1h"}
    answers = [await get(exchange, "/api/v3/klines", **query) for _ in range(3)]
    other = await get(exchange, "/api/v3/time")

    assert [answer.status_code for answer in answers] == [given["status"]] * 2 + [200]
    assert answers[0].headers.get("retry-after") == retry_after
    assert text in answers[0].text
    assert other.status_code == 200


async def test_an_error_status_for_so_many_seconds(opened: Opener) -> None:
    exchange = await opened()
    await fault(exchange, name="status", status=502, seconds=0.3)
    first = (await get(exchange, "/api/v3/ping")).status_code
    async with asyncio.timeout(10):
        while (await get(exchange, "/api/v3/ping")).status_code != 200:
            await asyncio.sleep(0.02)

    assert first == 502


async def test_a_slow_answer_holds_up_only_its_own_request(opened: Opener) -> None:
    exchange = await opened()
    await fault(exchange, name="slow", by=0.5, times=1, path="/api/v3/ping")
    began = time.monotonic()
    slow = asyncio.create_task(get(exchange, "/api/v3/ping"))
    await eventually(lambda: exchange.gate.requests["/api/v3/ping"] == 1)
    await get(exchange, "/api/v3/time")

    assert not slow.done()
    assert (await slow).status_code == 200
    assert time.monotonic() - began >= 0.5


async def test_a_truncated_answer_is_http_but_not_json(opened: Opener) -> None:
    exchange = await opened()
    await fault(exchange, name="truncated", times=1)
    answer = await get(exchange, "/api/v3/exchangeInfo")

    assert answer.status_code == 200
    with pytest.raises(json.JSONDecodeError):
        answer.json()


async def listed(exchange: ReplayExchange) -> dict[str, str]:
    body = (await get(exchange, "/api/v3/exchangeInfo")).json()
    return {entry["symbol"]: entry["status"] for entry in body["symbols"]}


async def test_a_halted_symbol_makes_no_candles_until_it_trades_again(opened: Opener) -> None:
    halt = Fault("halt", symbol="ETHUSDT", at=T, until=T + HOUR)
    exchange = await opened(faults=[halt, Fault("pause", at=T + 30 * MINUTE)])
    async with streams(exchange, MINUTES, "ethusdt@kline_1m") as ws:
        frames = await until(ws, lambda frame: bool(frame["data"]["k"]["T"] + 1 == T + 29 * MINUTE))
        during = await listed(exchange)
        await forget(exchange, "pause")
        frames += await everything(ws, exchange)
    pushed = [frame["data"] for frame in frames]

    assert during["ETHUSDT"] == "HALT"
    assert (await listed(exchange))["ETHUSDT"] == "TRADING"
    assert opens(pushed, "ETHUSDT") == [t for t in ALL if not T <= t < T + HOUR]
    assert opens(pushed) == ALL


async def test_a_delisted_symbol_is_gone(opened: Opener) -> None:
    exchange = await opened(faults=[Fault("delist", symbol="ETHUSDT", at=T)])
    before = await listed(exchange)
    frames = await candles(exchange, MINUTES, "ethusdt@kline_1m")
    answer = await get(exchange, "/api/v3/klines", symbol="ETHUSDT", interval="1m")

    assert "ETHUSDT" in before
    assert "ETHUSDT" not in await listed(exchange)
    assert answer.json()["code"] == -1121
    assert opens(frames, "ETHUSDT") == [t for t in ALL if t < T]


async def test_a_symbol_listed_today_has_no_yesterday(opened: Opener) -> None:
    exchange = await opened(faults=[Fault("list", symbol="ETHUSDT", at=T)])
    unknown = await get(exchange, "/api/v3/klines", symbol="ETHUSDT", interval="1m")
    frames = await candles(exchange, MINUTES, "ethusdt@kline_1m")
    rows = await klines(exchange, "ETHUSDT", "1m", startTime=0)

    assert unknown.json()["code"] == -1121
    assert rows[0][0] == T
    assert opens(frames, "ETHUSDT") == [t for t in ALL if t >= T]


async def test_a_renamed_symbol_stops_and_goes_on_under_its_new_name_after_a_gap(opened: Opener) -> None:
    rename = Fault("rename", symbol="ETHUSDT", to="ETHEREUMUSDT", at=T, by=600)
    exchange = await opened(faults=[rename])
    frames = await candles(exchange, "ethusdt@kline_1m", "ethereumusdt@kline_1m")
    entries = await listed(exchange)

    assert (entries["ETHUSDT"], entries["ETHEREUMUSDT"]) == ("BREAK", "TRADING")
    assert opens(frames, "ETHUSDT") == [t for t in ALL if t < T]
    assert opens(frames, "ETHEREUMUSDT") == [t for t in ALL if t >= T + 10 * MINUTE]
    assert len(await klines(exchange, "ETHUSDT", "1m", startTime=START)) == 10


async def test_a_hole_of_the_data_is_not_filled(opened: Opener, tmp_path: Path) -> None:
    times = [START + at * HOUR for at in range(-3, 12) if at not in (4, 5, 6)]
    write_klines(tmp_path, "1h", "BTCUSDT", [(time, 5.0) for time in times])
    exchange = await opened(source=History(tmp_path), end=None)
    async with streams(exchange, "btcusdt@kline_1h") as ws:
        frames = [frame["data"] for frame in await everything(ws, exchange)]

    assert opens(frames) == times[2:]


def test_subscriptions_never_exceed_their_limit() -> None:
    mine = Subscriptions(combined=True, most=2)

    assert mine.subscribe(["a@kline_1m", "b@kline_1m"])
    assert not mine.subscribe(["c@kline_1m"])
    assert list(mine.streams) == ["a@kline_1m", "b@kline_1m"]
