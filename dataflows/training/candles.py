"""One symbol's candles as files of a history folder, in the exchange's own names and units.

A file is replaced whole; a reader beside it sees the one before or the one after.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from dataflows.connectors.history import OPTIONAL, PRICES, readable
from dataflows.signal_file import written
from engine.records import INTERVALS, Candle

Floats = NDArray[np.float64]
Change = Callable[[Floats], Floats]

PER_COIN: Final = ("volume", "taker_buy_base")
SCHEMA: Final[Mapping[str, Any]] = {
    "open_time": pl.Int64,
    **dict.fromkeys((*PRICES, "volume"), pl.Float64),
    "close_time": pl.Int64,
    **OPTIONAL,
}
"""The columns of a file; the last four are null where nothing is known."""


def read_file(path: Path) -> pl.DataFrame:
    """The rows of one file as `SCHEMA`, empty where there is none; raises `StorageError`."""
    if not path.exists():
        return pl.DataFrame(schema=SCHEMA)
    with readable(path):
        rows = pl.read_parquet(path)
        missing = [pl.lit(None).alias(name) for name in SCHEMA if name not in rows.columns]
        return rows.with_columns(missing).select(pl.col(name).cast(kind) for name, kind in SCHEMA.items())


def write_file(path: Path, before: pl.DataFrame, newer: Iterable[Candle], multiplier: int = 1) -> bool:
    """Put `newer` beside the rows that were there, and over those of the same time, the last one counting.

    Prices go in as those of a contract of `multiplier` coins. False where nothing changed.
    Raises `StorageError`.
    """
    rows = pl.concat([before, table(newer, multiplier)]).unique("open_time", keep="last").sort("open_time")
    if rows.equals(before):
        return False
    with written(path) as draft:
        rows.write_parquet(draft, statistics=True)
    return True


def table(candles: Iterable[Candle], multiplier: int = 1) -> pl.DataFrame:
    """Candles as rows of a file, oldest first as they are given."""
    rows = [
        (
            one.time - INTERVALS[one.interval],
            *(one.open, one.high, one.low, one.close, one.volume),
            one.time - 1,
            *(one.quote_volume, one.trades, one.taker_base, one.taker_quote),
        )
        for one in candles
    ]
    made = pl.DataFrame(rows, schema=SCHEMA, orient="row")
    if multiplier == 1:
        return made
    prices = {
        name: inverse(made[name].to_numpy(), lambda x: x * multiplier, lambda x: x / multiplier)
        for name in PRICES
    }
    amounts = {
        name: inverse(made[name].to_numpy(), lambda x: x / multiplier, lambda x: x * multiplier)
        for name in PER_COIN
    }
    return made.with_columns(pl.Series(name, values) for name, values in {**prices, **amounts}.items())


def inverse(values: Floats, back: Change, forth: Change) -> Floats:
    """What `forth` turns into exactly `values`: what `back` makes of them, or one of its two neighbours.

    A reader of the file goes forth again, and has to find the same 64 bits that the flow had.

    >>> prices = np.array([0.011453, 0.0119, 0.01337]) / 1000
    >>> held = inverse(prices, lambda x: x * 1000, lambda x: x / 1000)
    >>> bool((held / 1000 == prices).all())
    True
    """
    middle = back(values)
    out = middle.copy()
    for side in (np.inf, -np.inf):
        near = np.nextafter(middle, side)
        out = np.where((forth(out) != values) & (forth(near) == values), near, out)
    return out
