"""One WebSocket of combined streams, kept alive for ever: dropped, idle, old or withheld, it is replaced.

A planned replacement is made before the old one is broken, so nothing is lost and some frames come twice.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Any, Final, Literal
from urllib.parse import urlsplit

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import WebSocketException

from dataflows.connectors.binance.backoff import Backoff, Connects
from engine.errors import SettingsError

State = Literal["connecting", "open", "replacing", "reconnecting"]
Hear = Callable[["Shard", bytes], Awaitable[None]]

LARGEST_FRAME: Final = 1 << 20
STEADY: Final = 60.0
"""Seconds after which a connection counts as good: its loss starts the back-off anew."""

OVERDUE: Final = 600.0
"""Seconds after which an old connection is replaced even at a bad moment."""

LOCAL: Final = ("127.0.0.1", "::1", "localhost")


def address(base: str, streams: Sequence[str]) -> str:
    """The URL of a combined stream.

    >>> address("wss://data-stream.binance.vision", ["btcusdt@kline_1m", "btcusdt@miniTicker"])
    'wss://data-stream.binance.vision/stream?streams=btcusdt@kline_1m/btcusdt@miniTicker'
    >>> address("wss://fstream.binance.com", ["btcusdt@kline_1m"])
    Traceback (most recent call last):
    engine.errors.SettingsError: binance.um.stream: wss://fstream.binance.com withholds klines since \
2026-04-23, use .../market
    """
    parts = urlsplit(base)
    if parts.hostname == "fstream.binance.com" and parts.path.strip("/") != "market":
        raise SettingsError(f"binance.um.stream: {base} withholds klines since 2026-04-23, use .../market")
    return f"{base.rstrip('/')}/stream?streams={'/'.join(streams)}"


class Socket:
    """One connection from its handshake to its end."""

    def __init__(self, link: ClientConnection, wall: float) -> None:
        self.link = link
        self.opened = wall
        self.last_frame = wall
        self.waits = False
        self.first = asyncio.Event()
        self.reader: asyncio.Task[None] | None = None

    @property
    def ended(self) -> bool:
        return self.reader is not None and self.reader.done()

    async def end(self) -> None:
        """Stop reading and close; an error of whoever heard the frames is raised here."""
        if self.reader is not None:
            self.reader.cancel()
            await asyncio.wait({self.reader})
        await self.link.close()
        if self.reader is not None and not self.reader.cancelled():
            self.reader.result()


class Shard:
    """The streams of some symbols. `hear` is awaited for each frame, in order, and may slow the reading down.

    Parameters
    ----------
    rotate_after
        Wall seconds until the connection is replaced, as soon as `calm` says that no close is near.
    idle_timeout
        Wall seconds without a frame (pings are none) until it is given up.
    """

    def __init__(
        self,
        name: str,
        base: str,
        streams: Sequence[str],
        hear: Hear,
        *,
        backoff: Backoff,
        connects: Connects,
        rotate_after: float = 82_800.0,
        idle_timeout: float = 15.0,
        calm: Callable[[], bool] = lambda: True,
        wall: Callable[[], float] = time.monotonic,
    ) -> None:
        self.name = name
        self.base = base
        self.streams = tuple(streams)
        self.state: State = "connecting"
        self.fault = ""
        self.frames = 0
        self.reconnects = 0
        self.rotations = 0
        self.since_ms = 0
        self.last_frame_ms = 0
        self.replaced_at = wall()
        self._hear = hear
        self._backoff = backoff
        self._connects = connects
        self._rotate_after = rotate_after
        self._idle_timeout = idle_timeout
        self._calm = calm
        self._wall = wall
        self._why = ""
        self._wake = asyncio.Event()
        self._sockets: list[Socket] = []

    def follow(self, streams: Sequence[str]) -> None:
        """Read other streams from now on."""
        if tuple(streams) != self.streams:
            self.streams = tuple(streams)
            self.replace("other streams")

    def replace(self, why: str) -> None:
        """Open a second connection and close the first one once the second one speaks."""
        self._why = self._why or why
        self._wake.set()

    async def run(self) -> None:
        """Stay connected until cancelled."""
        failures = 0
        try:
            while True:
                socket = await self._open(failures)
                if socket is None:
                    failures += 1
                    continue
                planned = await self._live(socket)
                lasted = self._wall() - socket.opened
                failures = 0 if planned else 1 if lasted > STEADY else failures + 1
                if failures:
                    await asyncio.sleep(self._backoff.delay(failures - 1))
        finally:
            await self._end_all()

    async def _open(self, failures: int) -> Socket | None:
        """A new connection that has spoken; the former ones are closed only then."""
        await self._connects.take()
        self._why = self.fault = ""
        try:
            socket = await self._connect()
        except (OSError, TimeoutError, WebSocketException) as error:
            await self._failed(f"{type(error).__name__} {error}".rstrip(), failures)
            return None
        socket.reader = asyncio.create_task(self._read(socket))
        await self._first_frame(socket)
        if not socket.first.is_set():
            await socket.end()
            await self._failed(self.fault or "connected, but no frame came", failures)
            return None
        former, self._sockets = self._sockets, [socket]
        for old in former:
            await old.end()
        self.state, self.fault = "open", ""
        self.since_ms = int(time.time() * 1000)
        return socket

    async def _connect(self) -> Socket:
        local = urlsplit(self.base).hostname in LOCAL
        link = await connect(
            address(self.base, self.streams),
            compression=None,
            ping_interval=None,
            close_timeout=1.0,
            max_size=LARGEST_FRAME,
            max_queue=256,
            proxy=None if local else True,
        )
        return Socket(link, self._wall())

    async def _first_frame(self, socket: Socket) -> None:
        assert socket.reader is not None
        first = asyncio.create_task(socket.first.wait())
        await asyncio.wait(
            {first, socket.reader}, timeout=self._idle_timeout, return_when=asyncio.FIRST_COMPLETED
        )
        first.cancel()

    async def _failed(self, fault: str, failures: int) -> None:
        self.state, self.fault = "reconnecting", fault
        self.reconnects += 1
        await asyncio.sleep(self._backoff.delay(failures))

    async def _read(self, socket: Socket) -> None:
        try:
            while True:
                raw: Any = await socket.link.recv(decode=False)
                socket.first.set()
                self.frames += 1
                self.last_frame_ms = int(time.time() * 1000)
                # Who makes a socket wait must not find it idle.
                socket.waits = True
                await self._hear(self, raw)
                socket.waits, socket.last_frame = False, self._wall()
        except (OSError, WebSocketException) as error:
            self.fault = f"{type(error).__name__} {error}".rstrip()
        finally:
            self._wake.set()

    async def _live(self, socket: Socket) -> bool:
        """Watch a connection until it ends or must be replaced; True when the next one may follow at once."""
        while True:
            if socket.ended:
                return await self._lost(socket, self.fault)
            if self._why:
                self.state, self.rotations, self.replaced_at = "replacing", self.rotations + 1, self._wall()
                return True
            idle = 0.0 if socket.waits else self._wall() - socket.last_frame
            if idle >= self._idle_timeout:
                return await self._lost(socket, f"no frame for {idle:.0f} s")
            if self._old(socket):
                self._why = "rotation"
                continue
            await self._doze(min(self._idle_timeout - idle, 0.25))

    async def _lost(self, socket: Socket, fault: str) -> bool:
        self.state, self.fault = "reconnecting", fault
        self.reconnects += 1
        if socket in self._sockets:
            self._sockets.remove(socket)
        await socket.end()
        return False

    def _old(self, socket: Socket) -> bool:
        age = self._wall() - socket.opened
        return age >= self._rotate_after and (self._calm() or age >= self._rotate_after + OVERDUE)

    async def _doze(self, seconds: float) -> None:
        self._wake.clear()
        with suppress(TimeoutError):
            await asyncio.wait_for(self._wake.wait(), seconds)

    async def _end_all(self) -> None:
        for socket in self._sockets:
            await socket.end()
