"""Alternative.me: the Crypto Fear & Greed Index, free, one number a day for the whole market.

Everything in it is text, the newest row first; a row is published at the time it is stamped with.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import Any, Final

from engine.errors import SourceError
from engine.providers.base import Promise, Request, fault_of
from engine.providers.fields import in_order, number, rows, unix, within, words
from engine.records import Metric

METRICS: Final[Mapping[str, Promise]] = MappingProxyType(
    {"fear_greed": Promise("index, 0 = extreme fear, 100 = extreme greed", "market")}
)


class AlternativeMe:
    """The index of the last days, so that what looks back on it need not wait for them.

    Parameters
    ----------
    days
        How many of them.

    Examples
    --------
    >>> plug = AlternativeMe()
    >>> [request] = plug.requests([], 0)
    >>> body = {"data": [{"value": "47", "timestamp": "1777248000"}], "metadata": {"error": None}}
    >>> [metric.value for metric in plug.parse(request, body)]
    [47.0]
    """

    name = "alternative_me"
    key = ""
    needs_key = False
    metrics = METRICS

    def __init__(self, days: int = 31) -> None:
        self.days = days

    def headers(self, key: str | None) -> Mapping[str, str]:
        return {}

    def query(self, key: str | None) -> Mapping[str, str]:
        return {}

    def requests(self, assets: Iterable[str], now: int) -> Iterator[Request]:
        """One question, whatever the assets."""
        yield Request("/fng/", {"limit": str(self.days), "format": "json"}, metric="fear_greed")

    def parse(self, request: Request, body: Any) -> list[Metric]:
        """The days, oldest first; what lies outside 0..100 is no index."""
        error = within(body, "metadata", "error")
        if error:
            raise SourceError(f"alternative_me fear_greed: {' '.join(str(error).split())[:120]}")
        return in_order(
            self.name,
            (
                ("fear_greed", "", at, value)
                for row in rows("alternative_me fear_greed", body, "data")
                if (at := unix(row.get("timestamp"))) is not None
                and (value := number(row.get("value"))) is not None
                and 0 <= value <= 100
            ),
        )

    def fault(self, status: int, headers: Mapping[str, str], body: Any) -> SourceError:
        said = words(within(body, "metadata"), "error") or words(body, "error", "message")
        return fault_of(self.name, status, headers, said)

    def remaining(self, headers: Mapping[str, str]) -> float | None:
        return None
