"""Recorded candles in a folder: klines/<spot|um>/<interval>/<SYMBOL>.parquet, one row per open time.

What is not there is not made up: a missing row stays a gap, a higher interval is built of rows that exist.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from math import nan
from pathlib import Path
from typing import Final

import polars as pl

from dataflows.replay.instruments import decimals_of
from engine.errors import CorruptRecord, StorageError
from engine.records import INTERVALS, Activation, Candle, Listing, Live, Tick, Universe
from engine.symbols import Alias, Market, listing, names

PRICES: Final = ("open", "high", "low", "close")
OPTIONAL: Final = {
    "quote_volume": pl.Float64,
    "trades": pl.Int64,
    "taker_buy_base": pl.Float64,
    "taker_buy_quote": pl.Float64,
}
COLUMNS: Final = ("time", *PRICES, "volume", *OPTIONAL)

Refuse = Callable[[CorruptRecord], None]
"""What becomes of a row that no market can have made."""


@dataclass(frozen=True)
class History:
    """One market's recorded candles.

    Raises `StorageError` when the folder has no candles of that market.
    """

    folder: Path
    market: Market

    def __post_init__(self) -> None:
        if not self.root.is_dir():
            raise StorageError(f"{self.folder}: no recorded candles here, {self.root} is missing")

    @property
    def root(self) -> Path:
        return self.folder / "klines" / self.market

    def candles(self, symbol: str, interval: str, begin: int, end: int) -> pl.DataFrame:
        """The candles of one symbol closing in (begin, end], under whatever names it traded, oldest first.

        Columns as the fields of `Candle`, prices per coin. Empty where nothing was recorded.
        """
        frames = [self._named(alias, interval, begin, end) for alias in names(symbol, self.market)]
        return pl.concat(frames).select(
            pl.lit(symbol).alias("symbol"), pl.lit(interval).alias("interval"), *COLUMNS
        )

    def _named(self, alias: Alias, interval: str, begin: int, end: int) -> pl.DataFrame:
        """The interval's own rows, and for closes it lacks sums of finer ones, the finest first."""
        begin = max(begin, alias.begins)
        end = end if alias.ends is None else min(end, alias.ends)
        length = INTERVALS[interval]
        found = read(self._file(alias, interval), interval, begin, end)
        for finer in (name for name in INTERVALS if INTERVALS[name] < length):
            if found.height >= end // length - begin // length:
                break
            file = self._file(alias, finer)
            first, last = extent(file, finer)
            sums = coarser(read(file, finer, begin // length * length, end), length)
            # The buckets a file begins and ends within may have been cut by whoever recorded it.
            sums = sums.filter(
                pl.col("time") > begin, pl.col("time") - length >= first, pl.col("time") <= min(last, end)
            )
            found = pl.concat([found, sums.join(found, on="time", how="anti")]).sort("time")
        return per_coin(found, alias.multiplier)

    def _file(self, alias: Alias, interval: str) -> Path:
        return self.root / interval / f"{alias.exchange_symbol}.parquet"


def read(path: Path, interval: str, begin: int, end: int) -> pl.DataFrame:
    """The rows of one file closing in (begin, end] with their close time, oldest first, each once.

    Columns as `COLUMNS`; nan where a price or volume is missing. Empty where there is no such file.
    """
    if not path.exists():
        numbers = dict.fromkeys((*PRICES, "volume"), pl.Float64)
        return pl.DataFrame(schema={"time": pl.Int64, **numbers, **OPTIONAL})
    with readable(path):
        rows = pl.scan_parquet(path).with_columns((pl.col("open_time") + INTERVALS[interval]).alias("time"))
        rows = rows.filter((pl.col("time") > begin) & (pl.col("time") <= end))
        known = set(rows.collect_schema().names())
        optional = [
            (pl.col(name) if name in known else pl.lit(None)).cast(kind).alias(name)
            for name, kind in OPTIONAL.items()
        ]
        prices = [pl.col(name).cast(pl.Float64).fill_null(nan) for name in (*PRICES, "volume")]
        found = rows.select(pl.col("time").cast(pl.Int64), *prices, *optional).collect()
    return found.unique("time", keep="first", maintain_order=True).sort("time")


@contextmanager
def readable(path: Path) -> Iterator[None]:
    """Say which file it was that could not be read."""
    try:
        yield
    except (pl.exceptions.PolarsError, OSError) as error:
        raise StorageError(f"{path}: cannot read candles: {str(error).splitlines()[0]}") from error


def extent(path: Path, interval: str) -> tuple[int, int]:
    """First open and last close in a file, ms UTC; (0, 0) where there is none."""
    if not path.exists():
        return 0, 0
    time = pl.col("open_time")
    with readable(path):
        first, last = pl.scan_parquet(path).select(time.min(), time.max().alias("last")).collect().row(0)
    return (0, 0) if first is None else (first, last + INTERVALS[interval])


def coarser(rows: pl.DataFrame, length: int) -> pl.DataFrame:
    """Candles of `length` ms built of shorter ones; a bucket without rows gives none."""
    closes = ((pl.col("time") - 1) // length + 1) * length
    return rows.group_by(closes.alias("time"), maintain_order=True).agg(
        pl.col("open").first(),
        pl.col("high").max(),
        pl.col("low").min(),
        pl.col("close").last(),
        pl.col("volume").sum(),
        *(
            pl.when(pl.col(name).has_nulls()).then(None).otherwise(pl.col(name).sum()).alias(name)
            for name in OPTIONAL
        ),
    )


def per_coin(rows: pl.DataFrame, multiplier: int) -> pl.DataFrame:
    """Prices and volumes of one coin, of a contract that holds `multiplier` of them."""
    if multiplier == 1:
        return rows
    # numpy divides as the live path does, to the last bit; polars would multiply by the reciprocal.
    return rows.with_columns(
        *(pl.Series(name, rows[name].to_numpy() / multiplier) for name in PRICES),
        *(pl.col(name) * multiplier for name in ("volume", "taker_buy_base")),
    )


@dataclass(frozen=True)
class Span:
    """Signals for closes in (begin, end], ms UTC, and `warm_up` candles of all `reads` before.

    A symbol has to have shown `minimum` decision candles before it can make a signal.
    """

    interval: str
    reads: tuple[str, ...]
    begin: int
    end: int
    warm_up: int
    minimum: int = 500


def reraise(error: CorruptRecord) -> None:
    raise error


def records(
    history: History, symbols: Sequence[tuple[str, str]], span: Span, refuse: Refuse = reraise
) -> tuple[Iterator[Universe | Live | Candle | Tick], list[str], int]:
    """Everything a live run would have journaled over `span`, in its order.

    `symbols` are (symbol, segment) pairs. Answers the records, the symbols that have no candle in the span,
    and how many candles there are. No record depends on a later candle: a longer span begins with the same.
    """
    frames: list[pl.DataFrame] = []
    joins: list[tuple[int, Listing]] = []
    absent: list[str] = []
    for symbol, segment in symbols:
        mine = {
            name: history.candles(symbol, name, span.begin - span.warm_up * INTERVALS[name], span.end)
            for name in span.reads
        }
        decisions = mine[span.interval]
        if decisions.filter(pl.col("time") > span.begin).is_empty():
            absent.append(symbol)
        joins += listings(symbol, segment, history.market, decisions, span)
        frames += mine.values()
    lengths = pl.col("interval").replace_strict(dict(INTERVALS), return_dtype=pl.Int64)
    rows = pl.concat(frames).sort("time", lengths, "symbol")
    return in_order(rows, universes(joins), span, refuse), absent, rows.height


def listings(
    symbol: str, segment: str, market: Market, rows: pl.DataFrame, span: Span
) -> list[tuple[int, Listing]]:
    """(time, listing) of each name the symbol trades under, from just before its first close on.

    The price step is what the candles before any signal show: a recording holds no exchangeInfo.
    """
    length = INTERVALS[span.interval]
    rows = rows.filter(pl.col("time") % length == 0).drop_nans(PRICES)
    sample = rows.head(span.minimum).select(PRICES).to_numpy()
    found: list[tuple[int, Listing]] = []
    for alias in names(symbol, market):
        closes = rows.filter(pl.col("time") > alias.begins)["time"]
        if len(closes) and alias.covers(first := int(closes[0])):
            tick = 10.0 ** -decimals_of(sample * alias.multiplier)
            found.append((first - length, listing(symbol, segment, market, first, tick)))
    return found


def universes(joins: Sequence[tuple[int, Listing]]) -> list[Universe]:
    """Who is expected from when on: each symbol from its first candle, under its name of the time."""
    known: dict[str, Listing] = {}
    found: dict[int, Universe] = {}
    for time, joining in sorted(joins, key=lambda join: (join[0], join[1].symbol)):
        known[joining.symbol] = joining
        found[time] = Universe(time, tuple(known[symbol] for symbol in sorted(known)))
    return list(found.values())


def in_order(
    rows: pl.DataFrame, known: Sequence[Universe], span: Span, refuse: Refuse
) -> Iterator[Universe | Live | Candle | Tick]:
    """The start, then each close's candles and behind them its Tick."""
    if not known:
        return
    step, waiting = INTERVALS[span.interval], deque(known)
    due = waiting[0].time + step
    yield waiting.popleft()
    yield Live(span.begin, "replay")
    for row in rows.iter_rows():
        while row[2] > due:
            yield Tick(due)
            if waiting and waiting[0].time <= due:
                yield waiting.popleft()
            due += step
        try:
            candle = Candle(*row)
        except CorruptRecord as error:
            refuse(error)
        else:
            yield candle
    for time in range(due, span.end + 1, step):
        yield Tick(time)


def activated(
    records: Iterable[Universe | Live | Candle | Tick], activations: Iterable[Activation]
) -> Iterator[Universe | Live | Candle | Tick | Activation]:
    """`records` with each Activation before the first candle that closes after it.

    `activations` are in the order of their times. Where one stands depends on nothing that comes later.
    """
    waiting = deque(activations)
    for record in records:
        if isinstance(record, Candle):
            while waiting and waiting[0].time < record.time:
                yield waiting.popleft()
        yield record
