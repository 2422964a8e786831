"""CryptoQuant: reserves and flows of exchanges and miners, stablecoin supply ratio, leverage, a row a day.

Its wallets are found by clustering, so the past is revised: a backtest may use what was learned then, never
what is served now.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

from engine.errors import NotServed, SourceError, Unreadable
from engine.providers.base import DAY, HOUR, Of, Promise, Request, fault_of
from engine.providers.fields import instant, number, rows, within, words
from engine.records import Frozen, Metric

TOKENS: Final[Mapping[str, str]] = MappingProxyType({"LINK": "link", "SHIB": "shib"})
"""ERC-20 tokens by what it calls them. Others may be served, but under names that nobody has confirmed."""

BITCOIN: Final = ("BTC",)
CHAINS: Final = ("BTC", "ETH")
HELD: Final = (*CHAINS, *TOKENS)

PLAN: Final = re.compile(r"\b(plan|endpoint|subscription|upgrade)", re.IGNORECASE)
"""Words of a refusal that is about one path, not about the token."""


@dataclass(frozen=True, slots=True)
class Series(Frozen):
    """One of its paths: the assets it is asked of, the metric that each column becomes, whose wallets."""

    path: str
    assets: tuple[str, ...]
    columns: Mapping[str, str]
    params: Mapping[str, str]


EXCHANGES: Final[Mapping[str, str]] = MappingProxyType({"exchange": "all_exchange"})
MINERS: Final[Mapping[str, str]] = MappingProxyType({"miner": "all_miner"})

SERIES: Final[tuple[Series, ...]] = (
    Series(
        "exchange-flows/reserve",
        HELD,
        {"reserve": "exchange_reserve", "reserve_usd": "exchange_reserve_usd"},
        EXCHANGES,
    ),
    Series("exchange-flows/netflow", HELD, {"netflow_total": "exchange_netflow"}, EXCHANGES),
    Series("exchange-flows/inflow", HELD, {"inflow_total": "exchange_inflow"}, EXCHANGES),
    Series("exchange-flows/outflow", HELD, {"outflow_total": "exchange_outflow"}, EXCHANGES),
    Series(
        "market-indicator/estimated-leverage-ratio",
        CHAINS,
        {"estimated_leverage_ratio": "leverage_ratio"},
        EXCHANGES,
    ),
    Series("market-indicator/stablecoin-supply-ratio", BITCOIN, {"stablecoin_supply_ratio": "ssr"}, {}),
    Series("miner-flows/reserve", BITCOIN, {"reserve": "miner_reserve"}, MINERS),
    Series("miner-flows/netflow", BITCOIN, {"netflow_total": "miner_netflow"}, MINERS),
    Series("miner-flows/inflow", BITCOIN, {"inflow_total": "miner_inflow"}, MINERS),
    Series("miner-flows/outflow", BITCOIN, {"outflow_total": "miner_outflow"}, MINERS),
)
"""The most wanted first."""

UNITS: Final[Mapping[str, tuple[str, Of]]] = MappingProxyType(
    {
        "exchange_reserve": ("coins on exchanges", "asset"),
        "exchange_reserve_usd": ("worth of the coins on exchanges, USD", "asset"),
        "exchange_netflow": ("coins into exchanges minus out a day", "asset"),
        "exchange_inflow": ("coins into exchanges a day", "asset"),
        "exchange_outflow": ("coins out of exchanges a day", "asset"),
        "leverage_ratio": ("open interest over reserve of derivative exchanges", "asset"),
        "ssr": ("market cap of bitcoin over that of all stablecoins", "market"),
        "miner_reserve": ("bitcoin held by miners", "asset"),
        "miner_netflow": ("bitcoin into miners' wallets minus out a day", "asset"),
        "miner_inflow": ("bitcoin into miners' wallets a day", "asset"),
        "miner_outflow": ("bitcoin out of miners' wallets a day", "asset"),
    }
)

METRICS: Final[Mapping[str, Promise]] = MappingProxyType(
    {name: Promise(unit, of) for name, (unit, of) in UNITS.items()}
)

COLUMNS: Final[Mapping[str, Mapping[str, str]]] = MappingProxyType(
    {series.path: series.columns for series in SERIES}
)

SPANS: Final[Mapping[str, int]] = MappingProxyType({"day": DAY, "hour": HOUR})


class CryptoQuant:
    """Daily flows of bitcoin, ether and two tokens over all exchanges and miners.

    Parameters
    ----------
    days
        How many rows are asked for.
    every
        How often in seconds; a day's row comes once.

    Examples
    --------
    >>> [request.path for request in CryptoQuant().requests(["LINK"], 0)][:2]
    ['/erc20/exchange-flows/reserve', '/erc20/exchange-flows/netflow']
    """

    name = "cryptoquant"
    key = "CRYPTOQUANT_API_KEY"
    needs_key = True
    metrics = METRICS

    def __init__(self, days: int = 10, every: float = 21_600) -> None:
        self.days = days
        self.every = every

    def headers(self, key: str | None) -> Mapping[str, str]:
        return {"Authorization": f"Bearer {key}"} if key else {}

    def query(self, key: str | None) -> Mapping[str, str]:
        return {}

    def requests(self, assets: Iterable[str], now: int) -> Iterator[Request]:
        """A path of an asset each; `metric` is the path, which may tell two."""
        wanted = set(assets)
        for series in SERIES:
            for asset in series.assets:
                if asset in wanted:
                    place, token = chain(asset)
                    yield Request(
                        f"/{place}/{series.path}",
                        {**token, **series.params, "window": "day", "limit": str(self.days)},
                        metric=series.path,
                        asset=asset,
                        every=self.every,
                        at=now,
                    )

    def parse(self, request: Request, body: Any) -> list[Metric]:
        """The rows of one path, oldest first; they come newest first."""
        who = f"cryptoquant {request.metric}"
        code = number(within(body, "status", "code"))
        if code is not None and not 200 <= code < 300:
            raise self.fault(int(min(code, 999)), {}, body)
        window = within(body, "result", "window")
        span = SPANS.get(window) if isinstance(window, str) else None
        if span is None or request.metric not in COLUMNS:
            raise Unreadable(f"{who}: a window of {str(window)[:40]!r} of what was asked for")
        found = [
            Metric(f"cryptoquant.{name}", asset, began + span, value)
            for row in rows(who, body, "result", "data")
            if (began := instant(row.get("date", row.get("datetime")))) is not None
            for name, asset, value in values(request, row)
        ]
        return sorted(found, key=lambda metric: metric.time)

    def fault(self, status: int, headers: Mapping[str, str], body: Any) -> SourceError:
        """A path outside the plan says nothing of the others."""
        told = within(body, "status")
        text = words(body) if isinstance(body, str) else words(told, "description", "message")
        if status == 403 and PLAN.search(text):
            return NotServed(f"cryptoquant: 403 {text[:120]}")
        wait = {"retry-after": headers.get("x-ratelimit-reset", "60"), **headers}
        return fault_of(self.name, status, wait, text)

    def remaining(self, headers: Mapping[str, str]) -> float | None:
        return number(headers.get("x-ratelimit-remaining"))


def chain(asset: str) -> tuple[str, Mapping[str, str]]:
    """The first part of an asset's path, and its token's parameter.

    >>> chain("BTC"), chain("SHIB")
    (('btc', {}), ('erc20', {'token': 'shib'}))
    """
    token = TOKENS.get(asset)
    return (asset.lower(), {}) if token is None else ("erc20", {"token": token})


def values(request: Request, row: Mapping[str, Any]) -> Iterator[tuple[str, str, float]]:
    """Metric, asset and value of the columns of a row."""
    for column, name in COLUMNS[request.metric].items():
        if (value := number(row.get(column))) is not None:
            yield name, request.asset if METRICS[name].of == "asset" else "", value
