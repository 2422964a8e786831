"""The REST side: which path answers what, at what weight.

An answer depends on the venue at a moment and on the query; limits, faults and sockets are elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from dataflows.replay import answers
from dataflows.replay.answers import Answer, Request, RequestError, invalid_symbol
from dataflows.replay.candles import DAY, SPANS
from dataflows.replay.frames import Writers
from dataflows.replay.limits import Limits
from dataflows.replay.listings import futures_info, futures_symbol, spot_info, spot_symbol
from dataflows.replay.venue import Listed, Ticker, Venue

Query = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Route:
    """How a path is answered: `weight` of a query, the `pool` it is taken from; no pool, no limit."""

    answer: Callable[[Request, int], Answer]
    weight: Callable[[Query], int]
    pool: str = "weight"


def fixed(weight: int) -> Callable[[Query], int]:
    return lambda query: weight


def by_symbols(one: int, all_: int) -> Callable[[Query], int]:
    return lambda query: one if "symbol" in query else all_


def ticker_weight(query: Query) -> int:
    """Spot's 24hr ticker: 2 up to 20 symbols, 40 up to 100, 80 beyond or for all."""
    count = (
        1 if "symbol" in query else query.get("symbols", "").count(",") + 1 if "symbols" in query else 1000
    )
    return 2 if count <= 20 else 40 if count <= 100 else 80


def futures_klines_weight(query: Query) -> int:
    text = query.get("limit", "500")
    limit = int(text) if text.isdigit() else 500
    return 1 if limit < 100 else 2 if limit < 500 else 5 if limit <= 1000 else 10


MOST_ROWS: Final = {"spot": 1000, "um": 1500}


class Market:
    """The endpoints that spot and futures share, under one prefix."""

    def __init__(self, venue: Venue, writers: Writers, limits: Limits) -> None:
        self.venue = venue
        self.writers = writers
        self.limits = limits
        self.spot = venue.market == "spot"
        self.prefix = "/api/v3" if self.spot else "/fapi/v1"

    def routes(self) -> dict[str, Route]:
        spot = self.spot
        table = {
            "/ping": Route(self.ping, fixed(1)),
            "/time": Route(self.time, fixed(1)),
            "/exchangeInfo": Route(self.exchange_info, fixed(20 if spot else 1)),
            "/klines": Route(self.klines, fixed(2) if spot else futures_klines_weight),
            "/ticker/24hr": Route(self.ticker, ticker_weight if spot else by_symbols(1, 40)),
            "/ticker/price": Route(self.price, by_symbols(2, 4) if spot else by_symbols(1, 2)),
        }
        if spot:
            table["/uiKlines"] = table["/klines"]
        return {self.prefix + path: route for path, route in table.items()}

    def ping(self, request: Request, now: int) -> Answer:
        return Answer.of({})

    def time(self, request: Request, now: int) -> Answer:
        return Answer.of({"serverTime": now * 1000 if request.micro else now})

    def exchange_info(self, request: Request, now: int) -> Answer:
        wanted = answers.names(request.query) if self.spot else None
        listed = self._listed(wanted, now)
        entry, info = (spot_symbol, spot_info) if self.spot else (futures_symbol, futures_info)
        symbols = [entry(found, self.venue.instrument(found.symbol)) for found in listed]
        status = request.query.get("symbolStatus")
        symbols = [symbol for symbol in symbols if status is None or symbol["status"] == status]
        return Answer.of(info(now, self.limits, symbols, self.venue.source.simulated))

    def _listed(self, wanted: Iterable[str] | None, now: int) -> list[Listed]:
        """Those asked for, or all; one unknown name fails the call."""
        if wanted is None:
            return self.venue.symbols(now)
        return [self.known(name, now) for name in wanted]

    def known(self, name: str, now: int) -> Listed:
        found = self.venue.listed(name, now)
        if found is None:
            raise invalid_symbol()
        return found

    def klines(self, request: Request, now: int) -> Answer:
        query = request.query
        symbol, interval = answers.symbol(query), answers.interval(query)
        limit = answers.limit(query, 500, MOST_ROWS[self.venue.market], strict=not self.spot)
        start, end = answers.moment(query, "startTime"), answers.moment(query, "endTime")
        self.known(symbol, now)
        if interval == "1s" and not self.spot:
            raise RequestError(-1120, "Invalid interval.")
        found = self.venue.klines(symbol, interval, start, end, limit, now)
        text = self.writers.of(symbol).rows(found, SPANS.get(interval, DAY), request.micro)
        return Answer(200, text.encode())

    def ticker(self, request: Request, now: int) -> Answer:
        kind = request.query.get("type", "FULL")
        if kind not in ("FULL", "MINI"):
            raise RequestError(-1130, "Data sent for parameter 'type' is not valid.")
        rows = [
            self._full(name, ticker, now) if kind == "FULL" else self._mini(name, ticker, now)
            for name, ticker in self._tickers(request, now)
        ]
        return Answer.of(rows[0] if "symbol" in request.query and rows else rows)

    def price(self, request: Request, now: int) -> Answer:
        rows = []
        for name, ticker in self._tickers(request, now):
            row: dict[str, Any] = {"symbol": name, "price": self.writers.of(name).price % ticker.close}
            rows.append(row if self.spot else {**row, "time": now})
        return Answer.of(rows[0] if "symbol" in request.query and rows else rows)

    def _tickers(self, request: Request, now: int) -> list[tuple[str, Ticker]]:
        listed = self._listed(answers.names(request.query), now)
        found = [(entry.symbol, self.venue.ticker(entry.symbol, now)) for entry in listed]
        return [(name, ticker) for name, ticker in found if ticker is not None]

    def _mini(self, name: str, ticker: Ticker, now: int) -> dict[str, Any]:
        writer = self.writers.of(name)
        first = ticker.first // 100
        return {
            "symbol": name,
            "openPrice": writer.price % ticker.open,
            "highPrice": writer.price % ticker.high,
            "lowPrice": writer.price % ticker.low,
            "lastPrice": writer.price % ticker.close,
            "volume": writer.quantity % ticker.volume,
            "quoteVolume": writer.money % ticker.quote,
            "openTime": now - DAY,
            "closeTime": now,
            "firstId": first,
            "lastId": first + max(ticker.trades, 1) - 1,
            "count": ticker.trades,
        }

    def _full(self, name: str, ticker: Ticker, now: int) -> dict[str, Any]:
        writer = self.writers.of(name)
        change = ticker.close - ticker.open
        average = ticker.quote / ticker.volume if ticker.quote else ticker.close
        last = writer.price % ticker.close
        full: dict[str, Any] = {
            "symbol": name,
            "priceChange": writer.price % change,
            "priceChangePercent": f"{100 * change / ticker.open:.3f}",
            "weightedAvgPrice": writer.price % average,
            "lastQty": writer.quantity % 0.0,
        }
        if self.spot:
            # Candles tell one price only: the best bid and the best ask are both shown as the last trade.
            full |= {"prevClosePrice": writer.price % ticker.open, "bidPrice": last, "askPrice": last}
            full |= {"bidQty": writer.quantity % 0.0, "askQty": writer.quantity % 0.0}
        return full | self._mini(name, ticker, now)
