"""`signal-engine backfill`: what is asked on the command line, and how the answer is told."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Final, Literal

import typer

from dataflows.backfill.archive import BASE
from dataflows.backfill.run import Order, run
from dataflows.backfill.spans import Range
from dataflows.replay.moments import milliseconds
from engine.errors import SettingsError, UnknownSymbol
from engine.records import INTERVALS
from engine.settings import load
from engine.symbols import Market, canonical, names

OUTSIDE: Final = 3
"""The exit code where something the exchange has could not be had."""


def backfill(
    data: Annotated[Path, typer.Option(help="Folder of klines/<market>/<interval>/<SYMBOL>.parquet.")],
    begin: Annotated[str, typer.Option("--from", help="Candles that close after this, ISO-8601 UTC.")],
    end: Annotated[str | None, typer.Option("--to", help="The last close, ISO-8601 UTC; else now.")] = None,
    market: Annotated[Literal["spot", "um"], typer.Option(help="Spot or USDT-M futures.")] = "spot",
    interval: Annotated[
        list[str] | None, typer.Option(help="Separated by commas or given more than once; else 1h.")
    ] = None,
    symbols: Annotated[str | None, typer.Option(help="Separated by commas; else as configured.")] = None,
    funding: Annotated[bool, typer.Option("--funding", help="Funding rates of the contracts too.")] = False,
    metrics: Annotated[
        bool, typer.Option("--metrics", help="Open interest and long/short ratios of the contracts too.")
    ] = False,
    archive: Annotated[str, typer.Option(help="Base address of the archive.")] = BASE,
    config: Annotated[
        Path, typer.Option("--config", help="Configuration file.", envvar="SIGNAL_ENGINE_CONFIG")
    ] = Path("config.yaml"),
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document instead of text.")] = False,
) -> None:
    """Fill a folder of history from Binance's archive and REST; exit 3 when something could not be had."""
    settings = load(config, {**os.environ, "SIGNAL_ENGINE_MARKET": market})
    asked = parted([symbols or ""]) or settings.all_symbols
    order = Order(
        folder=data,
        symbols=tuple(dict.fromkeys(coin(symbol, market) for symbol in asked)),
        market=market,
        intervals=lengths(interval or ()),
        span=Range(milliseconds(begin), round(time.time() * 1000) if end is None else milliseconds(end)),
        funding=funding,
        metrics=metrics,
    )
    report = run(settings, order, archive, show=not as_json)
    typer.echo(json.dumps(asdict(report)) if as_json else report.text())
    if report.failed:
        raise typer.Exit(OUTSIDE)


def parted(texts: Sequence[str]) -> tuple[str, ...]:
    """
    >>> parted(["1h, 4h", "5m"])
    ('1h', '4h', '5m')
    """
    return tuple(part.strip() for text in texts for part in text.split(",") if part.strip())


def lengths(texts: Sequence[str]) -> tuple[str, ...]:
    """The intervals asked for, each once. Raises `SettingsError` for one the engine does not know."""
    found = tuple(dict.fromkeys(parted(texts))) or ("1h",)
    for name in found:
        if name not in INTERVALS:
            raise SettingsError(f"--interval {name!r} is not one of {', '.join(INTERVALS)}")
    return found


def coin(symbol: str, market: Market) -> str:
    """Today's name of a symbol given by any name it has or had. Raises `UnknownSymbol`.

    >>> coin("MATICUSDT", "spot"), coin("1000PEPEUSDT", "um"), coin("PEPEUSDT", "um")
    ('POLUSDT', 'PEPEUSDT', 'PEPEUSDT')
    """
    try:
        return names(symbol, market)[-1].symbol
    except UnknownSymbol:
        return canonical(symbol, market)[0]
