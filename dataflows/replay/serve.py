"""The exchange as a program: `signal-engine replay-exchange` comes here.

Everything it is told is checked before it listens; it ends on SIGINT, SIGTERM, or with its history.
"""

from __future__ import annotations

import asyncio
import math
import signal
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import orjson

from dataflows.replay.companion.server import Companion
from dataflows.replay.exchange import ReplayExchange
from dataflows.replay.faults import Fault, parse_faults
from dataflows.replay.history import History
from dataflows.replay.instruments import Market
from dataflows.replay.moments import milliseconds
from dataflows.replay.simulate import Simulated
from dataflows.replay.source import Source
from dataflows.replay.traits import futures_name
from engine.errors import SettingsError

Ready = Callable[[ReplayExchange, Companion | None], None]
"""Told once everything listens."""


def serve(
    *,
    market: Market = "spot",
    data: Path | str | None = None,
    simulate: bool = False,
    seed: int = 0,
    symbols: Sequence[str] = (),
    start: int | str,
    end: int | str | None = None,
    speed: float | str = 1.0,
    port: int = 0,
    host: str = "127.0.0.1",
    faults: Sequence[str] = (),
    hold: bool = True,
    forming: float | None = None,
    futures_port: int | None = None,
    companion_port: int | None = None,
    ready: Ready | None = None,
) -> None:
    """Serve until a signal, or, without `hold`, until the history has been played.

    Times are ms or ISO 8601; `speed` is a number or "max"; each of `faults` is a JSON file or `name@time`
    (see `dataflows.replay.faults`); at a `futures_port` the coins' USDT-M contracts are served by the same
    clock, at a `companion_port` the providers and news feeds; `ready` is called once all listen.
    Raises `SettingsError` or `StorageError` for what cannot be used.
    """
    exchange = ReplayExchange(
        market,
        open_source(market, data, simulate=simulate, seed=seed, symbols=symbols),
        milliseconds(start),
        None if end is None else milliseconds(end),
        parse_speed(speed),
        port,
        faults=read_faults(faults),
        hold=hold,
        forming=forming,
        host=host,
    )
    if futures_port is not None:
        contracts = open_contracts(market, data, simulate=simulate, seed=seed, symbols=symbols)
        exchange.beside("um", contracts, futures_port)
    companion = None
    if companion_port is not None:
        companion = Companion(exchange.clock.now, companion_port, seed=seed, host=host)
    asyncio.run(_run(exchange, companion, hold, ready))


async def _run(
    exchange: ReplayExchange, companion: Companion | None, hold: bool, ready: Ready | None
) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    async with exchange, companion or nullcontext():
        if ready is not None:
            ready(exchange, companion)
        ends: list[asyncio.Task[Any]] = [loop.create_task(stop.wait())]
        if not hold:
            ends.append(loop.create_task(exchange.ended()))
        _, left = await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        for task in left:
            task.cancel()


def open_source(
    market: Market,
    data: Path | str | None,
    *,
    simulate: bool = False,
    seed: int = 0,
    symbols: Sequence[str] = (),
) -> Source:
    """A folder of history or a simulated market, whichever was asked for."""
    if market not in ("spot", "um"):
        raise SettingsError(f"market must be spot or um; found {market!r}")
    if simulate == (data is not None):
        raise SettingsError("give either a data folder or --simulate")
    if data is None:
        return Simulated(tuple(symbols), seed, market)
    return History(data, market, tuple(symbols))


def open_contracts(
    market: Market,
    data: Path | str | None,
    *,
    simulate: bool = False,
    seed: int = 0,
    symbols: Sequence[str] = (),
) -> Source:
    """The USDT-M market of the same coins: of a folder whatever it has, of a simulation the same paths."""
    if market != "spot":
        raise SettingsError(f"futures are served beside spot only; market is {market}")
    names = tuple(futures_name(symbol) for symbol in symbols) if simulate else ()
    return open_source("um", data, simulate=simulate, seed=seed, symbols=names)


def parse_speed(speed: float | str) -> float:
    """Exchange seconds per wall second; "max" is infinity.

    >>> parse_speed("max"), parse_speed("60")
    (inf, 60.0)
    """
    try:
        value = math.inf if speed == "max" else float(speed)
    except ValueError:
        value = math.nan
    if not value > 0:
        raise SettingsError(f"speed must be a number above 0 or max; found {speed!r}")
    return value


def read_faults(texts: Sequence[str]) -> list[Fault]:
    """Faults from JSON files and from `name@time` texts, in the order given."""
    faults: list[Fault] = []
    for text in texts:
        faults += (
            [Fault.of(given) for given in fault_file(text)]
            if text.endswith(".json")
            else parse_faults([text])
        )
    return faults


def fault_file(name: str) -> list[dict[str, Any]]:
    try:
        body = orjson.loads(Path(name).read_bytes())
    except (OSError, orjson.JSONDecodeError) as error:
        raise SettingsError(f"fault file {name} cannot be read: {error}") from None
    if not isinstance(body, list) or not all(isinstance(given, dict) for given in body):
        raise SettingsError(f"fault file {name} must hold a list of objects")
    return body
