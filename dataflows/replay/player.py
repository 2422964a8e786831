"""Moves the exchange through time: takes what is due from the timeline and has it pushed.

Every frame reaches all its connections before the clock goes on; a connection's frames are in event order.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable
from typing import Final

import orjson

from dataflows.replay.broadcast import Broadcast, combined
from dataflows.replay.clock import Clock
from dataflows.replay.connection import POLICY, Connection
from dataflows.replay.faults import Fault
from dataflows.replay.frames import text_frame
from dataflows.replay.pushes import Pushes
from dataflows.replay.switches import Faults
from dataflows.replay.timeline import Timeline

POLL: Final = 0.02
"""Wall seconds between two looks at a running clock."""

NO_END: Final = 1 << 61
GARBAGE: Final = b'{"stream":"btcusdt@kline_1m","data":{"e":"kline","E":17'


class Player:
    """Plays `timeline` by `clock`; a stepped clock goes on `settle` wall seconds after streams changed."""

    def __init__(
        self,
        clock: Clock,
        timeline: Timeline,
        pushes: Pushes,
        broadcast: Broadcast,
        faults: Faults,
        *,
        settle: float = 0.05,
        wall: Callable[[], float] = time.monotonic,
    ) -> None:
        self.phase = "waiting"
        self.pace = 0.0
        """Wall seconds that a stepped clock stands still after each step: for clients that must not race."""
        self._clock = clock
        self._timeline = timeline
        self._pushes = pushes
        self._broadcast = broadcast
        self._faults = faults
        self._settle = settle
        self._wall = wall
        self._awake = asyncio.Event()

    def wake(self) -> None:
        """Something happened that a waiting player may want to see."""
        self._awake.set()

    async def play(self) -> None:
        """Play to the end of the clock; then `phase` is "ended"."""
        self._clock.run()
        await (self._step_through() if self._clock.stepped else self._keep_up())
        self.phase = "ended"

    async def idle(self) -> None:
        """After the end: only faults still happen."""
        while True:
            self._shoot(self._clock.now())
            await self._pause(POLL)

    async def _keep_up(self) -> None:
        self.phase = "running"
        while not self._clock.ended:
            now = self._clock.now()
            if self._shoot(now):
                await asyncio.sleep(POLL)
            if self._held(now):
                self._clock.pause()
            else:
                self._clock.run()
                self._refresh()
                self._play(now)
            await asyncio.sleep(POLL)
        self._play(self._clock.now())

    async def _step_through(self) -> None:
        end = NO_END if self._clock.end is None else self._clock.end
        while True:
            if self._shoot(self._clock.now()):
                await asyncio.sleep(POLL)
            self._refresh()
            if not self._timeline.wanted or self._wall() - self._broadcast.changed_at < self._settle:
                self.phase = "waiting"
                await self._pause(self._settle if self._timeline.wanted else 1.0)
                continue
            due = self._timeline.peek(end)
            if due is None:
                self._clock.move(end)
                return
            if self._held(due):
                await self._pause(POLL)
            else:
                await self._step(due, end)

    async def _step(self, due: int, end: int) -> None:
        """Play one slot of the cadence, and wait until every client has read far enough."""
        self.phase = "running"
        if self._shoot(due):
            # Sockets that were cut are only known to be gone once the loop has gone round.
            await asyncio.sleep(POLL)
            return
        cadence = self._timeline.cadence
        self._play(min(end, due // cadence * cadence + cadence - 1))
        await asyncio.sleep(0)
        while not self._broadcast.caught_up():
            await self._pause(1.0)
        if self.pace:
            await asyncio.sleep(self.pace)

    def _play(self, upto: int) -> None:
        for event in self._timeline.pop(upto):
            self._clock.move(event.time)
            self._pushes.push(event)
        self._broadcast.flush()

    async def _pause(self, seconds: float) -> None:
        """Wait until woken, at most so long."""
        self._awake.clear()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._awake.wait()

    def _held(self, now: int) -> bool:
        return self._faults.any("pause", now, self._wall())

    def _refresh(self) -> None:
        """Take over what the clients want now."""
        streams = self._broadcast.refresh()
        if streams is not None:
            self._pushes.want(streams)

    def _shoot(self, now: int) -> bool:
        """Do the one-time faults whose time has come; whether there were any."""
        shots = self._faults.shots(now)
        for fault in shots:
            for connection in list(self._broadcast.connections):
                hit(connection, fault, now)
                connection.flush()
        return bool(shots)


def hit(connection: Connection, fault: Fault, now: int) -> None:
    """Let a one-time fault at one connection."""
    if fault.name == "drop":
        connection.wire.abort()
    elif fault.name == "cut":
        connection.wire.close(POLICY, "24 hours are over")
    elif fault.name == "garbage":
        connection.push(text_frame(GARBAGE))
    elif fault.name == "huge":
        connection.push(text_frame(combined("huge", b'"' + b"x" * fault.size + b'"')))
    else:
        body = orjson.dumps({"e": "serverShutdown", "E": now})
        both = combined("!serverShutdown", body) if connection.subscriptions.combined else body
        connection.push(text_frame(both))
        asyncio.get_running_loop().call_later(fault.by, connection.wire.close, POLICY, "server shutdown")
