"""Which rows a model may learn from when it is judged on others: purged, embargoed, contiguous in time.

Rows of many symbols are pooled, in any order; all rows of one close stay together. The label of a row at t
spans [t, t + horizon * step]; training labels do not even touch those of the test rows.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from engine.research import Ints


@dataclass(frozen=True, slots=True, eq=False)
class Fold:
    """Places of the rows to learn from and of those to be judged on, in the order of the pooled rows."""

    train: Ints
    test: Ints


def walk_forward(
    time: Ints, step: int, horizon: int, embargo: int, *, edges: Sequence[int], window: int | None = None
) -> Iterator[Fold]:
    """Test blocks edges[i] <= t < edges[i + 1], each with the rows that a version made for it may know.

    Those are rows whose label ends, with `embargo` candles to spare, at the block's begin (the rule by which
    versions serve); with `window` in ms only those not older than that, else all. Blocks without rows are
    passed over. Raises `ValueError` where a block has nothing to learn from.

    >>> time = np.arange(10, 20)
    >>> [(fold.train, fold.test) for fold in walk_forward(time, 1, 2, 1, edges=(16, 18, 20), window=5)]
    [(array([1, 2, 3]), array([6, 7])), (array([3, 4, 5]), array([8, 9]))]
    """
    if any(late <= early for early, late in pairwise(edges)):
        raise ValueError(f"the edges of test blocks must ascend; were {list(edges)}")
    for begin, end in pairwise(edges):
        test = (time >= begin) & (time < end)
        if test.any():
            known = time < begin
            if window is not None:
                known &= time >= begin - window
            yield fold(time, known, test, step, horizon, embargo)


def evenly(time: Ints, folds: int, first: int | None = None) -> tuple[int, ...]:
    """Edges of `folds` test blocks with equally many closes, from `first` on.

    Without `first` all blocks and what comes before them have the same number of closes.

    >>> evenly(np.arange(12), folds=3), evenly(np.arange(12), folds=2, first=8)
    ((3, 6, 9, 12), (8, 10, 12))
    """
    closes = np.unique(time)
    later = closes if first is None else closes[closes >= first]
    blocks = cut(later, folds + 1)[1:] if first is None else cut(later, folds)
    return (*(int(block[0]) for block in blocks), int(closes[-1]) + 1)


def purged_k_fold(time: Ints, step: int, horizon: int, embargo: int, k: int) -> Iterator[Fold]:
    """`k` contiguous test blocks of equally many closes; the rest is learned from, purged around each.

    Lopez de Prado, Advances in Financial Machine Learning (2018), 7.4, with the embargo on both sides.

    >>> [fold.train for fold in purged_k_fold(np.arange(12), 1, 2, 1, k=3)]
    [array([ 7,  8,  9, 10, 11]), array([ 0,  1, 11]), array([0, 1, 2, 3, 4, 5])]
    """
    if k < 2:
        raise ValueError(f"at least 2 folds are needed; were {k}")
    for block in cut(np.unique(time), k):
        test = (time >= block[0]) & (time <= block[-1])
        yield fold(time, ~test, test, step, horizon, embargo)


def early_stop_slice(time: Ints, step: int, horizon: int, embargo: int, share: float = 0.15) -> Fold:
    """The last `share` of a training set's closes to stop early by, and the rows before it, purged.

    >>> early_stop_slice(np.arange(20), 1, 2, 1, share=0.2).train[-1]
    np.int64(13)
    """
    if not 0 < share < 1:
        raise ValueError(f"the share to stop by must lie between 0 and 1; was {share}")
    closes = np.unique(time)
    begin = closes[len(closes) - max(round(share * len(closes)), 1)]
    return fold(time, time < begin, time >= begin, step, horizon, embargo)


def fold(
    time: Ints, known: NDArray[np.bool_], test: NDArray[np.bool_], step: int, horizon: int, embargo: int
) -> Fold:
    """The fold of these rows, `known` without those too near to the test rows' first or last label."""
    if step < 1 or horizon < 1 or embargo < 0:
        raise ValueError(f"step {step} and horizon {horizon} must be above 0, embargo {embargo} not below")
    label, spare = horizon * step, embargo * step
    begin, end = time[test].min(), time[test].max() + label
    # A label that ends just where the test begins touches it: one candle is spared even without embargo.
    before = time + label <= begin - max(spare, 1)
    train = np.flatnonzero(known & (before | (time > end + spare)))
    if not len(train):
        raise ValueError(
            f"nothing is left to learn from beside the test rows at {begin} to {end - label}: "
            f"{int(known.sum())} rows, labels of {horizon} candles, embargo {embargo}"
        )
    return Fold(train, np.flatnonzero(test))


def cut(closes: Ints, blocks: int) -> list[Ints]:
    if len(closes) < blocks:
        raise ValueError(f"{len(closes)} closes cannot be cut into {blocks} blocks")
    return np.array_split(closes, blocks)


def audit(time: Ints, train: Ints, test: Ints, step: int, horizon: int, embargo: int) -> list[int]:
    """The train rows that share a moment, or lack the embargo, with any one test row; [] is clean.

    Told pair by pair from the definition, so that it can judge any split: a label's closed span meets
    another's, or the later one begins less than the embargo after the earlier one's end (a train row after
    the test also not exactly then).

    >>> audit(np.arange(10), np.array([0, 1, 2, 9]), np.array([5, 6]), step=1, horizon=2, embargo=1)
    [9]
    """
    label, spare = horizon * step, embargo * step
    begins, row_of = np.unique(time[train], return_inverse=True)
    guilty = np.zeros(len(begins), dtype=np.bool_)
    for begin in np.unique(time[test]):
        end = begin + label
        guilty |= (begins <= end) & (begin <= begins + label)
        guilty |= (begins > end) & (begins - end <= spare)
        guilty |= (begins + label < begin) & (begin - (begins + label) < spare)
    return [int(row) for row in train[guilty[row_of]]]
