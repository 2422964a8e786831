"""IntoTheBlock: four on-chain signals a day of each asset, as CryptoCompare still passes them on.

The service itself was sunset in 2025 and became Sentora Research, which has no public interface. What is
asked is CryptoCompare's route of the same signals, and `INTOTHEBLOCK_API_KEY` is a key of CryptoCompare.
Whether the route outlives its source is not known: it may answer with errors only, and those come with
status 200.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import Any, Final

from engine.errors import NotServed, RateLimited, Refused, SourceError, Unreadable
from engine.providers.base import Promise, Request, fault_of
from engine.providers.fields import Found, followed, in_order, kind, number, unix, within, words
from engine.records import Metric

ASSETS: Final = frozenset(
    {"BTC", "ETH", "BNB", "SOL", "AVAX", "LINK", "DOT", "POL", "NEAR", "ARB", "OP"}
    | {"PEPE", "DOGE", "SHIB", "FLOKI", "BONK", "WIF"}
)

SIGNALS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "inOutVar": "in_out_of_money",
        "addressesNetGrowth": "address_growth",
        "concentrationVar": "concentration",
        "largetxsVar": "large_transactions",
    }
)
"""Their name of each signal, and ours."""

MEANINGS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "in_out_of_money": "change of the addresses that hold at a profit",
        "address_growth": "addresses made less addresses emptied",
        "concentration": "change of what addresses with over 0.1 % of the supply hold",
        "large_transactions": "transfers over 100,000 USD of late against the long run",
    }
)

METRICS: Final[Mapping[str, Promise]] = MappingProxyType(
    {
        **{name: Promise(f"{text}, fraction") for name, text in MEANINGS.items()},
        **{
            f"{name}_score": Promise(f"{text}, 0..1: under 0.25 bearish, over 0.75 bullish")
            for name, text in MEANINGS.items()
        },
        "bid_ask_imbalance": Promise(
            "(bids - asks) / (bids + asks)",
            gone="was sunset with IntoTheBlock and is not in CryptoCompare's route; kaiko.book_imbalance_* "
            "tells it, and the exchange's own depth would",
        ),
    }
)

SIX_HOURS: Final = 21_600.0
"""Signals are made once a day; asking four times finds them within six hours."""

OVER_LIMIT: Final = 99
"""CryptoCompare's type of an error that asks to wait."""


class IntoTheBlock:
    """Signals of single assets; an asset a request, for the route takes no lists.

    Examples
    --------
    >>> [request.params["fsym"] for request in IntoTheBlock().requests(["BTC", "XYZ"], 0)]
    ['BTC']
    """

    name = "intotheblock"
    key = "INTOTHEBLOCK_API_KEY"
    needs_key = True
    metrics = METRICS

    def headers(self, key: str | None) -> Mapping[str, str]:
        return {"Authorization": f"Apikey {key}"} if key else {}

    def query(self, key: str | None) -> Mapping[str, str]:
        return {}

    def requests(self, assets: Iterable[str], now: int) -> Iterator[Request]:
        """The newest signals of each asset."""
        for asset in followed(assets, ASSETS):
            path = "/data/tradingsignals/intotheblock/latest"
            yield Request(path, {"fsym": asset}, metric="signals", asset=asset, every=SIX_HOURS, at=now)

    def parse(self, request: Request, body: Any) -> list[Metric]:
        """The four signals, each its measure and its score; an error that came with 200 is raised."""
        if within(body, "Response") == "Error":
            raise refusal(request.asset, within(body, "Type"), words(body, "Message")[:120])
        data = within(body, "Data")
        time = unix(within(data, "time"))
        if time is None:
            raise Unreadable(f"intotheblock signals of {request.asset}: Data is {kind(data)} or has no time")
        symbol = within(data, "symbol")
        if symbol != request.asset:
            raise Unreadable(f"intotheblock signals of {request.asset}: tell of {str(symbol)[:20]!r}")
        return in_order(self.name, signals(data, request.asset, time))

    def fault(self, status: int, headers: Mapping[str, str], body: Any) -> SourceError:
        return fault_of(self.name, status, headers, words(body, "Message", "message"))

    def remaining(self, headers: Mapping[str, str]) -> float | None:
        return None


def signals(data: Any, asset: str, time: int) -> Iterator[Found]:
    """What one asset's signals say; a signal that was not made is absent or null."""
    for theirs, ours in SIGNALS.items():
        for part, suffix in (("value", ""), ("score", "_score")):
            found = number(within(data, theirs, part))
            if found is not None:
                yield ours + suffix, asset, time, found


def refusal(asset: str, of: Any, text: str) -> SourceError:
    """What an error in a 200 means, by its type and words.

    >>> type(refusal("BTC", 1, "You need a valid auth key or api key to access this endpoint")).__name__
    'Refused'
    """
    told, low = f"intotheblock signals of {asset}: {text or 'an error without words'}", text.lower()
    if of == OVER_LIMIT or "rate limit" in low:
        return RateLimited(told, 60.0)
    if "auth key" in low or "api key" in low or "api_key" in low:
        return Refused(told, 401)
    return NotServed(told)
