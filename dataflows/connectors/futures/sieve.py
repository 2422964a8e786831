"""What of the metrics is news: a newer time, or another value at a time that is known."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any, Final

from engine.records import Metric

MINUTE: Final = 60_000

SPACING: Final[Mapping[str, int]] = MappingProxyType(
    {"binance.mark_price": MINUTE, "binance.basis": MINUTE, "binance.funding_current": 5 * MINUTE}
)
"""Ms that lie at least between two handed on, for what is told all the time."""

REMEMBERED: Final = 8
"""Times of each metric whose values are remembered; what is older than those is no news."""


@dataclass(slots=True)
class Known:
    """What has been handed on of one metric of one asset: its newest times with their values."""

    newest: int
    values: dict[int, float]


class Sieve:
    """Lets through what is new. A snapshot from the future is of now; a period from there is not over.

    >>> sieve = Sieve()
    >>> one = Metric("binance.funding", "BTC", 100, 0.25)
    >>> [len(list(sieve.new([metric], 200))) for metric in (one, one, replace(one, value=0.5))]
    [1, 0, 1]
    """

    def __init__(self, spacing: Mapping[str, int] = SPACING) -> None:
        self._spacing = spacing
        self._known: dict[tuple[str, str], Known] = {}

    def new(self, metrics: Iterable[Metric], now: int) -> Iterator[Metric]:
        """Those that are news at `now`, stream time in ms UTC."""
        for metric in metrics:
            apart = self._spacing.get(metric.name, 0)
            if metric.time > now:
                if not apart:
                    continue
                metric = replace(metric, time=now)
            if self._is_new(metric, apart):
                yield metric

    def newest(self, name: str, asset: str) -> int | None:
        """The time of the newest one handed on."""
        known = self._known.get((name, asset))
        return None if known is None else known.newest

    def ages(self, now: int) -> dict[str, dict[str, Any]]:
        """By metric, without its source's name: age in s, its time in ms, and of how many assets it is."""
        found: dict[str, list[int]] = {}
        for (name, _), known in self._known.items():
            found.setdefault(name.partition(".")[2], []).append(known.newest)
        return {
            name: {"age": max(now - max(times), 0) / 1000, "time": max(times), "assets": len(times)}
            for name, times in sorted(found.items())
        }

    def _is_new(self, metric: Metric, apart: int) -> bool:
        key = (metric.name, metric.asset)
        known = self._known.get(key)
        if known is None:
            self._known[key] = Known(metric.time, {metric.time: metric.value})
            return True
        if metric.time > known.newest:
            news = metric.time - known.newest >= apart
        else:
            known_here = metric.time >= min(known.values)
            news = not apart and known_here and known.values.get(metric.time) != metric.value
        if news:
            known.newest = max(known.newest, metric.time)
            known.values[metric.time] = metric.value
            while len(known.values) > REMEMBERED:
                del known.values[min(known.values)]
        return news
