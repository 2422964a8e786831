"""A tiny exchange on loopback whose time stands still until a test moves it.

It speaks just enough REST and WebSocket for the feed; every fault is a set or a hook that a test fills.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qs, urlsplit

import orjson
from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.datastructures import Headers
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response

from engine.records import INTERVALS

START = 1_710_000_000_000
"""2024-03-09T16:00Z: on the grid of every interval."""

MINUTE = 60_000
Key = tuple[str, str, int]
Answer = tuple[int, dict[str, str], bytes]


class Exchange:
    """Symbols and their candles, which are a function of symbol, interval and time."""

    def __init__(self, *symbols: str) -> None:
        self.now = START + 10_000
        self.status = dict.fromkeys(symbols, "TRADING")
        self.listed: dict[str, int] = {}
        self.port = 0
        self.url = ""
        self.links: list[tuple[ServerConnection, set[str]]] = []
        self.connected = 0
        self.together = 0
        self.greet = True
        self.requests: list[str] = []
        self.paths: list[str] = []
        self.lost: set[Key] = set()
        self.absent: set[Key] = set()
        self.other: dict[Key, float] = {}
        self.frozen: set[str] = set()
        self.rest: Callable[[str, dict[str, str]], Answer | None] = lambda path, query: None

    def price(self, symbol: str, time: int) -> float:
        return 100.0 + (hash_of(symbol) + time // MINUTE * 7) % 10

    def values(self, symbol: str, interval: str, time: int) -> list[str]:
        """Open, high, low, close, volume of the candle closing at `time`."""
        close = self.other.get((symbol, interval, time), self.price(symbol, time))
        opened = self.price(symbol, time - MINUTE)
        return [str(one) for one in (opened, max(opened, close) + 1, min(opened, close) - 1, close, 5.0)]

    def exists(self, symbol: str, interval: str, time: int) -> bool:
        return (symbol, interval, time) not in self.absent and time > self.listed.get(symbol, 0)

    def frame(self, symbol: str, interval: str, time: int, event: int, *, closed: bool) -> bytes:
        step = INTERVALS[interval]
        o, h, lo, c, v = self.values(symbol, interval, time)
        k = {
            "t": time - step, "T": time - 1, "s": symbol, "i": interval, "f": 1, "L": 2, "o": o, "c": c,
            "h": h, "l": lo, "v": v, "n": 3, "x": closed, "q": "500.0", "V": "2.0", "Q": "200.0", "B": "0",
        }  # fmt: skip
        data = {"e": "kline", "E": event, "s": symbol, "k": k}
        return orjson.dumps({"stream": f"{symbol.lower()}@kline_{interval}", "data": data})

    async def close(self, symbol: str, interval: str, time: int, *, after: int = 40) -> None:
        """Send one closed kline, `after` ms behind its close."""
        await self.send(symbol, interval, self.frame(symbol, interval, time, time + after, closed=True))

    async def send(self, symbol: str, interval: str, raw: bytes) -> None:
        """Send a frame to everybody who reads this stream."""
        stream = f"{symbol.lower()}@kline_{interval}"
        for link, streams in list(self.links):
            if stream in streams:
                await self.write(link, raw)

    async def write(self, link: ServerConnection, raw: bytes) -> None:
        try:
            await link.send(raw, text=True)
        except ConnectionClosed:
            self.links = [one for one in self.links if one[0] is not link]

    async def advance(self, ms: int) -> None:
        """Move time to `ms` after `START`: every close on the way is sent, then forming klines."""
        end = START + ms
        for time in range(self.now // MINUTE * MINUTE + MINUTE, end + 1, MINUTE):
            self.now = time
            for symbol in self.trading:
                for interval, step in INTERVALS.items():
                    key = (symbol, interval, time)
                    if time % step == 0 and self.exists(*key) and key not in self.lost:
                        await self.close(*key)
        self.now = end
        await self.form()

    async def form(self) -> None:
        """A forming kline of every stream, at the present time."""
        for symbol in self.trading:
            for interval, step in INTERVALS.items():
                time = self.now // step * step + step
                await self.send(symbol, interval, self.frame(symbol, interval, time, self.now, closed=False))

    @property
    def subscribed(self) -> set[str]:
        return {stream for _, streams in self.links for stream in streams}

    @property
    def trading(self) -> list[str]:
        return [
            symbol
            for symbol, status in self.status.items()
            if status == "TRADING" and symbol not in self.frozen
        ]

    async def drop(self) -> None:
        """Cut every connection without a word."""
        links, self.links = self.links, []
        for link, _ in links:
            link.transport.abort()

    async def hear(self, link: ServerConnection) -> None:
        assert link.request is not None
        streams = set(parse_qs(urlsplit(link.request.path).query)["streams"][0].split("/"))
        self.connected += 1
        self.links.append((link, streams))
        self.together = max(self.together, len(self.links))
        if self.greet:
            await self.write(link, orjson.dumps({"result": None, "id": 1}))
        try:
            await link.wait_closed()
        finally:
            self.links = [one for one in self.links if one[0] is not link]

    def answer(self, link: ServerConnection, request: Request) -> Response | None:
        parts = urlsplit(request.path)
        if parts.path.endswith("/stream"):
            self.paths.append(parts.path)
            return None
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        self.requests.append(request.path)
        status, headers, body = self.rest(parts.path, query) or self.said(parts.path, query)
        headers = {"Content-Length": str(len(body)), "Connection": "close", **headers}
        return Response(status, HTTPStatus(status).phrase, Headers(headers), body)

    def said(self, path: str, query: dict[str, str]) -> Answer:
        name = path.rsplit("/", 1)[1]
        if name == "time":
            return answered({"serverTime": self.now})
        if name == "exchangeInfo":
            return self.info(query)
        if name == "klines":
            return answered(self.klines(query)) if query["symbol"] in self.status else INVALID
        return 404, {}, b"{}"

    def info(self, query: dict[str, str]) -> Answer:
        asked = orjson.loads(query["symbols"]) if "symbols" in query else list(self.status)
        if any(symbol not in self.status for symbol in asked):
            return INVALID
        rules = [{"filterType": "PRICE_FILTER", "tickSize": "0.01"}]
        return answered(
            {"symbols": [{"symbol": one, "status": self.status[one], "filters": rules} for one in asked]}
        )

    def klines(self, query: dict[str, str]) -> list[Any]:
        """Rows as the exchange gives them, the last one still open."""
        symbol, interval = query["symbol"], query["interval"]
        step = INTERVALS[interval]
        first = -(-int(query["startTime"]) // step) * step
        last = min(int(query["endTime"]), self.now)
        rows: list[Any] = []
        for opened in range(first, last + 1, step):
            if not self.exists(symbol, interval, opened + step):
                continue
            values = self.values(symbol, interval, opened + step)
            rows.append([opened, *values, opened + step - 1, "500.0", 3, "2.0", "200.0", "0"])
        return rows[: int(query["limit"])]


INVALID: Answer = (400, {}, b'{"code":-1121,"msg":"Invalid symbol."}')


def answered(body: Any) -> Answer:
    return 200, {"X-MBX-USED-WEIGHT-1M": "7"}, orjson.dumps(body)


def hash_of(symbol: str) -> int:
    return sum(symbol.encode())


@asynccontextmanager
async def running(*symbols: str) -> AsyncIterator[Exchange]:
    """An exchange that trades `symbols`, on a port of its own."""
    exchange = Exchange(*symbols)
    server: Server
    async with serve(
        exchange.hear, "127.0.0.1", 0, process_request=exchange.answer, ping_interval=None, close_timeout=0.2
    ) as server:
        exchange.port = next(iter(server.sockets)).getsockname()[1]
        exchange.url = f"127.0.0.1:{exchange.port}"
        yield exchange
        for link, _ in exchange.links:
            link.transport.abort()
    await asyncio.sleep(0)
