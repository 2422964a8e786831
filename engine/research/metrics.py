"""How good stated probabilities were: discrimination, squared error, calibration; two classes and three.

Probabilities first, then what came (1.0 or 0.0, or a class 0, 1, 2), then weights; nan stands for "cannot be
said", and nan that is given is refused.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np

from engine.research import Array, Ints

BINS: Final = 15
SUREST: Final = 1e-6
"""Log-loss takes no probability as nearer to 0 or 1 than this: one row must not make it infinite."""


class Bin(NamedTuple):
    """One row of a reliability table: how many (or their weight), what was said, and what came of it."""

    n: float
    said: float
    came: float


def auc(p: Array, y: Array, weight: Array | None = None) -> float:
    """P(a row that came true was given more than one that did not), equal ones counting half.

    Mann and Whitney (1947) by ranks; nan where only one class is there.

    >>> auc(np.array([0.1, 0.4, 0.4, 0.8]), np.array([0.0, 0.0, 1.0, 1.0]))
    0.875
    """
    counted = check(p, y, weight)
    levels, place = np.unique(p, return_inverse=True)
    return auc_of_levels(place, len(levels), y, counted)


def auc_of_levels(place: Ints, levels: int, y: Array, weight: Array) -> float:
    """The AUC when `place` says which of so many ascending levels a row's probability has: no sorting."""
    true, false = np.bincount(place, weight * y, levels), np.bincount(place, weight * (1 - y), levels)
    pairs = true.sum() * false.sum()
    if pairs <= 0:
        return float("nan")
    below = np.cumsum(false) - false
    return float(true @ (below + false / 2) / pairs)


def brier(p: Array, y: Array, weight: Array | None = None) -> float:
    """Mean squared distance of what was said from what came; Brier (1950), for one event.

    >>> brier(np.array([0.5, 1.0]), np.array([1.0, 1.0]))
    0.125
    """
    return mean((p - y) ** 2, check(p, y, weight))


def brier_skill(p: Array, y: Array, base: float | Array, weight: Array | None = None) -> float:
    """The part of the Brier score of always saying `base` (one rate, or one a row) that `p` does away with.

    >>> brier_skill(np.array([0.9, 0.1]), np.array([1.0, 0.0]), base=0.5)
    0.96
    """
    said = np.broadcast_to(np.asarray(base, dtype=np.float64), p.shape)
    return skill(brier(p, y, weight), brier(said, y, weight))


def skill(loss: float, reference: float) -> float:
    """1 - loss / reference; nan where the reference is without fault, so that nothing can be better."""
    return 1 - loss / reference if reference > 0 else float("nan")


def log_loss(p: Array, y: Array, weight: Array | None = None) -> float:
    """Mean of -log of what was said of what came, natural logarithm; `SUREST` bounds each.

    >>> round(log_loss(np.array([0.5, 0.25]), np.array([1.0, 0.0])), 6)
    0.490415
    """
    counted = check(p, y, weight)
    right = np.where(y > 0.5, p, 1 - p)
    return mean(-np.log(np.clip(right, SUREST, 1 - SUREST)), counted)


def accuracy(p: Array, y: Array, weight: Array | None = None) -> float:
    """Share of rows where the likelier side came; an even 0.5 says 0.

    >>> accuracy(np.array([0.6, 0.4, 0.5]), np.array([1.0, 1.0, 0.0])).__round__(3)
    0.667
    """
    return mean(((p > 0.5) == (y > 0.5)).astype(np.float64), check(p, y, weight))


def ece(p: Array, y: Array, weight: Array | None = None, bins: int = BINS) -> float:
    """Expected calibration error over equal-width bins: the mean of |said - came|, bins by their rows.

    Naeini, Cooper, Hauskrecht (2015); 1.0 belongs to the last bin.

    >>> round(ece(np.array([0.7, 0.7, 0.1]), np.array([1.0, 0.0, 0.0])), 6)
    0.166667
    """
    counted, place = check(p, y, weight), bin_of(p, bins)
    return float(np.abs(np.bincount(place, counted * (p - y), bins)).sum() / counted.sum())


def reliability(p: Array, y: Array, weight: Array | None = None, bins: int = BINS) -> tuple[Bin, ...]:
    """The bins of `ece` that hold anything, lowest first.

    >>> reliability(np.array([0.75, 0.75, 0.0]), np.array([1.0, 0.0, 0.0]))
    (Bin(n=1.0, said=0.0, came=0.0), Bin(n=2.0, said=0.75, came=0.5))
    """
    counted, place = check(p, y, weight), bin_of(p, bins)
    n, said, came = (np.bincount(place, counted * values, bins) for values in (np.ones(len(p)), p, y))
    return tuple(
        Bin(float(n[i]), float(said[i] / n[i]), float(came[i] / n[i])) for i in np.flatnonzero(n > 0)
    )


def bin_of(p: Array, bins: int) -> Ints:
    return np.clip((p * bins).astype(np.int64), 0, bins - 1)


def brier3(p3: Array, classes: Array | Ints, weight: Array | None = None) -> float:
    """Brier score over three classes: summed squared distances, 0 to 2; `p3` is (rows, 3).

    >>> brier3(np.array([[0.2, 0.5, 0.3]]), np.array([1]))
    0.38
    """
    counted = check(p3, classes, weight)
    return mean(((p3 - one_hot(classes)) ** 2).sum(axis=1), counted)


def brier3_skill(p3: Array, classes: Array | Ints, base: Array, weight: Array | None = None) -> float:
    """As `brier_skill`; `base` is three rates, or three a row.

    >>> brier3_skill(np.array([[0.0, 0.5, 0.5]]), np.array([1]), base=np.array([0.5, 0.0, 0.5])).__round__(6)
    0.666667
    """
    said = np.broadcast_to(base, p3.shape)
    return skill(brier3(p3, classes, weight), brier3(said, classes, weight))


def log_loss3(p3: Array, classes: Array | Ints, weight: Array | None = None) -> float:
    """Mean of -log of what was said of the class that came.

    >>> log_loss3(np.array([[0.2, 0.5, 0.3]]), np.array([1])).__round__(6)
    0.693147
    """
    counted = check(p3, classes, weight)
    return mean(-np.log(np.clip((p3 * one_hot(classes)).sum(axis=1), SUREST, 1 - SUREST)), counted)


def accuracy3(p3: Array, classes: Array | Ints, weight: Array | None = None) -> float:
    """Share of rows whose likeliest class came; of equal ones the first is meant.

    >>> accuracy3(np.array([[0.2, 0.5, 0.3], [0.6, 0.2, 0.2]]), np.array([1, 2]))
    0.5
    """
    counted = check(p3, classes, weight)
    return mean((p3.argmax(axis=1) == classes).astype(np.float64), counted)


def one_hot(classes: Array | Ints) -> Array:
    return np.asarray(np.asarray(classes)[:, None] == np.arange(3), dtype=np.float64)


def mean(values: Array, weight: Array) -> float:
    return float(values @ weight / weight.sum())


def check(p: Array, y: Array | Ints, weight: Array | None) -> Array:
    """The rows' weights, all 1 by default; raises `ValueError` for rows nothing can be computed from."""
    counted = np.ones(len(p)) if weight is None else weight
    if not len(p) == len(y) == len(counted):
        raise ValueError(f"{len(p)} probabilities, {len(y)} outcomes and {len(counted)} weights")
    if np.isnan(p).any() or np.isnan(y).any():
        raise ValueError(
            f"nan in {int(np.isnan(p).sum())} probabilities and {int(np.isnan(y).sum())} outcomes"
        )
    if not counted.sum() > 0:
        raise ValueError(f"{len(p)} rows without weight cannot be judged")
    return counted
