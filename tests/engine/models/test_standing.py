"""How a model stands: when it is asked, what stands in between, and why it is silent."""

from __future__ import annotations

import pickle
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.models.standing import Standing
from engine.records import Activation, Moment
from tests.engine.models.asking import ACTIVE, FIVE, HOUR, NINE, moment, said


def standing() -> Standing:
    return Standing("boosted", "1h")


def told(standing: Standing, held: Moment) -> str:
    """What it says by itself, of a moment that the model need not be asked about."""
    assert not standing.asks(held)
    return standing.update(held).fault


def test_the_model_is_asked_when_its_candle_closes_and_only_then() -> None:
    one = standing()

    assert [one.asks(moment(NINE + at * FIVE)) for at in range(-1, 13)] == [False, True, *[False] * 11, True]


def test_what_it_said_stands_until_its_next_close_with_its_age() -> None:
    one = standing()
    first = moment(NINE)
    made = said(first)

    assert one.update(first, made) == made
    for at in range(1, 12):
        later = moment(NINE + at * FIVE)
        assert one.update(later) == replace(made, time=later.time)
        assert one.update(later).made == NINE


def test_a_missed_close_leaves_nothing_that_stands() -> None:
    one = standing()
    one.update(moment(NINE), said(moment(NINE)))

    assert told(one, moment(NINE + HOUR + FIVE)) == "not on its grid yet"


def test_where_it_decides_at_its_own_interval_it_is_asked_every_time() -> None:
    one = standing()

    assert all(one.asks(moment(NINE + at * HOUR, interval="1h")) for at in range(5))


def test_an_answer_with_a_fault_stands_too() -> None:
    one = standing()
    made = said(moment(), fault="not calibrated for 5m")
    one.update(moment(), made)

    assert told(one, moment(NINE + FIVE)) == "not calibrated for 5m"


def test_without_a_version_it_says_so() -> None:
    one = standing()
    silent = one.update(moment(activation=None))

    assert told(one, moment(activation=None)) == "no version"
    assert (silent.version, silent.p_up, silent.p3, silent.skill) == (None, None, None, False)
    assert (silent.symbol, silent.time, silent.model, silent.made) == ("BTCUSDT", NINE, "boosted", NINE)


def test_a_version_that_joins_between_two_closes_waits_for_its_grid() -> None:
    one = standing()
    told(one, moment(activation=None))

    assert told(one, moment(NINE + FIVE)) == "not on its grid yet"
    assert one.asks(moment(NINE + HOUR))


@pytest.mark.parametrize(
    ("allowed", "age", "words"),
    [
        (7 * 24 * HOUR, 9 * 24 * HOUR, "expired: 9 days old, 7 allowed"),
        (7 * 24 * HOUR, 7 * 24 * HOUR + HOUR, "expired: 7.042 days old, 7 allowed"),
        (6 * HOUR, 8 * HOUR, "expired: 8 hours old, 6 allowed"),
    ],
)
@pytest.mark.parametrize("at", [0, FIVE])
def test_an_expired_version_says_how_old_it_is(allowed: int, age: int, words: str, at: int) -> None:
    begin = NINE + at - age
    old = Activation(begin, "boosted", "v1", serves_from=begin, expires=begin + allowed)
    one = standing()

    silent = one.update(moment(NINE + at, activation=old))

    assert told(one, moment(NINE + at, activation=old)) == words
    assert silent.version == "v1"


def test_a_version_serves_to_the_last_moment_it_is_allowed() -> None:
    last = replace(ACTIVE, expires=NINE)

    assert standing().asks(moment(activation=last))
    assert not standing().asks(moment(activation=replace(ACTIVE, expires=NINE - 1)))


def test_what_stood_ends_with_its_version() -> None:
    one = standing()
    ending = replace(ACTIVE, expires=NINE + FIVE)
    one.update(moment(activation=ending), said(moment()))

    assert one.update(moment(NINE + FIVE, activation=ending)).p_up == 0.56
    assert told(one, moment(NINE + 2 * FIVE, activation=ending)).startswith("expired")


def without(held: Moment, *, features: str = "", frames: str = "") -> Moment:
    return replace(
        held,
        features={name: known for name, known in held.features.items() if name != features},
        frames={name: known for name, known in held.frames.items() if name != frames},
    )


LATE = replace(moment(), features={**moment().features, "1h": moment(NINE - HOUR).features["1h"]})


@pytest.mark.parametrize(
    ("held", "words"),
    [
        (without(moment(), features="1h"), "1h candles absent"),
        (moment(seen=499), "1h has 499 of 500 candles"),
        (LATE, "1h candle 2024-03-05T09:00Z not here yet"),
        (without(moment(), frames="1h"), "no market frame of 1h"),
        (moment(filled=83), "market frame has 83 of 96 closes"),
    ],
)
def test_what_it_would_read_and_is_not_there_is_named_until_the_next_close(held: Moment, words: str) -> None:
    one = standing()

    assert told(one, held) == words
    assert told(one, moment(NINE + FIVE)) == words
    assert told(one, moment(NINE + 2 * FIVE)) == words
    assert one.asks(moment(NINE + HOUR))


def test_a_model_of_finer_candles_than_the_decision_cannot_speak() -> None:
    held = moment(NINE // (4 * HOUR) * 4 * HOUR, interval="4h")

    assert told(Standing("boosted", "1h"), without(held, features="1h")) == "1h candles are finer than 4h"


def test_another_models_activation_is_none_of_its_business() -> None:
    other = replace(moment(), activations={"transformer": ACTIVE})

    assert told(standing(), other) == "no version"


def test_it_is_small_and_survives_pickling_at_any_moment() -> None:
    moved, plain = standing(), standing()
    sizes = []
    for at in range(2000):
        held = moment(NINE + at * FIVE, activation=replace(ACTIVE, expires=1 << 60))
        answer = said(held) if plain.asks(held) else None
        moved = pickle.loads(pickle.dumps(moved))
        sizes.append(len(pickle.dumps(plain)))

        assert moved.update(held, answer) == plain.update(held, answer)

    assert sizes[-1] <= max(sizes[:13]) < 1000


@given(
    at=st.lists(st.integers(0, 400), min_size=1, max_size=30, unique=True),
    filled=st.sampled_from([95, 96]),
    version=st.booleans(),
)
def test_every_moment_has_one_answer_of_its_own_time_that_speaks_or_says_why(
    at: list[int], filled: int, version: bool
) -> None:
    one = standing()
    for time in sorted(NINE + place * FIVE for place in at):
        held = moment(time, filled=filled, activation=ACTIVE if version else None)
        made = one.update(held, said(held) if one.asks(held) else None)

        assert (made.symbol, made.time, made.model) == (held.symbol, time, "boosted")
        assert (made.p_up is None) == bool(made.fault)
        assert made.p_up is None or time - HOUR < made.made <= time


def test_asking_changes_nothing() -> None:
    one = standing()
    one.update(moment(), said(moment()))
    before = pickle.dumps(one)
    for held in (moment(NINE + HOUR), moment(NINE + FIVE), moment(NINE + HOUR, filled=3)):
        one.asks(held)

    assert pickle.dumps(one) == before


def test_an_endless_activation_never_expires() -> None:
    assert standing().asks(moment(activation=Activation(0, "boosted", "v1", 0)))
