"""Token Terminal: what protocols earn, what they are valued at for it, and who uses them; one number a day.

A row is stamped with its day's beginning and is told with that day's end. The project ids are unconfirmed;
the route `/projects` lists them. Price to fees is called P/F, price to revenue P/S; the P/E that was there
until 2022 is derived: fully diluted market capitalisation over the earnings of a year.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import Any, Final

from engine.errors import SourceError
from engine.providers.base import DAY, Promise, Request, fault_of
from engine.providers.fields import Found, day, followed, in_order, instant, number, rows, words
from engine.records import Metric

PROJECTS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "BTC": "bitcoin",
        "ETH": "ethereum",
        "BNB": "bnb-chain",
        "SOL": "solana",
        "AVAX": "avalanche",
        "LINK": "chainlink",
        "DOT": "polkadot",
        "POL": "polygon",
        "NEAR": "near-protocol",
        "ARB": "arbitrum",
        "OP": "optimism",
        "DOGE": "dogecoin",
    }
)

IDS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "revenue": "revenue",
        "fees": "fees",
        "tvl": "tvl",
        "active_users": "user_dau",
        "ps_ratio": "ps_fully_diluted",
        "pf_ratio": "pf_fully_diluted",
        "market_cap": "market_cap_fully_diluted",
        "earnings": "earnings",
    }
)
"""Our name of each metric, and its metric_id."""

METRICS: Final[Mapping[str, Promise]] = MappingProxyType(
    {
        "revenue": Promise("what the protocol keeps of a day's fees, USD"),
        "fees": Promise("what users paid in a day, USD"),
        "tvl": Promise("value locked, USD"),
        "active_users": Promise("addresses active in a day, count"),
        "ps_ratio": Promise("fully diluted market capitalisation over a year's revenue, times"),
        "pf_ratio": Promise("fully diluted market capitalisation over a year's fees, times"),
        "market_cap": Promise("fully diluted market capitalisation, USD"),
        "earnings": Promise("a day's revenue less costs and token incentives, USD; may be negative"),
        "pe_ratio": Promise("market_cap over 365 times the mean earnings of 30 days, times; none for a loss"),
    }
)

SIX_HOURS: Final = 21_600.0
MONTH: Final = 30
LEAST: Final = 25
"""Days of the month whose earnings must be known for a year's to be told."""


class TokenTerminal:
    """One request a metric, for all projects.

    Parameters
    ----------
    projects
        Asset to project id.
    back
        Days asked for, so that a week's change is known at once; earnings are asked for a month more.

    Examples
    --------
    >>> first = next(TokenTerminal().requests(["ETH", "ARB"], 1_791_331_200_000))
    >>> first.path, dict(first.params)
    ('/metrics/revenue', {'project_ids': 'ethereum,arbitrum', 'start': '2026-09-29'})
    """

    name = "token_terminal"
    key = "TOKEN_TERMINAL_API_KEY"
    needs_key = True
    metrics = METRICS

    def __init__(self, projects: Mapping[str, str] = PROJECTS, back: int = 8) -> None:
        self.projects = dict(projects)
        self.back = back

    def headers(self, key: str | None) -> Mapping[str, str]:
        return {"Authorization": f"Bearer {key}"} if key else {}

    def query(self, key: str | None) -> Mapping[str, str]:
        return {}

    def requests(self, assets: Iterable[str], now: int) -> Iterator[Request]:
        """Each metric of all projects, the last days of it; nothing where no asset is a project."""
        projects = ",".join(self.projects[asset] for asset in followed(assets, self.projects))
        if not projects:
            return
        for ours, theirs in IDS.items():
            days = self.back + (MONTH if ours == "earnings" else 0)
            params = {"project_ids": projects, "start": day(now - days * DAY)}
            yield Request(f"/metrics/{theirs}", params, metric=ours, every=SIX_HOURS, at=now)

    def parse(self, request: Request, body: Any) -> list[Metric]:
        """The rows of one metric, oldest first; null and projects that are not followed say nothing."""
        assets = {project: asset for asset, project in self.projects.items()}
        return in_order(self.name, self._read(request.metric, assets, body))

    def _read(self, metric: str, assets: Mapping[str, str], body: Any) -> Iterator[Found]:
        for row in rows(f"token_terminal {metric}", body, "data"):
            asset = assets.get(str(row.get("project_id")))
            begin = instant(row.get("timestamp"))
            value = number(row.get(IDS.get(metric, metric)))
            if asset is not None and begin is not None and value is not None:
                yield metric, asset, begin + DAY, value

    def derive(self, metrics: Iterable[Metric]) -> list[Metric]:
        """The P/E of every day whose market capitalisation and earnings are among these metrics.

        They are all that one round of requests told, known before or not: a month of earnings is needed.
        """
        earned: dict[str, dict[int, float]] = defaultdict(dict)
        valued: list[Metric] = []
        for metric in metrics:
            if metric.name == "token_terminal.earnings":
                earned[metric.asset][metric.time] = metric.value
            elif metric.name == "token_terminal.market_cap":
                valued.append(metric)
        return in_order(
            self.name,
            (
                ("pe_ratio", cap.asset, cap.time, cap.value / year)
                for cap in valued
                if (year := of_a_year(earned[cap.asset], cap.time)) is not None
            ),
        )

    def fault(self, status: int, headers: Mapping[str, str], body: Any) -> SourceError:
        return fault_of(self.name, status, headers, words(body, "message", "error"))

    def remaining(self, headers: Mapping[str, str]) -> float | None:
        return None


def of_a_year(earned: Mapping[int, float], until: int) -> float | None:
    """A year's earnings at the pace of the month that ends at `until`; None for a loss, or too few days.

    >>> of_a_year({day * DAY: 2.0 for day in range(1, 31)}, 30 * DAY)
    730.0
    """
    month = [value for time, value in earned.items() if until - MONTH * DAY < time <= until]
    year = 365.0 * sum(month) / len(month) if len(month) >= LEAST else 0.0
    return year if year > 0 else None
