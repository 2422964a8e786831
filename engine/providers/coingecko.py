"""CoinGecko: size and turnover of each coin, what people look up, and the market as a whole. Free.

Asked as often as it says, all of it together takes 244 of the 300 calls a day that are meant for it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import Any, Final

from engine.errors import NotServed, RateLimited, Refused, SourceError, Unreadable
from engine.providers.base import Promise, Request, fault_of, retry_after
from engine.providers.fields import (
    Found,
    followed,
    in_order,
    instant,
    kind,
    number,
    rows,
    unix,
    within,
    words,
)
from engine.records import Metric

IDS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "BTC": "bitcoin",
        "ETH": "ethereum",
        "BNB": "binancecoin",
        "SOL": "solana",
        "AVAX": "avalanche-2",
        "LINK": "chainlink",
        "DOT": "polkadot",
        "POL": "polygon-ecosystem-token",
        "NEAR": "near",
        "ARB": "arbitrum",
        "OP": "optimism",
        "PEPE": "pepe",
        "DOGE": "dogecoin",
        "SHIB": "shiba-inu",
        "FLOKI": "floki",
        "BONK": "bonk",
        "WIF": "dogwifcoin",
    }
)
ASSETS: Final[Mapping[str, str]] = MappingProxyType({coin: asset for asset, coin in IDS.items()})

TRENDING: Final = 15
"""Coins on the list of what is looked up most."""

WRONG_KEY: Final = frozenset({1020, 10002, 10010, 10011})
"""Error codes that asking again will not change: blocked, no key, a key of the other host."""

PRO_ONLY: Final = 10005
"""The error code of one question that another plan has; the others go on being answered."""

METRICS: Final[Mapping[str, Promise]] = MappingProxyType(
    {
        "market_cap": Promise("USD"),
        "market_cap_rank": Promise("place by market cap, 1 = the largest"),
        "market_cap_change_24h": Promise("change of the market cap in 24 h, fraction"),
        "volume_24h": Promise("traded in 24 h on all exchanges, USD"),
        "turnover": Promise("volume_24h over market_cap, fraction a day"),
        "below_ath": Promise("price over its highest ever minus 1, fraction"),
        "trending": Promise("1 = first of what is looked up most, towards 0 down the list, 0 = not on it"),
        "total_market_cap": Promise("of all coins, USD", "market"),
        "total_volume": Promise("of all coins in 24 h, USD", "market"),
        "total_market_cap_change_24h": Promise("fraction", "market"),
        "btc_dominance": Promise("share of BTC in the total market cap, fraction", "market"),
        "eth_dominance": Promise("share of ETH in the total market cap, fraction", "market"),
        "usdt_dominance": Promise("share of USDT in the total market cap, fraction", "market"),
        "defi_market_cap": Promise("of the coins of finance applications, USD", "market"),
        "defi_dominance": Promise("their share in the total market cap, fraction", "market"),
    }
)


class CoinGecko:
    """The coins in one call, the list of trending ones, the market and its finance applications.

    Parameters
    ----------
    pro
        Whether the key is one of the paid host; base_url must then be that host too.

    Examples
    --------
    >>> plug = CoinGecko()
    >>> [request.path for request in plug.requests(["BTC"], 0)][:2]
    ['/coins/markets', '/search/trending']
    >>> list(plug.headers("demo"))
    ['x-cg-demo-api-key']
    """

    name = "coingecko"
    key = "COINGECKO_API_KEY"
    needs_key = False
    metrics = METRICS

    def __init__(self, pro: bool = False) -> None:
        self.pro = pro

    def headers(self, key: str | None) -> Mapping[str, str]:
        return {f"x-cg-{'pro' if self.pro else 'demo'}-api-key": key} if key else {}

    def query(self, key: str | None) -> Mapping[str, str]:
        return {}

    def requests(self, assets: Iterable[str], now: int) -> Iterator[Request]:
        """All coins at once, then what is asked whatever the coins."""
        known = followed(assets, IDS)
        if known:
            ids = ",".join(IDS[asset] for asset in known)
            params = {"vs_currency": "usd", "ids": ids, "per_page": "250", "price_change_percentage": "24h"}
            yield Request("/coins/markets", params, metric="coins", every=900, at=now)
        yield Request("/search/trending", metric="trending", every=1800, at=now)
        yield Request("/global", metric="global", every=900, at=now)
        yield Request("/global/decentralized_finance_defi", metric="defi", every=21_600, at=now)

    def parse(self, request: Request, body: Any) -> list[Metric]:
        """The numbers of one answer; raises what `fault` answers for an error that came with status 200."""
        if within(body, "status", "error_code") is not None or within(body, "error"):
            raise self.fault(200, {}, body)
        return in_order(self.name, READ[request.metric](request, body))

    def fault(self, status: int, headers: Mapping[str, str], body: Any) -> SourceError:
        """By the code in the body where there is one: a status of 401 may mean one question only."""
        code = number(within(body, "status", "error_code"))
        said = words(within(body, "status"), "error_message") or words(body, "error", "message")
        told = f"coingecko: {status if code is None else int(code)} {said[:120]}".rstrip()
        if code == PRO_ONLY:
            return NotServed(told)
        if code in WRONG_KEY:
            return Refused(told, status)
        if code == 429:
            return RateLimited(told, retry_after(headers))
        return SourceError(told) if status < 300 else fault_of(self.name, status, headers, said)

    def remaining(self, headers: Mapping[str, str]) -> float | None:
        return None


def of_coins(request: Request, body: Any) -> Iterator[Found]:
    """One row a coin, each with the time at which it was made."""
    for row in rows("coingecko coins", body):
        asset, at = ASSETS.get(str(row.get("id"))), instant(row.get("last_updated"))
        if asset is not None and at is not None:
            yield from ((name, asset, at, value) for name, value in of_coin(row))


def of_coin(row: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    cap, volume = number(row.get("market_cap")), number(row.get("total_volume"))
    # A coin whose supply is not known has a market cap of 0.
    if cap is not None and cap > 0:
        yield "market_cap", cap
        if volume is not None:
            yield "turnover", volume / cap
    if volume is not None:
        yield "volume_24h", volume
    rank = number(row.get("market_cap_rank"))
    if rank is not None:
        yield "market_cap_rank", rank
    yield from percents(
        row,
        {"market_cap_change_24h": "market_cap_change_percentage_24h", "below_ath": "ath_change_percentage"},
    )


def of_trending(request: Request, body: Any) -> Iterator[Found]:
    """Every coin we know, also those that are not on the list: they have left it."""
    places = {
        str(within(row, "item", "id")): place
        for row in rows("coingecko trending", body, "coins")
        if (place := number(within(row, "item", "score"))) is not None
    }
    if not places:
        raise Unreadable("coingecko trending: no coin of the list has a place")
    for asset, coin in IDS.items():
        share = 1 - places.get(coin, TRENDING) / TRENDING
        yield "trending", asset, request.at, min(1.0, max(0.0, share))


def of_global(request: Request, body: Any) -> Iterator[Found]:
    """The market as a whole."""
    found = data("global", body)
    at = unix(found.get("updated_at")) or request.at
    for name, key in {"total_market_cap": "total_market_cap", "total_volume": "total_volume"}.items():
        value = number(within(found, key, "usd"))
        if value is not None:
            yield name, "", at, value
    change = {"total_market_cap_change_24h": "market_cap_change_percentage_24h_usd"}
    shares = within(found, "market_cap_percentage")
    coins = {f"{coin}_dominance": coin for coin in ("btc", "eth", "usdt")}
    for row, names in ((found, change), (shares, coins)):
        yield from ((name, "", at, value) for name, value in percents(row, names))


def of_defi(request: Request, body: Any) -> Iterator[Found]:
    """The coins of finance applications; the answer tells no time."""
    found = data("defi", body)
    cap = number(found.get("defi_market_cap"))
    if cap is not None:
        yield "defi_market_cap", "", request.at, cap
    for name, value in percents(found, {"defi_dominance": "defi_dominance"}):
        yield name, "", request.at, value


def data(what: str, body: Any) -> Mapping[str, Any]:
    """The object under `data`; Raises `Unreadable` where there is none."""
    found = within(body, "data")
    if not isinstance(found, Mapping):
        raise Unreadable(f"coingecko {what}: data is {kind(found)}, not an object")
    return found


def percents(row: Any, names: Mapping[str, str]) -> Iterator[tuple[str, float]]:
    """By name, the numbers under these keys, from percent to fractions.

    >>> list(percents({"btc": 57.5, "eth": None}, {"btc_dominance": "btc", "eth_dominance": "eth"}))
    [('btc_dominance', 0.575)]
    """
    for name, key in names.items():
        value = number(within(row, key))
        if value is not None:
            yield name, value / 100


READ: Final = MappingProxyType(
    {"coins": of_coins, "trending": of_trending, "global": of_global, "defi": of_defi}
)
