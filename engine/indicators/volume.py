"""What volume says: OBV, VWAP, volume against its average.

Nothing here remembers longer than a session or a window, but the plain OBV, which no feature reads.
"""

from __future__ import annotations

from math import dist, nan, sqrt

from engine.indicators.base import Column, Indicator
from engine.indicators.past import Past
from engine.indicators.volatility import ATR


class OBV(Indicator):
    """On-balance volume: volume added on an up close, taken off on a down close.

    Granville, New Key to Stock Market Profits (1963). Plain, it begins with the first candle's volume as
    TA-Lib's does, and so depends on where the history begins; `by_session` it begins anew with each UTC
    session (`SESSION`) and is nan until one was seen from its beginning.

    >>> from engine.records import Candle
    >>> obv = OBV()
    >>> for close in (10, 11, 11, 9):
    ...     print(obv.update(Candle.of(close, volume=5.0)))
    {'obv': 5.0}
    {'obv': 10.0}
    {'obv': 10.0}
    {'obv': 5.0}
    """

    keeps = ("total",)

    def __init__(self, by_session: bool = False) -> None:
        self.by_session = by_session
        self.columns = (Column("obv", 480 if by_session else 1, "volume"),)
        self.total = 0.0

    def step(self, past: Past) -> tuple[float, ...]:
        if not self.by_session:
            self.total += past.flows[-1] if past.seen > 1 else past.volume
            return (self.total,)
        if past.opening:
            self.total = 0.0
        self.total += past.flows[-1]
        return (self.total if past.whole else nan,)


class VWAP(Indicator):
    """Volume-weighted average price since the UTC session's beginning (`SESSION`), in price.

    The price of a candle is its typical price, (high + low + close) / 3, as its trades are not known. Before
    any volume it is that typical price; nan until a session was seen from its beginning.

    >>> from engine.records import Candle
    >>> vwap = VWAP()
    >>> vwap.update(Candle.of(10, time=86_460_000, volume=1.0))
    {'vwap': 10.0}
    >>> vwap.update(Candle.of(13, time=86_520_000, volume=2.0))
    {'vwap': 12.0}
    """

    keeps = ("turnover", "volume")

    def __init__(self) -> None:
        self.columns = (Column("vwap", 480, "price"),)
        self.turnover = self.volume = 0.0
        self.value = nan

    def step(self, past: Past) -> tuple[float, ...]:
        typical = (past.high + past.low + past.close) / 3.0
        if past.opening:
            self.turnover = self.volume = 0.0
        self.turnover += typical * past.volume
        self.volume += past.volume
        if not past.whole:
            return (nan,)
        self.value = self.turnover / self.volume if self.volume > 0 else typical
        return (self.value,)


class VWAPDistance(Indicator):
    """How far the close is from the session's VWAP, in average true ranges.

    >>> VWAPDistance().columns[0].name
    'vwap_distance'
    """

    def __init__(self, vwap: VWAP | None = None, atr: ATR | None = None) -> None:
        self.vwap, self.atr = vwap or VWAP(), atr or ATR()
        self.parts = (self.vwap, self.atr)
        self.columns = (Column("vwap_distance", max(part.columns[0].first for part in self.parts)),)

    def step(self, past: Past) -> tuple[float, ...]:
        return ((past.close - self.vwap.value) / self.atr.unit,)


class VolumeRatio(Indicator):
    """This candle's volume against the last `period`, itself among them.

    `volume_ratio` is volume / mean (1 where there was none at all), `volume_z` its distance from the mean in
    population deviations (0 where all are equal), `obv_ratio_<period>` the windowed OBV as a share of the
    volume, -1..1, `volume_trend` the mean of the newest quarter over the mean.

    >>> from engine.records import Candle
    >>> ratio = VolumeRatio(period=4)
    >>> for volume in (1.0, 1.0, 1.0, 1.0, 5.0):
    ...     values = ratio.update(Candle.of(10, volume=volume))
    >>> values["volume_ratio"], round(values["volume_z"], 3), values["obv_ratio_4"], values["volume_trend"]
    (2.5, 1.732, 0.0, 2.5)
    """

    def __init__(self, period: int = 20) -> None:
        self.period = period
        self.quarter = max(period // 4, 1)
        self.root = sqrt(period)
        self.columns = (
            Column("volume_ratio", period),
            Column("volume_z", period),
            Column(f"obv_ratio_{period}", period + 1),
            Column("volume_trend", period),
        )
        self.reach = period + 1
        self.depth = period

    def step(self, past: Past) -> tuple[float, ...]:
        period = self.period
        if past.seen < period:
            return (nan, nan, nan, nan)
        volumes = past.volumes[-period:]
        total = sum(volumes)
        flow = nan if past.seen == period else 0.0
        if not total > 0:
            return (1.0, 0.0, flow, 1.0)
        mean = total / period
        deviation = dist(volumes, (mean,) * period) / self.root
        # Equal volumes leave a deviation of rounding only, which is none.
        z = (past.volume - mean) / deviation if deviation > 1e-12 * mean else 0.0
        trend = sum(volumes[-self.quarter :]) / (mean * self.quarter)
        return (past.volume / mean, z, flow + sum(past.flows[-period:]) / total, trend)
