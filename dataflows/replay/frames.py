"""The JSON texts of the exchange, for REST rows and stream frames, written once per event.

Numbers are strings as the exchange writes them: 8 digits on spot, the instrument's own digits on futures.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Final

import orjson

from dataflows.replay.candles import Candles, Row
from dataflows.replay.instruments import Instrument, Market
from dataflows.replay.venue import Ticker, Venue

KLINE: Final = (
    '{{"e":"kline","E":%d,"s":"{s}","k":{{"t":%d,"T":%d,"s":"{s}","i":"%s","f":%d,"L":%d,'
    '"o":"%.{p}f","c":"%.{p}f","h":"%.{p}f","l":"%.{p}f","v":"%.{q}f","n":%d,"x":%s,'
    '"q":"%.{m}f","V":"%.{q}f","Q":"%.{m}f","B":"0"}}}}'
)
ROW: Final = '[%d,"%.{p}f","%.{p}f","%.{p}f","%.{p}f","%.{q}f",%d,"%.{m}f",%d,"%.{q}f","%.{m}f","0"]'


class Writer:
    """Writes one market's candles as text.

    `micro` times have 16 digits; a close time then ends in 999999, as the exchange's.
    """

    def __init__(self, instrument: Instrument, market: Market) -> None:
        price, quantity = (
            (8, 8) if market == "spot" else (instrument.price_decimals, instrument.quantity_decimals)
        )
        digits = {"p": price, "q": quantity, "m": min(8, price + quantity)}
        self.symbol = instrument.symbol
        self.price = f"%.{price:d}f"
        self.quantity = f"%.{quantity:d}f"
        self.money = "%.{m}f".format(**digits)
        self._kline = KLINE.format(s=instrument.symbol, **digits)
        self._row = ROW.format(**digits)

    def kline(
        self, event: int, opened: int, span: int, interval: str, row: Row, closed: bool, micro: bool = False
    ) -> str:
        """A kline event of exchange time `event` (ms)."""
        unit = 1000 if micro else 1
        open_, high, low, close, base, quote, trades, taker, taker_quote = row
        count = int(trades)
        first = opened // 100 if count else -1
        return self._kline % (
            event * unit,
            opened * unit,
            (opened + span) * unit - 1,
            interval,
            first,
            first + count - 1 if count else -1,
            open_,
            close,
            high,
            low,
            base,
            count,
            "true" if closed else "false",
            quote,
            taker,
            taker_quote,
        )

    def rows(self, candles: Candles, span: int, micro: bool = False) -> str:
        """The body of a klines answer."""
        unit = 1000 if micro else 1
        rows = zip(candles.time.tolist(), candles.values.tolist(), strict=True)
        return "[" + ",".join(self._one(opened, span, unit, row) for opened, row in rows) + "]"

    def _one(self, opened: int, span: int, unit: int, row: Sequence[float]) -> str:
        open_, high, low, close, base, quote, trades, taker, taker_quote = row
        end = (opened + span) * unit - 1
        return self._row % (
            opened * unit, open_, high, low, close, base, end, quote, int(trades), taker, taker_quote
        )  # fmt: skip

    def mini_ticker(self, event: int, ticker: Ticker, market: Market, micro: bool = False) -> dict[str, Any]:
        """A 24hrMiniTicker event."""
        frame: dict[str, Any] = {
            "e": "24hrMiniTicker",
            "E": event * (1000 if micro else 1),
            "s": self.symbol,
            "c": self.price % ticker.close,
            "o": self.price % ticker.open,
            "h": self.price % ticker.high,
            "l": self.price % ticker.low,
            "v": self.quantity % ticker.volume,
            "q": self.money % ticker.quote,
        }
        return frame if market == "spot" else {**frame, "ps": self.symbol, "st": 1}

    def mark_price(self, event: int, price: float, index: float, rate: str, due: int) -> dict[str, Any]:
        """A markPriceUpdate event; the mark price is the last price: no other is known here."""
        text, under = f"{price:.8f}", f"{index:.8f}"
        return {
            "e": "markPriceUpdate",
            "E": event,
            "s": self.symbol,
            "p": text,
            "ap": text,
            "i": under,
            "P": under,
            "r": rate,
            "T": due,
            "st": 1,
        }

    def force_order(self, event: int, side: str, quantity: float, price: float) -> dict[str, Any]:
        """A forceOrder event: an order that closed somebody's position by force."""
        amount, at = self.quantity % quantity, self.price % price
        order = {"s": self.symbol, "S": side, "o": "LIMIT", "f": "IOC", "q": amount, "p": at, "ap": at}
        order |= {"X": "FILLED", "l": amount, "z": amount}
        return {"e": "forceOrder", "E": event, "o": {**order, "T": event}, "ps": self.symbol, "st": 1}


class Writers:
    """One writer per symbol of a venue, made when first needed."""

    def __init__(self, venue: Venue) -> None:
        self._venue = venue
        self._writers: dict[str, Writer] = {}

    def of(self, symbol: str) -> Writer:
        if symbol not in self._writers:
            self._writers[symbol] = Writer(self._venue.instrument(symbol), self._venue.market)
        return self._writers[symbol]


def spoil(text: str, field: str, value: object) -> str:
    """The kline text with `value`, whatever it is, where the candle's `field` was.

    >>> spoil('{"k":{"o":"1.0","c":"2.0"}}', "c", None)
    '{"k":{"o":"1.0","c":null}}'
    """
    bad = orjson.dumps(value).decode() if not isinstance(value, str) else f'"{value}"'
    return re.sub(rf'"{field}":"[^"]*"', lambda _: f'"{field}":{bad}', text, count=1)


def text_frame(payload: bytes) -> bytes:
    """An unmasked WebSocket text frame, ready for every socket.

    >>> text_frame(b"hi")
    b'\\x81\\x02hi'
    """
    size = len(payload)
    if size < 126:
        return b"\x81" + size.to_bytes(1) + payload
    if size < 65_536:
        return b"\x81\x7e" + size.to_bytes(2) + payload
    return b"\x81\x7f" + size.to_bytes(8) + payload
