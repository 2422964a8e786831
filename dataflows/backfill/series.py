"""What is filled: one file of the folder, and what the archive calls its parts.

Files are by the exchange's own names: a coin that changed its name has two, each for its time.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from types import MappingProxyType
from typing import Any, Final, Literal

import polars as pl

from dataflows.backfill.spans import DAY, Range, stamp
from dataflows.connectors.binance.universe import spans
from engine.records import INTERVALS
from engine.symbols import Market

Kind = Literal["klines", "funding", "metrics"]

FIVE_MINUTES: Final = 300_000
EIGHT_HOURS: Final = 28_800_000
ROOTS: Final[Mapping[str, str]] = MappingProxyType({"spot": "data/spot", "um": "data/futures/um"})

KLINES: Final[Mapping[str, Any]] = MappingProxyType(
    {
        "open_time": pl.Int64,
        **dict.fromkeys(("open", "high", "low", "close", "volume"), pl.Float64),
        "close_time": pl.Int64,
        "quote_volume": pl.Float64,
        "trades": pl.Int64,
        "taker_buy_base": pl.Float64,
        "taker_buy_quote": pl.Float64,
    }
)
FUNDING: Final[Mapping[str, Any]] = MappingProxyType(
    {"funding_time": pl.Int64, "funding_rate": pl.Float64, "mark_price": pl.Float64, "src": pl.String}
)
RATIOS: Final = (
    "count_toptrader_long_short_ratio",
    "sum_toptrader_long_short_ratio",
    "count_long_short_ratio",
    "sum_taker_long_short_vol_ratio",
)
METRICS: Final[Mapping[str, Any]] = MappingProxyType(
    {
        "time": pl.Int64,
        **dict.fromkeys(("sum_open_interest", "sum_open_interest_value", *RATIOS), pl.Float64),
    }
)
SCHEMAS: Final[Mapping[Kind, Mapping[str, Any]]] = MappingProxyType(
    {"klines": KLINES, "funding": FUNDING, "metrics": METRICS}
)


@dataclass(frozen=True, slots=True)
class Series:
    """One file: candles of an interval (empty for the others), funding rates, or 5-minute metrics.

    >>> Series("klines", "spot", "BTCUSDT", "1h").path
    PurePosixPath('klines/spot/1h/BTCUSDT.parquet')
    """

    kind: Kind
    market: Market
    symbol: str
    interval: str = ""

    @property
    def path(self) -> PurePosixPath:
        """Where it lies in the folder."""
        folder = {
            "klines": f"klines/{self.market}/{self.interval}",
            "funding": "futures/funding",
            "metrics": "futures/open_interest/5m",
        }[self.kind]
        return PurePosixPath(folder) / f"{self.symbol}.parquet"

    @property
    def schema(self) -> Mapping[str, Any]:
        return SCHEMAS[self.kind]

    @property
    def key(self) -> str:
        """The column of its times."""
        return next(iter(self.schema))

    @property
    def step(self) -> int:
        """Ms from one row to the next at most, where none is missing."""
        return {"funding": EIGHT_HOURS, "metrics": FIVE_MINUTES}.get(self.kind) or INTERVALS[self.interval]

    def archived(self, period: Range) -> str | None:
        """The archive's zip of a month or a day; None where it has none of that length.

        >>> Series("funding", "um", "BTCUSDT").archived(Range(0, 31 * DAY))
        'data/futures/um/monthly/fundingRate/BTCUSDT/BTCUSDT-fundingRate-1970-01.zip'
        """
        daily = period.end - period.begin == DAY
        if (self.kind == "funding" and daily) or (self.kind == "metrics" and not daily):
            return None
        what = {"klines": "klines", "funding": "fundingRate", "metrics": "metrics"}[self.kind]
        folder = f"{ROOTS[self.market]}/{'daily' if daily else 'monthly'}/{what}/{self.symbol}"
        if self.kind == "klines":
            return f"{folder}/{self.interval}/{self.symbol}-{self.interval}-{stamp(period)}.zip"
        return f"{folder}/{self.symbol}-{what}-{stamp(period)}.zip"


@dataclass(frozen=True, slots=True)
class Wanted:
    """What of a series is wanted, in times of its rows."""

    series: Series
    span: Range


def wanted(
    symbols: Sequence[str],
    market: Market,
    intervals: Sequence[str],
    span: Range,
    *,
    funding: bool = False,
    metrics: bool = False,
) -> Iterator[Wanted]:
    """Every file that closes in (begin, end] of `symbols` touch; futures statistics are of the contracts.

    Raises `UnknownSymbol`.

    >>> [w.series.symbol for w in wanted(["POLUSDT"], "spot", ["1h"], Range(0, 2_000_000_000_000))]
    ['MATICUSDT', 'POLUSDT']
    """
    for symbol in symbols:
        for interval in intervals:
            step = INTERVALS[interval]
            for name, _, first, last in spans(symbol, market, span.begin + 1, span.end):
                opens = Range(-(-(first - step) // step) * step, last // step * step)
                yield Wanted(Series("klines", market, name, interval), opens)
        statistics: tuple[tuple[Kind, bool], ...] = (("funding", funding), ("metrics", metrics))
        for kind, asked in statistics:
            for name, _, first, last in spans(symbol, "um", span.begin + 1, span.end) if asked else ():
                # A day of metrics ends with the first instant of the next one.
                over = Range(first - 1, last) if kind == "metrics" else Range(first, last + 1)
                yield Wanted(Series(kind, "um", name), over)
