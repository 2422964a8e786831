"""Simulated numbers of the world beside the candles: each a pure function of seed, name, asset and time."""

from __future__ import annotations

from functools import lru_cache
from hashlib import sha256
from math import exp
from typing import Final

import numpy as np

DAY: Final = 86_400_000


class Numbers:
    """Smooth wandering numbers.

    >>> numbers = Numbers(7)
    >>> numbers.level("nupl", "BTC", 5 * DAY, 0.4, 0.1) == numbers.level("nupl", "BTC", 5 * DAY, 0.4, 0.1)
    True
    """

    def __init__(self, seed: int = 0) -> None:
        self.seed = seed

    def level(self, name: str, asset: str, time: int, mean: float, spread: float) -> float:
        """A number that wanders about `mean` with this standard deviation, in days."""
        return mean + spread * self._wander(name, asset, time)

    def amount(self, name: str, asset: str, time: int, usual: float, spread: float = 0.3) -> float:
        """A positive number about `usual`; `spread` is that of its logarithm."""
        return usual * exp(spread * self._wander(name, asset, time))

    def _wander(self, name: str, asset: str, time: int) -> float:
        day, share = divmod(time, DAY)
        before, after = self._knot(name, asset, day), self._knot(name, asset, day + 1)
        return before + (after - before) * share / DAY

    def _knot(self, name: str, asset: str, day: int) -> float:
        return knot(self.seed, name, asset, day)


@lru_cache(maxsize=65_536)
def knot(seed: int, name: str, asset: str, day: int) -> float:
    """Where a number stands at the beginning of a day, in standard deviations."""
    digest = sha256(f"{name}|{asset}".encode()).digest()
    mark = int.from_bytes(digest[:8], "big")
    return float(np.random.default_rng([seed, mark, day]).standard_normal())
