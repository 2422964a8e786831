"""How fast a source may be asked: a sliding count, in wall time, whatever speed the stream runs at."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from math import ceil
from typing import Final

MINUTE: Final = 60.0
SHARES: Final = 10
"""Into how many parts a minute is divided for the limit on bursts."""


class Pace:
    """At most `per_minute` in any 60 s, and at most a tenth of it, at least two, in any 6 s.

    A leaky bucket would let twice the limit through in its first minute. Costs are in the unit that the
    source bills; what costs more than a whole window goes when that is empty.

    >>> now = [0.0]
    >>> pace = Pace(20, wall=lambda: now[0])
    >>> pace.take(1); pace.take(1); pace.wait(1), pace.left
    (6.0, 18)
    """

    def __init__(self, per_minute: float, wall: Callable[[], float] = time.monotonic) -> None:
        burst = max(2, ceil(per_minute / SHARES))
        self._wall = wall
        self._windows = ((MINUTE, per_minute), (MINUTE / SHARES, min(burst, per_minute)))
        self._taken: deque[tuple[float, float]] = deque()
        self._most = per_minute

    @property
    def left(self) -> float:
        """What may still be taken in the minute up to now."""
        return max(0.0, self._most - sum(cost for _, cost in self._within(MINUTE)))

    def wait(self, cost: float) -> float:
        """Wall seconds until `cost` more fits."""
        return max(self._until(cost, *window) for window in self._windows)

    def take(self, cost: float) -> None:
        """Count what is asked now."""
        self._taken.append((self._wall(), cost))

    def _until(self, cost: float, span: float, most: float) -> float:
        within = self._within(span)
        used, wait = sum(past for _, past in within), 0.0
        for at, past in within:
            if used + cost <= most:
                break
            used, wait = used - past, at + span - self._wall()
        return max(0.0, wait)

    def _within(self, span: float) -> list[tuple[float, float]]:
        now = self._wall()
        while self._taken and now - self._taken[0][0] >= MINUTE:
            self._taken.popleft()
        return [(at, cost) for at, cost in self._taken if now - at < span]
