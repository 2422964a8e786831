"""The exchange's own clock: a fixed multiple of wall time, or moved by hand from event to event.

It never goes back and never passes its end.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Protocol


class Clock(Protocol):
    """What the exchange asks of its clock; all in ms of exchange time."""

    @property
    def start(self) -> int: ...
    @property
    def end(self) -> int | None: ...
    @property
    def speed(self) -> float: ...
    @property
    def stepped(self) -> bool: ...
    @property
    def ended(self) -> bool: ...
    def now(self) -> int: ...
    def run(self) -> None: ...
    def pause(self) -> None: ...
    def move(self, to: int) -> None: ...


class ReplayClock:
    """Exchange time in ms from `start` to `end`.

    `speed` is exchange seconds per wall second; infinity stands still until `move`.
    `wall` gives monotonic seconds.

    >>> walls = iter([100.0, 100.5])
    >>> clock = ReplayClock(0, 10_000, speed=4, wall=lambda: next(walls))
    >>> clock.run()
    >>> clock.now()
    2000
    """

    def __init__(
        self, start: int, end: int | None, speed: float, wall: Callable[[], float] = time.monotonic
    ) -> None:
        self.start = start
        self.end = end
        self.speed = speed
        self._wall = wall
        self._reached = start
        self._anchor: float | None = None

    @property
    def stepped(self) -> bool:
        """Whether it only moves when told to."""
        return math.isinf(self.speed)

    def run(self) -> None:
        """Let it go on from where it stands."""
        if not self.stepped and self._anchor is None:
            self._anchor = self._wall()

    def pause(self) -> None:
        """Stand still until the next `run`."""
        self._reached = self.now()
        self._anchor = None

    def now(self) -> int:
        if self._anchor is None:
            return self._reached
        elapsed = (self._wall() - self._anchor) * 1000.0 * self.speed
        return self._within(self._reached + int(elapsed))

    def move(self, to: int) -> None:
        """Go forward to `to`; a time already passed changes nothing."""
        if self.stepped:
            self._reached = max(self._reached, self._within(to))

    @property
    def ended(self) -> bool:
        return self.end is not None and self.now() >= self.end

    def _within(self, moment: int) -> int:
        return moment if self.end is None else min(moment, self.end)


class Follower:
    """The clock of another exchange: read, never moved, so that two markets have one time.

    >>> lead = ReplayClock(0, 10_000, speed=math.inf)
    >>> follower = Follower(lead)
    >>> follower.move(5_000)
    >>> lead.move(7_000)
    >>> follower.now(), follower.stepped
    (7000, False)
    """

    stepped = False
    """It goes on by itself, whatever makes it go."""

    def __init__(self, lead: Clock) -> None:
        self._lead = lead
        self.start = lead.start
        self.end = lead.end
        self.speed = lead.speed

    @property
    def ended(self) -> bool:
        return self._lead.ended

    def now(self) -> int:
        return self._lead.now()

    def run(self) -> None:
        """It runs already."""

    def pause(self) -> None:
        """Only the other exchange may let it stand still."""

    def move(self, to: int) -> None:
        """Only the other exchange may move it."""
