"""What the components of the technical layer look at, and how they weigh it.

Only columns without a unit: a price times any factor is the same sight. nan goes through every weight.
"""

from __future__ import annotations

from math import tanh
from typing import Final, NamedTuple

from engine.features import SCHEMA
from engine.records import Moment

ADX: Final = SCHEMA.index["adx_14"]
EMA_9: Final = SCHEMA.index["ema_9_distance"]
EMA_21: Final = SCHEMA.index["ema_21_distance"]

QUIET, STRONG = 18.0, 32.0
"""ADX at and below which nothing trends, at and above which everything does."""


class Sight(NamedTuple):
    """The feature values of one moment: the decision interval's, and those of the higher ones that are there.

    `expected` counts the higher intervals the layer reads. `follow` (0..1) says how far extremes mean
    "going on" (1) rather than "coming back" (0). `trust` weighs averages, `hold` weighs levels: while ADX
    is not known both are as low as they ever get.
    """

    now: tuple[float, ...]
    higher: tuple[tuple[float, ...], ...]
    expected: int
    follow: float
    trust: float
    hold: float

    @classmethod
    def of(cls, moment: Moment, higher: tuple[str, ...]) -> Sight:
        features = moment.features
        now = features[moment.interval].values
        above = tuple([features[interval].values for interval in higher if interval in features])
        follow = following(now[ADX])
        if follow != follow:
            return cls(now, above, len(higher), follow, 0.5, 0.4)
        return cls(now, above, len(higher), follow, 0.5 + 0.5 * follow, 1.0 - 0.6 * follow)


def following(adx: float) -> float:
    """How far a market with this ADX trends, 0..1.

    >>> following(10.0), following(25.0), following(60.0), following(float("nan"))
    (0.0, 0.5, 1.0, nan)
    """
    return min(max((adx - QUIET) / (STRONG - QUIET), 0.0), 1.0)


def near(distance: float, reach: float = 1.5) -> float:
    """1 at a level, falling to 0 at `reach` average true ranges from it.

    >>> near(0.0), near(0.75), near(10.0), near(float("nan"))
    (1.0, 0.5, 0.0, nan)
    """
    return 0.0 if distance >= reach else 1.0 - distance / reach


def beyond(value: float, edge: float, reach: float) -> float:
    """How far `value` is past +-`edge`, -1..1: 0 inside, +-1 from `reach` further on.

    >>> beyond(10.0, 15.0, 20.0), beyond(25.0, 15.0, 20.0), beyond(-60.0, 15.0, 20.0)
    (0.0, 0.5, -1.0)
    """
    if -edge <= value <= edge:
        return 0.0
    if value > edge:
        return min((value - edge) / reach, 1.0)
    return max((value + edge) / reach, -1.0)


def leaning(values: tuple[float, ...]) -> float:
    """Where EMA 9 stands against EMA 21, -1..1; 0.6 average true ranges are a lot."""
    return tanh((values[EMA_21] - values[EMA_9]) / 0.6)
