"""A folder of Parquet history: klines/<spot|um>/<interval>/<SYMBOL>.parquet and what lies beside it.

Every candle shown is in a file or summed from finer ones that are; nothing is filled.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from operator import itemgetter
from pathlib import Path

import numpy as np
import polars as pl

from dataflows.replay.candles import EMPTY, SPANS, Candles, aggregate, merge
from dataflows.replay.instruments import Instrument, Market, decimals_of, split
from engine.errors import StorageError

COLUMNS = (
    "open",
    "high",
    "low",
    "close",
    "volume",
    "quote_volume",
    "trades",
    "taker_buy_base",
    "taker_buy_quote",
)


class History:
    """Candles of a folder, read lazily, one file at a time, and kept in memory.

    Raises `StorageError` where the folder holds no klines of `market`.
    """

    simulated = False

    def __init__(self, folder: Path | str, market: Market = "spot", symbols: tuple[str, ...] = ()) -> None:
        self.folder = Path(folder)
        self._klines = self.folder / "klines" / market
        self._files = self._find(symbols)
        self.symbols = tuple(sorted(self._files))
        if not self.symbols:
            wanted = f" of {', '.join(symbols)}" if symbols else ""
            raise StorageError(
                f"no klines{wanted} in {self._klines}: expected <interval>/<SYMBOL>.parquet there"
            )
        self._own: dict[tuple[str, str], Candles] = {}
        self._series: dict[tuple[str, str], Candles] = {}
        self._statistics: dict[Path, list[tuple[int, float, float]]] = {}
        self._instruments: dict[str, Instrument] = {}
        self._spans = self._measure()

    def _find(self, symbols: tuple[str, ...]) -> dict[str, dict[str, Path]]:
        found: dict[str, dict[str, Path]] = {}
        for interval in SPANS:
            for file in sorted((self._klines / interval).glob("*.parquet")):
                if not symbols or file.stem in symbols:
                    found.setdefault(file.stem, {})[interval] = file
        return found

    def _measure(self) -> dict[str, dict[str, tuple[int, int]]]:
        """First open and last close of every file, read from the time column only."""
        keys = [(symbol, interval) for symbol, files in self._files.items() for interval in files]
        ends = pl.collect_all(
            pl.scan_parquet(self._files[symbol][interval]).select(
                first=pl.col("open_time").min(), last=pl.col("open_time").max()
            )
            for symbol, interval in keys
        )
        spans: dict[str, dict[str, tuple[int, int]]] = {}
        for (symbol, interval), frame in zip(keys, ends, strict=True):
            first, last = frame.row(0)
            if first is not None:
                spans.setdefault(symbol, {})[interval] = (first, last + SPANS[interval])
        return spans

    def lifetime(self, symbol: str) -> tuple[int, int]:
        """First open and last close over all files of `symbol`, in ms."""
        spans = self._spans.get(symbol, {}).values()
        return min((first for first, _ in spans), default=0), max((last for _, last in spans), default=0)

    def instrument(self, symbol: str) -> Instrument:
        """Price and quantity digits as the prices of the coarsest file need them."""
        if symbol not in self._instruments:
            values = self._load(symbol, list(self._files[symbol])[-1]).values
            prices, volumes = decimals_of(values[:, :4]), decimals_of(values[:, 4])
            self._instruments[symbol] = Instrument(symbol, *split(symbol), prices, volumes)
        return self._instruments[symbol]

    def base(self, symbol: str, time: int) -> str | None:
        """The finest interval that has a candle open at `time`."""
        for interval, (first, last) in self._spans.get(symbol, {}).items():
            if first <= time < last:
                opened = time // SPANS[interval] * SPANS[interval]
                own = self._load(symbol, interval).time
                at = int(np.searchsorted(own, opened))
                if at < len(own) and own[at] == opened:
                    return interval
        return None

    def candles(self, symbol: str, interval: str, start: int, end: int) -> Candles:
        """Closed candles that open in [start, end), in ms."""
        key = (symbol, interval)
        if key not in self._series:
            self._series[key] = self._build(symbol, interval)
        return self._series[key].between(start, end)

    def _build(self, symbol: str, interval: str) -> Candles:
        """The interval's own file first, then sums of finer files, the finest first."""
        files = self._files.get(symbol, {})
        if interval not in SPANS:
            return EMPTY
        series = self._load(symbol, interval) if interval in files else EMPTY
        for finer in files:
            if SPANS[finer] < SPANS[interval] and SPANS[interval] % SPANS[finer] == 0:
                series = merge(series, self._summed(symbol, finer, SPANS[interval]))
        return series

    def _summed(self, symbol: str, finer: str, span: int) -> Candles:
        """Sums of a finer file, without the bucket it ends in: that may be cut by us, not by the market."""
        source = self._load(symbol, finer)
        total = aggregate(source, span)
        complete = len(total) and source.time[-1] + SPANS[finer] == total.time[-1] + span
        return (
            total
            if complete
            else total.tail(0)
            if len(total) < 2
            else Candles(total.time[:-1], total.values[:-1])
        )

    def _load(self, symbol: str, interval: str) -> Candles:
        key = (symbol, interval)
        if key not in self._own:
            frame = pl.read_parquet(self._files[symbol][interval], columns=["open_time", *COLUMNS])
            values = frame.select(pl.col(COLUMNS).cast(pl.Float64).fill_null(0.0)).to_numpy()
            self._own[key] = Candles(frame["open_time"].to_numpy(), np.ascontiguousarray(values))
        return self._own[key]

    def prepare(self, time: int) -> None:
        """Nothing to do ahead: files are read when they are asked for."""

    def funding(self, symbol: str, start: int, end: int) -> list[tuple[int, float, float]]:
        """(time, rate, mark price or 0) settled in [start, end)."""
        file = self.folder / "futures" / "funding" / f"{symbol}.parquet"
        return self._rows(file, ("funding_time", "funding_rate", "mark_price"), start, end)

    def open_interest(self, symbol: str, start: int, end: int) -> list[tuple[int, float, float]]:
        """(time, contracts, value in quote) every 5 minutes in [start, end)."""
        file = self.folder / "futures" / "open_interest" / "5m" / f"{symbol}.parquet"
        return self._rows(file, ("time", "sum_open_interest", "sum_open_interest_value"), start, end)

    def ratio(self, kind: str, symbol: str, start: int, end: int) -> list[tuple[int, float]]:
        """Long/short ratios: a folder has none."""
        return []

    def premium(self, symbol: str, time: int) -> float:
        """Mark over index minus 1: a folder has no index, so none."""
        return 0.0

    def liquidations(self, symbol: str, start: int, end: int) -> list[tuple[int, str, float, float]]:
        """Forced orders: a folder has none."""
        return []

    def _rows(
        self, file: Path, columns: Sequence[str], start: int, end: int
    ) -> list[tuple[int, float, float]]:
        if file not in self._statistics:
            frame = pl.read_parquet(file, columns=list(columns)).sort(columns[0]) if file.is_file() else None
            self._statistics[file] = (
                [] if frame is None else list(frame.select(columns).fill_null(0.0).iter_rows())
            )
        rows = self._statistics[file]
        first, last = (bisect_left(rows, moment, key=itemgetter(0)) for moment in (start, end))
        return rows[first:last]
