"""From what a booster says to a probability that can be published: Platt's scaling, three classes of two.

Fitted only on out-of-fold predictions. A slope is never negative: a model that is wrong says less, it is not
turned around.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from math import isfinite
from typing import Any, Final, Self

import numpy as np
from scipy.optimize import brentq
from sklearn.isotonic import IsotonicRegression

from engine.errors import StorageError
from engine.research import Array, Ints
from engine.research.metrics import ece, log_loss
from engine.research.splits import Fold

FARTHEST: Final = 30.0
"""Log-odds beyond this are taken as this: 1e-13 from certainty, and finite."""


def sigmoid(logit: Array) -> Array:
    """1 / (1 + exp(-logit)), without overflow."""
    small = np.exp(-np.abs(logit))
    return np.where(logit >= 0, 1 / (1 + small), small / (1 + small))


def log_odds(p: Array) -> Array:
    """The inverse of `sigmoid`, within +-`FARTHEST`; raises `ValueError` for what is no probability.

    >>> log_odds(np.array([0.5, 0.75, 1.0])).round(6)
    array([ 0.      ,  1.098612, 30.      ])
    """
    if not np.all((p >= 0) & (p <= 1)):
        raise ValueError(f"{int((~((p >= 0) & (p <= 1))).sum())} of {np.size(p)} are no probabilities")
    with np.errstate(divide="ignore"):  # 0 and 1 are brought to the bound
        return within(np.log(p) - np.log1p(-p))


def within(logit: Array) -> Array:
    return np.clip(logit, -FARTHEST, FARTHEST)


@dataclass(frozen=True, slots=True)
class Platt:
    """p = sigmoid(slope * log-odds + intercept); Platt (1999).

    >>> Platt(slope=0.5).apply(np.array([0.5, 0.9]))
    array([0.5 , 0.75])
    """

    slope: float = 1.0
    intercept: float = 0.0

    @classmethod
    def fit(
        cls,
        logit: Array,
        y: Array,
        weight: Array | None = None,
        *,
        slope_bounds: tuple[float, float] = (0.0, 1.5),
        intercept: bool = False,
    ) -> Self:
        """The likeliest scaling within the bounds, with Platt's targets, so that a dozen rows stay modest.

        Without an intercept 0.5 stays 0.5: for directions, where it would only absorb the drift of the span
        fitted on. Rows that decide nothing (none, all alike) give slope 0, which says the rate, or 0.5.
        """
        counted = np.ones(len(y)) if weight is None else weight
        if not len(logit) == len(y) == len(counted):
            raise ValueError(f"{len(logit)} log-odds, {len(y)} outcomes and {len(counted)} weights")
        if np.isnan(logit).any() or np.isnan(y).any():
            raise ValueError("nan among the log-odds or outcomes: leave unknown rows out first")
        z, target = within(logit), targets(y, counted)

        beside = 0.0  # the best intercept of the slope tried last, near that of the next

        def rise(slope: float) -> float:
            """How the likelihood rises with the slope, its intercept kept the best."""
            nonlocal beside
            beside = level(slope * z, target, counted, beside) if intercept else 0.0
            return float((counted * z) @ (target - sigmoid(slope * z + beside)))

        alike = intercept and (not len(z) or z.max() == z.min())
        flat = 1e-10 * float(counted @ np.abs(z))  # less than this is rounding
        slope = slope_bounds[0] if alike else falling(rise, *slope_bounds, flat)
        rise(slope)
        return cls(slope, beside)

    def apply(self, p: Array) -> Array:
        """The calibrated probabilities; every one by itself, whatever stands beside it."""
        return self.of_logit(log_odds(np.asarray(p, dtype=np.float64)))

    def of_logit(self, logit: Array) -> Array:
        """The same from log-odds."""
        return sigmoid(self.slope * within(logit) + self.intercept)

    def to_json(self) -> dict[str, float]:
        return asdict(self)

    @classmethod
    def from_json(cls, kept: Mapping[str, Any]) -> Self:
        """Raises `StorageError` for anything but a slope that is not negative and an intercept.

        >>> Platt.from_json({"slope": 0.5, "intercept": 0.0})
        Platt(slope=0.5, intercept=0.0)
        """
        try:
            made = cls(float(kept["slope"]), float(kept["intercept"]))
        except (KeyError, TypeError, ValueError) as fault:
            raise StorageError(f"a calibration cannot be read from {kept!r}: {fault!r}") from fault
        if not (isfinite(made.slope) and isfinite(made.intercept) and made.slope >= 0):
            raise StorageError(f"a calibration needs a slope from 0 on and an intercept; was {made}")
        return made


def targets(y: Array, weight: Array) -> Array:
    """What the fit aims at: one row more of each class, after Platt (1999), keeps it from certainty."""
    true, false = float(weight @ y), float(weight @ (1 - y))
    return np.where(y > 0.5, (true + 1) / (true + 2), 1 / (false + 2))


def level(line: Array, target: Array, weight: Array, near: float) -> float:
    """The intercept over `line` with which the probabilities sum to the targets: Newton's, in a bracket."""
    far = 2 * FARTHEST + float(np.abs(line).max(initial=0.0))
    low, high, here = -far, far, near
    for _ in range(200):
        p = sigmoid(line + here)
        gap, bend = float(weight @ (target - p)), float(weight @ (p * (1 - p)))
        if gap == 0:
            return here
        low, high = (here, high) if gap > 0 else (low, here)
        there = here + gap / bend if bend > 0 else high + 1
        there = there if low < there < high else (low + high) / 2
        if abs(there - here) <= 1e-9:  # a step of Newton's squares what is left
            return there
        here = there
    return here


def falling(gradient: Callable[[float], float], low: float, high: float, flat: float) -> float:
    """Where a falling function meets 0, or the bound nearest to it; up to `flat` counts as 0."""
    if gradient(low) <= flat:
        return low
    if gradient(high) >= -flat:
        return high
    return float(brentq(gradient, low, high, xtol=1e-10))


@dataclass(frozen=True, slots=True)
class Thirds:
    """Down, neutral and up from two boosters: does it move, and which way if it does."""

    size: Platt
    side: Platt

    @classmethod
    def fit(
        cls, size_logit: Array, side_logit: Array, classes: Array | Ints, weight: Array | None = None
    ) -> Self:
        """Size with an intercept, on all rows; side without, on those that moved beyond the threshold."""
        counted = np.ones(len(classes)) if weight is None else weight
        moved = classes != 1
        up = (classes[moved] == 2).astype(np.float64)
        return cls(
            Platt.fit(size_logit, moved.astype(np.float64), counted, intercept=True),
            Platt.fit(side_logit[moved], up, counted[moved]),
        )

    def apply(self, size: Array, side: Array) -> Array:
        """(rows, 3) from the boosters' probabilities of a move and of an up.

        >>> Thirds(Platt(), Platt()).apply(np.array([0.5]), np.array([0.75]))
        array([[0.125, 0.5  , 0.375]])
        """
        return self.of_logit(log_odds(size), log_odds(side))

    def of_logit(self, size: Array, side: Array) -> Array:
        """The same from log-odds."""
        return parted(self.size.of_logit(size), self.side.of_logit(side))

    def to_json(self) -> dict[str, dict[str, float]]:
        return {"size": self.size.to_json(), "side": self.side.to_json()}

    @classmethod
    def from_json(cls, kept: Mapping[str, Any]) -> Self:
        """Raises `StorageError` as `Platt.from_json` does."""
        return cls(Platt.from_json(kept.get("size") or {}), Platt.from_json(kept.get("side") or {}))


def parted(moved: Array, up: Array) -> Array:
    """(rows, 3) of P(it moves) and P(up if it moves).

    >>> parted(np.array([0.5]), np.array([0.75]))
    array([[0.125, 0.5  , 0.375]])
    """
    return np.stack([moved * (1 - up), 1 - moved, moved * up], axis=-1)


Fit = Callable[[Array, Array], Callable[[Array], Array]]
"""Fits a calibration to log-odds and outcomes; what comes back maps log-odds to probabilities."""


def compare(
    logit: Array, y: Array, folds: Sequence[Fold], *, intercept: bool = False
) -> dict[str, dict[str, float]]:
    """Log-loss and ECE of no calibration, Platt's and isotonic, each row judged by a fit without it.

    `folds` are those of `purged_k_fold`; rows that no fold tests are not judged.
    """
    ways: dict[str, Fit] = {
        "none": lambda z, y: lambda other: sigmoid(within(other)),
        "platt": lambda z, y: Platt.fit(z, y, intercept=intercept).of_logit,
        "isotonic": isotonic,
    }
    tested = np.concatenate([fold.test for fold in folds])
    answer = {}
    for name, fit in ways.items():
        p = np.concatenate([fit(logit[fold.train], y[fold.train])(logit[fold.test]) for fold in folds])
        answer[name] = {"log_loss": log_loss(p, y[tested]), "ece": ece(p, y[tested])}
    return answer


def isotonic(logit: Array, y: Array) -> Callable[[Array], Array]:
    """The rising step function nearest to the outcomes; Zadrozny and Elkan (2002)."""
    steps = IsotonicRegression(y_min=0.0, y_max=1.0, out_of_bounds="clip").fit(within(logit), y)
    return lambda other: np.asarray(steps.predict(within(other)), dtype=np.float64)
