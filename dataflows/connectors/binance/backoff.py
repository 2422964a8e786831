"""How long to wait before trying again, and how often a connection may be tried at all.

Waiting is in wall seconds: the exchange's patience does not run faster in a replay.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable

import numpy as np


class Backoff:
    """Exponential delays in seconds with a cap; up to the share `jitter` is taken off at random.

    >>> steady = Backoff(first=0.5, factor=2, most=30, jitter=0, rng=np.random.default_rng(0))
    >>> [steady.delay(attempt) for attempt in (0, 1, 2, 1000)]
    [0.5, 1.0, 2.0, 30.0]
    """

    def __init__(
        self,
        first: float = 0.5,
        factor: float = 2.0,
        most: float = 30.0,
        jitter: float = 0.5,
        *,
        rng: np.random.Generator,
    ) -> None:
        self.first = first
        self.factor = factor
        self.most = most
        self.jitter = jitter
        self._rng = rng

    def delay(self, attempt: int) -> float:
        """Seconds to wait after the failed try number `attempt`, counted from 0."""
        longest = min(self.most, self.first * self.factor ** min(attempt, 64))
        return float(longest * (1 - self.jitter * self._rng.random()))


class Connects:
    """At most `most` connection attempts in any `window` seconds, over all connections."""

    def __init__(
        self, most: int = 60, window: float = 300.0, wall: Callable[[], float] = time.monotonic
    ) -> None:
        self.most = most
        self.window = window
        self._wall = wall
        self._taken: deque[float] = deque()

    async def take(self) -> None:
        """Wait until one more attempt is allowed, and count it."""
        while (wait := self._wait()) > 0:
            await asyncio.sleep(min(wait, 1.0))
        self._taken.append(self._wall())

    def _wait(self) -> float:
        now = self._wall()
        while self._taken and now - self._taken[0] >= self.window:
            self._taken.popleft()
        return self._taken[0] + self.window - now if len(self._taken) >= self.most else 0.0
