"""How much a labelled row counts: less where its label says what others say, where it is old or common.

Weights are relative; only their proportions matter to a fit.
"""

from __future__ import annotations

import numpy as np

from engine.research import Array, Ints


def uniqueness(begin: Ints, end: Ints) -> Array:
    """Average uniqueness of each label's span (begin, end] among those of the same symbol, in (0, 1].

    At every instant each of c labels under way counts 1/c; a label's uniqueness is its mean over its span.
    On a grid that is Lopez de Prado, Advances in Financial Machine Learning (2018), 4.4.
    Raises `ValueError` for a span without length.

    >>> uniqueness(np.array([0, 1, 10]), np.array([2, 3, 12]))
    array([0.75, 0.75, 1.  ])
    """
    if np.any(end <= begin):
        row = int(np.argmax(end <= begin))
        raise ValueError(f"label {row} ends at {end[row]}, not after its begin {begin[row]}")
    edges, places = np.unique(np.concatenate([begin, end]), return_inverse=True)
    first, last = places[: len(begin)], places[len(begin) :]
    under_way = np.cumsum(np.bincount(first, minlength=len(edges)) - np.bincount(last, minlength=len(edges)))
    share = np.diff(edges) / np.maximum(under_way[:-1], 1)
    until = np.concatenate([[0.0], np.cumsum(np.where(under_way[:-1] > 0, share, 0.0))])
    return np.asarray((until[last] - until[first]) / (end - begin), dtype=np.float64)


def recency(time: Ints, half_life: float) -> Array:
    """1 for the newest close, half of it for each `half_life` ms of age.

    >>> recency(np.array([0, 10, 20]), half_life=10)
    array([0.25, 0.5 , 1.  ])
    """
    if half_life <= 0:
        raise ValueError(f"a half-life must be above 0; was {half_life}")
    if not len(time):
        return np.zeros(0)
    return np.asarray(np.exp2((time - time.max()) / half_life), dtype=np.float64)


def balance(y: Array, weight: Array | None = None) -> Array:
    """Factors that let every class that is there weigh the same; their (weighted) mean is 1.

    >>> balance(np.array([0.0, 0.0, 0.0, 1.0]))
    array([0.66666667, 0.66666667, 0.66666667, 2.        ])
    """
    if np.isnan(y).any():
        raise ValueError(f"{int(np.isnan(y).sum())} of {len(y)} labels are nan: leave unknown rows out first")
    counted = np.ones(len(y)) if weight is None else weight
    _, place = np.unique(y, return_inverse=True)
    total = np.bincount(place, counted)
    if np.any(total <= 0):
        raise ValueError("every class needs a row of some weight")
    return np.asarray((counted.sum() / (len(total) * total))[place], dtype=np.float64)
