"""What published probabilities were worth once their horizon came: rolling and in total, with intervals.

One judged prediction at a time goes in; what is kept is a window of them and sums by UTC day.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from math import isfinite, log
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.random import Generator

from engine.research import Array, Ints
from engine.research.metrics import BINS, SUREST
from engine.research.significance import DAY, Days, between

ADDENDS: Final = (
    "rows", "up", "loss", "log", "directed", "stated", "hits", "sets", "covered", "measured", "novel",
)  # fmt: skip
WIDTH: Final = len(ADDENDS) + BINS
RESAMPLES: Final = 400
BLOCK: Final = 3
LEAST: Final = 2 * BLOCK
"""Days in a block of the bootstrap, and days below which there is no interval."""


class Judged(NamedTuple):
    """One prediction and what came of it; None where that part was not said.

    `time` is when it was made, ms UTC. `stated` is the signal's confidence as a fraction and `hit` whether it
    came true, both only of LONG and SHORT; `covered` is whether the set held the class that came.
    """

    time: int
    p_up: float
    up: bool
    stated: float | None = None
    hit: bool | None = None
    covered: bool | None = None
    novel: bool | None = None


class Tally:
    """Judged predictions of one kind: all of them as sums by day, the newest `window` one by one.

    A day costs some 300 bytes, so ten years of one kind are a megabyte.

    Examples
    --------
    >>> tally = Tally()
    >>> for hour in range(4):
    ...     tally.add(Judged(3_600_000 * hour, 0.75, up=hour < 3))
    >>> figures = tally.total(np.random.default_rng(1))
    >>> figures["n"], figures["brier"], figures["base_rate"], figures["brier_skill"], figures["ece"]
    (4, 0.1875, 0.75, 0.0, 0.0)
    """

    def __init__(self, window: int = 2000) -> None:
        self._newest: deque[Judged] = deque(maxlen=window)
        self._days: dict[int, Array] = {}

    def add(self, judged: Judged) -> None:
        """Count one more."""
        self._newest.append(judged)
        count(self._days, judged)

    def recent(self, rng: Generator) -> dict[str, Any]:
        """`figures` of the newest `window`."""
        return figures(by_day(self._newest), rng)

    def total(self, rng: Generator) -> dict[str, Any]:
        """`figures` of all there were."""
        return figures(self._days, rng)


def by_day(rows: Iterable[Judged]) -> dict[int, Array]:
    """The addends of every UTC day, (WIDTH,) each, the day counted from 1970."""
    days: dict[int, Array] = {}
    for row in rows:
        count(days, row)
    return days


def count(days: dict[int, Array], row: Judged) -> None:
    """Add one row to its day; a close at midnight belongs to the day it ends."""
    sums = days.setdefault((row.time - 1) // DAY, np.zeros(WIDTH))
    p, up = row.p_up, float(row.up)
    right = min(max(p if row.up else 1 - p, SUREST), 1 - SUREST)
    directed, sets, measured = row.hit is not None, row.covered is not None, row.novel is not None
    sums[: len(ADDENDS)] += (
        1, up, (p - up) ** 2, -log(right), directed, row.stated or 0.0, row.hit or 0,
        sets, row.covered or 0, measured, row.novel or 0,
    )  # fmt: skip
    sums[len(ADDENDS) + min(max(int(p * BINS), 0), BINS - 1)] += p - up


def figures(days: Mapping[int, Array], rng: Generator) -> dict[str, Any]:
    """The figures of all `days`, and for each `<name>_ci`, where 95 % of resampled histories put it.

    Resampled are blocks of `BLOCK` days with all that happened in them, since symbols of one close move
    together and horizons overlap; below `LEAST` days there is no interval. The base rate is that of the same
    rows, so `brier_base` and `log_loss_base` know the outcomes' mean: a hard reference. `ece` is that of
    `metrics.ece`; chance alone lifts it, and its interval more. `overstated` is `stated` less `hit_rate`.
    What was never said is None; n = 0 leaves nothing else.
    """
    if not days:
        return {"n": 0}
    order = sorted(days)
    table = np.array([days[day] for day in order])
    times = (np.array(order, np.int64) + 1) * DAY
    whole = {name: float(value[0]) for name, value in rates(table.sum(axis=0)[None]).items()}
    told: dict[str, Any] = {
        "n": int(table[:, 0].sum()),
        "directional": int(table[:, ADDENDS.index("directed")].sum()),
        "days": len(order),
        "from": int(times[0]) - DAY,
        "until": int(times[-1]),
        **{name: finite(value) for name, value in whole.items()},
    }
    return told | intervals(table, times, rng)


def intervals(table: Array, times: Ints, rng: Generator) -> dict[str, Any]:
    """Each rate's interval as [low, high], or None."""
    if len(table) < LEAST:
        return {f"{name}_ci": None for name in rates(table[:1])}
    days = Days.of(times, rng, length=BLOCK, count=RESAMPLES)
    sums = np.zeros((days.drawn.shape[1], WIDTH))
    sums[days.day] = table
    drawn = rates(days.drawn @ sums)
    found = {name: between(values) for name, values in drawn.items()}
    return {
        f"{name}_ci": [bound.low, bound.high] if isfinite(bound.low) else None
        for name, bound in found.items()
    }


def rates(sums: Array) -> dict[str, Array]:
    """Every figure of each row of addends, (rows, WIDTH); nan where there is nothing to divide by."""
    part = {name: sums[:, place] for place, name in enumerate(ADDENDS)}
    rows, up = part["rows"], part["up"]
    with np.errstate(divide="ignore", invalid="ignore"):
        base = up / rows
        reference = base * (1 - base)
        certain = reference <= 0
        entropy = -(base * np.log(base) + (1 - base) * np.log(1 - base))
        stated, hit_rate = part["stated"] / part["directed"], part["hits"] / part["directed"]
        return {
            "base_rate": base,
            "brier": part["loss"] / rows,
            "brier_base": reference,
            "brier_skill": np.where(certain, np.nan, 1 - part["loss"] / rows / reference),
            "log_loss": part["log"] / rows,
            "log_loss_base": np.where(certain, 0.0, entropy),
            "ece": np.abs(sums[:, len(ADDENDS) :]).sum(axis=1) / rows,
            "stated": stated,
            "hit_rate": hit_rate,
            "overstated": stated - hit_rate,
            "coverage": part["covered"] / part["sets"],
            "novel": part["novel"] / part["measured"],
        }


def finite(value: float) -> float | None:
    return value if isfinite(value) else None
