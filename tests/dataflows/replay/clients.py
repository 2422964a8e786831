"""Small clients of the exchange under test; each waits for what it wants, with a deadline."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Callable
from typing import Any

import httpx
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from dataflows.replay.exchange import ReplayExchange

DEADLINE = 10.0
Frame = dict[str, Any]


def streams(exchange: ReplayExchange, *names: str) -> connect:
    """A combined-stream connection to `names`."""
    # A client that leaves while its queue is full would wait long for the answer to its close frame.
    address = f"{exchange.stream_url}/stream?streams={'/'.join(names)}"
    return connect(address, max_size=None, close_timeout=0.2)


async def receive(ws: ClientConnection) -> Any:
    return json.loads(await asyncio.wait_for(ws.recv(), DEADLINE))


async def until(ws: ClientConnection, wanted: Callable[[Frame], bool]) -> list[Frame]:
    """Everything up to and including the first frame that is wanted."""
    frames: list[Frame] = []
    while not frames or not wanted(frames[-1]):
        frames.append(await receive(ws))
    return frames


async def closes(ws: ClientConnection, count: int) -> list[Frame]:
    """The `k` of the next `count` closed candles."""
    found: list[Frame] = []
    while len(found) < count:
        frame = await receive(ws)
        data = frame.get("data", frame)
        if data.get("e") == "kline" and data["k"]["x"]:
            found.append(data["k"])
    return found


async def drain(ws: ClientConnection, quiet: float = 0.3) -> None:
    """Read until nothing has come for `quiet` seconds."""
    with contextlib.suppress(TimeoutError):
        while True:
            await asyncio.wait_for(ws.recv(), quiet)


async def everything(ws: ClientConnection, exchange: ReplayExchange) -> list[Frame]:
    """Every frame until the exchange's clock is at its end and nothing is left to read."""
    frames: list[Frame] = []
    async with asyncio.timeout(DEADLINE):
        while True:
            try:
                frames.append(json.loads(await asyncio.wait_for(ws.recv(), 0.04)))
            except TimeoutError:
                if exchange.player.phase == "ended":
                    return frames


def browser(exchange: ReplayExchange, **given: Any) -> httpx.AsyncClient:
    """An HTTP client of the exchange; loading certificates, which loopback does not need, takes long."""
    return httpx.AsyncClient(base_url=exchange.url, verify=False, trust_env=False, **given)


async def get(exchange: ReplayExchange, path: str, **query: Any) -> httpx.Response:
    async with browser(exchange) as client:
        return await client.get(path, params=query)


async def klines(exchange: ReplayExchange, symbol: str, interval: str, **query: Any) -> list[list[Any]]:
    """Rows of the exchange's klines endpoint."""
    prefix = "/api/v3" if exchange.market == "spot" else "/fapi/v1"
    answer = await get(exchange, f"{prefix}/klines", symbol=symbol, interval=interval, **query)
    answer.raise_for_status()
    return list(answer.json())


async def fault(exchange: ReplayExchange, **given: Any) -> None:
    """Switch a fault on over the control endpoint."""
    async with browser(exchange) as client:
        (await client.post("/_control/faults", json=given)).raise_for_status()


async def until_closed(ws: ClientConnection) -> tuple[ConnectionClosed, list[Frame]]:
    """Read on until the exchange ends the connection: how it ended, and the events before."""
    seen: list[Frame] = []
    try:
        async with asyncio.timeout(DEADLINE):
            while True:
                frame = json.loads(await ws.recv())
                seen.append(frame.get("data", frame))
    except ConnectionClosed as end:
        return end, seen


async def closed_by_server(ws: ClientConnection) -> ConnectionClosed:
    """How the exchange ended the connection."""
    return (await until_closed(ws))[0]


async def forget(exchange: ReplayExchange, name: str) -> None:
    """Switch the faults of that name off."""
    async with browser(exchange) as client:
        (await client.delete("/_control/faults", params={"name": name})).raise_for_status()


async def eventually(condition: Callable[[], bool]) -> None:
    """Wait until `condition` holds."""
    async with asyncio.timeout(DEADLINE):
        while not condition():
            await asyncio.sleep(0.01)
