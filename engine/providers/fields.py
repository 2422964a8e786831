"""What decoded answers hold: numbers, times, rows and words, read the same way whoever sent them.

What is null, no number or not finite is None, never an error; a missing list or object is `Unreadable`.
"""

from __future__ import annotations

import re
from collections.abc import Container, Iterable, Mapping
from datetime import UTC, datetime, timedelta
from math import isfinite
from typing import Any, Final

from engine.errors import Unreadable
from engine.records import Metric

Found = tuple[str, str, int, float]
"""One number of an answer: which, of which asset, the end of what it speaks of in ms, its value."""

LAST: Final = 253_402_300_799_000
"""The last second of the year 9999, in ms: a later time is no time."""

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
MILLISECOND: Final = timedelta(milliseconds=1)
TAG: Final = re.compile(r"<[^>]*>")


def number(value: Any) -> float | None:
    """A finite number, sent as such or as text; None for anything else.

    >>> number("0.25"), number(7), number(None), number("nan"), number(True)
    (0.25, 7.0, None, None, None)
    """
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        found = float(value)
    except (ValueError, OverflowError):
        return None
    return found if isfinite(found) else None


def unix(value: Any, unit: int = 1000) -> int | None:
    """A unix time in ms; `unit` is how many ms one of it has: 1000 for seconds, 1 for ms.

    >>> unix("1750604580"), unix(1750604580000, 1), unix(-5)
    (1750604580000, 1750604580000, None)
    """
    found = number(value)
    return int(found * unit) if found is not None and 0 <= found <= LAST / unit else None


def instant(value: Any) -> int | None:
    """An ISO-8601 time or date in ms, UTC where it names no offset.

    >>> instant("2026-10-07T00:00:00.000Z"), instant("2026-10-07"), instant("soon")
    (1791331200000, 1791331200000, None)
    """
    if not isinstance(value, str):
        return None
    try:
        found = datetime.fromisoformat(value)
        found = found if found.tzinfo else found.replace(tzinfo=UTC)
        at = (found - EPOCH) // MILLISECOND
    except (ValueError, OverflowError):
        return None
    return at if 0 <= at <= LAST else None


def stamp(at_ms: int) -> str:
    """ms UTC as ISO-8601 in whole seconds, as parameters want it.

    >>> stamp(1_791_331_200_000)
    '2026-10-07T00:00:00Z'
    """
    return datetime.fromtimestamp(at_ms // 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def day(at_ms: int) -> str:
    """The UTC day of a time.

    >>> day(1_791_331_200_000)
    '2026-10-07'
    """
    return stamp(at_ms)[:10]


def within(body: Any, *path: str) -> Any:
    """What lies under these keys, None where one is missing.

    >>> within({"data": {"points": [1]}}, "data", "points"), within([], "data")
    ([1], None)
    """
    for key in path:
        body = body.get(key) if isinstance(body, Mapping) else None
    return body


def rows(who: str, body: Any, *path: str) -> list[Mapping[str, Any]]:
    """The objects of the list under these keys; `who` is named where there is none.

    >>> rows("kaiko vwap", {"data": [{"price": "1"}, None]}, "data")
    [{'price': '1'}]
    >>> rows("kaiko vwap", {"data": 3}, "data")
    Traceback (most recent call last):
    engine.errors.Unreadable: kaiko vwap: data is int, not a list
    """
    found = within(body, *path)
    if not isinstance(found, list):
        raise Unreadable(f"{who}: {'.'.join(path) or 'the answer'} is {kind(found)}, not a list")
    return [row for row in found if isinstance(row, Mapping)]


def kind(value: Any) -> str:
    """What JSON was found, in a word."""
    return "missing or null" if value is None else type(value).__name__


def words(body: Any, *keys: str) -> str:
    """What an answer says in words: the first of these keys that holds text, or a text body without its tags.

    >>> words({"error": None, "message": "slow down"}, "error", "message"), words("<b>no</b>", "error")
    ('slow down', 'no')
    """
    if isinstance(body, str):
        return " ".join(TAG.sub(" ", body[:2000]).split())
    found = [within(body, key) for key in keys]
    return " ".join(next((text for text in found if isinstance(text, str)), "").split())


def followed(assets: Iterable[str], known: Container[str]) -> list[str]:
    """Those of the assets that are known, each once.

    >>> followed(["ETH", "XYZ", "ETH", "BTC"], {"BTC": "bitcoin", "ETH": "ethereum"})
    ['ETH', 'BTC']
    """
    return [asset for asset in dict.fromkeys(assets) if asset in known]


def in_order(source: str, found: Iterable[Found]) -> list[Metric]:
    """Metrics of these numbers, oldest first; of two for one name, asset and time the last.

    >>> [metric.value for metric in in_order("kaiko", [("mid", "BTC", 9, 2.0), ("mid", "BTC", 8, 1.0)])]
    [1.0, 2.0]
    """
    last = {(time, name, asset): value for name, asset, time, value in found if time > 0 and isfinite(value)}
    return [
        Metric(f"{source}.{name}", asset, time, value) for (time, name, asset), value in sorted(last.items())
    ]
