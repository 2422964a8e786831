"""Stretches of time: what is covered, what is wanted, and how the archive's calendar cuts it.

A range is [begin, end) in ms UTC; a list of ranges is sorted and its ranges do not touch.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

DAY: Final = 86_400_000
FOREVER: Final = 1 << 62


class Range(NamedTuple):
    """[begin, end) in ms UTC."""

    begin: int
    end: int


def union(ranges: Iterable[Sequence[int]]) -> list[Range]:
    """All of them as one list.

    >>> union([(5, 9), (0, 3), (3, 4)])
    [Range(begin=0, end=4), Range(begin=5, end=9)]
    """
    out: list[Range] = []
    for begin, end in sorted((begin, end) for begin, end in ranges if begin < end):
        if out and begin <= out[-1].end:
            out[-1] = Range(out[-1].begin, max(out[-1].end, end))
        else:
            out.append(Range(begin, end))
    return out


def minus(ranges: Iterable[Sequence[int]], taken: Iterable[Sequence[int]]) -> list[Range]:
    """What of `ranges` is not in `taken`.

    >>> minus([(0, 10)], [(2, 3), (8, 12)])
    [Range(begin=0, end=2), Range(begin=3, end=8)]
    """
    left = union(ranges)
    for low, high in union(taken):
        left = [
            part
            for begin, end in left
            for part in (Range(begin, min(end, low)), Range(max(begin, high), end))
            if part.begin < part.end
        ]
    return left


def common(ranges: Iterable[Sequence[int]], others: Iterable[Sequence[int]]) -> list[Range]:
    """What is in both.

    >>> common([(0, 10)], [(2, 3), (8, 12)])
    [Range(begin=2, end=3), Range(begin=8, end=10)]
    """
    ranges = union(ranges)
    return minus(ranges, minus(ranges, others))


def month_of(time: int) -> Range:
    """The calendar month, UTC, that holds `time`.

    >>> month_of(1_709_251_200_000) == Range(1_709_251_200_000, 1_711_929_600_000)
    True
    """
    at = datetime.fromtimestamp(time / 1000, UTC)
    begin = datetime(at.year, at.month, 1, tzinfo=UTC)
    end = datetime(at.year + at.month // 12, at.month % 12 + 1, 1, tzinfo=UTC)
    return Range(round(begin.timestamp() * 1000), round(end.timestamp() * 1000))


def day_of(time: int) -> Range:
    begin = time // DAY * DAY
    return Range(begin, begin + DAY)


def months(ranges: Iterable[Range]) -> Iterator[tuple[Range, list[Range]]]:
    """Each month that is touched, and what of it is meant."""
    ranges = union(ranges)
    for month in periods(ranges, monthly=True):
        yield month, common(ranges, [month])


def periods(ranges: Iterable[Range], *, monthly: bool) -> list[Range]:
    """The whole months, or days, that `ranges` touch.

    >>> [day.begin // DAY for day in periods([Range(5, DAY), Range(3 * DAY, 3 * DAY + 1)], monthly=False)]
    [0, 3]
    """
    found: dict[Range, None] = {}
    for begin, end in ranges:
        while begin < end:
            period = month_of(begin) if monthly else day_of(begin)
            found[period] = None
            begin = period.end
    return list(found)


def stamp(period: Range) -> str:
    """The name the archive gives a month or a day.

    >>> stamp(month_of(0)), stamp(day_of(0))
    ('1970-01', '1970-01-01')
    """
    at = datetime.fromtimestamp(period.begin / 1000, UTC)
    return at.strftime("%Y-%m-%d" if period.end - period.begin == DAY else "%Y-%m")


def told(ranges: Iterable[Range]) -> str:
    """Ranges as people read them."""
    return ", ".join(f"{iso(begin)}..{iso(end)}" for begin, end in ranges)


def iso(time: int) -> str:
    return datetime.fromtimestamp(time / 1000, UTC).strftime("%Y-%m-%dT%H:%M")


def runs(times: NDArray[np.int64], step: int) -> list[Range]:
    """Where times that ascend follow each other within `step`; a run ends `step` after its last.

    >>> runs(np.array([0, 5, 20, 25]), 5)
    [Range(begin=0, end=10), Range(begin=20, end=30)]
    """
    if not len(times):
        return []
    cuts = np.flatnonzero(np.diff(times) > step)
    begins = times[np.concatenate(([0], cuts + 1))]
    ends = times[np.concatenate((cuts, [len(times) - 1]))] + step
    return [Range(*pair) for pair in zip(begins.tolist(), ends.tolist(), strict=True)]


def pages(holes: Sequence[Range], longest: int) -> list[Range]:
    """Questions that cover all holes, each over at most `longest` ms; near holes share one.

    >>> pages([Range(0, 1), Range(3, 12)], 10)
    [Range(begin=0, end=10), Range(begin=10, end=12)]
    """
    out: list[Range] = []
    left = list(union(holes))
    while left:
        first, page = left[0].begin, Range(left[0].begin, left[0].begin + longest)
        asked = common(left, [page])
        out.append(Range(first, asked[-1].end))
        left = minus(left, [page])
    return out
