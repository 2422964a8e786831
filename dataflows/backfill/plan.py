"""What is still to be asked for: the wanted span without what is covered, cut into months."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from dataflows.backfill.fetch import Unit
from dataflows.backfill.series import Series, Wanted
from dataflows.backfill.spans import DAY, Range, minus, months, periods


def units(wanted: Wanted, covered: Sequence[Range], until: int) -> Iterator[Unit]:
    """The months that are not finished, oldest first; nothing that is not over at `until` (ms).

    >>> hours = Series("klines", "spot", "BTCUSDT", "1h")
    >>> found = units(Wanted(hours, Range(0, 3 * DAY)), [Range(0, DAY)], 2 * DAY + 5)
    >>> [unit.ranges for unit in found]
    [(Range(begin=86400000, end=172800000),)]
    """
    series = wanted.series
    span = Range(wanted.span.begin, min(wanted.span.end, over(series, until)))
    needed = minus([span], covered)
    if series.kind == "metrics":
        # They come by the day: the end of a span is no reason to ask for a part of one.
        needed = [day for day in periods(needed, monthly=False) if day.end <= over(series, until)]
    for month, ranges in months(needed):
        yield Unit(series, month, tuple(ranges))


def over(series: Series, until: int) -> int:
    """Up to when rows of a series are complete at `until`."""
    grid = {"klines": series.step, "metrics": DAY}.get(series.kind, 1)
    return until // grid * grid
