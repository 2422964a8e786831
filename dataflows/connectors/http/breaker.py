"""Whether a source may be asked at all: closed, open for a pause that grows, half-open for one try.

Pauses are in wall time. A source that only asks to wait is held, not broken: the breaker stays closed.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final, Literal

State = Literal["closed", "open", "half-open"]

HOUR: Final = 3600.0
DAY: Final = 24 * HOUR


class Breaker:
    """Opens after `after` failures in a row for `first` seconds, twice as long each time, at most `most`.

    A refusal opens it at once, for `refused` seconds. When the pause is over one try decides.

    >>> now = [0.0]
    >>> breaker = Breaker(after=2, wall=lambda: now[0])
    >>> breaker.failed(); breaker.failed(); breaker.state, breaker.wait
    ('open', 30.0)
    >>> now[0] = 30.0; breaker.state
    'half-open'
    >>> breaker.failed(); breaker.wait
    60.0
    >>> now[0] = 90.0; breaker.succeeded(); breaker.state
    'closed'
    """

    def __init__(
        self,
        after: int = 5,
        first: float = 30.0,
        most: float = HOUR,
        refused: float = 6 * HOUR,
        wall: Callable[[], float] = time.monotonic,
    ) -> None:
        self.after = after
        self.first = first
        self.most = most
        self.refusal = refused
        self._wall = wall
        self._until = 0.0
        self._failures = 0
        self._openings = 0
        self._limits = 0

    @property
    def state(self) -> State:
        if not self._openings:
            return "closed"
        return "open" if self.wait > 0 else "half-open"

    @property
    def wait(self) -> float:
        """Wall seconds until the source may be asked."""
        return max(0.0, self._until - self._wall())

    def succeeded(self) -> None:
        """It answered: everything held against it is forgotten."""
        self._failures = self._openings = self._limits = 0
        self._until = 0.0

    def failed(self) -> None:
        """It did not answer as it must."""
        self._failures += 1
        if self._openings or self._failures >= self.after:
            self._open(min(self.most, self.first * 2.0 ** min(self._openings, 32)))

    def refused(self) -> None:
        """It said no, and will say so again."""
        self._open(self.refusal)

    def limited(self, wait: float) -> None:
        """It asked to wait; when it does so again and again, each time longer than it said."""
        longer = min(max(wait, self.most), wait * 2.0 ** min(self._limits, 32))
        self._limits += 1
        self.hold(longer)

    def hold(self, wait: float) -> None:
        """Let nobody ask for `wait` seconds, at most a day."""
        self._until = max(self._until, self._wall() + min(DAY, max(1.0, wait)))

    def _open(self, pause: float) -> None:
        self._openings += 1
        self._until = max(self._until, self._wall() + pause)
