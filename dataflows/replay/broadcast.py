"""Who wants which stream, and one frame to all of them.

A frame is written once per form (combined or raw, milliseconds or microseconds), however many want it.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from dataflows.replay.connection import Connection
from dataflows.replay.frames import text_frame
from dataflows.replay.subscriptions import Stream
from dataflows.replay.switches import Faults


class Broadcast:
    """The connections of the exchange; `pushed` counts frames, `changed_at` is wall seconds."""

    def __init__(self, faults: Faults, wall: Callable[[], float] = time.monotonic) -> None:
        self.connections: dict[Connection, None] = {}
        self.pushed = 0
        self.changed_at = 0.0
        self._faults = faults
        self._wall = wall
        self._streams: dict[str, list[Connection]] = {}
        self._stale = False

    def changed(self) -> None:
        """Streams, listings or connections are not what they were."""
        self._stale = True
        self.changed_at = self._wall()

    def refresh(self) -> list[Stream] | None:
        """Every stream that somebody wants now; None where nothing changed since the last look."""
        if not self._stale:
            return None
        self._stale = False
        self._streams = {}
        wanted: dict[Stream, None] = {}
        for connection in self.connections:
            for name, stream in connection.subscriptions.streams.items():
                if stream is not None and not connection.muted:
                    self._streams.setdefault(name, []).append(connection)
                    wanted[stream] = None
        return list(wanted)

    def deliver(self, name: str, symbol: str, now: int, text: Callable[[bool], bytes]) -> None:
        """Queue one event for everybody who wants it; `text` gives its JSON, with microseconds or without."""
        receivers = self._streams.get(name)
        if not receivers or self._silent(symbol, now):
            return
        forced = self._faults.any("microseconds", now, self._wall())
        written: dict[tuple[bool, bool], bytes] = {}
        for connection in receivers:
            wants = connection.subscriptions
            form = (wants.combined, wants.micro or forced)
            if form not in written:
                body = text(form[1])
                written[form] = text_frame(combined(name, body) if form[0] else body)
            connection.push(written[form])
            self.pushed += 1

    def flush(self) -> None:
        """Send what is queued, one write a connection."""
        for connection in list(self.connections):
            connection.flush()

    def caught_up(self) -> bool:
        """Whether every client has read far enough."""
        return all(connection.ready for connection in self.connections)

    def _silent(self, symbol: str, now: int) -> bool:
        wall = self._wall()
        if self._faults.any("silence", now, wall):
            return True
        return any(fault.concerns(symbol) for fault in self._faults.on("freeze", now, wall))


def combined(name: str, body: bytes) -> bytes:
    """A payload as the combined stream wraps it.

    >>> combined("a@b", b"{}")
    b'{"stream":"a@b","data":{}}'
    """
    return b'{"stream":"%s","data":%s}' % (name.encode(), body)
