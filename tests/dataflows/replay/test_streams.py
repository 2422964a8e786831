"""The WebSocket side over real sockets: addresses, commands, order, pace, pings and limits."""

from __future__ import annotations

import asyncio
import json
import math
from typing import Any

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from dataflows.replay.candles import HOUR, MINUTE, SPANS
from dataflows.replay.limits import Limits
from dataflows.replay.simulate import Simulated
from dataflows.replay.timeline import phase_of
from tests.dataflows.replay.clients import (
    closed_by_server,
    closes,
    drain,
    eventually,
    everything,
    get,
    klines,
    receive,
    streams,
    until,
)
from tests.dataflows.replay.conftest import START, Opener

CLOSED_KEYS = set("tTsifLochlvnxqVQB")
REST_ORDER = "tohlcvTqnVQB"


async def test_a_raw_stream_is_bare_and_a_combined_one_is_wrapped(opened: Opener) -> None:
    exchange = await opened()
    async with connect(f"{exchange.stream_url}/ws/btcusdt@kline_1m") as ws:
        raw = await receive(ws)
    async with streams(exchange, "btcusdt@kline_1m") as ws:
        wrapped = await receive(ws)

    assert (raw["e"], raw["s"]) == ("kline", "BTCUSDT")
    assert wrapped["stream"] == "btcusdt@kline_1m"
    assert set(wrapped["data"]) == set(raw) == {"e", "E", "s", "k"}
    assert set(raw["k"]) == CLOSED_KEYS


async def test_every_close_comes_once_in_order_and_equals_rest(opened: Opener) -> None:
    exchange = await opened(end=START + 6 * HOUR)
    names = [f"{s}usdt@kline_{i}" for s in ("btc", "eth", "pepe") for i in ("1m", "5m", "15m", "1h", "4h")]
    async with streams(exchange, *names) as ws:
        frames = await everything(ws, exchange)
    events = [frame["data"]["E"] for frame in frames]

    assert events == sorted(events)
    assert all(frame["data"]["k"]["x"] for frame in frames)
    for name in names:
        symbol, interval = name.split("@kline_")
        pushed = [frame["data"]["k"] for frame in frames if frame["stream"] == name]
        rows = await klines(exchange, symbol.upper(), interval, startTime=START - SPANS[interval], limit=1000)
        told = [[k[key] for key in REST_ORDER] for k in pushed]

        assert told == rows[:-1]
        assert len(pushed) == 6 * HOUR // SPANS[interval] + 1


async def test_each_symbol_has_its_own_phase_within_two_seconds(opened: Opener) -> None:
    exchange = await opened()
    async with streams(exchange, "btcusdt@kline_5m", "ethusdt@kline_5m", "btcusdt@kline_15m") as ws:
        frames = await everything(ws, exchange)
    phases = {(f["data"]["s"], f["data"]["E"] - f["data"]["k"]["T"] - 1) for f in frames}

    assert phases == {(symbol, phase_of(symbol, 2000)) for symbol in ("BTCUSDT", "ETHUSDT")}


async def test_several_connections_get_the_same_and_nobody_is_left_behind(opened: Opener) -> None:
    exchange = await opened(settle=0.3)
    async with streams(exchange, "btcusdt@kline_1m") as one, streams(exchange, "btcusdt@kline_1m") as two:
        first, second = await asyncio.gather(everything(one, exchange), everything(two, exchange))

    assert first == second
    assert len(first) == 121


async def test_the_clock_waits_for_a_client_that_does_not_read(opened: Opener) -> None:
    exchange = await opened(end=None, limits=Limits(window=8))
    async with (
        streams(exchange, "btcusdt@kline_1m") as quick,
        connect(f"{exchange.stream_url}/ws/ethusdt@kline_1m", max_queue=1, close_timeout=0.2) as slow,
    ):
        await closes(quick, 10)
        # The slow one reads nothing: its library stops answering pings once its queue is full.
        clock = -1
        while clock != exchange.clock.now():
            clock = exchange.clock.now()
            await drain(quick)

        assert clock < START + 60 * MINUTE
        await closes(slow, 20)
        await eventually(lambda: exchange.clock.now() > clock)


async def test_the_clock_stands_while_nobody_is_connected_so_nothing_is_missed(opened: Opener) -> None:
    exchange = await opened(end=START + 24 * HOUR)
    async with streams(exchange, "btcusdt@kline_1m") as ws:
        last = (await closes(ws, 30))[-1]["t"]
    await eventually(lambda: exchange.state()["connections"] == [])
    stood = exchange.clock.now()
    repaired = await klines(exchange, "BTCUSDT", "1m", startTime=last + MINUTE, limit=1000)
    async with streams(exchange, "btcusdt@kline_1m") as ws:
        following = (await closes(ws, 1))[0]["t"]

    assert exchange.clock.now() >= stood
    assert [row[0] for row in repaired[:-1]] == list(range(last + MINUTE, following, MINUTE))


async def test_a_client_without_streams_does_not_move_the_clock(opened: Opener) -> None:
    exchange = await opened()
    async with connect(f"{exchange.stream_url}/ws"), streams(exchange, "nopeusdt@kline_1m", "btcusdt@depth"):
        await asyncio.sleep(0.3)

        assert exchange.clock.now() == START


async def test_at_a_real_pace_open_candles_are_pushed_between_closes(opened: Opener) -> None:
    exchange = await opened(speed=200.0, end=None)
    async with streams(exchange, "btcusdt@kline_1m", "btcusdt@miniTicker") as ws:
        frames = await until(ws, lambda f: f["stream"].endswith("kline_1m") and f["data"]["k"]["x"])
        frames += await until(ws, lambda f: f["stream"].endswith("kline_1m") and f["data"]["k"]["x"])
    candles = [f["data"]["k"] for f in frames if f["stream"].endswith("kline_1m")]
    whole = candles[-1]
    forming = [k for k in candles if k["t"] == whole["t"] and not k["x"]]
    tickers = [f["data"] for f in frames if f["stream"].endswith("miniTicker")]

    assert forming
    assert all(float(whole["l"]) <= float(k["c"]) <= float(whole["h"]) for k in forming)
    assert [float(k["v"]) for k in forming] == sorted(float(k["v"]) for k in forming)
    assert set(tickers[0]) == {"e", "E", "s", "c", "o", "h", "l", "v", "q"}


async def test_a_fast_clock_thins_open_candles_but_never_closes(opened: Opener) -> None:
    exchange = await opened(speed=3000.0, end=START + 2 * HOUR)
    async with streams(exchange, "btcusdt@kline_1m") as ws:
        started = exchange.clock.now()
        frames = await everything(ws, exchange)
    done = [f["data"]["k"]["t"] for f in frames if f["data"]["k"]["x"]]
    open_ = [f for f in frames if not f["data"]["k"]["x"]]

    assert done == list(range(done[0], START + 2 * HOUR, MINUTE))
    assert done[0] <= started + MINUTE
    assert len(open_) <= 4 * (2 * HOUR / 3000 / 1000) + 2


async def test_open_candles_at_full_speed_are_there_for_the_asking(opened: Opener) -> None:
    exchange = await opened(forming=20.0, end=START + 10 * MINUTE)
    async with streams(exchange, "btcusdt@kline_1m") as ws:
        frames = await everything(ws, exchange)

    assert sum(frame["data"]["k"]["x"] for frame in frames) == 11
    assert sum(not frame["data"]["k"]["x"] for frame in frames) in (20, 21)  # not at the minute itself


async def test_commands_subscribe_list_and_unsubscribe(opened: Opener) -> None:
    exchange = await opened(speed=1.0)
    async with connect(f"{exchange.stream_url}/ws") as ws:
        await ws.send('{"method":"SUBSCRIBE","params":["btcusdt@kline_1m","ethusdt@kline_1m"],"id":1}')
        await ws.send('{"method":"UNSUBSCRIBE","params":["btcusdt@kline_1m"],"id":"two"}')
        await ws.send('{"method":"LIST_SUBSCRIPTIONS","id":"8f1cb0ad-8a4b-4c0e-a78b-5e0fd8a3d0a1"}')
        frames = await until(ws, lambda frame: bool(frame.get("result")))
    answers = [frame for frame in frames if "result" in frame]

    assert answers == [
        {"result": None, "id": 1},
        {"result": None, "id": "two"},
        {"result": ["ethusdt@kline_1m"], "id": "8f1cb0ad-8a4b-4c0e-a78b-5e0fd8a3d0a1"},
    ]


ERRORS: list[tuple[str, int]] = [
    ("not json", 3),
    ("[1]", 2),
    ('{"id":1}', 2),
    ('{"method":"DANCE","id":1}', 2),
    ('{"method":"SUBSCRIBE","params":"btcusdt@kline_1m","id":1}', 2),
    ('{"method":"SUBSCRIBE","params":[1],"id":1}', 2),
    ('{"method":"SUBSCRIBE","params":[],"id":1.5}', 2),
    ('{"method":"SET_PROPERTY","params":["combined",3],"id":1}', 1),
    ('{"method":"GET_PROPERTY","params":["colour"],"id":1}', 0),
]


@pytest.mark.parametrize(("message", "code"), ERRORS)
async def test_a_command_that_makes_no_sense_is_answered_with_its_code(
    opened: Opener, message: str, code: int
) -> None:
    exchange = await opened()
    async with connect(f"{exchange.stream_url}/ws") as ws:
        await ws.send(message)

        assert (await receive(ws))["code"] == code


async def test_a_raw_connection_may_become_combined(opened: Opener) -> None:
    exchange = await opened()
    async with connect(f"{exchange.stream_url}/ws") as ws:
        await ws.send('{"method":"SET_PROPERTY","params":["combined",true],"id":1}')
        await ws.send('{"method":"GET_PROPERTY","params":["combined"],"id":2}')
        await ws.send('{"method":"SUBSCRIBE","params":["btcusdt@kline_1m"],"id":3}')
        frames = await until(ws, lambda frame: "stream" in frame)

    assert frames[1] == {"result": True, "id": 2}


async def test_microseconds_in_streams_on_request(opened: Opener) -> None:
    exchange = await opened()
    async with connect(
        f"{exchange.stream_url}/stream?streams=btcusdt@kline_1m/btcusdt@miniTicker&timeUnit=MICROSECOND"
    ) as ws:
        frames = await until(ws, lambda frame: frame["stream"].endswith("miniTicker"))
    k = frames[0]["data"]["k"]

    assert k["T"] == k["t"] + 60_000_000 - 1
    assert all(len(str(frame["data"]["E"])) == 16 for frame in frames)


@pytest.mark.parametrize(("market", "allowed"), [("spot", 5), ("um", 10)])
async def test_more_messages_a_second_than_allowed_end_the_connection(
    opened: Opener, market: Any, allowed: int
) -> None:
    exchange = await opened(market)
    async with connect(f"{exchange.stream_url}/ws") as ws:
        for ident in range(allowed + 1):
            await ws.send(json.dumps({"method": "LIST_SUBSCRIPTIONS", "id": ident}))
        answers = [await receive(ws) for _ in range(allowed)]
        end = await closed_by_server(ws)

    assert [answer["id"] for answer in answers] == list(range(allowed))
    assert end.rcvd is not None
    assert end.rcvd.code == 1008


async def test_pings_of_the_client_count_as_messages(opened: Opener) -> None:
    exchange = await opened()
    async with connect(f"{exchange.stream_url}/ws") as ws:
        for _ in range(6):
            await ws.ping()

        assert (await closed_by_server(ws)).rcvd is not None


async def test_more_streams_than_a_connection_may_have_are_refused(opened: Opener) -> None:
    exchange = await opened()
    many = [f"coin{at}usdt@kline_1m" for at in range(1024)]
    async with streams(exchange, *many) as ws:
        await ws.send('{"method":"SUBSCRIBE","params":["btcusdt@kline_1m"],"id":1}')

        assert (await receive(ws))["code"] == 2
    with pytest.raises(InvalidStatus, match="400"):
        async with streams(exchange, *many, "btcusdt@kline_1m"):
            pass


async def test_too_many_connection_attempts_are_refused(opened: Opener) -> None:
    exchange = await opened(limits=Limits(connects=3))
    for _ in range(3):
        async with connect(f"{exchange.stream_url}/ws"):
            pass

    with pytest.raises(InvalidStatus, match="429"):
        async with connect(f"{exchange.stream_url}/ws"):
            pass
    assert exchange.state()["refused"] == 1


@pytest.mark.parametrize("path", ["/", "/api/v3/time", "/market/ws", "/nonsense"])
async def test_other_addresses_are_no_streams(opened: Opener, path: str) -> None:
    exchange = await opened()

    with pytest.raises(InvalidStatus, match="404"):
        async with connect(f"ws://127.0.0.1:{exchange.port}{path}"):
            pass


async def test_the_exchange_pings_and_drops_who_does_not_answer(opened: Opener) -> None:
    exchange = await opened(speed=1.0, limits=Limits(ping_every=0.1, pong_within=0.5))
    reader, writer = await asyncio.open_connection("127.0.0.1", exchange.port)
    writer.write(
        b"GET /ws HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    )
    async with connect(f"{exchange.stream_url}/ws") as answering:
        try:
            received = await asyncio.wait_for(reader.read(), 10)
        except ConnectionResetError:
            received = b""
        alive = await answering.ping()
        await asyncio.wait_for(alive, 10)
    writer.close()

    assert received == b"" or b"\x89" in received  # pings, then the cut


async def test_an_old_connection_is_ended(opened: Opener) -> None:
    exchange = await opened(speed=1.0, limits=Limits(life=0.3, ping_every=0.4))
    async with connect(f"{exchange.stream_url}/ws") as ws:
        assert (await closed_by_server(ws)).rcvd is not None


async def test_without_hold_the_end_of_the_replay_ends_the_connections(opened: Opener) -> None:
    exchange = await opened(hold=False)
    async with streams(exchange, "btcusdt@kline_1h") as ws:
        last = (await closes(ws, 3))[-1]
        end = await closed_by_server(ws)

    assert last["T"] == START + 2 * HOUR - 1
    assert end.rcvd is not None
    assert end.rcvd.code == 1001


async def test_a_held_exchange_goes_on_answering(opened: Opener) -> None:
    exchange = await opened()
    async with streams(exchange, "btcusdt@kline_1h") as ws:
        await closes(ws, 3)
        await eventually(lambda: exchange.player.phase == "ended")
        await ws.send('{"method":"LIST_SUBSCRIPTIONS","id":1}')

        assert (await receive(ws))["id"] == 1
        assert (await get(exchange, "/api/v3/time")).json()["serverTime"] == START + 2 * HOUR + 2000


async def test_all_market_tickers_are_one_list(opened: Opener) -> None:
    exchange = await opened()
    async with streams(exchange, "!miniTicker@arr", "btcusdt@kline_1m") as ws:
        frame = (await until(ws, lambda frame: frame["stream"] == "!miniTicker@arr"))[-1]

    assert [entry["s"] for entry in frame["data"]] == ["BTCUSDT", "ETHUSDT", "PEPEUSDT"]


async def test_a_subscription_during_play_joins_at_the_clock(opened: Opener) -> None:
    exchange = await opened(
        source=Simulated(("BTCUSDT", "ETHUSDT"), 1), end=START + 24 * HOUR, speed=math.inf
    )
    async with streams(exchange, "btcusdt@kline_1m") as ws:
        await closes(ws, 5)
        await ws.send('{"method":"SUBSCRIBE","params":["ethusdt@kline_1m"],"id":1}')
        frames = await until(ws, lambda frame: frame.get("stream") == "ethusdt@kline_1m")
        later = await closes(ws, 50)
    btc = [f["data"]["k"]["t"] for f in frames if f.get("stream") == "btcusdt@kline_1m"]
    btc += [k["t"] for k in later if k["s"] == "BTCUSDT"]

    assert btc == list(range(btc[0], btc[-1] + MINUTE, MINUTE))
