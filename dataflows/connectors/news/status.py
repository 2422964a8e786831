"""How each feed is, and all of them together, as `/providers/status` shows it.

A feed is as fresh as its newest item: a page that is written anew each minute may hold last year's news.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from dataflows.connectors.news.feed import Feed, Standing

STALE: Final = 24 * 3_600_000
"""ms of stream time after which nothing new means that nobody writes there."""

FAILED: Final = 3
"""Failures in a row after which a feed is down; before, what it told still stands."""

MOST_NAMED: Final = 5
NO_QUOTA: Final[Mapping[str, Any]] = {"minute": None, "day": None, "month": None, "told": None}


def state(one: Standing, now: int) -> tuple[str, str | None]:
    """(ok, stale or down, and why) at `now`, stream time."""
    if one.last_success is None:
        return "down", str(one.error) if one.error else "not asked yet"
    if one.error:
        return ("down" if one.refused or one.failures >= FAILED else "stale"), str(one.error)
    if one.newest is None:
        return "stale", "no item with a date" if one.items else "no items"
    if now - one.newest > STALE:
        return "stale", f"its newest item is {(now - one.newest) / 3_600_000:.0f} hours old"
    return "ok", None


def body(feed: Feed, now: int) -> dict[str, Any]:
    """One feed at `now`, stream time."""
    one = feed.standing
    told, reason = state(one, now)
    return {
        **blank(told, reason),
        "last_success": one.last_success,
        "next": one.next,
        "error": fault(one),
        "latency_ms": None if one.seconds is None else round(one.seconds * 1000, 1),
        "breaker": "closed" if one.error is None else "half-open" if one.asking else "open",
        "retry_at": one.retry_at,
        "metrics": headlines(one.newest, len(one.assets), now),
    }


def blank(state: str, reason: str | None) -> dict[str, Any]:
    """What a source says of which nothing else is known."""
    return {
        "state": state,
        "reason": reason,
        "last_success": None,
        "next": None,
        "error": None,
        "quota": dict(NO_QUOTA),
        "latency_ms": None,
        "breaker": "closed",
        "retry_at": None,
        "metrics": {},
    }


def fault(one: Standing) -> dict[str, Any] | None:
    if one.error is None:
        return None
    return {"class": type(one.error).__name__, "message": str(one.error), "at": one.error_at}


def headlines(newest: int | None, assets: int, now: int) -> dict[str, Any]:
    """The one metric of a feed: its headlines; `age` is in seconds of stream time."""
    if newest is None:
        return {}
    return {"headlines": {"age": max(0.0, (now - newest) / 1000), "time": newest, "assets": assets}}


def summary(feeds: Sequence[Feed], now: int) -> dict[str, Any]:
    """All feeds as one source: well while at least half of them are, down when none is left."""
    ones = [feed.standing for feed in feeds]
    states = {feed.name: state(feed.standing, now)[0] for feed in feeds}
    well = sum(told == "ok" for told in states.values())
    told = "ok" if 2 * well >= len(feeds) else "stale" if set(states.values()) != {"down"} else "down"
    failed = max((one for one in ones if one.error), key=lambda one: one.error_at or 0, default=None)
    newest = max((one.newest for one in ones if one.newest is not None), default=None)
    return {
        **blank(told, reasons(states)),
        "last_success": max((one.last_success for one in ones if one.last_success is not None), default=None),
        "next": min((one.next for one in ones if one.next is not None), default=None),
        "error": fault(failed) if failed else None,
        "metrics": headlines(newest, len(set[str]().union(*(one.assets for one in ones))), now),
    }


def reasons(states: Mapping[str, str]) -> str | None:
    """Who is not well, None where all are.

    >>> reasons({"coindesk": "ok", "decrypt": "down", "protos": "stale"})
    'of 3 feeds 1 down (decrypt), 1 stale (protos)'
    """
    parts = []
    for bad in ("down", "stale"):
        names = sorted(name for name, told in states.items() if told == bad)
        more = f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else ""
        if names:
            parts.append(f"{len(names)} {bad} ({', '.join(names[:MOST_NAMED])}{more})")
    return f"of {len(states)} feeds {', '.join(parts)}" if parts else None
