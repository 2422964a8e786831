"""A steady pace for questions that the exchange counts over minutes: the pool is never emptied in one go."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Final

BURST: Final = 0.25
"""Share of the budget that may be asked at once; the rest is spread over the window."""

WINDOW: Final = 300.0


class Pace:
    """At most `share` of `limit` questions in any `window` seconds of wall time, evenly after a burst.

    Examples
    --------
    >>> walls = iter([0.0, 0.0, 0.0, 0.0, 100.0])
    >>> pace = Pace(limit=16, share=0.5, window=300.0, wall=lambda: next(walls))
    >>> [pace.take_one() for _ in range(3)], pace.take_one()
    ([True, True, False], True)
    """

    def __init__(
        self,
        limit: int,
        share: float,
        window: float = WINDOW,
        wall: Callable[[], float] = time.monotonic,
    ) -> None:
        budget = max(limit * share, 2.0)
        self.most = max(budget * BURST, 1.0)
        self.rate = (budget - self.most) / window
        self._wall = wall
        self._left = self.most
        self._at = wall()

    @property
    def left(self) -> int:
        """Questions that may be asked at once now."""
        self._fill()
        return int(self._left)

    def take_one(self) -> bool:
        """Count a question if it fits now."""
        self._fill()
        if self._left < 1.0:
            return False
        self._left -= 1.0
        return True

    async def take(self) -> None:
        """Wait until one more question fits, and count it."""
        while not self.take_one():
            await asyncio.sleep(min((1.0 - self._left) / self.rate, 1.0) + 0.001)

    def _fill(self) -> None:
        now = self._wall()
        self._left = min(self.most, self._left + (now - self._at) * self.rate)
        self._at = now
