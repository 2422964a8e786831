"""Sets of classes that hold what comes 90 % of the time, and go on doing so when the market changes.

A class's score is 1 - its probability (Sadinle, Lei, Wasserman 2019): a set holds those within a threshold.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil, inf, isnan, nan
from typing import Final

import numpy as np

from engine.research import Array, Ints

NAMES: Final = ("down", "neutral", "up")


def scores(p3: Array, classes: Array | Ints) -> Array:
    """1 - the probability given to what came; `p3` is (rows, 3).

    >>> scores(np.array([[0.25, 0.5, 0.25], [0.125, 0.125, 0.75]]), np.array([0, 2]))
    array([0.75, 0.25])
    """
    return np.asarray(1 - np.take_along_axis(p3, np.asarray(classes, np.int64)[:, None], axis=1)[:, 0])


def quantile(scores: Array, alpha: float = 0.1) -> float:
    """What the next score stays within with probability 1 - alpha or more, if it is like these.

    Split conformal prediction with its correction for n scores: the ceil((n + 1)(1 - alpha))-th smallest
    (Vovk, Gammerman, Shafer 2005); inf, which is every class, where n is too small to say.

    >>> quantile(np.arange(1.0, 20.0), alpha=0.1), quantile(np.arange(5.0), alpha=0.1)
    (18.0, inf)
    """
    if np.isnan(scores).any():
        raise ValueError(f"{int(np.isnan(scores).sum())} of {len(scores)} scores are nan")
    # Rounded first: (n + 1) * (1 - alpha) may lie one bit above a whole number.
    place = ceil(round((len(scores) + 1) * (1 - alpha), 9))
    return float(np.partition(scores, place - 1)[place - 1]) if place <= len(scores) else inf


class Adaptive:
    """One symbol's threshold, moved after each outcome so that misses come to `alpha` in the long run.

    The threshold is the version's quantile plus an offset, which rises by gamma (1 - alpha) with a miss and
    falls by gamma alpha with a hit: quantile tracking (Angelopoulos, Candes, Tibshirani 2023), the form of
    adaptive conformal inference (Gibbs, Candes 2021) that moves the threshold itself. Whatever comes, over T
    outcomes in a row the share of misses is within (1 + gamma) / (gamma T) of `alpha`, plus what a changed
    quantile moved it. Outcomes that are known late, as at a horizon, lengthen that by their number under way.

    Parameters
    ----------
    quantile
        Of the version's own scores; the offset stays when a new version brings another.
    alpha
        Share of misses aimed at.
    gamma
        How far one outcome moves the threshold.
    window
        Newest outcomes that `coverage` is taken over.

    Examples
    --------
    >>> sets = Adaptive(quantile=0.7)
    >>> sets.members((0.2, 0.45, 0.35))
    ('neutral', 'up')
    >>> sets.resolve(0.8)
    >>> round(sets.threshold, 3), sets.members((0.2, 0.45, 0.35)), sets.coverage
    (0.709, ('neutral', 'up'), 0.0)
    """

    __slots__ = ("_hits", "alpha", "gamma", "offset", "quantile", "seen", "window")

    def __init__(
        self, quantile: float = 1.0, alpha: float = 0.1, gamma: float = 0.01, window: int = 200
    ) -> None:
        if not 0 < alpha < 1 or gamma <= 0 or window < 1:
            raise ValueError(f"alpha {alpha} must lie in (0, 1), gamma {gamma} and window {window} above 0")
        self.alpha = alpha
        self.gamma = gamma
        self.window = window
        self.offset = 0.0
        self.seen = 0
        self._hits = 0  # one bit an outcome, the newest lowest
        self.update(quantile)

    @property
    def threshold(self) -> float:
        """The largest score of a class in the set; keep it with a prediction until that is resolved."""
        return self.quantile + self.offset

    @property
    def coverage(self) -> float:
        """Share of the last `window` outcomes that the sets held; nan before the first.

        A class that was there only because a set is never empty counts as missed.
        """
        return self._hits.bit_count() / min(self.seen, self.window) if self.seen else nan

    def update(self, quantile: float) -> None:
        """Take a new version's quantile; one above 1, as of too few scores, is 1: every class."""
        if isnan(quantile):
            raise ValueError("a version's conformal quantile was nan")
        self.quantile = min(float(quantile), 1.0)

    def resolve(self, score: float, threshold: float | None = None) -> None:
        """Learn from the score of what came; `threshold` is the one in force when the set was made."""
        if not 0 <= score <= 1:
            raise ValueError(f"a score lies in 0 to 1; was {score}")
        hit = score <= (self.threshold if threshold is None else threshold)
        self.offset += self.gamma * ((not hit) - self.alpha)
        self.seen += 1
        self._hits = (self._hits << 1 | hit) & ((1 << self.window) - 1)

    def members(self, p3: Sequence[float]) -> tuple[str, ...]:
        """The classes in the set, in the order down, neutral, up; at least the likeliest."""
        likeliest = max(range(len(NAMES)), key=p3.__getitem__)
        return tuple(name for i, name in enumerate(NAMES) if i == likeliest or 1 - p3[i] <= self.threshold)
