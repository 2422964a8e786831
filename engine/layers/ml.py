"""The ml layer: what the fitted models say, on the scale of the other layers.

It reads predictions and nothing of the market; a model without calibration or without skill is not heard.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import log, tanh
from types import MappingProxyType
from typing import Final

from engine.models.view import VIEW
from engine.records import LayerScore, Moment, Prediction, Reason

SCALE: Final = 0.4
"""Log-odds, those of p = 0.60, that are 76 of 100 points."""

GRID: Final = 2.0**-16
"""Points are multiples of this, so that they add up exactly, whether they are explained or not."""

LEAST: Final = 1.0
"""Points below which an input gets no reason of its own."""

NONE: Final[Mapping[str, Prediction]] = MappingProxyType({})


class Ml:
    """100 x tanh(log-odds of p_up / 0.4): odd, rising in p_up, and never beyond +-100.

    Log-odds, because they are what the trees add up: half the evidence is half the argument, and p and 1 - p
    weigh alike. The scale is that of what a model can know here: its surest tenth of calls stands at a
    calibrated .56, which becomes 54 points, about a layer that is clearly of an opinion; .50 is none. tanh
    bounds what an absurd certainty could do to the others.

    The reasons are the model's own contributions, brought from log-odds to points by one factor, the largest
    first; what is small or was not explained stands together in a last one.
    """

    name = "ml"

    def __call__(self, moment: Moment, predictions: Mapping[str, Prediction] = NONE) -> LayerScore:
        """This layer's opinion of one moment, of which `predictions` (by model) were made."""
        said = predictions.get(VIEW)
        if said is None or said.p_up is None or not said.skill:
            return LayerScore(self.name, moment.symbol, moment.time, 0.0, 0.0)
        score = points(said.p_up)
        return LayerScore(
            self.name, moment.symbol, moment.time, score, 1.0, reasons(said.contributions, score, said.p_up)
        )


def points(p_up: float) -> float:
    """A calibrated probability as points.

    >>> [round(points(p), 1) for p in (0.0, 0.44, 0.5, 0.56, 1.0)]
    [-100.0, -53.9, 0.0, 53.9, 100.0]
    """
    return on_grid(100.0 * tanh(odds(p_up) / SCALE))


def odds(p: float) -> float:
    """The log-odds of a probability, up to +-34: certainty itself has none.

    >>> round(odds(0.6), 3), round(odds(1.0), 1)
    (0.405, 34.5)
    """
    p = min(max(p, 1e-15), 1.0 - 1e-15)
    return log(p / (1.0 - p))


def reasons(contributions: tuple[tuple[str, float], ...], score: float, p_up: float) -> tuple[Reason, ...]:
    """What each input moved the score by; the points sum to it exactly.

    A contribution's log-odds are those before calibration, which shrinks them: all together are the whole
    score. Where only some are told, or they nearly cancel, the calibrated log-odds keep the factor in bounds.
    It is never negative: an input that speaks for up has points for up.
    """
    whole = max(abs(sum([value for _, value in contributions])), abs(odds(p_up)))
    factor = abs(score) / whole if whole else 0.0
    told, left = [], score
    for name, value in contributions:
        moved = on_grid(value * factor)
        if abs(moved) >= LEAST:
            told.append(Reason(name, moved, f"{name} {value:+.3f} log-odds"))
            left -= moved
    if left or not told:
        text = "what else it read, together" if told else f"{VIEW}: P(up) {p_up:.3f}"
        told.append(Reason("rest", left, text))
    return tuple(told)


def on_grid(value: float) -> float:
    return round(value / GRID) * GRID
