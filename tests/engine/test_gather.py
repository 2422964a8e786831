from __future__ import annotations

import pickle
from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.gather import Gather, Turnstile

QUARTER = 900_000


def due(time: int) -> tuple[str, ...]:
    return ("5m", "15m", "1h") if time % (4 * QUARTER) == 0 else ("5m",)


@pytest.mark.parametrize("order", list(permutations(("5m", "15m", "1h"))))
def test_a_moment_is_complete_with_its_last_part_whatever_the_order(order: tuple[str, ...]) -> None:
    gather = Gather[str](due)
    answers = [gather.add(3_600_000, name, name.upper()) for name in order]

    assert answers[:2] == [None, None]
    assert answers[2] == {"5m": "5M", "15m": "15M", "1h": "1H"}


def test_the_deadline_gives_what_came_and_forgets_older_moments() -> None:
    gather = Gather[str](due)
    gather.add(3_600_000, "1h", "old")
    gather.add(7_200_000, "1h", "new")

    assert gather.close(7_200_000) == {"1h": "new"}
    assert gather.close(3_600_000) == {}
    assert gather.close(10_800_000) == {}


def test_moments_that_are_never_closed_are_bounded() -> None:
    gather = Gather[str](due, most=8)
    for hour in range(1, 1000):
        gather.add(hour * 3_600_000, "1h", "part")

    assert sorted(gather._open) == [hour * 3_600_000 for hour in range(992, 1000)]


def test_a_part_nobody_waits_for_does_not_complete_a_moment() -> None:
    gather = Gather[str](lambda time: ("5m", "1h"))

    assert gather.add(3_600_000, "15m", "x") is None
    assert gather.add(3_600_000, "5m", "x") is None


@given(st.permutations([(time, side) for time in range(6) for side in ("left", "right")]), st.data())
def test_the_turnstile_keeps_the_order_of_records_whatever_the_order_of_answers(
    answers: list[tuple[int, str]], data: st.DataObject
) -> None:
    gate = Turnstile[str, int](("left", "right"))
    passed: list[str] = []
    arrivals = [f"{time}{kind}" for time in range(6) for kind in ("wait", "follow")]
    pending = list(answers)
    for record in arrivals:
        for _ in range(data.draw(st.integers(0, len(pending)))):
            time, side = pending.pop(0)
            passed += [held for held, _ in gate.answer(time, side, time)]
        took = gate.wait(int(record[0]), record) if record.endswith("wait") else gate.follow(record)
        passed += [held for held, _ in took]
        gate = pickle.loads(pickle.dumps(gate))
    for time, side in pending:
        passed += [held for held, _ in gate.answer(time, side, time)]

    assert passed == arrivals


def test_answers_that_nobody_asks_for_are_bounded() -> None:
    gate = Turnstile[str, int](("left", "right"), early=4)
    for time in range(100):
        list(gate.answer(time, "left", time))

    assert len(gate._answers) == 4
    assert min(gate._answers) == 96


def test_a_record_may_say_itself_which_answers_it_needs() -> None:
    gate = Turnstile[str, int](("frame",))
    passed = [*gate.wait(1, "hour", ("frame", "1h")), *gate.wait(2, "five")]
    passed += [*gate.answer(2, "frame", 2), *gate.answer(1, "frame", 1)]
    gate = pickle.loads(pickle.dumps(gate))

    assert passed == []
    assert list(gate.answer(1, "1h", 3)) == [("hour", {"frame": 1, "1h": 3}), ("five", {"frame": 2})]


def test_answers_to_another_question_are_no_answer() -> None:
    gate = Turnstile[str, int](("frame",))
    list(gate.wait(1, "hour", ("frame", "1h")))
    passed = [*gate.answer(1, "4h", 1), *gate.answer(1, "1h", 2)]

    assert passed == []
    assert [held for held, _ in gate.answer(1, "frame", 3)] == ["hour"]
