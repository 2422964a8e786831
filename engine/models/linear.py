"""A ridge logistic regression: what the trees start from, and the baseline they must beat.

Its margin of a row has the same bits alone and in any batch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, Self

import numpy as np
from sklearn.linear_model import LogisticRegression

from engine.errors import StorageError
from engine.research import Array
from engine.research.novelty import NORMAL_IQR, spread_over

FARTHEST: Final = 4.0
"""Scaled values beyond this count as this: one crash must not tilt the line."""

SCALED_BY: Final = 5_000
"""Rows, taken from all over, that are enough to say what is usual of a column."""

CERTAIN: Final = 10.0
"""Log-odds told by rows that are all of one class."""

STEPS: Final = 100
SETTLED: Final = 1e-7


@dataclass(frozen=True, slots=True, eq=False)
class Linear:
    """Log-odds as a weighted sum of robustly scaled columns; nan lies at the centre.

    >>> x = np.array([[-1.0, 5.0], [-0.5, 5.0], [0.5, 5.0], [1.0, 5.0]])
    >>> line = Linear.fit(x, np.array([0.0, 0.0, 1.0, 1.0]), np.ones(4), ridge=0.1)
    >>> bool(line.margin(x)[3] > 0 > line.margin(x)[0]), line.coefficients[1]
    (True, np.float64(0.0))
    """

    centre: Array
    scale: Array
    coefficients: Array
    intercept: float

    @classmethod
    def fit(cls, x: Array, y: Array, weight: Array, ridge: float = 0.02) -> Self:
        """The likeliest line under a penalty of `ridge` / 2 x |coefficients|^2 a row, by scikit-learn.

        `x` is (rows, columns), `y` 0 or 1. Columns that never vary get no coefficient.
        """
        blank = cls(*usual(x[spread_over(len(x), SCALED_BY)]), np.zeros(x.shape[1]), 0.0)
        if y.min() == y.max():
            return replace(blank, intercept=CERTAIN if y.max() > 0 else -CERTAIN)
        found = LogisticRegression(
            C=1 / (ridge * float(weight.sum())), solver="newton-cholesky", tol=SETTLED, max_iter=STEPS
        ).fit(blank.scaled(x), y, weight)
        return cls(blank.centre, blank.scale, found.coef_[0].astype(np.float64), float(found.intercept_[0]))

    def tempered(self, slope: float) -> Self:
        """The same line, `slope` times as sure."""
        return replace(self, coefficients=self.coefficients * slope, intercept=self.intercept * slope)

    def scaled(self, x: Array) -> Array:
        """The columns as the line reads them, (rows, columns)."""
        with np.errstate(invalid="ignore"):  # an infinite value of a column that never varied
            scaled = (np.asarray(x, np.float64) - self.centre) / self.scale
        return np.clip(np.nan_to_num(scaled, nan=0.0), -FARTHEST, FARTHEST)

    def parts(self, x: Array) -> Array:
        """What each column adds to the log-odds, (rows, columns)."""
        return np.ascontiguousarray(self.scaled(x) * self.coefficients)

    def margin(self, x: Array) -> Array:
        """The log-odds of each row."""
        return np.asarray(self.parts(x).sum(axis=1) + self.intercept, np.float64)

    def to_json(self) -> dict[str, Any]:
        return {
            "centre": self.centre.tolist(),
            "scale": [width if np.isfinite(width) else None for width in self.scale.tolist()],
            "coefficients": self.coefficients.tolist(),
            "intercept": self.intercept,
        }

    @classmethod
    def from_json(cls, kept: Mapping[str, Any]) -> Self:
        """Raises `StorageError` for what does not fit together."""
        try:
            scale = [np.inf if width is None else float(width) for width in kept["scale"]]
            columns = (kept["centre"], scale, kept["coefficients"])
            centre, width, coefficients = (np.array(column, dtype=np.float64) for column in columns)
            made = cls(centre, width, coefficients, float(kept["intercept"]))
        except (KeyError, TypeError, ValueError) as fault:
            raise StorageError(f"a linear start cannot be read: {fault!r}") from fault
        whole = made.centre.shape == made.scale.shape == made.coefficients.shape and made.centre.ndim == 1
        numbers = (made.centre, made.coefficients, np.array(made.intercept))
        if not (whole and (made.scale > 0).all() and all(np.isfinite(part).all() for part in numbers)):
            raise StorageError("a linear start cannot be used: its columns do not fit, or are not finite")
        return made


def usual(x: Array) -> tuple[Array, Array]:
    """Centre and scale of each column: its median, and its quartile range in units of a normal's.

    The deviation where the quartiles are one value, infinite where there is only one value, or none.

    >>> usual(np.array([[1.0, 5.0], [2.0, 5.0], [3.0, np.nan]]))
    (array([2., 5.]), array([0.74130111,        inf]))
    """
    known = np.where(np.isfinite(x), x, np.nan)
    known[:, np.isnan(known).all(axis=0)] = 0.0
    low, centre, high = np.nanquantile(known, [0.25, 0.5, 0.75], axis=0)
    scale = (high - low) / NORMAL_IQR
    scale = np.where(scale > 0, scale, np.nanstd(known, axis=0))
    return centre, np.where(scale > 0, scale, np.inf)
