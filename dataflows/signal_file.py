"""Signals as a Parquet file: one row a signal, the columns that judges of signals read.

A file appears whole or not at all.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

import polars as pl

from engine.errors import StorageError
from engine.layers import LAYERS
from engine.models.view import VIEW
from engine.records import Signal
from engine.symbols import Alias, Market, names

SCHEMA: Final[Mapping[str, Any]] = MappingProxyType(
    {
        "symbol": pl.String,
        "time": pl.Int64,
        "direction": pl.String,
        **dict.fromkeys(
            (
                *("confidence", "score", "entry", "stop_loss", "take_profit", "position_size", "p_up"),
                *("p3_down", "p3_neutral", "p3_up", "novelty", *LAYERS),
            ),
            pl.Float64,
        ),
        "model_version": pl.String,
    }
)
"""The columns of the file: a signal's own, the score of every layer, and which version of the model spoke."""


@contextmanager
def written(out: Path) -> Iterator[Path]:
    """A draft beside `out` that takes its place at the end; after a failure `out` is as it was.

    Whatever cannot be written is found out before the work, not after it.
    """
    if out.exists() and not out.is_file():
        raise StorageError(f"{out}: cannot be written: it is no plain file")
    draft = out.with_name(out.name + ".new")
    try:
        try:
            out.parent.mkdir(parents=True, exist_ok=True)
            draft.touch()
            yield draft
            draft.replace(out)
        except (OSError, pl.exceptions.PolarsError) as error:
            raise StorageError(f"{out}: cannot be written: {str(error).splitlines()[0]}") from error
    finally:
        with suppress(OSError):
            draft.unlink(missing_ok=True)


def table(signals: Sequence[Signal], market: Market = "spot") -> pl.DataFrame:
    """Signals as rows by time and symbol, named and priced as the exchange's own candles of that time.

    A contract of a thousand coins has its price, not one coin's. A layer that said nothing is null.
    """
    known = {signal.symbol: names(signal.symbol, market) for signal in signals}
    rows = [line(signal, known[signal.symbol]) for signal in signals]
    return pl.DataFrame(rows, schema=SCHEMA, orient="row").sort("time", "symbol")


def line(signal: Signal, aliases: Sequence[Alias]) -> tuple[Any, ...]:
    alias = next(alias for alias in aliases if alias.covers(signal.time))
    levels = (signal.entry, signal.stop_loss, signal.take_profit)
    view = signal.models.get(VIEW, {})
    votes = [signal.layers.get(layer) for layer in LAYERS]
    return (
        alias.exchange_symbol,
        signal.time,
        signal.direction,
        signal.confidence,
        signal.score,
        *(None if level is None else level * alias.multiplier for level in levels),
        signal.position_size,
        signal.p_up,
        *(signal.p3 or (None, None, None)),
        view.get("novelty"),
        *(None if vote is None else vote.score for vote in votes),
        view.get("version"),
    )
