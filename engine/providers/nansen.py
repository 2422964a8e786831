"""Nansen: where smart money goes, by token and by chain, and who moves a token. Each call costs credits.

Every number is of the last 24 hours at the time of the asking: the answers tell no time of their own. Tokens
are asked for by chain and contract; coins without one on a chain that it covers are not to be had.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import Any, Final

from engine.errors import Refused, SourceError, Unreadable
from engine.providers.base import Promise, Request, fault_of
from engine.providers.fields import number, rows, words
from engine.records import Metric

TOKENS: Final[Mapping[str, tuple[str, str]]] = MappingProxyType(
    {
        "ETH": ("ethereum", "0xc02aaa39b223fe8d0a0e5c4f27ead9083c756cc2"),
        "SOL": ("solana", "So11111111111111111111111111111111111111112"),
        "PEPE": ("ethereum", "0x6982508145454ce325ddbe47a25d4ec3d2311933"),
        "BONK": ("solana", "DezXAZ8z7PnrnRJjz3wXBoRgixCa6xjnB7YaB1pPB263"),
        "WIF": ("solana", "EKpQGSJtjMFqKZ9KQanSqYXRcF8fBopzLHYxdM65zcjm"),
    }
)
"""Chain and contract, of ETH and SOL the wrapped coin. Those of LINK, SHIB, FLOKI, ARB, OP and POL are known
from memory only: a wrong address costs a credit a call, so they wait until somebody has confirmed them."""

CHAINS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "ethereum": "ETH",
        "solana": "SOL",
        "bnb": "BNB",
        "arbitrum": "ARB",
        "optimism": "OP",
        "polygon": "POL",
        "avalanche": "AVAX",
    }
)
"""Chains whose smart money is followed, and the coin that each is about."""

GROUPS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "whale": "whales",
        "smart_trader": "smart traders",
        "top_pnl": "the most profitable wallets",
        "public_figure": "known persons",
        "exchange": "exchanges",
        "fresh_wallets": "wallets that are new",
    }
)
"""Whose flows Token God Mode tells; more into exchanges is more for sale."""

FLOW: Final = "/smart-money/netflow"
GOD: Final = "/tgm/flow-intelligence"
CREDITS: Final[Mapping[str, float]] = MappingProxyType({FLOW: 5.0, GOD: 1.0})

ROWS: Final = 1000
"""Tokens of one answer, the largest first: the many small ones are a small part of a chain's flow."""

METRICS: Final[Mapping[str, Promise]] = MappingProxyType(
    {
        "smart_money_flow": Promise("bought minus sold by smart money in 24 h, share of the market cap"),
        "smart_money_flow_7d": Promise("the same of 7 days, share of the market cap"),
        "smart_money_flow_usd": Promise("bought minus sold by smart money in 24 h, USD"),
        "bridge_flow": Promise("smart money into a chain's tokens over all that moved in 24 h, -1..1"),
        "bridge_flow_usd": Promise("bought minus sold by smart money of a chain's tokens in 24 h, USD"),
        "token_god_mode": Promise("into holders' wallets minus into exchanges over all flows, -1..1"),
        "wallet_labels": Promise(
            "labels of one wallet",
            gone="100 credits a call of 2000 a month; token_*_flow sums wallets up by their labels",
        ),
    }
    | {f"token_{group}_flow": Promise(f"net flow of {who} in 24 h, USD") for group, who in GROUPS.items()}
)
"""There is no call for bridges: a chain's smart money flow beside that of the others tells the rotation."""

SPENT: Final = re.compile(r"credit|insufficient", re.IGNORECASE)


class Nansen:
    """Smart money of seven chains in one call, Token God Mode in one a token.

    Parameters
    ----------
    every
        How often in seconds: four times a day cost 1240 credits in 31 days.

    Examples
    --------
    >>> [(request.asset, request.cost) for request in Nansen().requests(["PEPE", "BTC"], 0)]
    [('', 5.0), ('PEPE', 1.0)]
    """

    name = "nansen"
    key = "NANSEN_API_KEY"
    needs_key = True
    metrics = METRICS

    def __init__(self, every: float = 21_600) -> None:
        self.every = every

    def headers(self, key: str | None) -> Mapping[str, str]:
        return {"apikey": key} if key else {}

    def query(self, key: str | None) -> Mapping[str, str]:
        return {}

    def requests(self, assets: Iterable[str], now: int) -> Iterator[Request]:
        """The flow of all chains if any asset has a part in it, then each token."""
        wanted = set(assets)
        if wanted & {*TOKENS, *CHAINS.values()}:
            yield self._request(FLOW, flow_body(), "", now)
        for asset, (chain, address) in TOKENS.items():
            if asset in wanted:
                body = {"chain": chain, "token_address": address, "timeframe": "1d"}
                yield self._request(GOD, body, asset, now)

    def _request(self, path: str, body: Mapping[str, Any], asset: str, now: int) -> Request:
        return Request(
            path, body=body, metric=path, asset=asset, cost=CREDITS[path], every=self.every, at=now
        )

    def parse(self, request: Request, body: Any) -> list[Metric]:
        """What one answer tells, all at the time of the asking. What smart money left alone has no row."""
        found = rows(f"nansen {request.metric}", body, "data")
        if request.metric == FLOW:
            told = {**of_tokens(found), **of_chains(found)}
        elif request.asset:
            told = {(name, request.asset): value for row in found[:1] for name, value in of_groups(row)}
        else:
            raise Unreadable(f"nansen {request.metric}: nothing of that name is asked for")
        return [
            Metric(f"nansen.{name}", asset, request.at, value)
            for (name, asset), value in told.items()
            if number(value) is not None
        ]

    def fault(self, status: int, headers: Mapping[str, str], body: Any) -> SourceError:
        """Credits that are spent come back with the month, or with money."""
        text = words(body, "message", "detail", "error")
        if status in (402, 403) and SPENT.search(text):
            return Refused(f"nansen: {status} credits are spent: {text[:120]}", status)
        return fault_of(self.name, status, headers, text)

    def remaining(self, headers: Mapping[str, str]) -> float | None:
        """Credits."""
        return number(headers.get("x-nansen-credits-remaining"))


def flow_body() -> dict[str, Any]:
    """One page of all chains; stablecoins are no opinion about a chain, wrapped and native coins are."""
    return {
        "chains": list(CHAINS),
        "filters": {"include_stablecoins": False, "include_native_tokens": True},
        "order_by": [{"field": "market_cap_usd", "direction": "DESC"}],
        "pagination": {"page": 1, "per_page": ROWS},
    }


def token_of(row: Mapping[str, Any]) -> str | None:
    """The asset of a row, by contract: anybody may call a token PEPE. Ethereum's addresses have no case."""
    chain, address = row.get("chain"), row.get("token_address")
    if not isinstance(chain, str) or not isinstance(address, str):
        return None
    address = address.lower() if address.startswith("0x") else address
    return next((asset for asset, place in TOKENS.items() if place == (chain, address)), None)


def of_tokens(found: list[Mapping[str, Any]]) -> dict[tuple[str, str], float]:
    """The flow of each token that is ours, by metric and asset."""
    told: dict[tuple[str, str], float] = {}
    for row in found:
        asset, flow = token_of(row), number(row.get("net_flow_24h_usd"))
        if asset is None or flow is None:
            continue
        told["smart_money_flow_usd", asset] = flow
        cap, week = number(row.get("market_cap_usd")), number(row.get("net_flow_7d_usd"))
        if cap is not None and cap >= 1:
            told["smart_money_flow", asset] = flow / cap
            if week is not None:
                told["smart_money_flow_7d", asset] = week / cap
    return told


def of_chains(found: list[Mapping[str, Any]]) -> dict[tuple[str, str], float]:
    """The flow of each chain over its tokens, by metric and the coin that the chain is about."""
    flows: dict[str, list[float]] = defaultdict(list)
    for row in found:
        chain, flow = row.get("chain"), number(row.get("net_flow_24h_usd"))
        if isinstance(chain, str) and chain in CHAINS and flow is not None:
            flows[CHAINS[chain]].append(flow)
    # Sorted, so that the sum does not hang on the order of the rows.
    nets = {asset: sum(sorted(each)) for asset, each in flows.items()}
    moved = sum(sorted(abs(flow) for each in flows.values() for flow in each))
    told = {("bridge_flow_usd", asset): net for asset, net in nets.items()}
    if moved > 0:
        told |= {("bridge_flow", asset): net / moved for asset, net in nets.items()}
    return told


def of_groups(row: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    """The flow of each group, and what they come to together; new wallets are on nobody's side."""
    flows = {group: number(row.get(f"{group}_net_flow_usd")) for group in GROUPS}
    known = {group: flow for group, flow in flows.items() if flow is not None}
    for group, flow in known.items():
        yield f"token_{group}_flow", flow
    weighed = {group: flow for group, flow in known.items() if group != "fresh_wallets"}
    moved = sum(abs(flow) for flow in weighed.values())
    if "exchange" in weighed and moved > 0:
        held = sum(weighed.values()) - 2 * weighed["exchange"]
        yield "token_god_mode", held / moved
