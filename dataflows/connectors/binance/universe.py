"""exchangeInfo -> the markets that trade, and why the others do not. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from engine.errors import SourceError, UnknownSymbol
from engine.records import Listing
from engine.symbols import Market, listing, names, resolve

Absence = Literal["halted", "absent"]
TRADING: Final = "TRADING"


@dataclass(frozen=True, slots=True)
class Listed:
    """Who trades, in alphabetical order; `absent` says of each other symbol whether it is halted, and why."""

    listings: tuple[Listing, ...]
    absent: Mapping[str, tuple[Absence, str]]


def asked(symbols: Iterable[str], market: Market, at_ms: int) -> list[str]:
    """The exchange's names to ask about at `at_ms`; a symbol between two names has none.

    >>> asked(["BTCUSDT", "POLUSDT"], "spot", 1_726_000_000_000)
    ['BTCUSDT']
    """
    out = []
    for symbol in symbols:
        try:
            out.append(resolve(symbol, at_ms, market).exchange_symbol)
        except UnknownSymbol:
            continue
    return out


def listed(info: Any, segments: Mapping[str, str], market: Market, at_ms: int) -> Listed:
    """What exchangeInfo says about every symbol of `segments` (symbol -> segment) at `at_ms`, ms UTC.

    Raises `SourceError` when the answer is not an exchangeInfo.

    >>> info = {"symbols": [{"symbol": "BTCUSDT", "status": "BREAK"}]}
    >>> listed(info, {"BTCUSDT": "majors"}, "spot", 1_700_000_000_000).absent["BTCUSDT"]
    ('halted', 'BTCUSDT is in status BREAK on spot')
    """
    try:
        rows = {row["symbol"]: row for row in info["symbols"]}
    except (KeyError, TypeError) as error:
        raise SourceError(f"exchangeInfo: no symbols in {str(info)[:80]}") from error
    listings: list[Listing] = []
    absent: dict[str, tuple[Absence, str]] = {}
    for symbol, segment in sorted(segments.items()):
        try:
            name = resolve(symbol, at_ms, market).exchange_symbol
        except UnknownSymbol as error:
            absent[symbol] = ("absent", str(error))
            continue
        fault = closed(rows.get(name), name, market)
        if fault is None:
            listings.append(listing(symbol, segment, market, at_ms, tick_of(rows[name])))
        else:
            absent[symbol] = fault
    return Listed(tuple(listings), absent)


def closed(row: Mapping[str, Any] | None, name: str, market: str) -> tuple[Absence, str] | None:
    """Why a market cannot be read; None when it trades."""
    if row is None:
        return "absent", f"{name} is not listed on {market}"
    status = row.get("status")
    if status != TRADING:
        return "halted", f"{name} is in status {status} on {market}"
    if row.get("contractType", "PERPETUAL") != "PERPETUAL":
        return "absent", f"{name} is a {row['contractType']} contract, not a perpetual"
    return None


def tick_of(row: Mapping[str, Any]) -> float:
    """The price step, 0 where the exchange names none."""
    for rule in row.get("filters", ()):
        if isinstance(rule, dict) and rule.get("filterType") == "PRICE_FILTER":
            return float(rule.get("tickSize", 0))
    return 0.0


def spans(symbol: str, market: Market, first: int, last: int) -> list[tuple[str, int, int, int]]:
    """Under which names closes from `first` to `last` (ms) traded: (name, multiplier, first, last).

    >>> spans("POLUSDT", "spot", 1_725_000_000_000, 1_727_000_000_000)
    [('MATICUSDT', 1, 1725000000000, 1725937200000), ('POLUSDT', 1, 1726221600001, 1727000000000)]
    """
    out = []
    for alias in names(symbol, market):
        begins = max(first, alias.begins + 1)
        ends = last if alias.ends is None else min(last, alias.ends)
        if begins <= ends:
            out.append((alias.exchange_symbol, alias.multiplier, begins, ends))
    return out
