"""The ledger of request weights: what this address has used of the exchange's budget in this minute.

The exchange's own count wins over ours: other programs may ask from the same address.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Final

WINDOW: Final = 60.0


class Weights:
    """At most `share` of `per_minute` in each fixed minute of wall time.

    Examples
    --------
    >>> weights = Weights(per_minute=100, share=0.5, unix=lambda: 30.0)
    >>> asyncio.run(weights.take(20))
    >>> weights.learn("45")
    >>> weights.used, weights.wait(5), weights.wait(6)
    (45, 0.0, 30.0)
    """

    def __init__(
        self, per_minute: int = 6000, share: float = 0.5, unix: Callable[[], float] = time.time
    ) -> None:
        self.budget = int(per_minute * share)
        self._unix = unix
        self._minute = 0
        self._used = 0

    @property
    def used(self) -> int:
        """Weight used in this minute, by anybody at this address."""
        self._turn()
        return self._used

    def wait(self, weight: int) -> float:
        """Seconds until `weight` more fits; one heavier than the whole budget waits for a fresh minute."""
        self._turn()
        if self._used == 0 or self._used + weight <= self.budget:
            return 0.0
        return WINDOW - self._unix() % WINDOW

    async def take(self, weight: int) -> None:
        """Wait until `weight` fits and count it."""
        while (wait := self.wait(weight)) > 0:
            await asyncio.sleep(min(wait, 1.0))
        self._used += weight

    def learn(self, header: str | None) -> None:
        """Take over the exchange's count (its `X-MBX-USED-WEIGHT-1M` header), ours when it is behind."""
        self._turn()
        if header is not None and header.isdecimal():
            self._used = max(self._used, int(header))

    def _turn(self) -> None:
        minute = int(self._unix() // WINDOW)
        if minute != self._minute:
            self._minute, self._used = minute, 0
