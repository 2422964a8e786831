"""What a model's prediction means for the decision, and what a signal says where it lacks.

Probabilities are passed on to the bit; what no model can mean is refused.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from math import inf, isfinite
from typing import Final

from engine.errors import CorruptRecord
from engine.records import Prediction

VIEW: Final = "boosted"
"""The model whose calibrated prediction decides."""


def calibrated(predictions: Mapping[str, Prediction]) -> Prediction | None:
    """The prediction that decides, None where no model spoke; raises `CorruptRecord` as `check` does."""
    said = predictions.get(VIEW)
    if said is None or said.p_up is None:
        return None
    check(said)
    return said


def check(said: Prediction) -> None:
    """Raises `CorruptRecord` for a prediction with numbers that no model can mean."""
    three, move, novelty, quantile = said.p3 or (), said.expected_move, said.novelty, said.quantile
    given = [] if said.p_up is None else [said.p_up]
    sound = (
        len(given) == len(three) / 3
        and all(0 <= p <= 1 for p in (*given, *three))
        and abs(sum(three) - len(given)) < 1e-6
        and (move is None or 0 <= move < inf)
        and (novelty is None or 0 <= novelty < inf)
        and (quantile is None or quantile >= 0)
        and all(isfinite(value) for _, value in said.contributions)
    )
    if not sound:
        numbers = (
            f"p_up {said.p_up}, p3 {said.p3}, expected move {move}, novelty {novelty}, quantile {quantile}"
        )
        raise CorruptRecord(f"{said.symbol} model {said.model} at {said.time} answered {numbers}")


def stated(view: Prediction, side: int) -> float:
    """100 times the calibrated probability of what a signal says, to the bit.

    >>> view = Prediction("BTCUSDT", 0, "boosted", 0, p_up=0.25, p3=(0.5, 0.375, 0.125))
    >>> stated(view, side=-1), stated(view, side=0)
    (75.0, 37.5)
    """
    p_up, p3 = view.p_up or 0.0, view.p3 or (0.0, 0.0, 0.0)
    return 100 * (max(p_up, 1 - p_up) if side else p3[1])


def remarks(said: Prediction) -> Iterator[str]:
    """What `degraded` says of a model.

    >>> list(remarks(Prediction("BTCUSDT", 0, "boosted", 0, fault="no version")))
    ['model boosted: no version']
    """
    if said.p_up is None or said.fault:
        yield f"model {said.model}: {said.fault or 'silent'}"
    if said.p_up is not None and not said.skill:
        yield f"model {said.model}: no skill"
    if said.p_up is not None and said.novelty is not None and said.novelty > 1:
        yield f"model {said.model}: novel market, {said.novelty:.1f} times the usual distance"
