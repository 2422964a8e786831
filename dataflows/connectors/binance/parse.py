"""Binance's frames and rows -> records. Pure.

What cannot be read is a `CorruptRecord` that says where; nothing is guessed, nothing passes half read.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import orjson

from engine.errors import CorruptRecord
from engine.records import INTERVALS, Candle, Listing

MICROSECONDS: Final = 100_000_000_000_000
"""Milliseconds stay below this until the year 5138, microseconds have been above it since 1973."""

EARLY: Final = 1_000
"""Ms by which a closed candle's event may be stamped before its close."""


class Heard(NamedTuple):
    """What one frame says: at `time` (event time, ms UTC) the last price of `symbol` was `price`.

    `interval` is empty for a ticker; `candle` is there when the frame closes one.
    """

    symbol: str
    interval: str
    time: int
    price: float
    candle: Candle | None


class Shutdown(NamedTuple):
    """The exchange will soon close this connection."""

    time: int


def milliseconds(value: Any) -> int:
    """A time of Binance's, in ms whether it came in ms or in microseconds.

    >>> milliseconds(1499040000000), milliseconds(1499040000000000)
    (1499040000000, 1499040000000)
    """
    if type(value) is not int or value < 0:
        raise CorruptRecord(f"time was {value!r}")
    return value // 1000 if value >= MICROSECONDS else value


def frame(raw: bytes | str, listings: Mapping[str, Listing]) -> Heard | Shutdown | None:
    """What a frame of a raw or combined stream says; None for answers to commands and streams not read here.

    `listings` are the markets by the exchange's name for them; other markets are not read.
    Raises `CorruptRecord` naming the symbol where the frame has one.

    >>> btc = Listing("BTCUSDT", "BTCUSDT", "BTC", "majors")
    >>> frame(b'{"e":"24hrMiniTicker","E":1672515782136,"s":"BTCUSDT","c":"0.0025"}', {"BTCUSDT": btc})
    Heard(symbol='BTCUSDT', interval='', time=1672515782136, price=0.0025, candle=None)
    """
    try:
        body = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise CorruptRecord(f"frame is not JSON: {raw[:60]!r}") from error
    if not isinstance(body, dict):
        raise CorruptRecord(f"frame is not an object: {raw[:60]!r}")
    data = body.get("data", body)
    if not isinstance(data, dict):
        return None
    kind = data.get("e")
    if kind == "kline":
        return kline(data, listings)
    if kind == "24hrMiniTicker":
        return ticker(data, listings)
    return Shutdown(milliseconds(data.get("E"))) if kind == "serverShutdown" else None


def ticker(data: Mapping[str, Any], listings: Mapping[str, Listing]) -> Heard | None:
    """A miniTicker event."""
    listing = listings.get(data.get("s", ""))
    if listing is None or data.get("st", 1) != 1:
        return None
    try:
        price = float(data["c"]) / listing.multiplier
    except (KeyError, TypeError, ValueError) as error:
        raise CorruptRecord(f"{listing.symbol} ticker: {error!r}") from error
    if not 0 < price < float("inf"):
        raise CorruptRecord(f"{listing.symbol} ticker: price was {price}")
    return Heard(listing.symbol, "", milliseconds(data.get("E")), price, None)


def kline(data: Mapping[str, Any], listings: Mapping[str, Listing]) -> Heard | None:
    """A kline event; only a closed one (`x`) has its candle. `st` 2 is a coin-margined contract: not read."""
    listing = listings.get(data.get("s", ""))
    if listing is None or data.get("st", 1) != 1:
        return None
    symbol = listing.symbol
    try:
        k = data["k"]
        interval, closed, price = k["i"], k["x"], float(k["c"]) / listing.multiplier
        if interval not in INTERVALS or not isinstance(closed, bool):
            raise CorruptRecord(f"interval was {interval!r}, closed was {closed!r}")
        event = milliseconds(data["E"])
        if not closed:
            return Heard(symbol, interval, event, price, None)
        values = (k["t"], k["o"], k["h"], k["l"], k["c"], k["v"], k["T"], k["q"], k["n"], k["V"], k["Q"])
        candle = candle_of(values, symbol, interval, listing.multiplier)
    except CorruptRecord as error:
        raise error if symbol in str(error) else CorruptRecord(f"{symbol} kline frame: {error}") from error
    except (KeyError, TypeError, ValueError) as error:
        raise CorruptRecord(f"{symbol} kline frame: {error!r}") from error
    if candle.time > event + EARLY:
        raise CorruptRecord(f"{symbol} {interval} candle closing at {candle.time} was closed at {event}")
    return Heard(symbol, interval, event, price, candle)


def candle_of(row: Any, symbol: str, interval: str, multiplier: int = 1) -> Candle:
    """A REST row: open time, o, h, l, c, volume, close time, quote volume, trades, taker base, taker quote.

    Prices are divided by `multiplier` and base volumes times it. Raises `CorruptRecord`.

    >>> row = [60_000, "10", "12", "9", "11", "5", 119_999, "55", 3, "2", "22", "0"]
    >>> candle_of(row, "BTCUSDT", "1m").time
    120000
    """
    try:
        opened, ends, step = milliseconds(row[0]), milliseconds(row[6]), INTERVALS[interval]
        # A candle in which trading stopped ends early: 2023-03-24 12:00 at 12:39.
        if not opened <= ends < opened + step:
            raise CorruptRecord(f"{symbol} {interval} row of {opened} ends at {ends}")
        return Candle(
            symbol,
            interval,
            opened + step,
            float(row[1]) / multiplier,
            float(row[2]) / multiplier,
            float(row[3]) / multiplier,
            float(row[4]) / multiplier,
            float(row[5]) * multiplier,
            float(row[7]),
            int(row[8]),
            float(row[9]) * multiplier,
            float(row[10]),
        )
    except CorruptRecord:
        raise
    except (IndexError, KeyError, TypeError, ValueError) as error:
        raise CorruptRecord(f"{symbol} {interval} row: {error!r}") from error
