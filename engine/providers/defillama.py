"""DefiLlama: the money in decentralised finance: locked, in stablecoins, traded, paid in fees, earning. Free.

All protocols and all pools are 10 MB each and are not asked for: chains, three large protocols and two pools
of reference tell what they would.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import Any, Final
from urllib.parse import quote

from engine.errors import SourceError, Unreadable
from engine.providers.base import Promise, Request, fault_of
from engine.providers.defillama_chains import CHAINS, of_chains, of_stablecoins
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

PROTOCOLS: Final[Mapping[str, str]] = MappingProxyType({"aave": "AAVE", "lido": "Lido", "uniswap": "Uniswap"})
"""The largest lender, the largest staker and the largest exchange, by slug."""

POOLS: Final[Mapping[str, tuple[str, str]]] = MappingProxyType(
    {
        "lending_yield": ("", "aa70268e-4b52-42bf-a116-608b370f9501"),
        "staking_yield": ("ETH", "747c1d2a-c668-4682-b9f9-296708a3dd90"),
    }
)
"""Pools of reference with their asset, "" = the market's: USDC lent on Aave, ether staked with Lido."""

LEAST: Final = 1e9
"""A protocol of ours with fewer USD is a mistake, or the first half of a number: a bare one has no end."""

METRICS: Final[Mapping[str, Promise]] = MappingProxyType(
    {
        "chain_tvl": Promise("locked in applications on its chain, USD"),
        "total_tvl": Promise("locked on all chains, USD", "market"),
        **{f"tvl_{slug}": Promise(f"locked in {name}, USD", "market") for slug, name in PROTOCOLS.items()},
        "stablecoin_cap": Promise("dollar stablecoins in circulation, USD", "market"),
        "stablecoin_flow_1d": Promise("issued less redeemed in a day, USD", "market"),
        "stablecoin_change_1d": Promise("of what circulates, in a day, fraction", "market"),
        "stablecoin_change_7d": Promise("of what circulates, in a week, fraction", "market"),
        "chain_stablecoins": Promise("dollar stablecoins on its chain, USD"),
        "chain_stablecoin_change_1d": Promise("of those on its chain, in a day, fraction"),
        "chain_stablecoin_change_7d": Promise("of those on its chain, in a week, fraction"),
        "dex_volume": Promise("traded on decentralised exchanges in a day, USD", "market"),
        "dex_volume_change_1d": Promise("of that, in a day, fraction", "market"),
        "fees": Promise("paid to all protocols in a day, USD", "market"),
        "fees_change_1d": Promise("of that, in a day, fraction", "market"),
        "lending_yield": Promise("what lent dollars earn a year, fraction", "market"),
        "staking_yield": Promise("what the staked coin earns a year, fraction"),
    }
)


class DefiLlama:
    """Chains and stablecoins at every poll, volumes and protocols hourly, history once a day.

    Parameters
    ----------
    days
        How many of the newest rows of a history are taken.

    Examples
    --------
    >>> plug = DefiLlama()
    >>> [request.path for request in plug.requests(["BTC", "PEPE"], 0)][:3]
    ['/v2/historicalChainTvl/Bitcoin', '/v2/chains', '/stablecoins']
    >>> [metric.value for metric in plug.parse(Request("/tvl/aave", metric="tvl_aave", at=5), "2.5e9")]
    [2500000000.0]
    """

    name = "defillama"
    key = ""
    needs_key = False
    metrics = METRICS

    def __init__(self, days: int = 15) -> None:
        self.days = days

    def headers(self, key: str | None) -> Mapping[str, str]:
        return {}

    def query(self, key: str | None) -> Mapping[str, str]:
        return {}

    def requests(self, assets: Iterable[str], now: int) -> Iterator[Request]:
        """The chains' histories first, for what is told after a newer number is no news; 257 calls a day."""
        for asset in followed(assets, CHAINS):
            path = f"/v2/historicalChainTvl/{quote(CHAINS[asset].names[0])}"
            yield Request(path, metric="chain_tvl", asset=asset, every=86_400, at=now)
        yield Request("/v2/chains", metric="chains", at=now)
        prices = {"includePrices": "true"}
        yield Request("/stablecoins", prices, metric="stablecoins", host="stablecoins", at=now)
        yield Request("/v2/historicalChainTvl", metric="total_tvl", every=3600, at=now)
        short = {"excludeTotalDataChart": "true", "excludeTotalDataChartBreakdown": "true"}
        for path, metric in (("dexs", "dex_volume"), ("fees", "fees")):
            yield Request(f"/overview/{path}", short, metric=metric, every=3600, at=now)
        for slug in PROTOCOLS:
            yield Request(f"/tvl/{slug}", metric=f"tvl_{slug}", every=3600, at=now)
        for metric, (asset, pool) in POOLS.items():
            yield Request(f"/chart/{pool}", metric=metric, asset=asset, host="yields", every=21_600, at=now)

    def parse(self, request: Request, body: Any) -> list[Metric]:
        """The numbers of one answer; what tells no time is of when it was asked."""
        if within(body, "status") == "error":
            said = words(body, "message", "body")[:120]
            raise SourceError(f"defillama {request.metric}: {said or 'an error'}")
        match request.metric:
            case "chains":
                found = of_chains(request.at, body)
            case "stablecoins":
                found = of_stablecoins(request.at, body)
            case "dex_volume" | "fees":
                found = of_overview(request, body)
            case "total_tvl" | "chain_tvl":
                found = self._history(request, rows(f"defillama {request.metric}", body), "date", "tvl", 1.0)
            case "lending_yield" | "staking_yield":
                held = rows(f"defillama {request.metric}", body, "data")
                found = self._history(request, held, "timestamp", "apy", 0.01)
            case _:
                found = of_protocol(request, body)
        return in_order(self.name, found)

    def _history(
        self, request: Request, held: list[Mapping[str, Any]], stamp: str, key: str, unit: float
    ) -> Iterator[Found]:
        """The newest rows; each is how things stood at its stamp, so none may lie behind the question."""
        found = [
            (at, value * unit)
            for row in held
            if (at := time_of(row.get(stamp))) is not None
            and at <= request.at
            and (value := number(row.get(key))) is not None
        ]
        yield from ((request.metric, request.asset, at, value) for at, value in sorted(found)[-self.days :])

    def fault(self, status: int, headers: Mapping[str, str], body: Any) -> SourceError:
        return fault_of(self.name, status, headers, words(body, "message", "error", "body"))

    def remaining(self, headers: Mapping[str, str]) -> float | None:
        return None


def time_of(value: Any) -> int | None:
    """A stamp in ms: unix seconds, also as text, or ISO-8601."""
    seconds = unix(value)
    return instant(value) if seconds is None else seconds


def of_protocol(request: Request, body: Any) -> Iterator[Found]:
    """A bare number."""
    value = number(body)
    if value is None or value < LEAST:
        told = kind(body) if value is None else f"{value:g} USD"
        raise Unreadable(f"defillama {request.metric}: found {told}, not what is locked in a large protocol")
    yield request.metric, "", request.at, value


def of_overview(request: Request, body: Any) -> Iterator[Found]:
    """The sum of a day over all protocols, and its change to the day before in percent."""
    total, change = number(within(body, "total24h")), number(within(body, "change_1d"))
    if "total24h" not in (body if isinstance(body, Mapping) else {}):
        raise Unreadable(f"defillama {request.metric}: total24h is missing")
    if total is not None:
        yield request.metric, "", request.at, total
    if change is not None:
        yield f"{request.metric}_change_1d", "", request.at, change / 100
