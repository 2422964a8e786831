"""What a status in Redis says, whatever it may hold by mistake: the wrong type counts as not there."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any


def numbers(found: object) -> dict[str, int]:
    """A mapping's whole numbers; everything else a status may hold by mistake is left out.

    >>> numbers({"BTCUSDT": 5, "ETHUSDT": None}), numbers(None)
    ({'BTCUSDT': 5}, {})
    """
    if not isinstance(found, Mapping):
        return {}
    return {str(key): int(value) for key, value in found.items() if isinstance(value, int | float)}


def part(status: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """A block inside a status; empty where there is none."""
    found = status.get(name)
    return found if isinstance(found, Mapping) else {}


def items(status: Mapping[str, Any], name: str) -> list[Any]:
    """A list inside a status; empty where there is none."""
    found = status.get(name)
    return found if isinstance(found, list) else []


def number(status: Mapping[str, Any], name: str) -> float | None:
    found = status.get(name)
    return found if isinstance(found, int | float) else None


def word(status: Mapping[str, Any], name: str) -> str | None:
    found = status.get(name)
    return found if isinstance(found, str) else None


def iso(time: int) -> str:
    """ms UTC as ISO-8601 to the second.

    >>> iso(1_795_363_500_000)
    '2026-11-22T16:05:00Z'
    """
    return datetime.fromtimestamp(time / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
