"""Where positions would be closed by force: an estimate from open interest, prices and assumed leverages.

Exchanges tell neither entries nor leverages. What is known is when open interest grew and at which price, so:

1. Each growth of open interest opened as many longs as shorts, at the price of that moment.
2. Their leverages are assumed (`LEVERAGES`): a long of leverage L entered at p is closed at
   p * (1 - 1/L) / (1 - m), a short at p * (1 + 1/L) / (1 + m), where m is the maintenance margin: there the
   margin p/L, less what the position has lost, is down to m of its worth.
3. A fall of open interest closes all open positions alike; with age they are closed too, by halves.
4. A price that was traded has closed what would be closed there.

It is a map of where leverage is likely to sit, not of orders: only its distances to the price are used.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import exp, floor, inf, log
from types import MappingProxyType
from typing import Final, Literal

from engine.records import Frozen

LEVERAGES: Final[Mapping[int, float]] = MappingProxyType({10: 0.4, 25: 0.3, 50: 0.2, 100: 0.1})
"""Share of the positions that is taken to have each leverage; an assumption, nowhere published."""

MAINTENANCE: Final = 0.004
"""Margin that must be left, as a share of the position: that of the smallest positions in large coins."""

HALF_LIFE: Final = 48.0
BUCKET: Final = 0.0025
HEAVY: Final = 0.4
REACH: Final = 0.3
"""Log distance from the price beyond which nothing is kept: it bounds what is remembered."""

HOUR: Final = 3_600_000

Side = Literal["long", "short"]


@dataclass(frozen=True, slots=True)
class Cluster(Frozen):
    """About `usd` of positions of a side that would be closed near `price`."""

    side: Side
    price: float
    usd: float


def closing_price(side: Side, entry: float, leverage: float, maintenance: float = MAINTENANCE) -> float:
    """Where an isolated position is closed by force.

    >>> round(closing_price("long", 100.0, 10, 0.0), 6), round(closing_price("short", 100.0, 10, 0.0), 6)
    (90.0, 110.0)
    """
    if side == "long":
        return entry * (1 - 1 / leverage) / (1 - maintenance)
    return entry * (1 + 1 / leverage) / (1 + maintenance)


class LiquidationLevels:
    """One contract's estimated levels: `update` with open interest and price as they are told.

    Parameters
    ----------
    leverages
        Share of positions by leverage.
    half_life
        Hours after which half of the positions that were opened are taken to be closed.
    bucket
        Width of a price bucket as a fraction of the price.
    heavy
        A bucket is heavy that holds at least this part of the heaviest one on its side of the price.

    Examples
    --------
    >>> levels = LiquidationLevels({10: 1.0}, maintenance=0.0, bucket=0.01)
    >>> levels.update(0, 1000.0, 100.0)
    >>> levels.update(300_000, 1500.0, 100.0)
    >>> above, below = levels.nearest()
    >>> round(above, 2), round(below, 2)
    (0.1, 0.1)
    """

    def __init__(
        self,
        leverages: Mapping[int, float] = LEVERAGES,
        *,
        maintenance: float = MAINTENANCE,
        half_life: float = HALF_LIFE,
        bucket: float = BUCKET,
        heavy: float = HEAVY,
    ) -> None:
        self.leverages = dict(leverages)
        self.maintenance = maintenance
        self.half_life = half_life
        self.bucket = bucket
        self.heavy = heavy
        self.time: int | None = None
        self.price = 0.0
        self._interest = 0.0
        self._scale = 1.0
        self._sides: dict[Side, dict[int, float]] = {"long": {}, "short": {}}

    def update(
        self, time: int, interest: float, price: float, low: float | None = None, high: float | None = None
    ) -> None:
        """Open interest in coins and the price at `time` (ms UTC); `low` and `high` since the last one.

        A time that is not newer, or what is no positive number, changes nothing.
        """
        if not (0 < price < inf and 0 <= interest < inf) or (self.time is not None and time <= self.time):
            return
        if self.time is None:
            self.time, self.price, self._interest = time, price, interest
            return
        self._close_some(time - self.time, interest)
        lowest, highest = min(price, self.price), max(price, self.price)
        self._trade(min(low or lowest, lowest), max(high or highest, highest))
        if interest > self._interest:
            self._open((interest - self._interest) * price, price)
        self.time, self.price, self._interest = time, price, interest
        self._trim()

    def clusters(self) -> list[Cluster]:
        """Every bucket that holds something, by price."""
        found = [
            Cluster(side, self._middle(place), units * self._scale)
            for side, buckets in self._sides.items()
            for place, units in buckets.items()
        ]
        return sorted(found, key=lambda cluster: cluster.price)

    def nearest(self) -> tuple[float | None, float | None]:
        """How far above and below the price the nearest heavy bucket is, as fractions; None for none."""
        shorts = [(place, units) for place, units in self._sides["short"].items()]
        longs = [(-place, units) for place, units in self._sides["long"].items()]
        above, below = self._first(shorts), self._first(longs)
        return (
            None if above is None else max(self._middle(above) / self.price - 1, 0.0),
            None if below is None else max(1 - self._middle(-below) / self.price, 0.0),
        )

    def _first(self, buckets: list[tuple[int, float]]) -> int | None:
        bound = self.heavy * max((units for _, units in buckets), default=0.0)
        return min((place for place, units in buckets if units >= bound), default=None)

    def _close_some(self, passed: int, interest: float) -> None:
        """What age and a fall of open interest leave of every level."""
        left = min(interest / self._interest, 1.0) if self._interest > 0 else 0.0
        self._scale *= left * 0.5 ** (passed / (self.half_life * HOUR))
        if self._scale < 1e-9:
            # Too small a scale would lose what is added to it.
            for buckets in self._sides.values():
                for place in buckets:
                    buckets[place] *= self._scale
            self._scale = 1.0

    def _trade(self, low: float, high: float) -> None:
        """Everything between `low` and `high` was traded."""
        longs, shorts = self._sides["long"], self._sides["short"]
        self._sides["long"] = {place: usd for place, usd in longs.items() if self._middle(place) < low}
        self._sides["short"] = {place: usd for place, usd in shorts.items() if self._middle(place) > high}

    def _open(self, usd: float, price: float) -> None:
        for side, buckets in self._sides.items():
            for leverage, share in self.leverages.items():
                place = floor(log(closing_price(side, price, leverage, self.maintenance)) / self.bucket)
                buckets[place] = buckets.get(place, 0.0) + usd * share / self._scale

    def _trim(self) -> None:
        """Forget what is too far away, or next to nothing beside the whole."""
        here, reach = log(self.price) / self.bucket, REACH / self.bucket
        least = 1e-6 * self._interest * self.price / self._scale
        for side, buckets in self._sides.items():
            self._sides[side] = {
                place: usd for place, usd in buckets.items() if abs(place - here) <= reach and usd > least
            }

    def _middle(self, place: int) -> float:
        return exp((place + 0.5) * self.bucket)
