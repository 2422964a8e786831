"""A Binance-compatible market-data exchange on loopback: REST and WebSocket on one port.

It plays history or a simulated market on its own clock, keeps the exchange's limits, and fails on demand.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable
from dataclasses import replace
from typing import Any, Final, Self

from dataflows.replay.answers import Answer, Request
from dataflows.replay.archive import Archive
from dataflows.replay.broadcast import Broadcast
from dataflows.replay.candles import DAY
from dataflows.replay.clock import Clock, Follower, ReplayClock
from dataflows.replay.connection import Connection
from dataflows.replay.control import PREFIX, Control
from dataflows.replay.faults import LISTINGS, Fault
from dataflows.replay.frames import Writers
from dataflows.replay.futures import Futures
from dataflows.replay.gate import Gate
from dataflows.replay.instruments import Market as MarketName
from dataflows.replay.limits import Limits, Meter, Rate
from dataflows.replay.moments import iso
from dataflows.replay.player import Player
from dataflows.replay.pushes import Pushes
from dataflows.replay.rest import Market
from dataflows.replay.source import Source
from dataflows.replay.subscriptions import Subscriptions, parse_address
from dataflows.replay.switches import Faults
from dataflows.replay.timeline import CADENCE, Timeline
from dataflows.replay.venue import Venue
from dataflows.replay.wire import Port
from engine.errors import SettingsError

MANY: Final = 50
"""Symbols from which on only the newest days are made ready: each day of many takes its time."""

NEIGHBOURLY: Final = 8
"""Days that a market beside another makes ready: it is asked for statistics of the last days only."""

PATHS: Final[dict[str, tuple[str, ...]]] = {"spot": ("",), "um": ("/market", "/public", "/private", "")}
"""Where each market's sockets live; on futures only `/market` has candles, and the bare path is retired."""


class ReplayExchange:
    """The exchange; `async with` it, or `start` and `stop`.

    `start` and `end` are exchange ms; closes at `end` are still pushed. `speed` is exchange seconds per wall
    second; infinity = as fast as clients read: the clock then stands at `start` until the first subscription,
    and stands still whenever nobody is subscribed. At the end a `hold`ing exchange stands still and goes on
    answering; another ends every connection. `forming` is exchange seconds between pushes of an open candle;
    `prepare` days behind the start are made ready in the background (170 hold a thousand 4h candles).
    A given `clock` is another exchange's: see `beside`.

    >>> from dataflows.replay.simulate import Simulated
    >>> exchange = ReplayExchange("spot", Simulated(("BTCUSDT",)), start=1_760_000_000_000, speed=60)
    >>> exchange.clock.now()
    1760000000000
    """

    def __init__(
        self,
        market: MarketName,
        source: Source,
        start: int,
        end: int | None = None,
        speed: float = 1.0,
        port: int = 0,
        *,
        faults: Iterable[Fault] = (),
        hold: bool = True,
        limits: Limits | None = None,
        forming: float | None = None,
        settle: float = 0.05,
        prepare: int = 170,
        host: str = "127.0.0.1",
        clock: Clock | None = None,
    ) -> None:
        if end is None and not source.simulated:
            end = max(source.lifetime(symbol)[1] for symbol in source.symbols)
        self.market = market
        self.limits = limits or Limits.of(market)
        self.faults = Faults(faults)
        until = None if end is None else end + CADENCE[market]
        self.clock: Clock = clock or ReplayClock(start, until, speed)
        self.neighbours: list[ReplayExchange] = []
        self.venue = Venue(market, source, self.faults)
        self._host, self._port, self._hold = host, port, hold
        self._prepare_days = prepare
        self._connects = Rate(self.limits.connects, 300.0)
        self._refused = 0
        self._accepted = 0
        self._sockets: set[Port] = set()
        self._tasks: list[asyncio.Task[None]] = []
        self._over = asyncio.Event()
        self.broadcast = Broadcast(self.faults)
        self._build(speed, forming, settle)
        self._control = Control(self.faults, self.state, self.add, self._changed)

    def _build(self, speed: float, forming: float | None, settle: float) -> None:
        """Join the parts: routes behind the gate, the timeline before the player."""
        writers = Writers(self.venue)
        rest = Market(self.venue, writers, self.limits)
        futures = Futures(rest)
        routes = rest.routes() if self.market == "spot" else rest.routes() | futures.routes()
        routes |= Archive(self.venue, writers).routes()
        self.gate = Gate(routes, Meter(self.limits), self.faults, self.clock.now, self.venue.source.simulated)
        step = None if forming is None else int(forming * 1000)
        timeline = Timeline(self.venue, self.clock.start, speed, step)
        pushes = Pushes(self.venue, timeline, self.broadcast, writers, futures)
        self.player = Player(self.clock, timeline, pushes, self.broadcast, self.faults, settle=settle)

    def beside(self, market: MarketName, source: Source, port: int = 0, **given: Any) -> ReplayExchange:
        """Another market on a port of its own, by this one's clock: it starts and stops with this one.

        Faults of one are not faults of the other; at full speed its clients are not waited for. `given` as
        for an exchange of its own.
        """
        options: dict[str, Any] = {"prepare": NEIGHBOURLY, "hold": self._hold, "host": self._host}
        clock = Follower(self.clock)
        options |= {"end": clock.end, "speed": clock.speed, "port": port, "clock": clock, **given}
        other = ReplayExchange(market, source, clock.start, **options)
        self.neighbours.append(other)
        return other

    @property
    def port(self) -> int:
        return self._port

    @property
    def url(self) -> str:
        """Base of the REST side."""
        return f"http://{self._host}:{self._port}"

    @property
    def stream_url(self) -> str:
        """Base of the WebSocket side; `/ws/...` and `/stream?streams=...` follow."""
        return f"ws://{self._host}:{self._port}" + ("" if self.market == "spot" else "/market")

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.stop()

    async def start(self) -> None:
        """Listen. Raises `SettingsError` where the port cannot be had."""
        loop = asyncio.get_running_loop()
        try:
            self._server = await loop.create_server(lambda: Port(self, self._sockets), self._host, self._port)
        except OSError as error:
            raise SettingsError(
                f"cannot listen on {self._host}:{self._port}: {error.strerror or error}"
            ) from None
        self._port = self._server.sockets[0].getsockname()[1]
        self._tasks = [loop.create_task(job) for job in (self._play(), self._look_after(), self._prepare())]
        try:
            for neighbour in self.neighbours:
                await neighbour.start()
        except SettingsError:
            await self.stop()
            raise

    async def stop(self) -> None:
        """Cut every socket and stop listening."""
        for neighbour in self.neighbours:
            if neighbour._tasks:
                await neighbour.stop()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._server.close()
        for socket in list(self._sockets):
            socket.abort()
        await self._server.wait_closed()
        self._over.set()

    async def ended(self) -> None:
        """Wait until the clock has reached its end."""
        await self._over.wait()

    async def _play(self) -> None:
        await self.player.play()
        self._over.set()
        if not self._hold:
            for connection in list(self.broadcast.connections):
                connection.wire.close(1001, "the replay is over")
        await self.player.idle()

    async def _look_after(self) -> None:
        """Pings, pongs and old age of every connection."""
        every = min(1.0, self.limits.ping_every / 4, self.limits.pong_within / 4)
        while True:
            await asyncio.sleep(every)
            for connection in list(self.broadcast.connections):
                connection.beat()

    async def _prepare(self) -> None:
        """Make the history ready that clients ask for first, day by day, newest first."""
        many = len(self.venue.source.symbols) > MANY
        for day in range(min(self._prepare_days, 4) if many else self._prepare_days):
            self.venue.source.prepare(self.clock.start - day * DAY)
            await asyncio.sleep(0.001)

    def add(self, fault: Fault) -> None:
        """Switch a fault on, or have it wait for its time."""
        if fault.at is None and fault.name in LISTINGS:
            fault = replace(fault, at=self.clock.now())
        self.faults.add(fault)
        self._changed()

    def state(self) -> dict[str, Any]:
        """Everything a test wants to know, as JSON."""
        now = self.clock.now()
        return {
            "market": self.market,
            "simulated": self.venue.source.simulated,
            "clock": now,
            "iso": iso(now),
            "speed": "max" if self.clock.stepped else self.clock.speed,
            "phase": self.player.phase,
            "connections": [describe(connection) for connection in self.broadcast.connections],
            "frames": self.broadcast.pushed,
            "accepted": self._accepted,
            "refused": self._refused,
            "requests": dict(self.gate.requests),
            "statuses": dict(self.gate.statuses),
            "used_weight": self.gate.meter.used(time.time()),
            "bans": self.gate.meter.bans,
            "faults": self.faults.listed(),
        }

    async def answer(self, request: Request) -> Answer:
        """Answer one HTTP request."""
        if request.path.startswith(PREFIX):
            return self._control.answer(request)
        answer = self.gate.answer(request)
        if answer.delay:
            await asyncio.sleep(answer.delay)
        return answer

    def connect(self, request: Request, port: Port) -> Connection | Answer:
        """A client asks for a WebSocket: a connection, or the answer that refuses it."""
        wall = time.monotonic()
        if not self._connects.allows(wall):
            return self._refuse(429, "Too many connection attempts.")
        if self.faults.any("refuse", self.clock.now(), wall):
            return self._refuse(503, "Service unavailable.")
        address = parse_address(request.path, request.query.get("streams", ""))
        if address.prefix not in PATHS[self.market] or address.kind not in ("ws", "stream"):
            return self._refuse(404, f"{request.path} is not a stream address.")
        subscriptions = Subscriptions(
            combined=address.kind == "stream",
            micro=request.query.get("timeUnit", "").upper() == "MICROSECOND",
            most=self.limits.streams,
        )
        if not subscriptions.subscribe(address.names):
            return self._refuse(400, f"More than {self.limits.streams} streams.")
        return Connection(
            port,
            request.path,
            subscriptions,
            self.limits,
            time.monotonic,
            self._connection_changed,
            self.player.wake,
            muted=self.market == "um" and address.prefix != "/market",
            lockstep=self.clock.stepped,
        )

    def _refuse(self, status: int, text: str) -> Answer:
        self._refused += 1
        return Answer.error(status, -1, text)

    def joined(self, connection: Connection) -> None:
        """The handshake is done."""
        self._accepted += 1
        self.broadcast.connections[connection] = None
        self._changed()

    def _connection_changed(self, connection: Connection) -> None:
        if connection.gone:
            self.broadcast.connections.pop(connection, None)
        self._changed()

    def _changed(self) -> None:
        self.broadcast.changed()
        self.player.wake()

    def writable(self) -> None:
        """A socket takes data again."""
        self.player.wake()


def describe(connection: Connection) -> dict[str, Any]:
    return {
        "path": connection.path,
        "streams": list(connection.subscriptions.streams),
        "combined": connection.subscriptions.combined,
        "muted": connection.muted,
        "frames": connection.frames,
        "seconds": round(time.monotonic() - connection.opened, 3),
    }
