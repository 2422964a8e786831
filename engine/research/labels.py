"""What came of a close: the move to its horizon, its side and class, and a trade between two barriers.

A horizon counts candles of the grid: what a hole hides is nan, never guessed. One symbol at a time.
"""

from __future__ import annotations

from typing import Final, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from engine.errors import CorruptRecord
from engine.research import Array, Ints

Number = TypeVar("Number", np.float64, np.int64)

STOP: Final = -1
TIME: Final = 0
TARGET: Final = 1


def moves(time: Ints, close: Array, step: int, horizon: int) -> Array:
    """The relative move from each close to the one exactly `horizon` candles of `step` ms later.

    nan where that close is missing. Raises `CorruptRecord` for times that are not ascending on one grid.

    >>> moves(np.array([1, 2, 3, 5]), np.array([100.0, 110.0, 80.0, 120.0]), step=1, horizon=2)
    array([-0.2,  nan,  0.5,  nan])
    """
    check_grid(time, step)
    if horizon < 1:
        raise ValueError(f"a horizon is at least one candle; was {horizon}")
    wanted = time + horizon * step
    place = np.searchsorted(time, wanted)
    there = place < len(time)
    there[there] = time[place[there]] == wanted[there]
    answer = np.full(len(time), np.nan)
    answer[there] = close[place[there]] / close[there] - 1
    return answer


def sides(moves: Array) -> Array:
    """1 for a move up, 0 for none or down, nan where it is not known.

    >>> sides(np.array([0.01, 0.0, -0.01, np.nan]))
    array([ 1.,  0.,  0., nan])
    """
    return np.where(np.isnan(moves), np.nan, (moves > 0).astype(np.float64))


def classes(moves: Array, threshold: float | Array) -> Array:
    """0 down, 1 neutral, 2 up, nan not known: a move counts when strictly beyond `threshold`, a fraction.

    >>> classes(np.array([0.006, 0.005, -0.02, np.nan]), 0.005)
    array([ 2.,  1.,  0., nan])
    """
    beyond = (moves > threshold).astype(np.float64) - (moves < -np.asarray(threshold))
    return np.where(np.isnan(moves), np.nan, 1 + beyond)


class Trades(NamedTuple):
    """One trade a row: net return as a fraction, the barrier that ended it, candles held.

    Where there was no trade or its path is not known, `net` is nan and `held` is 0.
    """

    net: Array
    barrier: Ints
    held: Ints


def triple_barrier(
    time: Ints,
    open: Array,
    high: Array,
    low: Array,
    close: Array,
    step: int,
    horizon: int,
    stop: float | Array,
    target: float | Array,
    side: int | Ints,
    costs: float,
) -> Trades:
    """A trade at every close: stop, target, or time-out, whichever comes first within `horizon` candles.

    Entry is the next open; `stop` and `target` are distances from it as fractions (inf = none, nan = no
    trade); `side` is 1 long, -1 short, 0 no trade; `costs` is the round trip's fraction. Both barriers in one
    candle count as the stop, an open beyond the stop exits there, a target never fills better than itself,
    time-out is the close at the horizon. A hole anywhere in the horizon makes the row unknown, also after a
    barrier was met: else the trades that are known would be those that end early.
    After Lopez de Prado, Advances in Financial Machine Learning (2018), 3.4.

    >>> flat = np.array([100.0, 100.0, 100.0])
    >>> low = np.array([100.0, 100.0, 98.0])
    >>> trades = triple_barrier(np.array([1, 2, 3]), flat, flat, low, flat, 1, 2, 0.01, 0.02, 1, 0.001)
    >>> trades.net[0].round(9), trades.barrier[0], trades.held
    (np.float64(-0.011), np.int64(-1), array([2, 0, 0]))
    """
    check_grid(time, step)
    if horizon < 1 or np.any(np.asarray(stop) <= 0) or np.any(np.asarray(target) <= 0):
        raise ValueError(f"horizon (was {horizon}), stop and target must be above 0")
    rows = len(time)
    count = max(rows - horizon, 0)
    sign, risk, reward = (
        np.broadcast_to(np.asarray(given, dtype=np.float64), rows)[:count] for given in (side, stop, target)
    )
    entry = open[1 : count + 1]
    # Sides are mirrored: times `sign`, a stop lies below and a target above, for a short too.
    with np.errstate(invalid="ignore"):  # 0 times inf: no side and no barrier
        floor, ceiling = sign * (entry * (1 - sign * risk)), sign * (entry * (1 + sign * reward))
    whole = time[horizon:] - time[:count] == horizon * step
    known = whole & (sign != 0) & ~np.isnan(risk) & ~np.isnan(reward)
    met, barrier, held = first_met(known, sign, floor, ceiling, open, high, low, horizon)
    left = np.where(barrier == TIME, close[horizon:], sign * met)
    net = np.where(known, sign * (left / entry - 1) - costs, np.nan)
    return Trades(after(net, rows, np.nan), after(barrier, rows, TIME), after(held, rows, 0))


def first_met(
    known: NDArray[np.bool_],
    sign: Array,
    floor: Array,
    ceiling: Array,
    open: Array,
    high: Array,
    low: Array,
    horizon: int,
) -> tuple[Array, Ints, Ints]:
    """The price (times `sign`) at which each known trade meets a barrier first, which one, after how many."""
    count = len(known)
    met, going = np.full(count, np.nan), known.copy()
    barrier, held = np.full(count, TIME, np.int64), np.where(known, horizon, 0)
    for ahead in range(1, horizon + 1):
        first, worst, best = mirrored(sign, *(prices[ahead : ahead + count] for prices in (open, high, low)))
        stopped = going & (worst <= floor)
        reached = going & ~stopped & (best >= ceiling)
        met[stopped], met[reached] = np.minimum(floor, first)[stopped], ceiling[reached]
        barrier[stopped], barrier[reached] = STOP, TARGET
        held[stopped | reached] = ahead
        going &= ~(stopped | reached)
    return met, barrier, held


def mirrored(sign: Array, open: Array, high: Array, low: Array) -> tuple[Array, Array, Array]:
    """A candle's open, worst and best price as a trade sees them, times its side."""
    long = sign > 0
    return sign * open, sign * np.where(long, low, high), sign * np.where(long, high, low)


def after(known: NDArray[Number], rows: int, rest: float) -> NDArray[Number]:
    """`known`, then `rest` up to `rows`: the last closes have no horizon yet."""
    return np.concatenate([known, np.full(rows - len(known), rest, known.dtype)])


def check_grid(time: Ints, step: int) -> None:
    """Raises `CorruptRecord` unless times ascend, without repeats, by multiples of `step`."""
    apart = np.diff(time)
    bad = np.flatnonzero((apart <= 0) | (apart % step != 0))
    if len(bad):
        here, later = time[bad[0]], time[bad[0] + 1]
        raise CorruptRecord(f"closes of one symbol must ascend by multiples of {step} ms: {here}, {later}")
