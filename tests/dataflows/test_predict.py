"""The step that asks a model, driven by hand: order, resume, slowness, failure, end."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from bytewax import operators as op
from bytewax.dataflow import Dataflow
from bytewax.testing import TestingSink, TestingSource, run_main

from dataflows import operators as step
from dataflows.backtest import PENDING
from dataflows.connectors.inference import Inference
from dataflows.operators import STATE_VERSION, Predicting, predicting
from engine.errors import StorageError
from engine.models.standing import Standing
from engine.records import Moment, Prediction
from tests.engine.models.asking import ACTIVE, FIVE, HOUR, NINE, Simple, moment

ENDLESS = replace(ACTIVE, expires=1 << 60)


class Held:
    """Answers when it is told to, and remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[Moment] = []
        self.futures: list[Future[Prediction]] = []
        self.foreseen: list[int] = []

    def submit(self, held: Moment) -> Future[Prediction]:
        self.asked.append(held)
        self.futures.append(Future())
        return self.futures[-1]

    def foresee(self, held: Moment) -> None:
        self.foreseen.append(held.time)

    def answer(self, place: int) -> None:
        self.futures[place].set_result(Simple().predict([self.asked[place]])[0])


def standing() -> Standing:
    return Standing("boosted", "1h")


def day(symbol: str = "BTCUSDT", closes: int = 40, first: int = 0) -> list[Moment]:
    """Moments at 5m, one of twelve on the model's grid."""
    return [
        moment(NINE + at * FIVE, symbol, close=100.0 + at, activation=ENDLESS)
        for at in range(first, first + closes)
    ]


def expected(moments: Sequence[Moment]) -> list[Prediction]:
    """What a plain loop over the same moments says."""
    one = standing()
    return [one.update(held, Simple().predict([held])[0] if one.asks(held) else None) for held in moments]


def out(answered: tuple[list[Prediction], bool]) -> list[Prediction]:
    assert answered[1] is False  # the key is kept
    return answered[0]


def test_answers_leave_in_the_order_of_the_moments_whenever_they_come() -> None:
    held, moments = Held(), day()
    logic = Predicting(standing(), held)

    said = out(logic.on_batch(moments))
    assert said == []
    assert len(held.asked) == 4
    for place in (2, 1, 3, 0):
        held.answer(place)
        said += out(logic.on_notify())
        assert (len(said) > 0) == (place == 0)

    assert said == expected(moments)


def test_what_stands_needs_no_model() -> None:
    held = Held()
    logic = Predicting(standing(), held)
    logic.on_batch(day(closes=1))
    held.answer(0)

    said = out(logic.on_batch(day(closes=11, first=1)))
    assert said == expected(day(closes=12))
    assert len(held.asked) == 1


def test_without_a_version_it_answers_at_once() -> None:
    held = Held()
    logic = Predicting(standing(), held)
    moments = [replace(one, activations={}) for one in day()]

    assert [one.fault for one in out(logic.on_batch(moments))] == ["no version"] * 40
    assert held.asked == []
    assert logic.notify_at() is None


def test_it_is_looked_after_every_millisecond_but_only_while_it_waits() -> None:
    held = Held()
    logic = Predicting(standing(), held)

    assert logic.notify_at() is None
    logic.on_batch(day(closes=1))
    now = datetime.now(UTC)
    due = logic.notify_at()
    assert due is not None
    assert now < due < now + timedelta(seconds=1)
    held.answer(0)
    assert len(out(logic.on_notify())) == 1
    assert logic.notify_at() is None


def test_a_stale_timer_finds_nothing_to_do() -> None:
    logic = Predicting(standing(), Held())

    assert out(logic.on_notify()) == []
    assert logic.notify_at() is None


def test_a_later_moment_of_a_version_is_foreseen() -> None:
    held = Held()
    Predicting(standing(), held).on_batch(day(closes=3, first=11))

    assert held.foreseen == [NINE + 11 * FIVE, NINE + 13 * FIVE]


@pytest.mark.parametrize("at", [0, 1, 13, 25, 40])
def test_a_resume_asks_again_for_what_was_pending_and_says_the_same(at: int) -> None:
    moments, first, second = day(), Held(), Held()
    logic = Predicting(standing(), first)
    said = out(logic.on_batch(moments[:at]))
    if first.asked:
        first.answer(0)
        said += out(logic.on_notify())

    resumed = predicting("boosted", standing, second)(logic.snapshot())
    said += out(resumed.on_batch(moments[at:]))
    for place in range(len(second.asked)):
        second.answer(place)
    said += out(resumed.on_notify())

    assert said == expected(moments)
    assert [held.time for held in second.asked] == [
        held.time for held in first.asked[1:] or [] if held in moments[:at]
    ] + [held.time for held in moments[at:] if held.time % HOUR == 0]


def test_a_snapshot_does_not_change_while_the_step_goes_on() -> None:
    held = Held()
    logic = Predicting(standing(), held)
    logic.on_batch(day(closes=5))
    before = logic.snapshot()
    held.answer(0)
    logic.on_notify()

    assert before != logic.snapshot()
    resumed = predicting("boosted", standing, Held())(before)
    assert resumed.notify_at() is not None


def test_recovery_state_of_another_engine_is_refused_by_name() -> None:
    state = Predicting(standing(), Held()).snapshot()[1]

    with pytest.raises(StorageError, match=f"'boosted' has version 1, this engine reads {STATE_VERSION}"):
        predicting("boosted", standing, Held())((1, state))


def test_the_end_waits_for_every_answer() -> None:
    held, moments = Held(), day()
    logic = Predicting(standing(), held)
    logic.on_batch(moments)

    def later() -> None:
        for place in range(4):
            time.sleep(0.02)
            held.answer(place)

    thread = threading.Thread(target=later)
    thread.start()
    said = out(logic.on_eof())
    thread.join()

    assert said == expected(moments)
    assert logic.notify_at() is None


def test_in_a_live_run_no_number_of_unanswered_moments_makes_a_worker_wait() -> None:
    logic = Predicting(standing(), Held())
    begun = time.monotonic()
    said = out(logic.on_batch(day(closes=20 * PENDING)))

    assert said == []
    assert out(logic.on_notify()) == []
    assert time.monotonic() - begun < 5


def test_in_a_backtest_too_many_moments_are_not_held_the_worker_waits() -> None:
    moments = day(closes=PENDING + 30)
    logic = Predicting(standing(), Inference("boosted", Simple, linger=0.05), most=PENDING)

    said = out(logic.on_batch(moments))
    assert len(said) >= 30
    assert said + out(logic.on_eof()) == expected(moments)


class Slow(Simple):
    """Takes its time for one symbol."""

    def predict(self, moments: Sequence[Moment], explain: bool = True) -> list[Prediction]:
        if any(held.symbol == "SLOWUSDT" for held in moments):
            time.sleep(0.4)
        return super().predict(moments, explain)


def flow(asked: Inference, moments: Sequence[Moment], said: list[tuple[str, Prediction]]) -> Dataflow:
    made = Dataflow("test")
    keyed = op.input("in", made, TestingSource([(held.symbol, held) for held in moments], batch_size=1))
    op.output("out", step.predict("boosted", keyed, standing, asked), TestingSink(said))
    return made


def test_in_a_flow_every_moment_is_answered_in_its_order() -> None:
    symbols = [f"COIN{at}USDT" for at in range(5)]
    moments = [
        held for together in zip(*(day(symbol) for symbol in symbols), strict=True) for held in together
    ]
    said: list[tuple[str, Prediction]] = []
    run_main(flow(Inference("boosted", Simple), moments, said))  # type: ignore[no-untyped-call]

    for symbol in symbols:
        assert [one for key, one in said if key == symbol] == expected(day(symbol))


def test_a_slow_model_holds_back_its_symbol_and_nobody_else() -> None:
    slow, fast = Inference("boosted", Slow), Inference("boosted", Simple)

    class Both:
        def submit(self, held: Moment) -> Future[Prediction]:
            return (slow if held.symbol == "SLOWUSDT" else fast).submit(held)

        def foresee(self, held: Moment) -> None: ...

    moments = [*day("SLOWUSDT", 3), *day("BTCUSDT", 30)]
    said: list[tuple[str, Prediction]] = []
    begun = time.monotonic()
    run_main(flow(Both(), moments, said))  # type: ignore[no-untyped-call, arg-type]

    assert time.monotonic() - begun < 5
    assert [key for key, _ in said] == ["BTCUSDT"] * 30 + ["SLOWUSDT"] * 3


def test_a_worker_does_not_wait_for_a_slow_model() -> None:
    logic = Predicting(standing(), Inference("boosted", Slow))
    begun = time.monotonic()
    first = out(logic.on_batch(day("SLOWUSDT", 1)))
    looked = [out(logic.on_notify()) for _ in range(10)]
    took = time.monotonic() - begun

    assert (first, looked) == ([], [[]] * 10)
    assert took < 0.3
    assert out(logic.on_eof()) == expected(day("SLOWUSDT", 1))


def test_a_failing_model_is_a_fault_until_its_next_close_and_the_flow_goes_on() -> None:
    class Failing(Simple):
        def predict(self, moments: Sequence[Moment], explain: bool = True) -> list[Prediction]:
            if any(held.time == NINE for held in moments):
                raise RuntimeError("out of leaves")
            return super().predict(moments, explain)

    said: list[tuple[str, Prediction]] = []
    run_main(flow(Inference("boosted", Failing), day(closes=14), said))  # type: ignore[no-untyped-call]

    fault = "version v1 cannot be used: RuntimeError: out of leaves"
    assert [one.fault for _, one in said] == [fault] * 12 + [""] * 2
