"""How far a row lies from those a model was fitted on, and how much less it should then be believed.

A row's distance has the same bits alone and in any batch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Self

import numpy as np
from sklearn.covariance import ledoit_wolf

from engine.errors import StorageError
from engine.research import Array, Ints

NORMAL_IQR: Final = 1.3489795003921634
"""Between the quartiles of a standard normal."""

GOLDEN: Final = 0.6180339887498949

TAIL: Final = 6.0
"""Scaled values beyond this enter the covariance as this: one crash must not make all others usual."""

FARTHEST: Final = 1e6
"""Scaled values beyond this are taken as this, infinite ones too: squares stay finite."""


@dataclass(frozen=True, slots=True, eq=False)
class Novelty:
    """Mahalanobis distance over the root of its dimensions, as a multiple of what is usual.

    Parameters
    ----------
    columns
        Which of the `width` columns are measured: those that vary.
    centre, scale
        Their medians, and their quartile ranges in units of a normal's; nan lies at the centre.
    whitening
        Lower triangular: makes scaled values uncorrelated, of unit variance under the shrunk covariance.
    limit
        The distance within which the usual share of the rows fitted on lies.

    Examples
    --------
    >>> novelty = Novelty.fit(np.random.default_rng(3).normal(size=(5000, 4)))
    >>> novelty.ratio(np.array([[0.0, 0.0, 0.0, 0.0], [9.0, 0.0, 0.0, 0.0]])).round(1)
    array([0. , 2.4])
    """

    columns: Ints
    centre: Array
    scale: Array
    whitening: Array
    limit: float
    width: int

    @classmethod
    def fit(
        cls, rows: Array, keep: Sequence[int] | None = None, usual: float = 0.99, most: int = 40_000
    ) -> Self:
        """Learn what is usual from (rows, columns); `keep` says which columns may count, all by default.

        The covariance is shrunk after Ledoit and Wolf (2004). Columns that never vary are left out. Of more
        than `most` rows about so many are looked at, spread over all of them.
        """
        if len(rows) < 2:
            raise ValueError(f"{len(rows)} rows do not show what is usual")
        rows = rows[spread_over(len(rows), most)]
        asked = np.arange(rows.shape[1]) if keep is None else np.asarray(keep, dtype=np.int64)
        known = [column[np.isfinite(column)] for column in rows[:, asked].T]
        varies = np.array([len(column) > 0 and bool(column.min() < column.max()) for column in known], bool)
        columns = asked[varies]
        kept = [column for column, moves in zip(known, varies, strict=True) if moves]
        centre = np.array([np.median(column) for column in kept])
        scale = np.array([spread(column) for column in kept])
        scaled = scale_rows(rows[:, columns], centre, scale)
        whitening = whiten(scaled)
        far = np.sqrt(np.square(scaled @ whitening.T).mean(axis=1)) if len(columns) else np.zeros(1)
        limit = float(np.quantile(far, usual))
        return cls(columns, centre, scale, whitening, limit if limit > 0 else 1.0, rows.shape[1])

    def ratio(self, rows: Array) -> Array:
        """Each row's distance as a multiple of the limit; `rows` are (rows, width)."""
        if rows.ndim != 2 or rows.shape[1] != self.width:
            raise ValueError(f"novelty was fitted on {self.width} columns, not on rows of shape {rows.shape}")
        if not len(self.columns):
            return np.zeros(len(rows))
        # One product of one shape a row: a product with all rows would round otherwise for every count.
        scaled = scale_rows(rows[:, self.columns], self.centre, self.scale)
        apart = [self.whitening @ row for row in scaled]
        squares = np.array([float(row @ row) for row in apart], dtype=np.float64)
        return np.asarray(np.sqrt(squares / len(self.columns)) / self.limit, dtype=np.float64)

    def farthest(self, row: Array) -> int:
        """The column whose value is the most unusual by itself, for a reason to name; -1 without columns."""
        if not len(self.columns):
            return -1
        apart = np.abs(scale_rows(row[None, self.columns], self.centre, self.scale)[0])
        return int(self.columns[apart.argmax()])

    def to_json(self) -> dict[str, Any]:
        return {
            "columns": self.columns.tolist(),
            "centre": self.centre.tolist(),
            "scale": self.scale.tolist(),
            "whitening": [row[: place + 1] for place, row in enumerate(self.whitening.tolist())],
            "limit": self.limit,
            "width": self.width,
        }

    @classmethod
    def from_json(cls, kept: Mapping[str, Any]) -> Self:
        """Raises `StorageError` for what does not fit together."""
        try:
            columns = np.array(kept["columns"], dtype=np.int64)
            centre, scale = (np.array(kept[name], dtype=np.float64) for name in ("centre", "scale"))
            whitening = square(kept["whitening"], len(columns))
            made = cls(columns, centre, scale, whitening, float(kept["limit"]), int(kept["width"]))
        except (KeyError, IndexError, TypeError, ValueError) as fault:
            raise StorageError(f"a novelty measure cannot be read: {fault!r}") from fault
        if wrong := made.fault():
            raise StorageError(f"a novelty measure cannot be used: {wrong}")
        return made

    def fault(self) -> str:
        """What does not fit together, or ""."""
        count = len(self.columns)
        if not self.columns.shape == self.centre.shape == self.scale.shape == (count,):
            return f"{count} columns, {self.centre.shape} centres and {self.scale.shape} scales"
        if count and not 0 <= self.columns.min() <= self.columns.max() < self.width:
            return f"columns {self.columns.min()} to {self.columns.max()} of {self.width}"
        finite = all(np.isfinite(part).all() for part in (self.centre, self.scale, self.whitening))
        positive = self.limit > 0 and (self.scale > 0).all() and (np.diag(self.whitening) > 0).all()
        return "" if finite and positive and np.isfinite(self.limit) else "a number is not finite or positive"


def square(rows: Sequence[Sequence[float]], count: int) -> Array:
    """The lower triangular matrix of its rows; raises `ValueError` when they are no triangle."""
    lengths = [len(row) for row in rows]
    if lengths != list(range(1, count + 1)):
        raise ValueError(f"rows of {lengths} numbers are no triangle of {count}")
    padded = [[*row, *[0.0] * (count - len(row))] for row in rows]
    return np.array(padded, dtype=np.float64).reshape(count, count)


def shrink(ratio: Array) -> Array:
    """What is left of a confidence: all of it up to the limit, then less as the distance grows.

    >>> shrink(np.array([0.3, 1.0, 4.0]))
    array([1.  , 1.  , 0.25])
    """
    return 1 / np.maximum(ratio, 1.0)


def spread_over(count: int, most: int) -> Ints:
    """Places of about `most` of `count` rows; multiples of the golden ratio keep no step with the symbols'.

    >>> spread_over(10, 4), spread_over(3, 4)
    (array([0, 2, 5, 7]), array([0, 1, 2]))
    """
    places = np.arange(count)
    return np.flatnonzero(places * GOLDEN % 1 < most / count) if count > most else places


def spread(column: Array) -> float:
    """The quartile range in units of a normal's; the deviation where the quartiles are one value."""
    low, high = np.quantile(column, [0.25, 0.75])
    return float((high - low) / NORMAL_IQR or column.std())


def scale_rows(rows: Array, centre: Array, scale: Array) -> Array:
    """Rows in units of what is usual, contiguous; nan becomes 0."""
    scaled = np.nan_to_num((rows - centre) / scale, nan=0.0, posinf=FARTHEST, neginf=-FARTHEST)
    return np.ascontiguousarray(np.clip(scaled, -FARTHEST, FARTHEST))


def whiten(scaled: Array) -> Array:
    """The inverse of the lower Cholesky factor of the shrunk covariance of scaled rows."""
    if not scaled.shape[1]:
        return np.zeros((0, 0))
    covariance, _ = ledoit_wolf(np.clip(scaled, -TAIL, TAIL), assume_centered=False)
    return np.tril(np.linalg.inv(np.linalg.cholesky(covariance)))
