"""What was known beside the candles in the past: recorded metrics and headlines, and when they were learned.

What the engine journaled itself says when it learned it. What comes from an archive does not: there the time
of the number plus the longest a live engine would have taken stands for it, never less.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import polars as pl

from dataflows.connectors.history import readable
from engine.errors import CorruptRecord
from engine.records import Activation, Candle, Headline, Live, Metric, Tick, Universe
from engine.symbols import asset_of, names

MINUTE: Final = 60_000
HOUR: Final = 60 * MINUTE
DAY: Final = 24 * HOUR

POLLED: Final = 5 * MINUTE
"""Ms until a live engine has asked for a new futures statistic."""

METRICS: Final[Mapping[str, Any]] = {
    "name": pl.String,
    "asset": pl.String,
    "time": pl.Int64,
    "value": pl.Float64,
    "learned": pl.Int64,
}
"""The columns of metrics/<source>.parquet, and of everything below."""

HEADLINES: Final[Mapping[str, Any]] = {
    "id": pl.String,
    "source": pl.String,
    "time": pl.Int64,
    "title": pl.String,
    "url": pl.String,
    "assets": pl.List(pl.String),
    "sentiment": pl.Float64,
    "weight": pl.Float64,
    "kind": pl.String,
    "dated": pl.Boolean,
    "learned": pl.Int64,
}
"""The columns of news/headlines.parquet."""

STATISTICS: Final = {
    "sum_open_interest": "open_interest",
    "sum_open_interest_value": "open_interest_usd",
    "count_toptrader_long_short_ratio": "top_account_ratio",
    "sum_toptrader_long_short_ratio": "top_position_ratio",
    "count_long_short_ratio": "account_ratio",
    "sum_taker_long_short_vol_ratio": "taker_ratio",
}
"""Columns of the archive's 5-minute metrics -> what a live engine calls them."""

CHAINS: Final = {"ETH": "ethereum", "SOL": "solana", "BNB": "bsc", "ARB": "arbitrum", "POL": "polygon"}


@dataclass(frozen=True)
class Past:
    """The metrics and headlines of a history folder."""

    folder: Path

    def metrics(self, symbols: Sequence[str], begin: int, end: int) -> pl.DataFrame:
        """What of these symbols, and of the market, was learned in (begin, end], in the order it was.

        What the engine has journaled stands in for what an archive says of the same moment.
        """
        assets = [asset_of(symbol) for symbol in symbols]
        own = [table(path, METRICS) for path in sorted((self.folder / "metrics").glob("*.parquet"))]
        archived = [self._funding(symbols), self._statistics(symbols), self._mood(), self._capital(assets)]
        frame = pl.concat([*own, *archived])
        frame = frame.filter(
            pl.col("asset").is_in(["", *assets]), pl.col("learned") > begin, pl.col("learned") <= end
        )
        frame = frame.unique(("name", "asset", "time", "value"), keep="first", maintain_order=True)
        return frame.drop_nulls().sort("learned", "name", "asset", "time")

    def headlines(self, begin: int, end: int) -> pl.DataFrame:
        """The headlines learned in (begin, end], in the order they were."""
        frame = table(self.folder / "news" / "headlines.parquet", HEADLINES)
        return frame.filter(pl.col("learned") > begin, pl.col("learned") <= end).sort("learned", "id")

    def learned(self, symbols: Sequence[str], begin: int, end: int) -> list[Metric | Headline]:
        """Both as records, in one order. A row that cannot be true is left out."""
        metrics = (metric_of(row) for row in self.metrics(symbols, begin, end).iter_rows())
        stories = (story_of(row) for row in self.headlines(begin, end).iter_rows())
        found: list[Metric | Headline] = [one for one in (*metrics, *stories) if one is not None]
        return sorted(found, key=lambda one: one.learned)

    def _funding(self, symbols: Sequence[str]) -> pl.DataFrame:
        """Settled rates; that of Bitcoin is also the market's."""
        time = (pl.col("funding_time") + MINUTE // 2) // MINUTE * MINUTE
        own = self._contracts(
            "futures/funding", symbols, lambda rows: [("funding", time, rows["funding_rate"])]
        )
        bitcoin = self._contracts(
            "futures/funding", ["BTCUSDT"], lambda rows: [("market_funding", time, rows["funding_rate"])]
        )
        return pl.concat([own, bitcoin.with_columns(pl.lit("").alias("asset"))])

    def _statistics(self, symbols: Sequence[str]) -> pl.DataFrame:
        def told(rows: pl.DataFrame) -> Iterable[tuple[str, pl.Expr, pl.Series]]:
            here = [column for column in STATISTICS if column in rows.columns]
            return [(STATISTICS[column], pl.col("time"), rows[column]) for column in here]

        return self._contracts("futures/open_interest/5m", symbols, told)

    def _contracts(
        self,
        place: str,
        symbols: Sequence[str],
        told: Callable[[pl.DataFrame], Iterable[tuple[str, pl.Expr, pl.Series]]],
    ) -> pl.DataFrame:
        """The numbers of every contract these symbols have had, per coin where they count coins."""
        frames = [empty()]
        for symbol in symbols:
            for alias in names(symbol, "um"):
                path = self.folder / place / f"{alias.exchange_symbol}.parquet"
                if not path.exists():
                    continue
                with readable(path):
                    rows = pl.read_parquet(path)
                for name, time, values in told(rows):
                    coins = alias.multiplier if name == "open_interest" else 1
                    numbers = values.cast(pl.Float64) * coins
                    frame = rows.select(time.alias("time")).with_columns(numbers.alias("value"))
                    frames.append(dated(frame, f"binance.{name}", alias.asset, POLLED))
        return pl.concat(frames)

    def _mood(self) -> pl.DataFrame:
        path = self.folder / "context" / "fear_greed_alternative_me.parquet"
        if not path.exists():
            return empty()
        with readable(path):
            rows = pl.read_parquet(path).select(
                (pl.col("timestamp") * 1000).alias("time"), pl.col("value").cast(pl.Float64)
            )
        return dated(rows, "alternative_me.fear_greed", "", HOUR)

    def _capital(self, assets: Sequence[str]) -> pl.DataFrame:
        """Daily levels of stablecoins and of locked value; a day's row is known the day after."""
        folder = self.folder / "context" / "defillama"
        wanted = {
            "tvl_total": ("defillama.total_tvl", ""),
            "stablecoin_mcap": ("defillama.stablecoin_cap", ""),
        }
        chains = {asset: chain for asset, chain in CHAINS.items() if asset in assets}
        wanted |= {f"tvl_{chain}": ("defillama.chain_tvl", asset) for asset, chain in chains.items()}
        frames = [empty()]
        for stem, (name, asset) in wanted.items():
            path = folder / f"{stem}.parquet"
            if path.exists():
                with readable(path):
                    rows = pl.read_parquet(path)
                time = pl.col("timestamp").dt.epoch("ms")
                whole = pl.sum_horizontal(pl.exclude("timestamp"))
                frames.append(dated(rows.select(time.alias("time"), whole.alias("value")), name, asset, DAY))
        return pl.concat(frames)


def dated(rows: pl.DataFrame, name: str, asset: str, lag: int) -> pl.DataFrame:
    """Rows of time and value as metrics that were learned `lag` ms after their time."""
    return rows.drop_nulls().select(
        pl.lit(name).alias("name"),
        pl.lit(asset).alias("asset"),
        pl.col("time").cast(pl.Int64),
        pl.col("value").cast(pl.Float64),
        (pl.col("time") + lag).cast(pl.Int64).alias("learned"),
    )


def empty() -> pl.DataFrame:
    return pl.DataFrame(schema=METRICS)


def table(path: Path, columns: Mapping[str, Any]) -> pl.DataFrame:
    """A file's rows with these columns; none where there is no file."""
    if not path.exists():
        return pl.DataFrame(schema=columns)
    with readable(path):
        return pl.read_parquet(path, columns=list(columns)).select(
            pl.col(name).cast(kind) for name, kind in columns.items()
        )


def metric_of(row: tuple[str, str, int, float, int]) -> Metric | None:
    try:
        return Metric(*row)
    except CorruptRecord:
        return None


def story_of(row: tuple[Any, ...]) -> Headline | None:
    values = dict(zip(HEADLINES, row, strict=True))
    try:
        return Headline(**{**values, "assets": tuple(values["assets"])})
    except CorruptRecord:
        return None


Recorded = Universe | Live | Candle | Tick | Activation


def amid(
    records: Iterable[Recorded], learned: Iterable[Metric | Headline]
) -> Iterator[Recorded | Metric | Headline]:
    """`records` with each metric and headline before the first candle that closes after it was learned.

    `learned` are in the order of their times. Where one stands depends on nothing that comes later.
    """
    waiting = iter(learned)
    following = next(waiting, None)
    for record in records:
        if isinstance(record, Candle):
            while following is not None and following.learned < record.time:
                yield following
                following = next(waiting, None)
        yield record
