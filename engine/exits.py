"""Where a trade ends: stop and target from volatility and structure, on the exchange's price grid.

A price that cannot stand on its side of the entry is no level.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from decimal import Decimal
from functools import lru_cache
from math import sqrt
from typing import Final, NamedTuple


@lru_cache(maxsize=4096)
def decimal_step(step: float) -> Decimal:
    return Decimal(f"{step:.12g}")  # a step divided by a contract multiplier carries binary noise


def to_step(price: float, step: float, up: bool) -> float:
    """`price` moved to the next multiple of `step`, exact in decimals; `step` 0 leaves it where it is.

    >>> to_step(0.3, 0.1, up=False), to_step(0.30001, 0.1, up=True), to_step(2.5, 0.0, up=True)
    (0.3, 0.4, 2.5)
    """
    if step <= 0:
        return price
    # 14 digits are a price; what comes behind is binary noise, and would move it a whole step.
    exact, grid = Decimal(f"{price:.14g}"), decimal_step(step)
    count = exact // grid
    if up and count * grid < exact:
        count += 1
    return float(count * grid)


class Levels(NamedTuple):
    """Where a trade ends, as prices, and what that risks and promises as fractions of the entry."""

    stop: float
    target: float
    risk: float
    reward: float


@dataclass(frozen=True, slots=True)
class Exits:
    """Stop and target of a trade from volatility and structure.

    Parameters
    ----------
    stop_ranges
        Least and most distance of the stop, in ATR; between them the nearest level behind decides.
    open_stop
        The stop's distance where there is no level behind, in ATR.
    noise
        How far beyond a level the stop stands, in ATR.
    risk_reward
        Least and most of |target - entry| / |entry - stop|; between them the next level ahead decides.

    Examples
    --------
    >>> Exits().levels(side=1, entry=100.0, atr=1.0, behind=98.0, ahead=105.0, step=0.01)
    Levels(stop=97.75, target=105.0, risk=0.0225, reward=0.05)
    """

    stop_ranges: tuple[float, float] = (1.0, 3.0)
    open_stop: float = 1.5
    noise: float = 0.25
    risk_reward: tuple[float, float] = (1.5, 4.0)

    def over(self, candles: int) -> Exits:
        """The same for a trade of so many candles: prices wander with the root of time.

        >>> Exits().over(4).stop_ranges
        (2.0, 6.0)
        """
        root = sqrt(candles)
        least, most = self.stop_ranges
        return replace(
            self,
            stop_ranges=(least * root, most * root),
            open_stop=self.open_stop * root,
            noise=self.noise * root,
        )

    def levels(
        self, side: int, entry: float, atr: float, behind: float, ahead: float, step: float
    ) -> Levels | None:
        """The levels of a trade of `side` (1 long, -1 short), or None where no price can be one.

        `behind` and `ahead` are the nearest levels against and with the trade; nan, or on the wrong side,
        counts as none. Both prices move outward to the grid of `step`, the stop first, so that the least
        risk/reward holds on the grid too.
        """
        least, most = self.stop_ranges
        gap = side * (entry - behind)
        risk = within(gap + self.noise * atr, least * atr, most * atr) if gap > 0 else self.open_stop * atr
        stop = to_step(entry - side * risk, step, up=side < 0)
        risk = side * (entry - stop)
        least, most = self.risk_reward
        gap = side * (ahead - entry)
        reward = within(gap, least * risk, most * risk) if gap > 0 else least * risk
        target = to_step(entry + side * reward, step, up=side > 0)
        reward = side * (target - entry)
        if not (stop > 0 and target > 0 and risk > 0 and reward > 0):
            return None
        return Levels(stop, target, risk / entry, reward / entry)


EXITS: Final = Exits()


def within(value: float, least: float, most: float) -> float:
    return min(max(value, least), most)
