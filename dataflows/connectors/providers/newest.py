"""What is new in an answer: providers tell the same history again at every poll."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any, Final

from engine.providers.base import Promise
from engine.records import Metric

MOST_AT_FIRST: Final = 64
"""Rows of one metric of one asset that are handed on when it is heard for the first time."""

MOST: Final = 1024
"""The same, later: what a long outage may leave to be told at once."""


class Newest:
    """The newest number of each metric and asset of one source, among what it promises.

    >>> newest = Newest("x", {"fees": Promise("USD")}, ["BTC"])
    >>> rows = [Metric("x.fees", "BTC", time, 1.0) for time in (1, 2, 9)]
    >>> fresh, strange = newest.sift(rows, until=5)
    >>> [row.time for row in fresh], strange
    ([1, 2], '')
    >>> newest.keep(fresh)
    >>> newest.sift(rows, until=5)
    ([], '')
    """

    def __init__(self, source: str, promises: Mapping[str, Promise], assets: Collection[str]) -> None:
        self._source = source
        self._promises = {name: promise for name, promise in promises.items() if not promise.gone}
        self._assets = frozenset(assets)
        self._newest: dict[tuple[str, str], Metric] = {}

    def sift(self, rows: Iterable[Any], until: int) -> tuple[list[Metric], str]:
        """The rows that are new and not later than `until`, oldest first, and what is wrong with others.

        New is a later time, or another value at the newest one. Rows of assets that nobody asked about are
        left out in silence: an answer may tell of the whole market.
        """
        found: dict[tuple[str, str], dict[int, Metric]] = {}
        strange = ""
        for row in rows:
            if fault := self._fault(row):
                strange = fault
            elif row.time <= until and self._is_new(row):
                found.setdefault((row.name, row.asset), {})[row.time] = row
        fresh = [row for key, by_time in found.items() for row in self._last(key, by_time)]
        return sorted(fresh, key=lambda row: row.time), strange

    def keep(self, rows: Iterable[Metric]) -> None:
        """Remember rows, oldest first, as handed on."""
        for row in rows:
            self._newest[row.name, row.asset] = row

    def told(self, now: int) -> dict[str, dict[str, Any]]:
        """For each metric heard of: the age of its newest number, s of stream time, and how many assets."""
        out: dict[str, dict[str, Any]] = {}
        for (name, _), row in sorted(self._newest.items()):
            known = out.setdefault(name.partition(".")[2], {"time": row.time, "assets": 0})
            known["time"] = max(known["time"], row.time)
            known["assets"] += 1
        return {name: {"age": (now - known["time"]) / 1000, **known} for name, known in out.items()}

    def _last(self, key: tuple[str, str], by_time: Mapping[int, Metric]) -> list[Metric]:
        most = MOST if key in self._newest else MOST_AT_FIRST
        return [by_time[time] for time in sorted(by_time)[-most:]]

    def _is_new(self, row: Metric) -> bool:
        known = self._newest.get((row.name, row.asset))
        asked = row.asset in self._assets or not row.asset
        return asked and (
            known is None or row.time > known.time or (row.time == known.time and row.value != known.value)
        )

    def _fault(self, row: Any) -> str:
        """What makes a row none of this source, "" for a good one."""
        if not isinstance(row, Metric):
            return f"{self._source}: a row is no metric but a {type(row).__name__}"
        source, _, name = row.name.partition(".")
        promise = self._promises.get(name)
        if source != self._source or promise is None:
            return f"{self._source}: {row.name!r} is not among the metrics it promises"
        if (promise.of == "market") != (not row.asset):
            return f"{self._source}: {name} is of {promise.of}, and came for {row.asset or 'the market'!r}"
        return ""
