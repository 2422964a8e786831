"""The dated alias table: what the exchange calls each asset, on which market, and when.

A name of the exchange is translated here and nowhere else, and the date is always an argument.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from difflib import get_close_matches
from types import MappingProxyType
from typing import Final, Literal

from engine.errors import UnknownSymbol
from engine.records import Frozen, Listing

Market = Literal["spot", "um"]
MARKETS: Final[tuple[Market, ...]] = ("spot", "um")
QUOTE: Final = "USDT"


def instant(text: str) -> int:
    """ISO-8601 with its offset, in ms UTC.

    >>> instant("2024-09-10T03:00+00:00")
    1725937200000
    """
    return int(datetime.fromisoformat(text).timestamp() * 1000)


@dataclass(frozen=True, slots=True)
class Alias(Frozen):
    """One name of one asset on one market, for closes in (`begins`, `ends`], ms UTC; None = still its name.

    One contract of `exchange_symbol` holds `multiplier` coins: its prices are divided by that.
    """

    asset: str
    market: Market
    exchange_symbol: str
    multiplier: int = 1
    begins: int = 0
    ends: int | None = None

    @property
    def symbol(self) -> str:
        """What candles and signals call it: the spot name of the asset as it is called today."""
        return self.asset + QUOTE

    def covers(self, at_ms: int) -> bool:
        """Whether a candle closing at `at_ms` was traded under this name."""
        return self.begins < at_ms and (self.ends is None or at_ms <= self.ends)


PLAIN: Final = ("BTC", "ETH", "BNB", "SOL", "AVAX", "LINK", "DOT", "NEAR", "ARB", "OP", "DOGE", "WIF")
"""One name on both markets, always."""

THOUSANDS: Final = ("PEPE", "SHIB", "FLOKI", "BONK")
"""Their futures contract holds a thousand coins and says so in its name."""

TABLE: Final[tuple[Alias, ...]] = (
    *(Alias(asset, market, asset + QUOTE) for asset in PLAIN for market in MARKETS),
    *(Alias(asset, "spot", asset + QUOTE) for asset in THOUSANDS),
    *(Alias(asset, "um", f"1000{asset}{QUOTE}", multiplier=1000) for asset in THOUSANDS),
    # MATIC became POL one to one. Between the two names nothing traded: that hole is a gap, never filled.
    Alias("POL", "spot", "MATICUSDT", ends=instant("2024-09-10T03:00+00:00")),
    Alias("POL", "spot", "POLUSDT", begins=instant("2024-09-13T10:00+00:00")),
    # The contract was settled on 2024-09-09, the hour is not known here: the day's end bounds it.
    Alias("POL", "um", "MATICUSDT", ends=instant("2024-09-10T00:00+00:00")),
    Alias("POL", "um", "POLUSDT", begins=instant("2024-09-13T12:15+00:00")),
)
"""Each asset's names, oldest first."""

RENAMED: Final[Mapping[str, str]] = MappingProxyType(
    {alias.exchange_symbol: alias.symbol for alias in TABLE if alias.ends is not None}
)
"""Former names that are still understood -> the name of today."""

BY_NAME: Final[Mapping[tuple[Market, str], Alias]] = MappingProxyType(
    {(alias.market, alias.exchange_symbol): alias for alias in TABLE}
)

KNOWN: Final = tuple(dict.fromkeys(alias.symbol for alias in TABLE))


def names(symbol: str, market: Market = "spot") -> tuple[Alias, ...]:
    """Every name `symbol` has had on `market`, oldest first.

    Takes today's or a former name; a symbol outside the table has its own name, always.
    Raises `UnknownSymbol` for anything that is no USDT pair of one coin.

    >>> [alias.exchange_symbol for alias in names("POLUSDT")]
    ['MATICUSDT', 'POLUSDT']
    >>> [alias.exchange_symbol for alias in names("SUIUSDT", "um")]
    ['SUIUSDT']
    """
    symbol = RENAMED.get(symbol, symbol)
    for alias in TABLE:
        if alias.exchange_symbol == symbol != alias.symbol:
            raise UnknownSymbol(
                f"{symbol} is a contract on {alias.market}; its coin is called {alias.symbol}"
            )
    asset = asset_of(symbol)
    named = tuple(alias for alias in TABLE if alias.asset == asset and alias.market == market)
    return named or (Alias(asset, market, symbol),)


def resolve(symbol: str, at_ms: int, market: Market = "spot") -> Alias:
    """What the exchange calls `symbol` for a candle closing at `at_ms`.

    Raises `UnknownSymbol` when nothing traded under any of its names then.

    >>> resolve("POLUSDT", instant("2024-09-10T03:00+00:00")).exchange_symbol
    'MATICUSDT'
    >>> resolve("POLUSDT", instant("2024-09-12T00:00+00:00"))
    Traceback (most recent call last):
    engine.errors.UnknownSymbol: POLUSDT did not trade on spot at 2024-09-12T00:00:00+00:00: \
MATICUSDT ended 2024-09-10T03:00:00+00:00; POLUSDT began 2024-09-13T10:00:00+00:00
    """
    aliases = names(symbol, market)
    for alias in aliases:
        if alias.covers(at_ms):
            return alias
    spans = "; ".join(span(alias) for alias in aliases)
    raise UnknownSymbol(f"{aliases[-1].symbol} did not trade on {market} at {iso(at_ms)}: {spans}")


def listing(symbol: str, segment: str, market: Market, at_ms: int, tick: float = 0.0) -> Listing:
    """`symbol` as the universe lists it at `at_ms`; `tick` is the exchange's price step for its own name.

    The listing's price step is for one coin, as its prices are.
    Raises `UnknownSymbol` when nothing traded under any of its names then.

    >>> listing("PEPEUSDT", "memes", "um", instant("2025-06-01T00:00+00:00")).exchange_symbol
    '1000PEPEUSDT'
    """
    alias = resolve(symbol, at_ms, market)
    step = tick / alias.multiplier
    return Listing(alias.symbol, alias.exchange_symbol, alias.asset, segment, alias.multiplier, step)


def canonical(exchange_symbol: str, market: Market) -> tuple[str, int]:
    """(symbol, multiplier) of a name the exchange uses on `market`, at any date.

    Only the table knows multipliers: 1000SATSUSDT is a coin of that name until it is listed there.
    Raises `UnknownSymbol` for a name that belongs to another market, or is no USDT pair.

    >>> canonical("MATICUSDT", "spot"), canonical("1000PEPEUSDT", "um")
    (('POLUSDT', 1), ('PEPEUSDT', 1000))
    """
    alias = BY_NAME.get((market, exchange_symbol))
    if alias is not None:
        return alias.symbol, alias.multiplier
    for other in MARKETS:
        if (alias := BY_NAME.get((other, exchange_symbol))) is not None:
            here = ", ".join(known.exchange_symbol for known in names(alias.symbol, market))
            raise UnknownSymbol(f"{market} has no {exchange_symbol}: there it is {here}")
    return asset_of(exchange_symbol) + QUOTE, 1


def asset_of(symbol: str) -> str:
    """The coin of a USDT pair; raises `UnknownSymbol`, naming near symbols, for anything else.

    >>> asset_of("SUIUSDT")
    'SUI'
    >>> asset_of("BTCUDST")
    Traceback (most recent call last):
    engine.errors.UnknownSymbol: 'BTCUDST' is not a USDT pair in capitals; near: BTCUSDT
    """
    asset = symbol.removesuffix(QUOTE)
    if asset and asset != symbol and symbol == symbol.upper() and not any(map(str.isspace, symbol)):
        return asset
    near = get_close_matches(symbol.strip().upper(), KNOWN)
    hint = f"; near: {', '.join(near)}" if near else ""
    raise UnknownSymbol(f"{symbol!r} is not a USDT pair in capitals{hint}")


def span(alias: Alias) -> str:
    """When a name was used, in words."""
    began = [f"began {iso(alias.begins)}"] if alias.begins else []
    ended = [f"ended {iso(alias.ends)}"] if alias.ends is not None else []
    return f"{alias.exchange_symbol} {', '.join(began + ended) or 'always'}"


def iso(at_ms: int) -> str:
    """ms UTC as ISO-8601."""
    return datetime.fromtimestamp(at_ms / 1000, UTC).isoformat()
