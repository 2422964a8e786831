"""Glassnode: what the chain says of profit, loss, exchanges and the age of coins, a row a day.

A row carries the day's beginning; what is told of it has its end. An asset is asked for by itself: the bulk
paths cost the same credits, are not part of every plan, and would lose all assets with one.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

from engine.errors import NotServed, SourceError, Unreadable
from engine.providers.base import DAY, Promise, Request, fault_of
from engine.providers.fields import kind, number, rows, unix, within, words
from engine.records import Frozen, Metric

BITCOIN: Final = ("BTC",)
CHAINS: Final = ("BTC", "ETH")
HELD: Final = ("BTC", "ETH", "LINK", "PEPE", "SHIB", "FLOKI")
"""Coins and ERC-20 tokens whose exchange wallets are watched; of the others only prices are served."""

BANDS: Final = (
    *("24h", "1d_1w", "1w_1m", "1m_3m", "3m_6m", "6m_12m"),
    *("1y_2y", "2y_3y", "3y_5y", "5y_7y", "7y_10y", "more_10y"),
)
"""Since when coins have not moved, youngest first."""

PLAN: Final = re.compile(r"\b(tier|plan|subscription|upgrade)", re.IGNORECASE)
"""Words of a refusal that is about one metric, not about the key."""


@dataclass(frozen=True, slots=True)
class Series(Frozen):
    """One series of numbers: where it is asked for, of which assets, in which currency if in one."""

    path: str
    unit: str
    assets: tuple[str, ...]
    currency: str = ""


SERIES: Final[Mapping[str, Series]] = MappingProxyType(
    {
        "exchange_balance": Series("distribution/balance_exchanges", "coins on exchanges", HELD),
        "exchange_netflow": Series(
            "transactions/transfers_volume_exchanges_net", "into exchanges minus out, USD a day", HELD, "usd"
        ),
        "exchange_inflow": Series(
            "transactions/transfers_volume_to_exchanges_sum", "into exchanges, USD a day", HELD, "usd"
        ),
        "exchange_outflow": Series(
            "transactions/transfers_volume_from_exchanges_sum", "out of exchanges, USD a day", HELD, "usd"
        ),
        "nupl": Series(
            "indicators/net_unrealized_profit_loss", "unrealised profit minus loss, share of the cap", CHAINS
        ),
        "sopr": Series("indicators/sopr", "price sold over price paid of spent coins, 1 = even", CHAINS),
        "sopr_adjusted": Series(
            "indicators/sopr_adjusted", "the same without coins younger than an hour", BITCOIN
        ),
        "mvrv_z_score": Series(
            "market/mvrv_z_score", "market minus realised cap in deviations of the market cap", CHAINS
        ),
        "puell_multiple": Series(
            "indicators/puell_multiple", "issuance in USD over its mean of a year", BITCOIN
        ),
        "reserve_risk": Series(
            "indicators/reserve_risk", "price over the conviction of long-term holders", BITCOIN
        ),
        "leverage_ratio": Series(
            "derivatives/futures_estimated_leverage_ratio", "open interest over coins on exchanges", CHAINS
        ),
        "hodl_waves": Series("supply/hodl_waves", "", BITCOIN),
    }
)
"""By metric, the most wanted first; HODL waves are a metric a band."""

METRICS: Final[Mapping[str, Promise]] = MappingProxyType(
    {name: Promise(one.unit) for name, one in SERIES.items() if one.unit}
    | {f"hodl_waves_{band}": Promise(f"share of coins unmoved for {band}, fraction") for band in BANDS}
)


class Glassnode:
    """Daily on-chain series of bitcoin, ether and the tokens on Ethereum.

    Parameters
    ----------
    days
        How many past days are asked for.
    every
        How often in seconds; a day's row comes once, some hours after midnight.

    Examples
    --------
    >>> [request.metric for request in Glassnode().requests(["LINK", "WIF"], 20 * DAY)]
    ['exchange_balance', 'exchange_netflow', 'exchange_inflow', 'exchange_outflow']
    >>> request = Request("", metric="nupl", asset="BTC")
    >>> [(one.name, one.time // DAY) for one in Glassnode().parse(request, [{"t": 86400, "v": 0.5}])]
    [('glassnode.nupl', 2)]
    """

    name = "glassnode"
    key = "GLASSNODE_API_KEY"
    needs_key = True
    metrics = METRICS

    def __init__(self, days: int = 10, every: float = 21_600) -> None:
        self.days = days
        self.every = every

    def headers(self, key: str | None) -> Mapping[str, str]:
        return {}

    def query(self, key: str | None) -> Mapping[str, str]:
        return {"api_key": key} if key else {}

    def requests(self, assets: Iterable[str], now: int) -> Iterator[Request]:
        """A series of an asset each; bitcoin costs one credit, any other asset two."""
        wanted = set(assets)
        span = {"i": "24h", "s": str((now // DAY - self.days) * DAY // 1000)}
        for metric, series in SERIES.items():
            currency = {"c": series.currency} if series.currency else {}
            for asset in series.assets:
                if asset in wanted:
                    yield Request(
                        f"/metrics/{series.path}",
                        {"a": asset, **span, **currency},
                        metric=metric,
                        asset=asset,
                        cost=1.0 if asset == "BTC" else 2.0,
                        every=self.every,
                        at=now,
                    )

    def parse(self, request: Request, body: Any) -> list[Metric]:
        """The days of one series, oldest first."""
        who = f"glassnode {request.metric}"
        if request.metric not in SERIES:
            raise Unreadable(f"{who}: nothing of that name is asked for")
        if isinstance(body, Mapping | str):
            raise Unreadable(f"{who}: {kind(body)} instead of rows: {words(body, 'error', 'message')[:120]}")
        found = [
            Metric(f"glassnode.{name}", request.asset, ends, value)
            for row in rows(who, body)
            if (ends := day_end(row)) is not None
            for name, value in values(request.metric, row)
        ]
        return sorted(found, key=lambda metric: metric.time)

    def fault(self, status: int, headers: Mapping[str, str], body: Any) -> SourceError:
        """A tier too low for a metric says nothing of the others."""
        text = words(body, "error", "message")
        if status == 403 and PLAN.search(text):
            return NotServed(f"glassnode: 403 {text[:120]}")
        told = {"retry-after": headers.get("x-rate-limit-reset", "60"), **headers}
        return fault_of(self.name, status, told, text)

    def remaining(self, headers: Mapping[str, str]) -> float | None:
        return number(headers.get("x-rate-limit-remaining"))


def day_end(row: Mapping[str, Any]) -> int | None:
    """The end of the day of a row, ms; its time is the day's beginning, or lies within the day."""
    began = unix(row.get("t"))
    return None if began is None else began // DAY * DAY + DAY


def values(metric: str, row: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    """What a row tells: one value under v, or a value a band under o, of which old days lack some."""
    told = {metric: row.get("v")}
    if metric == "hodl_waves":
        told = {f"hodl_waves_{band}": within(row, "o", band) for band in BANDS}
    for name, value in told.items():
        if (found := number(value)) is not None:
            yield name, found
