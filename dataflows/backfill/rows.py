"""The exchange's rows, from archive files and from REST, as the columns of the folder. Pure.

Only rows that a market can have made: the candle checks are those of `Candle`, on whole columns.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from math import inf
from typing import Any, Final

import polars as pl

from dataflows.backfill.series import FIVE_MINUTES, KLINES, METRICS, Series
from dataflows.backfill.spans import Range
from dataflows.connectors.binance.parse import MICROSECONDS
from engine.errors import SourceError

HEADERS: Final[Mapping[str, tuple[str, ...]]] = {
    "klines": (
        *("open_time", "open", "high", "low", "close", "volume", "close_time", "quote_volume", "count"),
        *("taker_buy_volume", "taker_buy_quote_volume", "ignore"),
    ),
    "funding": ("calc_time", "funding_interval_hours", "last_funding_rate"),
    "metrics": ("create_time", "symbol", *tuple(METRICS)[1:]),
}
"""The columns of archive files, in their order."""

JITTER: Final = 60_000
"""Ms by which a metric may be stamped beside its 5-minute mark (00:05:01 was seen)."""

RELABELLED: Final = round(datetime(2026, 6, 25, tzinfo=UTC).timestamp() * 1000)
"""From this day on the archive stamps a metric at the beginning of its 5 minutes, not at their end
(binance-public-data issue 491): its time is put to the end, when it could be known."""

SOURCE: Final = "binance"


@dataclass(frozen=True, slots=True)
class Read:
    """Rows by time, each once; the hashes of those left out, and where the first of them was and what."""

    rows: pl.DataFrame
    refused: frozenset[int] = frozenset()
    first: str | None = None


def parsed(series: Series, body: bytes, period: Range, name: str) -> Read:
    """The rows of an archive file of `period`. Raises `SourceError` where its columns are others.

    >>> line = b"1735689600000000,5,6,4,5,1,1735693199999999,5,3,1,5,0"
    >>> january = Range(1_735_689_600_000, 1_738_368_000_000)
    >>> parsed(Series("klines", "spot", "BTCUSDT", "1h"), line, january, "x").rows["open_time"].to_list()
    [1735689600000]
    """
    table = columns(body, HEADERS[series.kind], name)
    if series.kind == "klines":
        return klines(table, series.step, period, name)
    return funding(table, period, name) if series.kind == "funding" else metrics(table, period, name)


def columns(body: bytes, header: Sequence[str], name: str) -> pl.DataFrame:
    """The fields of a CSV as texts, named by `header`; a header line of its own must say the same."""
    if not body.strip():
        return pl.DataFrame(schema=dict.fromkeys(header, pl.String))
    first = body.split(b"\n", 1)[0].decode(errors="replace").strip().lstrip("\ufeff").split(",")
    headed = not first[0][:1].isdigit()
    if len(first) < len(header) or (headed and tuple(first[: len(header)]) != tuple(header)):
        raise SourceError(f"{name}: columns {', '.join(header)} were expected; found {','.join(first)[:120]}")
    try:
        table = pl.read_csv(
            body, has_header=False, skip_rows=int(headed), infer_schema=False, raise_if_empty=False
        )
    except pl.exceptions.PolarsError as error:
        raise SourceError(f"{name}: not a table: {str(error).splitlines()[0]}") from error
    if table.is_empty():
        return pl.DataFrame(schema=dict.fromkeys(header, pl.String))
    if table.width < len(header):
        raise SourceError(f"{name}: {len(header)} columns were expected; found {table.width}")
    return table.select(
        pl.nth(at).cast(pl.String).str.strip_chars().alias(column) for at, column in enumerate(header)
    )


def answered(rows: Sequence[Any], step: int, period: Range, name: str) -> Read:
    """Kline rows of a REST answer."""
    names = HEADERS["klines"]
    whole = [row for row in rows if rowlike(row)]
    texts = [[str(field) for field in row[: len(names) - 1]] + ["0"] for row in whole]
    found = klines(
        pl.DataFrame(texts, schema=dict.fromkeys(names, pl.String), orient="row"), step, period, name
    )
    torn = [str(row) for row in rows if not rowlike(row)]
    if not torn:
        return found
    return Read(found.rows, found.refused | set(map(hash, torn)), found.first or f"{name}: {torn[0][:80]}")


def rowlike(row: Any) -> bool:
    """Whether REST gave a whole row; its last field means nothing."""
    return isinstance(row, list) and len(row) >= len(HEADERS["klines"]) - 1


def klines(table: pl.DataFrame, step: int, period: Range, name: str) -> Read:
    """Candles of `step` ms that open in `period`."""
    numbers = table.select(
        milliseconds("open_time"),
        *(pl.col(column).cast(pl.Float64, strict=False) for column in ("open", "high", "low", "close")),
        pl.col("volume").cast(pl.Float64, strict=False),
        milliseconds("close_time"),
        pl.col("quote_volume").cast(pl.Float64, strict=False),
        pl.col("count").cast(pl.Int64, strict=False).alias("trades"),
        pl.col("taker_buy_volume").cast(pl.Float64, strict=False).alias("taker_buy_base"),
        pl.col("taker_buy_quote_volume").cast(pl.Float64, strict=False).alias("taker_buy_quote"),
    )
    read = kept(numbers, "open_time", made(step) & within("open_time", period), name)
    # A candle in which trading stopped says when; here every candle lasts its interval.
    rows = read.rows.with_columns((pl.col("open_time") + step - 1).alias("close_time"))
    return Read(rows.select(*KLINES), read.refused, read.first)


def made(step: int) -> pl.Expr:
    """Whether a market can have made a row: what `Candle` and `candle_of` ask of one."""
    opened, ends = pl.col("open_time"), pl.col("close_time")
    low, high, volume = pl.col("low"), pl.col("high"), pl.col("volume")
    prices = [pl.col(name).is_finite() for name in ("open", "high", "low", "close", "volume")]
    return pl.all_horizontal(
        *prices,
        low > 0,
        pl.col("open").is_between(low, high),
        pl.col("close").is_between(low, high),
        (volume >= 0) & (volume < inf),
        (opened >= 0) & (opened % step == 0),
        (opened <= ends) & (ends < opened + step),
        *(pl.col(name).is_not_null() for name in ("quote_volume", "trades")),
        *(pl.col(name).is_not_null() for name in ("taker_buy_base", "taker_buy_quote")),
    )


def funding(table: pl.DataFrame, period: Range, name: str) -> Read:
    """Settled rates; the archive does not know the mark price."""
    numbers = table.select(
        milliseconds("calc_time").alias("funding_time"),
        pl.col("last_funding_rate").cast(pl.Float64, strict=False).alias("funding_rate"),
        pl.lit(None, pl.Float64).alias("mark_price"),
        pl.lit(SOURCE).alias("src"),
    )
    return kept(numbers, "funding_time", rated() & within("funding_time", period), name)


def settled(rows: Sequence[Any], period: Range, name: str) -> Read:
    """Rates of a REST answer; an empty mark price is one that the exchange does not know."""
    fields = ("fundingTime", "fundingRate", "markPrice")
    texts = [[str(row.get(key)) if isinstance(row, dict) else "" for key in fields] for row in rows]
    schema = dict.fromkeys(("funding_time", "funding_rate", "mark_price"), pl.String)
    mark = pl.col("mark_price").cast(pl.Float64, strict=False)
    numbers = pl.DataFrame(texts, schema=schema, orient="row").select(
        milliseconds("funding_time"),
        pl.col("funding_rate").cast(pl.Float64, strict=False),
        pl.when(mark.is_finite() & (mark > 0)).then(mark).alias("mark_price"),
        pl.lit(SOURCE).alias("src"),
    )
    return kept(numbers, "funding_time", rated() & within("funding_time", period), name)


def rated() -> pl.Expr:
    rate = pl.col("funding_rate")
    return rate.is_finite() & (rate.abs() < 1)


def metrics(table: pl.DataFrame, period: Range, name: str) -> Read:
    """Open interest and long/short ratios every 5 minutes; a ratio that was not measured is null."""
    at = pl.col("create_time").str.to_datetime("%Y-%m-%d %H:%M:%S", strict=False).dt.epoch("ms")
    mark = (at + JITTER) // FIVE_MINUTES * FIVE_MINUTES
    numbers = table.select(
        pl.when((at - mark).abs() <= JITTER).then(mark).alias("time"),
        *(number(column) for column in tuple(METRICS)[1:]),
    )
    # The day's last mark is the first instant of the next one.
    within_day = pl.col("time").is_between(period.begin, period.end)
    amount, value = pl.col("sum_open_interest"), pl.col("sum_open_interest_value")
    read = kept(numbers, "time", within_day & (amount >= 0) & (value >= 0).fill_null(True), name)
    late = FIVE_MINUTES if period.begin >= RELABELLED else 0
    return Read(read.rows.with_columns(pl.col("time") + late), read.refused, read.first)


def number(column: str) -> pl.Expr:
    """A finite number; null where there is none."""
    value = pl.col(column).cast(pl.Float64, strict=False)
    return pl.when(value.is_finite()).then(value).alias(column)


def milliseconds(column: str) -> pl.Expr:
    """Times in ms, of files in ms and of files in microseconds."""
    time = pl.col(column).cast(pl.Int64, strict=False)
    return pl.when(time >= MICROSECONDS).then(time // 1000).otherwise(time).alias(column)


def within(column: str, period: Range) -> pl.Expr:
    return (pl.col(column) >= period.begin) & (pl.col(column) < period.end)


def kept(rows: pl.DataFrame, key: str, good: pl.Expr, name: str) -> Read:
    """Rows that are good, by time, each once; the others counted."""
    marked = rows.with_columns(good.fill_null(False).alias("good"))
    bad = marked.filter(~pl.col("good")).drop("good")
    first = f"{name}: {bad.row(0, named=True)}" if bad.height else None
    refused = frozenset(bad.hash_rows().to_list())
    fine = marked.filter("good").drop("good").unique(key, keep="first", maintain_order=True)
    return Read(fine.sort(key), refused, first)


def empty(series: Series) -> pl.DataFrame:
    """No rows, in the columns of the series."""
    return pl.DataFrame(schema=dict(series.schema))
