"""One WebSocket client as the exchange sees it: what it wants, what it is owed, how far behind it is.

It decides nothing about markets; it counts, buffers and breaks off.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import orjson

from dataflows.replay.frames import text_frame
from dataflows.replay.limits import Limits, Rate
from dataflows.replay.subscriptions import Subscriptions

POLICY = 1008
MOST_BUFFERED = 64 << 20
"""Bytes a client may leave unread before it is dropped."""


class Wire(Protocol):
    """The socket below: it writes, pings and ends."""

    @property
    def clear(self) -> bool: ...
    @property
    def unsent(self) -> int: ...
    def write(self, data: bytes) -> None: ...
    def ping(self, payload: bytes) -> None: ...
    def close(self, code: int, reason: str) -> None: ...
    def abort(self) -> None: ...


class Connection:
    """A client on `path`; `muted` ones are served nothing but answers (a retired address).

    `changed` is called when its streams change and when it is gone, `caught_up` when it has answered a ping;
    `wall` gives seconds.
    """

    def __init__(
        self,
        wire: Wire,
        path: str,
        subscriptions: Subscriptions,
        limits: Limits,
        wall: Callable[[], float],
        changed: Callable[[Connection], None],
        caught_up: Callable[[], None],
        *,
        muted: bool = False,
        lockstep: bool = False,
    ) -> None:
        self.wire = wire
        self.path = path
        self.subscriptions = subscriptions
        self.muted = muted
        self.frames = 0
        self.gone = False
        self.opened = wall()
        self._limits = limits
        self._wall = wall
        self._changed = changed
        self._caught_up = caught_up
        self._rate = Rate(limits.messages, 1.0)
        self._lockstep = lockstep
        self._buffer: list[bytes] = []
        self._since_mark = 0
        self._marks = 0
        self._pinged = self.opened
        self._pending: dict[bytes, float] = {}

    def push(self, frame: bytes) -> None:
        """Queue a whole WebSocket frame; `flush` sends what is queued in one write."""
        self._buffer.append(frame)

    def flush(self) -> None:
        if not self._buffer or self.gone:
            self._buffer.clear()
            return
        self.frames += len(self._buffer)
        self._since_mark += len(self._buffer)
        self.wire.write(b"".join(self._buffer))
        self._buffer.clear()
        if self._lockstep and self._since_mark >= self._limits.window:
            self._since_mark = 0
            self._marks += 1
            self._ping(b"mark %d" % self._marks)
        if self.wire.unsent > MOST_BUFFERED:
            self.wire.abort()

    @property
    def ready(self) -> bool:
        """Whether it has read enough of what it was sent: at most one mark is out."""
        marks = sum(payload.startswith(b"mark") for payload in self._pending)
        return self.gone or (self.wire.clear and marks < 2)

    def _ping(self, payload: bytes) -> None:
        self._pending[payload] = self._wall()
        self.wire.ping(payload)

    def beat(self) -> None:
        """Look after the connection: ping it in time, end it where it is old or does not answer."""
        wall = self._wall()
        if self._pending and wall - next(iter(self._pending.values())) > self._limits.pong_within:
            self.wire.abort()
        elif wall - self.opened > self._limits.life:
            self.wire.close(POLICY, "24 hours are over")
        elif wall - self._pinged >= self._limits.ping_every:
            self._pinged = wall
            self._ping(b"%d" % int(wall * 1000))

    def message(self, data: bytes) -> None:
        """A command of the client, within its rate."""
        if not self.counted():
            return
        before = list(self.subscriptions.streams)
        self.push(text_frame(orjson.dumps(self.subscriptions.command(data))))
        self.flush()
        if before != list(self.subscriptions.streams):
            self._changed(self)

    def counted(self) -> bool:
        """Count an incoming message; one too many ends the connection."""
        if self._rate.allows(self._wall()):
            return True
        self.wire.close(POLICY, "Too many requests")
        return False

    def pong(self, payload: bytes) -> None:
        """The answer to a ping of ours is awaited; any other pong is a message like others."""
        if payload not in self._pending:
            self.counted()
            return
        while self._pending:
            first = next(iter(self._pending))
            del self._pending[first]
            if first == payload:
                break
        self._caught_up()

    def lost(self) -> None:
        """The client is gone, or as good as gone."""
        if not self.gone:
            self.gone = True
            self._changed(self)
