"""Kaiko: order book depth, slippage and volume-weighted prices of three exchanges, every five minutes.

Its rows are averages over an interval and carry the interval's beginning; what is told of it has its end.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import Any, Final

from engine.errors import SourceError
from engine.providers.base import HOUR, Promise, Request, fault_of
from engine.providers.fields import followed, in_order, number, rows, stamp, unix, within, words
from engine.records import Metric

ASSETS: Final = frozenset(
    {"BTC", "ETH", "BNB", "SOL", "AVAX", "LINK", "DOT", "POL", "NEAR", "ARB", "OP"}
    | {"PEPE", "DOGE", "SHIB", "FLOKI", "BONK", "WIF"}
)
"""Its codes are these in lower case; a pair that an exchange does not list is answered by 404, for itself."""

EXCHANGES: Final[Mapping[str, str]] = MappingProxyType({"bnce": "usdt", "cbse": "usd", "krkn": "usd"})
"""Binance, Coinbase, Kraken, each with what its deepest pairs are quoted in."""

DEPTHS: Final[Mapping[str, str]] = MappingProxyType({"0_1": "0.1 %", "1": "1 %"})

INTERVAL: Final = 300_000

METRICS: Final[Mapping[str, Promise]] = MappingProxyType(
    {
        "vwap_bnce": Promise("volume-weighted price of 5 minutes on Binance, USDT"),
        "vwap_cbse": Promise("volume-weighted price of 5 minutes on Coinbase, USD"),
        "vwap_krkn": Promise("volume-weighted price of 5 minutes on Kraken, USD"),
        "cross_exchange_spread": Promise("highest over lowest of the vwap_* minus 1, fraction"),
        "coinbase_premium": Promise("vwap_cbse over vwap_bnce minus 1, fraction"),
        "mid_price": Promise("mean middle of the book on Binance, USDT"),
        "book_spread": Promise("mean best ask minus best bid, fraction of the middle"),
        **{
            f"book_bid_{depth}": Promise(f"bids within {text} of the best, USDT")
            for depth, text in DEPTHS.items()
        },
        **{
            f"book_ask_{depth}": Promise(f"asks within {text} of the best, USDT")
            for depth, text in DEPTHS.items()
        },
        **{
            f"book_imbalance_{depth}": Promise(f"(bids - asks) / (bids + asks) within {text}, -1..1")
            for depth, text in DEPTHS.items()
        },
        "slippage_bid": Promise("what a market sale of the order's size loses to the middle, fraction"),
        "slippage_ask": Promise("what a market purchase of the order's size loses to the middle, fraction"),
        "ticks": Promise(
            "every trade",
            gone="a stream of trades is no number at a close; vwap_* and the candles sum it up",
        ),
    }
)


class Kaiko:
    """Books of Binance, prices of Binance, Coinbase and Kraken.

    Parameters
    ----------
    order
        Size of the market order whose slippage is told, in the quote asset.
    back
        How far back rows are asked for, in ms.

    Examples
    --------
    >>> kaiko = Kaiko()
    >>> [request.path.rsplit("/", 1)[1] for request in kaiko.requests(["BTC", "XYZ"], 10 * HOUR)]
    ['full', 'vwap', 'vwap', 'vwap']
    """

    name = "kaiko"
    key = "KAIKO_API_KEY"
    needs_key = True
    metrics = METRICS

    def __init__(self, order: int = 100_000, back: int = HOUR) -> None:
        self.order = order
        self.back = back

    def headers(self, key: str | None) -> Mapping[str, str]:
        return {"X-Api-Key": key} if key else {}

    def query(self, key: str | None) -> Mapping[str, str]:
        return {}

    def requests(self, assets: Iterable[str], now: int) -> Iterator[Request]:
        """Of each asset the book, then the price on each exchange; a pair a request, Kaiko takes no lists."""
        begin = (now - self.back) // INTERVAL * INTERVAL
        span = {"interval": "5m", "start_time": stamp(begin), "page_size": str(self.back // INTERVAL + 1)}
        book = {**span, "slippage": str(self.order), "slippage_ref": "mid_price"}
        for asset in followed(assets, ASSETS):
            path = f"/v2/data/order_book_snapshots.v1{market('bnce', asset)}/ob_aggregations/full"
            yield Request(path, book, metric="book", asset=asset, at=now)
            for exchange in EXCHANGES:
                path = f"/v2/data/trades.v1{market(exchange, asset)}/aggregations/vwap"
                yield Request(path, span, metric=f"vwap_{exchange}", asset=asset, at=now)

    def parse(self, request: Request, body: Any) -> list[Metric]:
        """The rows of one pair, oldest first."""
        if within(body, "result") == "error":
            raise SourceError(f"kaiko {request.metric}: {words(body, 'message')[:120] or 'an error'}")
        read = of_book if request.metric == "book" else of_price
        return in_order(
            self.name,
            (
                (name, request.asset, begin + INTERVAL, value)
                for row in rows(f"kaiko {request.metric}", body, "data")
                if (begin := began(row)) is not None
                for name, value in read(request.metric, row)
            ),
        )

    def derive(self, metrics: Iterable[Metric]) -> list[Metric]:
        """What takes the prices of several exchanges, from all metrics of one round of requests.

        >>> prices = {"cbse": 101.0, "bnce": 100.0}
        >>> heard = [Metric(f"kaiko.vwap_{at}", "BTC", 5, price) for at, price in prices.items()]
        >>> [(one.name, round(one.value, 9)) for one in Kaiko().derive(heard)]
        [('kaiko.coinbase_premium', 0.01), ('kaiko.cross_exchange_spread', 0.01)]
        """
        prices: dict[tuple[int, str], dict[str, float]] = defaultdict(dict)
        for metric in metrics:
            source, _, exchange = metric.name.partition(".vwap_")
            if source == self.name and exchange in EXCHANGES and metric.value > 0:
                prices[metric.time, metric.asset][exchange] = metric.value
        return in_order(
            self.name,
            (
                (name, asset, time, value)
                for (time, asset), at in prices.items()
                for name, value in compared(at)
            ),
        )

    def fault(self, status: int, headers: Mapping[str, str], body: Any) -> SourceError:
        return fault_of(self.name, status, headers, words(body, "message"))

    def remaining(self, headers: Mapping[str, str]) -> float | None:
        return None


def market(exchange: str, asset: str) -> str:
    """The path of one spot pair."""
    return f"/exchanges/{exchange}/spot/{asset.lower()}-{EXCHANGES[exchange]}"


def began(row: Mapping[str, Any]) -> int | None:
    """When a row's interval began, in ms; books say poll_timestamp."""
    return unix(row.get("poll_timestamp", row.get("timestamp")), 1)


def of_price(name: str, row: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    """A price; null where nothing was traded."""
    price = number(row.get("price"))
    if price is not None and price > 0:
        yield name, price


def of_book(name: str, row: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    """A book: volumes come in coins and are told in the quote asset, the gap as a share of the middle."""
    middle = number(row.get("mid_price"))
    if middle is not None and middle > 0:
        yield "mid_price", middle
        gap = number(row.get("spread"))
        if gap is not None:
            yield "book_spread", gap / middle
    for depth in DEPTHS:
        yield from of_depth(depth, row, middle)
    for side in ("bid", "ask"):
        slippage = number(row.get(f"{side}_slippage"))
        if slippage is not None:
            yield f"slippage_{side}", slippage


def of_depth(depth: str, row: Mapping[str, Any], middle: float | None) -> Iterator[tuple[str, float]]:
    """Both sides within a distance of the best price, and which of them is the heavier."""
    bid, ask = number(row.get(f"bid_volume{depth}")), number(row.get(f"ask_volume{depth}"))
    if bid is None or ask is None or min(bid, ask) < 0:
        return
    if middle is not None and middle > 0:
        yield f"book_bid_{depth}", bid * middle
        yield f"book_ask_{depth}", ask * middle
    if bid + ask > 0:
        yield f"book_imbalance_{depth}", (bid - ask) / (bid + ask)


def compared(prices: Mapping[str, float]) -> Iterator[tuple[str, float]]:
    """How far exchanges are apart; Binance quotes in USDT, so its distance to the dollar is in there."""
    if len(prices) > 1:
        yield "cross_exchange_spread", max(prices.values()) / min(prices.values()) - 1.0
    if "bnce" in prices and "cbse" in prices:
        yield "coinbase_premium", prices["cbse"] / prices["bnce"] - 1.0
