"""Frames of the futures' market stream -> mark prices and forced orders. Pure.

What cannot be read is a `CorruptRecord`; coin-margined contracts (`st` 2) and contracts not asked for are not
read.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import orjson

from dataflows.connectors.binance.parse import Shutdown, milliseconds
from engine.errors import CorruptRecord
from engine.providers.fields import number

COIN_MARGINED: Final = 2
LONGS: Final[Mapping[str, bool]] = {"SELL": True, "BUY": False}
"""Whose position an order closes by force: a sale closes a long."""


class Coin(NamedTuple):
    """What a contract is of: `multiplier` coins of `asset`."""

    asset: str
    multiplier: int


class Mark(NamedTuple):
    """At `time` (ms UTC) one coin was marked at `price`; `underlying` is its index, None without one."""

    asset: str
    time: int
    price: float
    underlying: float | None


class Forced(NamedTuple):
    """An order that closed a position by force at `time`, ms UTC.

    The exchange shows at most one a second of each contract: of many at once only the last. `price` is of one
    coin.
    """

    asset: str
    time: int
    long: bool
    usd: float
    price: float


Heard = Mark | Forced | Shutdown


def frame(raw: bytes | str, coins: Mapping[str, Coin]) -> Heard | None:
    """What a frame of a combined or raw stream says; None for what is not read here.

    >>> raw = b'{"e":"markPriceUpdate","E":1700000000000,"s":"1000PEPEUSDT","p":"0.02","i":"0.01"}'
    >>> frame(raw, {"1000PEPEUSDT": Coin("PEPE", 1000)})
    Mark(asset='PEPE', time=1700000000000, price=2e-05, underlying=1e-05)
    """
    try:
        body = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise CorruptRecord(f"frame is not JSON: {raw[:60]!r}") from error
    data = body.get("data", body) if isinstance(body, dict) else None
    if not isinstance(data, dict) or data.get("st", 1) == COIN_MARGINED:
        return None
    match data.get("e"):
        case "markPriceUpdate":
            return mark(data, coins)
        case "forceOrder":
            return forced(data, coins)
        case "serverShutdown":
            return Shutdown(milliseconds(data.get("E")))
    return None


def mark(data: Mapping[str, Any], coins: Mapping[str, Coin]) -> Mark | None:
    """A markPriceUpdate event."""
    coin = coins.get(str(data.get("s")))
    if coin is None:
        return None
    price, index = number(data.get("p")), number(data.get("i"))
    if price is None or price <= 0:
        raise CorruptRecord(f"mark price of {coin.asset} was {data.get('p')!r:.40}")
    shown = index / coin.multiplier if index is not None and index > 0 else None
    return Mark(coin.asset, milliseconds(data.get("E")), price / coin.multiplier, shown)


def forced(data: Mapping[str, Any], coins: Mapping[str, Coin]) -> Forced | None:
    """A forceOrder event: what was filled at its average price, or else all of it at its own."""
    order = data.get("o")
    if not isinstance(order, dict):
        raise CorruptRecord(f"forced order was {order!r:.60}")
    coin = coins.get(str(order.get("s")))
    if coin is None:
        return None
    amount = number(order.get("z")) or number(order.get("q")) or 0.0
    price = number(order.get("ap")) or number(order.get("p")) or 0.0
    side = str(order.get("S"))
    if side not in LONGS or not (amount > 0 and price > 0 and amount * price < float("inf")):
        raise CorruptRecord(f"forced order of {coin.asset}: {side!r:.20} {amount} at {price}")
    time = milliseconds(order.get("T", data.get("E")))
    return Forced(coin.asset, time, LONGS[side], amount * price, price / coin.multiplier)
