"""The technical layer: one symbol's candles and nothing else.

A component is a function of its own file and one line in `COMPONENTS`; their shares sum to 100.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Literal

from engine.errors import SettingsError
from engine.features import SCHEMA
from engine.layers.reasons import Reasons
from engine.layers.technical import levels, momentum, patterns, trend
from engine.layers.technical.sight import ADX, Sight
from engine.records import INTERVALS, LayerScore, Moment

Condition = Literal["trending", "ranging", "mixed"]

COMPONENTS: Final[tuple[Callable[[Sight, Reasons], None], ...]] = (
    trend.trend,
    momentum.momentum,
    levels.levels,
    patterns.patterns,
)

WIDTH: Final = SCHEMA.index["bb_width"]
UNIT: Final = SCHEMA.index["atr_ratio"]


class Technical:
    """Trend 40, momentum 25, levels 20, patterns 15 points at most; what each says is in its own file.

    Whether an extreme means "going on" or "coming back" follows from ADX (`sight.following`): at 18 and below
    RSI, bands and levels are read as turning points and averages at half weight, at 32 and above as a trend.
    Everything is measured in average true ranges or is a share, so that prices have no unit. What is nan
    lowers the coverage and moves nothing. `reads` names the intervals it looks at.

    >>> Technical("15m").reads
    ('15m', '1h', '4h')
    """

    name = "technical"

    def __init__(self, interval: str = "5m") -> None:
        if interval not in INTERVALS:
            raise SettingsError(
                f"technical layer: interval {interval!r} is not one of {', '.join(INTERVALS)}"
            )
        self.interval = interval
        self.higher = tuple(name for name, ms in INTERVALS.items() if ms > INTERVALS[interval])
        self.reads = (interval, *self.higher)
        self.whole = 100.0 if self.higher else 100.0 - trend.HIGHER - momentum.HIGHER

    def __call__(self, moment: Moment) -> LayerScore:
        """This layer's opinion of one moment."""
        reasons = Reasons()
        sight = Sight.of(moment, self.higher)
        for component in COMPONENTS:
            component(sight, reasons)
        return reasons.score("technical", moment, self.whole)


def condition(moment: Moment) -> Condition:
    """What kind of market this is: ADX says whether it trends, the bands whether it has room to.

    Trending: ADX of 25 or more and Bollinger bands at least 3 average true ranges wide. Ranging: ADX below 20
    and bands narrower than 5. Mixed: neither, or not known.
    """
    values = moment.now.values
    adx, width, unit = values[ADX], values[WIDTH], values[UNIT]
    if adx >= 25.0 and width >= 3.0 * unit:
        return "trending"
    if adx < 20.0 and width <= 5.0 * unit:
        return "ranging"
    return "mixed"
