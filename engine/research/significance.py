"""How far chance alone carries a figure: bootstrap over blocks of days, time-shifted labels, Wilson.

Symbols move together and labels overlap, so days are drawn whole, in blocks, with all their symbols.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import sqrt
from statistics import NormalDist
from typing import Final, NamedTuple

import numpy as np
from numpy.random import Generator

from engine.research import Array, Ints
from engine.research.metrics import auc_of_levels, check

DAY: Final = 86_400_000


class Interval(NamedTuple):
    """Where a figure lies, as far as the data can tell; nan where it cannot."""

    low: float
    high: float


def between(drawn: Array, level: float = 0.95) -> Interval:
    """The middle `level` of what was drawn; what could not be computed is left out.

    >>> between(np.arange(101.0), level=0.5)
    Interval(low=25.0, high=75.0)
    """
    finite = drawn[np.isfinite(drawn)]
    if not len(finite):
        return Interval(float("nan"), float("nan"))
    low, high = np.quantile(finite, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(low), float(high))


def blocks(rng: Generator, days: int, length: int) -> Ints:
    """As many days as there are, drawn in runs of `length` that go on at the first day after the last.

    The circular block bootstrap of Politis and Romano (1992).

    >>> blocks(np.random.default_rng(1), days=7, length=3)
    array([3, 4, 5, 3, 4, 5, 5])
    """
    starts = rng.integers(0, days, -(-days // length))
    return ((starts[:, None] + np.arange(length)) % days).ravel()[:days]


@dataclass(frozen=True, slots=True, eq=False)
class Days:
    """Rows by UTC day, and how often each resample drew each day.

    Parameters
    ----------
    day
        Of each row, counted from the first.
    drawn
        (resamples, days). A statistic of a resample is that of the rows with these weights.
    """

    day: Ints
    drawn: Array

    @classmethod
    def of(cls, time: Ints, rng: Generator, *, length: int = 3, count: int = 1000) -> Days:
        """Resamples of the days from the first row to the last, those without rows among them.

        A close at midnight belongs to the day it ends.
        """
        if not len(time):
            raise ValueError("no rows to resample")
        day = (time - 1) // DAY
        day = day - day.min()
        days = int(day.max()) + 1
        drawn = [np.bincount(blocks(rng, days, length), minlength=days) for _ in range(count)]
        return cls(day, np.array(drawn, dtype=np.float64).reshape(count, days))

    def interval(self, statistic: Callable[..., Array], *addends: Array, level: float = 0.95) -> Interval:
        """The interval of a statistic of sums: it is given, for each addend, every resample's sum of it.

        Sums are taken once a day, so a thousand resamples cost a product of matrices.

        >>> days = Days.of(np.arange(1, 301) * DAY // 3, np.random.default_rng(5))
        >>> hits = np.tile([1.0, 1.0, 0.0], 100)
        >>> days.interval(lambda hits, rows: hits / rows, hits, np.ones(300)).low.__round__(6)
        0.666667
        """
        sums = [self.drawn @ np.bincount(self.day, values, self.drawn.shape[1]) for values in addends]
        with np.errstate(divide="ignore", invalid="ignore"):  # a resample may hold nothing to divide by
            return between(statistic(*sums), level)

    def mean(self, values: Array, weight: Array | None = None, level: float = 0.95) -> Interval:
        """The interval of a (weighted) mean: of an accuracy, a Brier score, a return."""
        counted = np.ones(len(values)) if weight is None else weight
        return self.interval(np.divide, values * counted, counted, level=level)

    def skill(self, losses: Array, reference: Array, level: float = 0.95) -> Interval:
        """The interval of 1 - sum(losses) / sum(reference): of a Brier skill, from each row's losses."""
        return self.interval(lambda loss, other: 1 - loss / other, losses, reference, level=level)

    def auc(self, p: Array, y: Array, level: float = 0.95) -> Interval:
        """The interval of the AUC; each resample costs a pass over the rows, none of them a sort."""
        check(p, y, None)
        order = np.argsort(p)
        levels, place = np.unique(p[order], return_inverse=True)
        y, day = y[order], self.day[order]  # rows of one level side by side are counted several times faster
        drawn = [auc_of_levels(place, len(levels), y, weight[day]) for weight in self.drawn]
        return between(np.array(drawn), level)


def time_shift_null(
    p: Array,
    y: Array,
    time: Ints,
    symbol: Ints,
    step: int,
    rng: Generator,
    *,
    count: int = 200,
    least: int = 500,
) -> Array:
    """AUCs of the predictions against the labels of other times: what they reach knowing nothing of t.

    Each draw shifts all labels by one span, each within its symbol, around the whole of the time; so trends,
    overlaps and what symbols share stay as they are. `symbol` numbers each row's symbol, `least` is the
    smallest shift in candles of `step` ms. Rows that meet a hole are left out of that draw.
    Raises `ValueError` when the rows span less than three such shifts.
    """
    check(p, y, None)
    place = (time - time.min()) // step
    span = int(place.max()) + 1
    if span < 3 * least:
        raise ValueError(f"labels cannot be shifted by {least} candles or more within {span}")
    table = np.full((int(symbol.max()) + 1, span), np.nan)
    table[symbol, place] = y
    levels, rank = np.unique(p, return_inverse=True)
    drawn = np.empty(count)
    for draw, shift in enumerate(rng.integers(least, span - least, count, endpoint=True)):
        other = table[symbol, (place + shift) % span]
        there = ~np.isnan(other)
        drawn[draw] = auc_of_levels(rank, len(levels), np.where(there, other, 0.0), there.astype(np.float64))
    return drawn


def wilson(hits: float, n: float, level: float = 0.95) -> Interval:
    """Wilson's (1927) interval of a rate of independent tries; fewer independent ones may be given as `n`.

    >>> [round(bound, 4) for bound in wilson(60, 100)]
    [0.502, 0.6906]
    """
    if not 0 <= hits <= n or n <= 0:
        raise ValueError(f"{hits} hits of {n} tries")
    z = NormalDist().inv_cdf((1 + level) / 2)
    rate, spread = hits / n, z * z / n
    middle = (rate + spread / 2) / (1 + spread)
    half = sqrt(rate * (1 - rate) * spread + spread * spread / 4) / (1 + spread)
    return Interval(max(middle - half, 0.0), min(middle + half, 1.0))
