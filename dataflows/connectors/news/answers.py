"""What an answer that is not a feed means, and how long it asks to be left alone."""

from __future__ import annotations

import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from typing import Final

from engine.errors import RateLimited, Refused, SourceError
from engine.providers.base import PASSING

DAY: Final = 86_400.0
A_MINUTE: Final = 60.0

WORDS: Final[Mapping[int, str]] = {
    401: "401, it wants a login",
    402: "402, it wants to be paid",
    403: "403, its firewall does not let this machine in",
    404: "404, there is nothing at this address",
    410: "410, it is gone for good",
    451: "451, it is not served in this location",
}


def fault_of(place: str, status: int, headers: Mapping[str, str]) -> SourceError:
    """The error of a status; header names are in lower case, and nothing of the body is read.

    >>> fault_of("https://coin.example", 451, {})
    Refused('https://coin.example: 451, it is not served in this location')
    """
    told = f"{place}: {WORDS.get(status, status)}"
    asked = headers.get("retry-after")
    if status == 429 or (status == 503 and asked):
        wait = retry_after(asked, headers.get("date"))
        return RateLimited(f"{told}, ask again in {wait:.0f} s", wait)
    if status in PASSING or status >= 500 or status < 400:
        return SourceError(told)
    return Refused(told, status)


def retry_after(asked: str | None, date: str | None = None) -> float:
    """Seconds to wait by a Retry-After in seconds or as a date, from a second to a day; else a minute.

    A date is read against the `date` of the same answer: the two are of one clock.

    >>> retry_after("17"), retry_after("inf"), retry_after("soon"), retry_after(None)
    (17.0, 86400.0, 60.0, 60.0)
    >>> retry_after("Sun, 22 Nov 2026 10:05:00 GMT", "Sun, 22 Nov 2026 10:03:00 GMT")
    120.0
    """
    if asked is None:
        return A_MINUTE
    try:
        wait = float(asked)
    except ValueError:
        wait = _until(asked, date)
    return min(max(wait, 1.0), DAY) if wait == wait else A_MINUTE


def _until(asked: str, date: str | None) -> float:
    try:
        now = parsedate_to_datetime(date).timestamp() if date else time.time()
        return parsedate_to_datetime(asked).timestamp() - now
    except (ValueError, OverflowError):
        return A_MINUTE
