"""What each simulated day does in total: its regime, its factor returns, its jumps, where every price ends.

A day is a pure function of (seed, symbols' names, day); days are walked once, in order, from the first one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from dataflows.replay.traits import MARKET_VOL, NEXT, REGIMES, SECTOR_VOL, SECTORS, Trait

FIRST_DAY: Final = 18_262
"""2020-01-01, in days since the epoch: nothing is older."""

BLOCK: Final = 128
PULL: Final = 0.012
"""Share of its distance from the long-run level that a price loses a day; its half-life is two months."""

JUMP_CHANCE: Final = 0.10
MARKET_JUMP_CHANCE: Final = 0.03
DAY_MINUTES: Final = 1440

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class DayTotals:
    """One day: S symbols, 4 shared factors (market, then sectors).

    Log levels are relative to the trait's price. `shared` and `own` are factor returns of the whole day,
    `liveliness` multiplies every volatility, a jump of 0 is none; minutes are 0..1439.
    """

    level: Floats  # (S,) at the day's open
    after: Floats  # (S,) at its close
    shared: Floats  # (4,)
    own: Floats  # (S,)
    liveliness: float
    jump: Floats  # (S,)
    jump_minute: NDArray[np.int64]  # (S,)
    regime: str


class Seasons:
    """The days of one seed, extended as far as asked."""

    def __init__(self, traits: Sequence[Trait], keys: Sequence[int], seed: int) -> None:
        self.seed = seed
        self.keys = tuple(keys)
        self.loadings = np.array([[t.beta, *(float(t.sector == s) for s in SECTORS)] for t in traits])
        self.shared_vol = np.array([MARKET_VOL, *(SECTOR_VOL[s] for s in SECTORS)])
        self.own_vol = np.array([t.own for t in traits])
        self._days: list[DayTotals] = []
        self._level = np.zeros(len(traits))
        self._regime = 1

    def day(self, index: int) -> DayTotals:
        """The totals of day `index` (days since the epoch, not before `FIRST_DAY`)."""
        while len(self._days) <= index - FIRST_DAY:
            self._extend()
        return self._days[index - FIRST_DAY]

    def _extend(self) -> None:
        block = len(self._days) // BLOCK
        shared = np.random.default_rng([self.seed, 1, block])
        normal, uniform = shared.standard_normal((BLOCK, 4)), shared.random((BLOCK, 4))
        size = shared.standard_normal(BLOCK) * 0.03
        own = [np.random.default_rng([self.seed, 2, block, key]) for key in self.keys]
        own_normal = np.stack([rng.standard_normal((BLOCK, 2)) for rng in own], axis=2)  # (BLOCK, 2, S)
        own_uniform = np.stack([rng.random((BLOCK, 2)) for rng in own], axis=2)
        for at in range(BLOCK):
            self._step(normal[at], uniform[at], float(size[at]), own_normal[at], own_uniform[at])

    def _step(
        self, normal: Floats, uniform: Floats, size: float, own_normal: Floats, own_uniform: Floats
    ) -> None:
        self._regime = self._next_regime(uniform[0], uniform[1])
        regime = REGIMES[self._regime]
        shared = self.shared_vol * regime.liveliness * normal
        shared[0] += regime.drift
        own = self.own_vol * regime.liveliness * own_normal[0]
        jump = np.where(own_uniform[0] < JUMP_CHANCE, own_normal[1] * 2.0 * self.own_vol, 0.0)
        minute = (own_uniform[1] * DAY_MINUTES).astype(np.int64)
        if uniform[2] < MARKET_JUMP_CHANCE:
            jump = self.loadings[:, 0] * size
            minute = np.full(len(jump), int(uniform[3] * DAY_MINUTES))
        after = self._level * (1.0 - PULL) + self.loadings @ shared + own + jump
        self._days.append(
            DayTotals(self._level, after, shared, own, regime.liveliness, jump, minute, regime.name)
        )
        self._level = after

    def _next_regime(self, stays: float, draw: float) -> int:
        if stays >= 1.0 / REGIMES[self._regime].days:
            return self._regime
        following = int(np.searchsorted(np.cumsum(NEXT[self._regime]), draw, side="right"))
        return min(following, len(REGIMES) - 1)
