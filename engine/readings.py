"""What is known of an asset beside its candles: metrics as they were learned, read when a candle closes.

Stream time is an argument; a number that was learned at a close or later does not exist for it.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Mapping
from math import isfinite, sqrt
from typing import Any, Final, NamedTuple

from engine.records import NOT_YET, Metric, Reading
from engine.settings.readers import Read, Reader

HOUR: Final = 3_600_000

MOST_WAITING: Final = 4096
"""Metrics learned behind the last close that wait for the next one."""

CLOSED: Final = HOUR
"""How far the newest metric was learned behind a close that can still come: moments wait for seconds."""

POINTS: Final = 32
"""Past numbers that are kept of what a reader looks back on, spread evenly over it."""

MOST_ADDENDS: Final = 256
"""Numbers of a sum that are kept one by one; more are added up by parts of its time, half as many."""

FORGOTTEN: Final = 10
"""Half-lives after which a number is forgotten altogether."""

LEAST_KNOWN: Final = 8
"""Past numbers without which there is no telling what is usual."""


class Rule(NamedTuple):
    """A reader as far as numbers are kept for it: times in ms."""

    read: Read
    over: int
    keep: int

    @classmethod
    def of(cls, reader: Reader) -> Rule:
        # What is compared is up to 1.5 spans apart, so that long nothing with a past is forgotten.
        keep = max(FORGOTTEN * reader.half_life, 2 * reader.over)
        return cls(reader.read, max(round(reader.over * HOUR), 1), round(keep * HOUR))


class Readings:
    """One symbol's metrics: `update` with each as it comes, `at` a close what they say.

    A number counts from the first close after it was learned, and not before what it speaks of is over. What
    is said at a close follows from what counts by then, whenever else was asked; closes are asked in order.

    Parameters
    ----------
    readers
        By metric, how it is read; what is not in there is not kept.

    Examples
    --------
    >>> readings = Readings({"binance.funding": Reader(layer="onchain", component="funding", scale=1.0)})
    >>> readings.update(Metric("binance.funding", "BTC", 100, 0.25, learned=130))
    >>> readings.at(130), readings.at(131)["binance.funding"].value
    ({}, 0.25)
    """

    __slots__ = ("_pasts", "_rules", "_soonest", "_waiting")

    def __init__(self, readers: Mapping[str, Reader]) -> None:
        self._rules = {name: Rule.of(one) for name, one in readers.items() if one.layer is not None}
        self._waiting: list[Metric] = []
        self._pasts: dict[str, Past] = {}
        self._soonest = 0

    def update(self, metric: Metric) -> None:
        """Take in a metric; they come in the order in which they were learned."""
        if metric.name not in self._rules:
            return
        self._waiting.append(metric)
        if len(self._waiting) > MOST_WAITING:
            self._make_room()

    def at(self, time: int) -> dict[str, Reading]:
        """What counts at the close at `time`, by name, in the order of names."""
        known = [metric for metric in self._waiting if counts(metric, time)]
        if known:
            self._waiting = [metric for metric in self._waiting if not counts(metric, time)]
            for metric in known:
                self._take(metric)
        if time > self._soonest:
            self._forget(time)
        rules = self._rules
        return {name: past.reading(name, rules[name], time) for name, past in self._pasts.items()}

    def _make_room(self) -> None:
        """Take in the longest waiting metric; in a flood, where closes before it may still come, drop it."""
        oldest = self._waiting.pop(0)
        if counts(oldest, self._waiting[-1].learned - CLOSED):
            self._take(oldest)

    def _take(self, metric: Metric) -> None:
        past = self._pasts.get(metric.name)
        if past is None:
            past = self._pasts[metric.name] = Past()
            self._pasts = {name: self._pasts[name] for name in sorted(self._pasts)}
            self._soonest = 0
        past.take(metric, self._rules[metric.name])

    def _forget(self, time: int) -> None:
        ends = {name: past.times[-1] + self._rules[name].keep for name, past in self._pasts.items()}
        self._pasts = {name: past for name, past in self._pasts.items() if ends[name] >= time}
        self._soonest = min([end for end in ends.values() if end >= time], default=0)


class Past:
    """The numbers of one metric, by their own time: the newest, and those that its reader needs beside it.

    Which are kept depends on the numbers alone, not on the order in which those of one close came. A number
    for a time that is known takes the place of the one before; one that is older than what is kept of its
    time is not needed.
    """

    __slots__ = ("_said", "learned", "times", "values")

    def __init__(self) -> None:
        self.times: list[int] = []
        self.values: list[float] = []
        self.learned = 0
        self._said: Reading | None = None

    def __getstate__(self) -> tuple[Any, ...]:
        return self.times, self.values, self.learned

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.times, self.values, self.learned = state
        self._said = None

    def take(self, metric: Metric, rule: Rule) -> None:
        """Take in one number."""
        self._said = None
        times = self.times
        place = bisect_left(times, metric.time)
        if place < len(times) and times[place] == metric.time:
            self.values[place] = metric.value
        else:
            times.insert(place, metric.time)
            self.values.insert(place, metric.value)
        if metric.time == times[-1]:
            self.learned = metric.learned
        match rule.read:
            case "level":
                self._cut(len(times) - 1)
            case "sum":
                self._cut(bisect_right(times, times[-1] - rule.over))
                self._add_up(rule)
            case _:
                self._settle(place, rule)

    def reading(self, name: str, rule: Rule, time: int) -> Reading:
        """What it says at the close at `time`."""
        if rule.read == "sum":
            begun = bisect_right(self.times, time - rule.over)
            return Reading(name, self.times[-1], self.learned, sum(self.values[begun:]))
        if self._said is None:
            self._said = Reading(name, self.times[-1], self.learned, self._value(rule))
        return self._said

    def _value(self, rule: Rule) -> float:
        newest = self.values[-1]
        if rule.read == "level":
            return newest
        if rule.read == "deviation":
            return deviation(self.values[bisect_right(self.times, self.times[-1] - rule.over) :])
        before = self._before(rule.over)
        if before is None:
            return NOT_YET
        if rule.read == "difference":
            return newest - before
        return newest / before - 1.0 if before > 0 else NOT_YET

    def _before(self, over: int) -> float | None:
        """The number nearest to `over` ms before the newest.

        None where that is a sixteenth too young or half as long again ago: it would tell another change.
        """
        begun = self.times[-1] - over
        after = bisect_left(self.times, begun)
        near = [
            (abs(begun - self.times[place]), place)
            for place in (after, after - 1)
            if place >= 0 and -over / 2 <= self.times[place] - begun <= over / 16
        ]
        return self.values[min(near)[1]] if near else None

    def _settle(self, place: int, rule: Rule) -> None:
        """Keep of each `POINTS`th part of the span the first number, and the newest of all."""
        times, part = self.times, rule.over // POINTS + 1
        last = len(times) - 1
        for one in (place + 1, place, place - 1):
            if 0 < one < last and times[one] // part == times[one - 1] // part:
                del times[one], self.values[one]
                last -= 1
        # The last one before the span is what the newest is compared with.
        self._cut(max(bisect_right(times, times[-1] - rule.over) - 1, 0))

    def _add_up(self, rule: Rule) -> None:
        """Where there are too many addends, those of each part of the span become one, at its end."""
        if len(self.times) <= MOST_ADDENDS:
            return
        part, newest = rule.over // (MOST_ADDENDS // 2) + 1, self.times[-1]
        sums: dict[int, float] = {}
        for time, value in zip(self.times, self.values, strict=True):
            # A ms before the end, where no period of a whole second ends: a revised one replaces no sum.
            end = min((time // part + 1) * part - 1, newest)
            sums[end] = sums.get(end, 0.0) + value
        self.times, self.values = list(sums), list(sums.values())

    def _cut(self, begun: int) -> None:
        if begun:
            del self.times[:begun], self.values[:begun]


def counts(metric: Metric, time: int) -> bool:
    """Whether a metric is known at the close at `time`.

    >>> metric = Metric("binance.funding", "BTC", 100, 0.25, learned=130)
    >>> counts(metric, 130), counts(metric, 131)
    (False, True)
    """
    return metric.learned < time and metric.time <= time


def deviation(values: list[float]) -> float:
    """How many standard deviations the last value stands from the mean of those before; nan for under 8.

    >>> deviation([1.0, 3.0] * 4 + [4.0])
    2.0
    """
    before = values[:-1]
    if len(before) < LEAST_KNOWN:
        return NOT_YET
    mean = sum(before) / len(before)
    spread = sqrt(sum([(value - mean) * (value - mean) for value in before]) / len(before))
    # What differs in its last digits only has not moved.
    if not isfinite(spread) or spread <= 1e-9 * abs(mean):
        return NOT_YET
    return (values[-1] - mean) / spread


def freshness(reading: Reading, reader: Reader, time: int) -> float:
    """How much a reading still counts at `time`: 1 when new, halved with every half-life of its age.

    >>> reader = Reader(layer="onchain", component="funding", half_life=8)
    >>> freshness(Reading("binance.funding", 0, 0, 0.0001), reader, 16 * HOUR)
    0.25
    """
    age = max(time - reading.time, 0)
    return float(0.5 ** (age / (reader.half_life * HOUR)))
