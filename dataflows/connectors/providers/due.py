"""Which of a provider's questions to ask now: those whose last good answer has worn out.

A question that differs from an earlier one only in the times it names is the same question.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

import orjson

from dataflows.connectors.http.breaker import DAY
from dataflows.connectors.http.cache import Cache
from engine.providers.base import Request

TIMES: Final = re.compile(
    rb"\d{4}-\d\d-\d\d(?:[T ][\d:.]+(?:Z|[+-]\d\d:?\d\d)?)?"
    rb"|(?<![\w.])(?:19|20)\d{6}(?:T\d{6}Z?)?(?![\w.])"
    rb"|(?<![\w.])\d{10,19}(?![\w.])"
)
"""Dates, dates and times, and unix times, as providers are asked with."""


def question(request: Request) -> bytes:
    """What makes a request the one it is, whenever it is made.

    >>> a = Request("/fees", {"asset": "BTC", "since": "1700000000"})
    >>> b = Request("/fees", {"asset": "BTC", "since": "1700003600"}, at=5)
    >>> c = Request("/fees", {"asset": "ETH", "since": "1700003600"})
    >>> question(a) == question(b), question(b) == question(c)
    (True, False)
    """
    parts = [request.host, request.path, request.metric, request.asset, dict(request.params), request.body]
    return TIMES.sub(b"t", orjson.dumps(parts, default=dict, option=orjson.OPT_SORT_KEYS))


class Due:
    """The questions of one provider that polls every `every` seconds of stream time.

    The response cache says which are due; what is in it stays when newer answers fail. What is not served is
    not asked for a day of wall time; what failed is asked last: it keeps no other from being asked.
    """

    def __init__(self, every: float) -> None:
        self._every = every
        self._answers: Cache[int] = Cache()
        self._absent: dict[bytes, float] = {}
        self._failures: dict[bytes, int] = {}
        self._open: set[bytes] = set()
        self.known = 0
        """Questions of the last poll, due or not."""

    @property
    def open(self) -> int:
        """Questions that were due at the last poll and have no answer yet."""
        return len(self._open)

    @property
    def absent(self) -> int:
        """Questions that are not asked because their answer is not to be had."""
        return len(self._absent)

    def of(
        self, requests: Iterable[Request], now: int, wall: float, *, whole: bool
    ) -> list[tuple[bytes, Request]]:
        """What to ask at `now`: all that is due, or only what the last poll left open."""
        asked = [(question(request), request) for request in requests]
        self.known = len(asked)
        self._absent = {key: until for key, until in self._absent.items() if until > wall}
        if whole:
            self._open = {key for key, request in asked if self._worn(key, request, now)}
        due = [(key, request) for key, request in asked if key in self._open]
        return sorted(due, key=lambda one: self._failures.get(one[0], 0))

    def answered(self, key: bytes, rows: int, now: int) -> None:
        """`rows` new numbers came with the answer to what was asked at `now`."""
        self._answers.keep(key, rows, now)
        self._failures.pop(key, None)
        self._open.discard(key)

    def not_served(self, key: bytes, wall: float) -> None:
        self._absent[key] = wall + DAY
        self._failures.pop(key, None)
        self._open.discard(key)

    def failed(self, key: bytes) -> None:
        self._failures[key] = self._failures.get(key, 0) + 1

    def _worn(self, key: bytes, request: Request, now: int) -> bool:
        if key in self._absent:
            return False
        every = self._every if request.every is None else request.every
        # Half a poll earlier: an answer that came late in its poll must not wait for two more.
        return self._answers.fresh(key, now, 1000 * (every - self._every / 2)) is None
