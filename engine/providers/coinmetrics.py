"""Coin Metrics: what the networks themselves are worth, earn and move, a row a day, all assets in one call.

The community tier answers without a key, for non-commercial use (CC BY-NC): bitcoin's hashrate, MVRV, flows
and addresses are free, what a plan does not hold is left out of the rows. Realized cap is then derived.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import Any, Final

from engine.errors import Refused, SourceError
from engine.providers.base import DAY, Promise, Request, fault_of
from engine.providers.fields import day, instant, number, rows, within, words
from engine.records import Metric

ASSETS: Final = frozenset(
    {
        *("BTC", "ETH", "BNB", "SOL", "AVAX", "LINK", "DOT", "POL", "NEAR", "ARB", "OP"),
        *("PEPE", "DOGE", "SHIB", "FLOKI", "BONK", "WIF"),
    }
)
"""Its codes are these in lower case."""

COLUMNS: Final[Mapping[str, tuple[str, str]]] = MappingProxyType(
    {
        "HashRate": ("hashrate", "trillions of hashes a second, mean of the day"),
        "NVTAdj": ("nvt", "market cap over the value transferred in the day"),
        "NVTAdj90": ("nvt_90d", "the same over its mean of 90 days"),
        "CapRealUSD": ("realized_cap", "coins at the price at which each last moved, USD"),
        "RevAllTimeUSD": ("thermocap", "all that miners ever earned, USD"),
        "CapMVRVCur": ("mvrv", "market value over realised value, 1 = even"),
        "CapMrktCurUSD": ("market_cap", "coins at today's price, USD"),
        "FlowInExUSD": ("exchange_inflow", "into exchanges, USD a day"),
        "FlowOutExUSD": ("exchange_outflow", "out of exchanges, USD a day"),
        "SplyExNtv": ("exchange_supply", "coins on exchanges"),
        "AdrActCnt": ("active_addresses", "addresses that sent or received in the day"),
    }
)
"""What a column becomes, and its unit."""

DERIVED: Final[Mapping[str, str]] = MappingProxyType(
    {
        "supply_in_profit": "coins worth more than when they last moved, share of all coins",
        "exchange_flow_balance": "into exchanges minus out of them over both, -1..1",
        "thermocap_multiple": "market cap over all that miners ever earned, of bitcoin",
    }
)

HELPERS: Final = ("SplyUTXOProf", "SplyCur")
"""Columns that are only asked for to derive from."""

METRICS: Final[Mapping[str, Promise]] = MappingProxyType(
    {name: Promise(unit) for name, unit in (*COLUMNS.values(), *DERIVED.items())}
)

PATH: Final = "/timeseries/asset-metrics"


class CoinMetrics:
    """Eleven columns of up to seventeen assets in one call, and what follows from them.

    Parameters
    ----------
    days
        How many past days are asked for.
    every
        How often in seconds; a day's row comes once.

    Examples
    --------
    >>> row = {"asset": "btc", "time": "2026-10-07T00:00:00.000000000Z", "CapMrktCurUSD": "6"}
    >>> told = CoinMetrics().parse(Request(PATH), {"data": [row | {"CapMVRVCur": "2"}]})
    >>> [(one.name, one.value) for one in told]
    [('coinmetrics.mvrv', 2.0), ('coinmetrics.market_cap', 6.0), ('coinmetrics.realized_cap', 3.0)]
    """

    name = "coinmetrics"
    key = "COINMETRICS_API_KEY"
    needs_key = False
    metrics = METRICS

    def __init__(self, days: int = 10, every: float = 21_600) -> None:
        self.days = days
        self.every = every

    def headers(self, key: str | None) -> Mapping[str, str]:
        return {}

    def query(self, key: str | None) -> Mapping[str, str]:
        return {"api_key": key} if key else {}

    def requests(self, assets: Iterable[str], now: int) -> Iterator[Request]:
        """One call; without the two flags one asset or column that the plan lacks would fail it whole."""
        wanted = [asset.lower() for asset in dict.fromkeys(assets) if asset in ASSETS]
        if wanted:
            params = {
                "assets": ",".join(wanted),
                "metrics": ",".join((*COLUMNS, *HELPERS)),
                "frequency": "1d",
                "start_time": day(max(now - self.days * DAY, 0)),
                "page_size": "1000",
                "ignore_unsupported_errors": "true",
                "ignore_forbidden_errors": "true",
            }
            yield Request(PATH, params, every=self.every, at=now)

    def parse(self, request: Request, body: Any) -> list[Metric]:
        """The rows of all assets, oldest first; their times have nine decimals, their numbers are texts."""
        found = [
            Metric(f"coinmetrics.{name}", asset, began + DAY, value)
            for row in rows("coinmetrics asset-metrics", body, "data")
            if isinstance(code := row.get("asset"), str)
            and (asset := code.upper()) in ASSETS
            and (began := instant(row.get("time"))) is not None
            for name, value in values(asset, row)
        ]
        return sorted(found, key=lambda metric: metric.time)

    def fault(self, status: int, headers: Mapping[str, str], body: Any) -> SourceError:
        told = within(body, "error")
        text = words(body) if isinstance(body, str) else words(told, "message", "type")
        if within(told, "type") in ("wrong_credentials", "unauthorized"):
            return Refused(f"coinmetrics: {status} {text[:120]}", status)
        wait = {"retry-after": headers.get("x-ratelimit-reset", "60"), **headers}
        return fault_of(self.name, status, wait, text)

    def remaining(self, headers: Mapping[str, str]) -> float | None:
        return number(headers.get("x-ratelimit-remaining"))


def values(asset: str, row: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    """What the columns of a row tell, and what follows from them; null and not there are the same."""
    told = {
        column: value for column in (*COLUMNS, *HELPERS) if (value := number(row.get(column))) is not None
    }
    for column, (name, _) in COLUMNS.items():
        if column in told:
            yield name, told[column]
    for name, value in derived(told):
        # Other coins are not mined, or by so few that what miners earned is no measure of their worth.
        if number(value) is not None and (asset == "BTC" or name != "thermocap_multiple"):
            yield name, value


def derived(told: Mapping[str, float]) -> Iterator[tuple[str, float]]:
    """Ratios of columns.

    MVRV is market over realised cap, so realised cap is market cap over MVRV where it is not served itself.
    """
    cap, mvrv = told.get("CapMrktCurUSD"), told.get("CapMVRVCur", 0.0)
    if cap is not None and mvrv > 0 and "CapRealUSD" not in told:
        yield "realized_cap", cap / mvrv
    if cap is not None and told.get("RevAllTimeUSD", 0.0) > 0:
        yield "thermocap_multiple", cap / told["RevAllTimeUSD"]
    if "SplyUTXOProf" in told and told.get("SplyCur", 0.0) > 0:
        yield "supply_in_profit", told["SplyUTXOProf"] / told["SplyCur"]
    came, went = told.get("FlowInExUSD", -1.0), told.get("FlowOutExUSD", -1.0)
    if min(came, went) >= 0 and came + went > 0:
        yield "exchange_flow_balance", (came - went) / (came + went)
