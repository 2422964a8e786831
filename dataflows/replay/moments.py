"""Moments as people write them and as the exchange counts them.

Everything inside is UTC in ms; a text without a zone is UTC.
"""

from __future__ import annotations

from datetime import UTC, datetime

from engine.errors import SettingsError


def milliseconds(moment: int | float | str) -> int:
    """A moment as ms since the epoch, from ms or ISO 8601.

    >>> milliseconds("2024-03-06T01:00")
    1709686800000
    """
    if isinstance(moment, int | float):
        return int(moment)
    if moment.isdigit():
        return int(moment)
    try:
        parsed = datetime.fromisoformat(moment)
    except ValueError:
        raise SettingsError(f"{moment!r} is not a time; give ISO 8601, as 2024-03-06T00:00, or ms") from None
    aware = parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)
    return int(aware.timestamp() * 1000)


def iso(moment: int) -> str:
    """ISO 8601 in UTC.

    >>> iso(1709686800000)
    '2024-03-06T01:00:00.000Z'
    """
    return (
        datetime.fromtimestamp(moment / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    )
