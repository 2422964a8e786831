"""The last step of a symbol: who is waited for, what is judged first, what the models add."""

from __future__ import annotations

import pickle
from collections.abc import Iterable
from dataclasses import replace
from itertools import permutations

import pytest

from engine.composer import Composer
from engine.decide import Decide
from engine.ledger import Ledger
from engine.records import Candle, LayerScore, Moment, Outcome, Prediction, Reason, Signal
from tests.engine.builders import STEP, moment
from tests.engine.models.asking import NINE, said

HORIZON = 12
LAYERS = ("technical", "correlation")
Record = Moment | Candle | LayerScore | Prediction


def decide(models: tuple[str, ...] = ("boosted",)) -> Decide:
    return Decide(Composer(), Ledger(), LAYERS, "binance.spot", models)


def at(place: int, close: float = 100.0) -> Moment:
    return moment(close, time=NINE + place * STEP)


def scores(held: Moment, points: float = 10.0) -> list[LayerScore]:
    return [
        LayerScore(layer, held.symbol, held.time, points, 1.0, (Reason("trend", points, "up"),))
        for layer in LAYERS
    ]


def predicted(held: Moment, p_up: float | None = 0.56) -> Prediction:
    if p_up is None:
        return Prediction(held.symbol, held.time, "boosted", held.time, None, fault="no version")
    return said(held, p_up)


def whole(held: Moment, p_up: float | None = 0.56) -> list[Record]:
    """A moment and all its answers."""
    records: list[Record] = [held]
    records += scores(held)
    records.append(predicted(held, p_up))
    return records


def fed(step: Decide, records: Iterable[Record]) -> list[Signal | Outcome]:
    return [out for record in records for out in step.update(record)]


def one(step: Decide, held: Moment, p_up: float | None = 0.56) -> Signal:
    """The signal of a moment whose answers have all come."""
    [signal] = [out for out in fed(step, whole(held, p_up)) if isinstance(out, Signal)]
    return signal


@pytest.mark.parametrize("order", list(permutations(range(3))))
def test_a_signal_waits_for_every_layer_and_every_model_in_any_order(order: tuple[int, ...]) -> None:
    held = at(0)
    answers: list[Record] = [*scores(held), predicted(held)]
    step, plain = decide(), decide()
    said_by_and_by = [fed(step, [held]), *(fed(step, [answers[place]]) for place in order)]

    assert [len(out) for out in said_by_and_by] == [0, 0, 0, 1]
    assert said_by_and_by[-1] == [one(plain, held)]


def test_answers_that_come_before_their_moment_count() -> None:
    held = at(0)

    assert fed(decide(), [*scores(held), predicted(held), held]) == [one(decide(), held)]


def test_a_slow_model_holds_back_what_is_behind_it_in_its_order() -> None:
    step = decide()
    first, second, candle = at(0), at(1), at(2).candle
    early = fed(step, [first, *scores(first), second, *scores(second), candle, predicted(second)])
    late = fed(step, [predicted(first)])

    assert early == []
    assert [out.time for out in late if isinstance(out, Signal)] == [first.time, second.time]


def test_the_ml_layer_votes_with_what_the_model_said() -> None:
    signal = one(decide(), at(0))
    vote = signal.layers["ml"]

    assert list(signal.layers) == ["technical", "correlation", "ml"]
    assert (vote.coverage, vote.weight_raw) == (1.0, 35.0)
    assert vote.score == pytest.approx(53.9, abs=0.1)
    assert [reason.component for reason in vote.reasons] == ["rsi_14", "btc_return", "rest"]
    assert signal.score == pytest.approx((35 * vote.score + 49 * 10) / 84, abs=1e-3)


def test_a_signal_tells_what_its_models_said() -> None:
    signal = one(decide(), at(0))

    assert (signal.p_up, signal.p3) == (0.56, said(at(0)).p3)
    assert signal.models["boosted"]["version"] == "v1"
    assert signal.models["boosted"]["p_up"] == 0.56
    assert signal.degraded == ()


def test_without_a_version_the_ml_layer_is_silent_and_the_signal_says_why() -> None:
    signal = one(decide(), at(0), None)

    assert signal.degraded == ("uncalibrated", "model boosted: no version", "layer ml silent")
    assert (signal.p_up, signal.p3, signal.layers["ml"].weight) == (None, None, 0.0)
    assert signal.models["boosted"]["fault"] == "no version"


def test_without_models_it_decides_as_before_there_were_any() -> None:
    held = at(0)
    [plain] = fed(decide(()), [held, *scores(held)])
    silent = one(decide(), held, None)

    assert isinstance(plain, Signal)
    assert plain.models == {}
    assert replace(plain, models=silent.models, degraded=silent.degraded) == silent


def test_the_newest_candle_judges_before_the_model_speaks_again() -> None:
    step = decide()
    for place in range(HORIZON):
        assert one(step, at(place)).models["boosted"]["covered"] == 0
    body = one(step, at(HORIZON, close=150.0)).models["boosted"]

    assert (body["covered"], body["coverage"]) == (1, 0.0)
    assert body["set"] == ["neutral"]


def test_a_candle_without_a_moment_judges_too() -> None:
    step = decide()
    one(step, at(0))
    outcomes = fed(step, [at(HORIZON).candle])

    assert [out.time for out in outcomes] == [NINE]
    assert one(step, at(HORIZON + 1)).models["boosted"]["covered"] == 1


def test_outcomes_come_before_the_signal_of_the_same_close() -> None:
    step = decide()
    held = at(HORIZON)
    one(step, at(0))
    out = fed(step, whole(held))

    assert [type(record) for record in out] == [Outcome, Signal]
    assert isinstance(out[0], Outcome)
    assert out[0].id == signal_of(at(0)).id


def signal_of(held: Moment) -> Signal:
    return one(decide(), held)


def test_moved_at_any_record_it_goes_on_as_if_nothing_had_happened() -> None:
    moved, plain = decide(), decide()
    sizes = []
    for place in range(60):
        held = at(place, 100.0 + place % 5)
        for record in whole(held, None if place < 5 else 0.53 + place % 4 / 100):
            moved = pickle.loads(pickle.dumps(moved))

            assert fed(moved, [record]) == fed(plain, [record])
        sizes.append(len(pickle.dumps(plain)))

    assert sizes[-1] <= sizes[HORIZON + 6] + 64
