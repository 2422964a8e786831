"""The stream clock: what time it is at the exchange, and how fast time runs there.

It is fed with server-time samples and asks nobody; it never goes backwards.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

SAMPLES: Final = 8
CLOSE_TO_REAL: Final = 0.02
SHORTEST_SPAN: Final = 0.1


@dataclass(frozen=True, slots=True)
class Sample:
    """The exchange said `server` (ms) at `wall` +- `error` (s, the middle and half of the round trip)."""

    wall: float
    server: int
    error: float


class StreamClock:
    """Exchange time from samples of its `/time` answer: ms since 1970, UTC.

    A replay may run at any `rate` (exchange seconds per wall second); a rate within 2 % of 1, or within what
    the round trips can tell, is 1. Before the first sample the clock shows this machine's time.

    Parameters
    ----------
    wall
        Seconds on a clock that never jumps.
    unix
        Seconds since 1970 on this machine.

    Examples
    --------
    >>> clock = StreamClock(wall=lambda: 20.0, unix=lambda: 0.0)
    >>> clock.sample(sent=9.9, received=10.1, server_ms=1_000_000)
    >>> clock.sample(sent=14.9, received=15.1, server_ms=1_300_000)
    >>> clock.rate, clock.now_ms()
    (60.0, 1600000)
    """

    def __init__(
        self, wall: Callable[[], float] = time.monotonic, unix: Callable[[], float] = time.time
    ) -> None:
        self.wall = wall
        self._unix = unix
        self._samples: deque[Sample] = deque(maxlen=SAMPLES)
        self._shown = 0
        self.rate = 1.0
        self.skew_ms = 0.0
        """How far the last sample was from what this clock showed then, in ms of exchange time."""

    @property
    def ready(self) -> bool:
        """Whether the exchange has been asked at all."""
        return bool(self._samples)

    @property
    def sampled_ms(self) -> int:
        """The newest time the exchange itself has told; 0 before the first sample."""
        return self._samples[-1].server if self._samples else 0

    @property
    def sample_age(self) -> float:
        """Wall seconds since that."""
        return self.wall() - self._samples[-1].wall if self._samples else 0.0

    @property
    def offset_ms(self) -> float:
        """Exchange time minus this machine's time."""
        return self._at(self.wall()) - self._unix() * 1000

    def sample(self, sent: float, received: float, server_ms: int) -> None:
        """Learn what the exchange answered to a question `sent` and `received` at these wall seconds."""
        new = Sample((sent + received) / 2, server_ms, (received - sent) / 2)
        if self._samples:
            self.skew_ms = server_ms - self._at(new.wall)
            if abs(self.skew_ms) > self._doubt(new):
                # Time was set or its speed changed: what was learned before describes another clock.
                while len(self._samples) > 1:
                    self._samples.popleft()
        self._samples.append(new)
        self._measure()

    def now_ms(self) -> int:
        """Exchange time now; equal or later than what was shown since the first sample."""
        if not self._samples:
            return int(
                self._at(self.wall())
            )  # this machine's time binds nobody: a replay may be years behind
        self._shown = max(self._shown, int(self._at(self.wall())))
        return self._shown

    def _at(self, wall: float) -> float:
        if not self._samples:
            return (self._unix() + wall - self.wall()) * 1000
        last = self._samples[-1]
        return last.server + (wall - last.wall) * self.rate * 1000

    def _doubt(self, new: Sample) -> float:
        """Ms by which a sample may differ from the clock without meaning that the clock changed."""
        before = self._samples[-1]
        drift = CLOSE_TO_REAL * (new.wall - before.wall)
        return 1000 * max(1.0, self.rate) * (before.error + new.error + drift + 0.25)

    def _measure(self) -> None:
        first, last = self._samples[0], self._samples[-1]
        span = last.wall - first.wall
        if span < SHORTEST_SPAN:
            return
        rate = (last.server - first.server) / span / 1000
        real = abs(rate - 1) <= max(CLOSE_TO_REAL, (first.error + last.error) / span)
        self.rate = 1.0 if real else max(rate, 0.0)
