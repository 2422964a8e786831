"""Binance's USDT-M futures statistics: funding, premium, open interest, long/short ratios; no key.

Contracts of a thousand coins and former names are translated at this door: what comes out is of one coin,
under the asset's name of today. Liquidations and mark prices come by stream: `metrics` promises them too.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import Any, Final

from engine.errors import NotServed, RateLimited, Refused, SourceError, UnknownSymbol, Unreadable
from engine.providers.base import DAY, HOUR, Promise, Request, fault_of, retry_after
from engine.providers.fields import number, rows, unix, within, words
from engine.records import Metric
from engine.symbols import QUOTE, canonical, resolve

MINUTE: Final = 60_000
PERIOD: Final = 5 * MINUTE

PREMIUM: Final = "/fapi/v1/premiumIndex"
FUNDING: Final = "/fapi/v1/fundingRate"
MARKET: Final = "BTC"
"""The asset whose funding stands for the market's."""

INTEREST: Final = "/futures/data/openInterestHist"

ALL_CONTRACTS: Final = 10.0
"""Request weight of the premium index of every contract at once."""

STATISTICS: Final[Mapping[str, Mapping[str, str]]] = MappingProxyType(
    {
        INTEREST: {"sumOpenInterest": "open_interest", "sumOpenInterestValue": "open_interest_usd"},
        "/futures/data/topLongShortPositionRatio": {"longShortRatio": "top_position_ratio"},
        "/futures/data/topLongShortAccountRatio": {"longShortRatio": "top_account_ratio"},
        "/futures/data/globalLongShortAccountRatio": {"longShortRatio": "account_ratio"},
        "/futures/data/takerlongshortRatio": {"buySellRatio": "taker_ratio"},
    }
)
"""Each question about one contract, and which key of its rows is which metric."""

MOST_ROWS: Final = 500
"""The exchange answers no more rows of a statistic at once, and none older than a month."""

MOST: Final = 1e18
"""No market's open interest or ratio is as large."""

UNUSUAL: Final = MappingProxyType({-1121: "no such contract", -4108: "the contract does not trade"})
"""Codes that speak of one contract and of nothing else."""

METRICS: Final[Mapping[str, Promise]] = MappingProxyType(
    {
        "funding": Promise(
            "rate paid by longs to shorts at the last settlement, fraction per funding interval"
        ),
        "market_funding": Promise("that of Bitcoin, as the market's", of="market"),
        "funding_8h": Promise("the same carried to 8 hours, whatever the contract's own interval"),
        "funding_current": Promise(
            "rate that the next settlement would have now, fraction per funding interval"
        ),
        "basis": Promise("mark price over index price minus 1, fraction"),
        "mark_price": Promise("mark price of one coin, USDT"),
        "open_interest": Promise("open positions, coins"),
        "open_interest_usd": Promise("open positions, USD"),
        "top_position_ratio": Promise("long over short positions of the top fifth of accounts"),
        "top_account_ratio": Promise("accounts that are long over short among the top fifth"),
        "account_ratio": Promise("accounts that are long over short, all of them"),
        "taker_ratio": Promise("bought over sold by takers in 5 minutes"),
        "liquidated_long_usd": Promise(
            "longs closed by force in 5 minutes, USD; of a sample: one order a second"
        ),
        "liquidated_short_usd": Promise(
            "shorts closed by force in 5 minutes, USD; of a sample: one order a second"
        ),
        "liquidations": Promise("orders by force in 5 minutes, count; of a sample: one order a second"),
        "liquidation_level_above": Promise(
            "estimated nearest heavy cluster of short liquidations over the price"
        ),
        "liquidation_level_below": Promise(
            "estimated nearest heavy cluster of long liquidations under the price"
        ),
    }
)


class Binance:
    """What the contracts of the configured assets are doing, whatever market the candles are from.

    Parameters
    ----------
    limit
        Rows asked for of each statistic.
    per_minute
        The exchange's request weight for an address.

    Examples
    --------
    >>> binance = Binance()
    >>> asked = list(binance.requests(["PEPE"], 1_790_000_000_000))
    >>> len(asked), asked[1].params["symbol"]
    (7, '1000PEPEUSDT')
    >>> row = {"sumOpenInterest": "2.5", "sumOpenInterestValue": "30", "timestamp": 1_789_999_800_000}
    >>> [(metric.name, metric.value) for metric in binance.parse(asked[1], [row])]
    [('binance.open_interest', 2500.0), ('binance.open_interest_usd', 30.0)]
    """

    name = "binance"
    key = ""
    needs_key = False
    metrics = METRICS

    def __init__(self, limit: int = 3, per_minute: int = 2400) -> None:
        self.limit = limit
        self.per_minute = per_minute

    def headers(self, key: str | None) -> Mapping[str, str]:
        return {}

    def query(self, key: str | None) -> Mapping[str, str]:
        return {}

    def requests(self, assets: Iterable[str], now: int) -> Iterator[Request]:
        """The premium of all at once, each asset's statistics, then its settled rates."""
        assets = list(dict.fromkeys(assets))
        yield self.premium(now)
        for path in STATISTICS:
            yield from (found for asset in assets if (found := self.statistic(path, asset, now)))
        yield from (found for asset in assets if (found := self.funding(asset, now)))

    def premium(self, now: int) -> Request:
        """What to ask about the premium index of every contract."""
        return Request(PREMIUM, metric="basis", cost=ALL_CONTRACTS, at=now)

    def statistic(
        self, path: str, asset: str, now: int, limit: int | None = None, until: int | None = None
    ) -> Request | None:
        """What to ask about one of `STATISTICS`, its newest rows up to `until`; None without a contract."""
        rest = {} if until is None else {"endTime": str(until)}
        name = next(iter(STATISTICS[path].values()))
        return self._of(path, name, asset, now, limit, {"period": "5m", **rest}, 0.0)

    def funding(self, asset: str, now: int, since: int | None = None) -> Request | None:
        """What to ask about the rates settled since a time, else in the last day; None without a contract."""
        start = {"startTime": str(now - DAY if since is None else since)}
        return self._of(FUNDING, "funding", asset, now, MOST_ROWS, start, 1.0, every=HOUR / 1000)

    def _of(
        self,
        path: str,
        metric: str,
        asset: str,
        now: int,
        limit: int | None,
        params: Mapping[str, str],
        cost: float,
        every: float | None = None,
    ) -> Request | None:
        contract = contract_of(asset, now)
        if contract is None:
            return None
        rows_wanted = min(self.limit if limit is None else limit, MOST_ROWS)
        given = {"symbol": contract, **params, "limit": str(rows_wanted)}
        return Request(path, given, metric=metric, asset=asset, cost=cost, every=every, at=now)

    def parse(self, request: Request, body: Any) -> Iterator[Metric]:
        """The metrics of an answer, oldest first. Raises as `Provider.parse` says."""
        if isinstance(body, Mapping) and "code" in body:
            raise self.fault(400, {}, body)
        if request.path == PREMIUM:
            found = list(premiums([body] if isinstance(body, Mapping) else body))
        elif request.path == FUNDING:
            found = list(settled(request, body))
        elif request.path in STATISTICS:
            found = list(statistics(request, body))
        else:
            raise Unreadable(f"binance: {request.path} is nothing that is asked for")
        yield from sorted(found, key=lambda metric: metric.time)

    def fault(self, status: int, headers: Mapping[str, str], body: Any) -> SourceError:
        """What an error answer means; of an HTML page only that it is one is told."""
        code, told = within(body, "code"), words(body, "msg")[:120]
        if status == 451:
            return Refused("binance: the exchange does not serve this location (451)", status)
        if status == 403:
            return Refused("binance: the exchange's firewall refused this machine (403)", status)
        if status == 418:
            return RateLimited(f"binance: 418 banned: {told}", retry_after(headers), banned=True)
        if status == 400 and isinstance(code, int) and code in UNUSUAL:
            return NotServed(f"binance: {UNUSUAL[code]} ({code})")
        return fault_of(self.name, status, headers, told)

    def remaining(self, headers: Mapping[str, str]) -> float | None:
        """Request weight left in this minute."""
        used = number(headers.get("x-mbx-used-weight-1m"))
        return None if used is None else max(self.per_minute - used, 0.0)


def contract_of(asset: str, at: int) -> str | None:
    """What the exchange calls the contract of an asset at a time, ms UTC; None where it had none.

    >>> contract_of("POL", 1_700_000_000_000), contract_of("POL", 1_726_000_000_000)
    ('MATICUSDT', None)
    """
    try:
        return resolve(asset + QUOTE, at, "um").exchange_symbol
    except UnknownSymbol:
        return None


def coin_of(contract: Any, at: int) -> tuple[str, int] | None:
    """(asset, coins in a contract) of a name the exchange uses at a time; None for what is not read here.

    >>> coin_of("1000PEPEUSDT", 1_790_000_000_000), coin_of("BTCUSD_PERP", 1_790_000_000_000)
    (('PEPE', 1000), None)
    """
    try:
        symbol, multiplier = canonical(str(contract), "um")
    except UnknownSymbol:
        return None
    asset = symbol.removesuffix(QUOTE)
    return (asset, multiplier) if contract_of(asset, at) == contract else None


def premiums(body: Any) -> Iterator[Metric]:
    """Mark, basis and the rate that is gathering, of every contract of one coin against USDT."""
    for row in having("binance premiumIndex", body, "symbol", "time"):
        at = unix(row.get("time"), 1)
        coin = None if at is None else coin_of(row.get("symbol"), at)
        if at is None or coin is None:
            continue
        asset, multiplier = coin
        mark, index = number(row.get("markPrice")), number(row.get("indexPrice"))
        rate = number(row.get("lastFundingRate"))
        yield from marked(asset, at, mark, index, multiplier)
        if rate is not None and abs(rate) < 1:
            yield Metric("binance.funding_current", asset, at, rate)


def marked(
    asset: str, at: int, mark: float | None, index: float | None, multiplier: int = 1
) -> Iterator[Metric]:
    """The mark price of one coin and how far it is from the index.

    >>> [round(metric.value, 6) for metric in marked("PEPE", 1, 0.0202, 0.02, multiplier=1000)]
    [2e-05, 0.01]
    """
    if mark is not None and mark > 0:
        yield Metric("binance.mark_price", asset, at, mark / multiplier)
        # A contract without an index has 0 there, and one that is being delisted a wild one.
        if index is not None and 0.5 < mark / max(index, 1e-300) < 2:
            yield Metric("binance.basis", asset, at, mark / index - 1)


def settled(request: Request, body: Any) -> Iterator[Metric]:
    """Settled rates, and each carried to 8 hours by the time since the one before it."""
    found: dict[int, float] = {}
    for row in having("binance fundingRate", body, "fundingTime", "fundingRate"):
        at, rate = unix(row.get("fundingTime"), 1), number(row.get("fundingRate"))
        if at is not None and rate is not None and abs(rate) < 1:
            # Settlements are stamped up to some ms behind their hour.
            found[(at + MINUTE // 2) // MINUTE * MINUTE] = rate
    times = sorted(found.items())
    for place, (at, rate) in enumerate(times):
        yield Metric("binance.funding", request.asset, at, rate)
        if request.asset == MARKET:
            yield Metric("binance.market_funding", "", at, rate)
        near = times[max(place - 1, 0) : place + 1] if place else times[:2]
        if len(near) == 2:
            hours = min(max(round((near[1][0] - near[0][0]) / HOUR), 1), 8)
            yield Metric("binance.funding_8h", request.asset, at, rate * 8 / hours)


def statistics(request: Request, body: Any) -> Iterator[Metric]:
    """Rows of one contract every 5 minutes; a row's time is what the exchange stamps it with."""
    told = STATISTICS[request.path]
    multiplier = coins_in(request.params.get("symbol", ""))
    for row in having(f"binance {request.path.rpartition('/')[2]}", body, "timestamp", *told):
        at = unix(row.get("timestamp"), 1)
        for key, name in told.items():
            value = number(row.get(key))
            if at is not None and value is not None and 0 <= value < MOST:
                yield Metric(
                    f"binance.{name}",
                    request.asset,
                    at,
                    value * multiplier if name == "open_interest" else value,
                )


def coins_in(contract: str) -> int:
    """How many coins one contract of that name holds."""
    try:
        return canonical(contract, "um")[1]
    except UnknownSymbol:
        return 1


def having(who: str, body: Any, *keys: str) -> list[Mapping[str, Any]]:
    """The objects of a list. Raises `Unreadable` where not one of them has these keys."""
    found = rows(who, body)
    if found and not any(all(key in row for key in keys) for row in found):
        raise Unreadable(f"{who}: no row has {', '.join(keys)}; found {', '.join(map(str, found[0]))[:80]}")
    return found
