"""What a signal says of its models, and how often the sets they promised held what came.

Everything here is one symbol's: its closes judge its sets.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import nan
from typing import Any, NamedTuple

from engine.records import Candle, Prediction
from engine.research.conformal import NAMES, Adaptive


class Promise(NamedTuple):
    """A set that waits for the close at `until`: its probabilities and threshold, and what a move is."""

    until: int
    p3: tuple[float, float, float]
    threshold: float
    entry: float
    move: float


class Track:
    """One symbol's record of every model: the sets it promised, each until the close at its horizon.

    Give it every candle of the decision interval before the moment of the same close: then at most as many
    sets of a model are open as a horizon has candles. A horizon whose candle never came teaches nothing.

    >>> from engine.records import Candle, Prediction
    >>> track = Track()
    >>> said = Prediction("BTCUSDT", 0, "boosted", 0, "v1", 0.6, (0.2, 0.3, 0.5), True, 0.01, 0.5, 0.75)
    >>> track.told(said, until=300_000, entry=100.0, move=0.005)["set"]
    ['neutral', 'up']
    >>> track.resolve(Candle.of(99.0, time=300_000, interval="5m"))
    >>> body = track.told(said, until=600_000, entry=99.0, move=0.005)
    >>> body["coverage"], body["covered"]
    (0.0, 1)
    """

    def __init__(self) -> None:
        self._sets: dict[str, Adaptive] = {}
        self._open: dict[str, dict[int, Promise]] = {}

    def resolve(self, candle: Candle) -> None:
        """Judge every set whose horizon this candle reaches; those it has passed are forgotten."""
        for model, promises in self._open.items():
            for until in [until for until in promises if until <= candle.time]:
                promise = promises.pop(until)
                if until == candle.time:
                    score = 1.0 - promise.p3[came(promise, candle.close)]
                    self._sets[model].resolve(min(max(score, 0.0), 1.0), promise.threshold)

    def told(self, said: Prediction, until: int, entry: float, move: float) -> dict[str, Any]:
        """A prediction as a signal publishes it, and its set, which is held until the close at `until`.

        `entry` is the close the signal speaks of, `move` the fraction beyond which it went somewhere.
        """
        members: tuple[str, ...] | None = None
        sets = self._sets.get(said.model)
        if said.p3 is not None and said.quantile is not None:
            if sets is None:
                sets = self._sets[said.model] = Adaptive(said.quantile)
            sets.update(said.quantile)
            members = sets.members(said.p3)
            promise = Promise(until, said.p3, sets.threshold, entry, move)
            self._open.setdefault(said.model, {})[until] = promise
        return {**body(said), **covered(sets), "set": None if members is None else list(members)}


def came(promise: Promise, close: float) -> int:
    """Which class came true: 0 down, 1 neutral, 2 up; a move counts when strictly beyond the threshold."""
    move = (close - promise.entry) / promise.entry
    return 1 + (move > promise.move) - (move < -promise.move)


def covered(sets: Adaptive | None) -> dict[str, Any]:
    """The share of sets that held, and of how many it is told."""
    coverage = nan if sets is None else sets.coverage
    if sets is None or coverage != coverage:
        return {"coverage": None, "covered": 0}
    return {"coverage": coverage, "covered": min(sets.seen, sets.window)}


def body(said: Prediction) -> Mapping[str, Any]:
    """The prediction's own facts; `age` is in seconds."""
    return {
        "version": said.version,
        "made": said.made,
        "age": (said.time - said.made) // 1000,
        "p_up": said.p_up,
        "p3": None if said.p3 is None else dict(zip(NAMES, said.p3, strict=True)),
        "skill": said.skill,
        "expected_move": said.expected_move,
        "novelty": said.novelty,
        "contributions": [[name, value] for name, value in said.contributions],
        "fault": said.fault or None,
    }
