"""The ml layer: a probability on the scale of the layers, its reasons, and when it is not heard."""

from __future__ import annotations

from dataclasses import replace
from math import log
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.layers import LAYERS, Ml
from engine.layers.ml import GRID, points
from engine.records import LayerScore, Prediction
from tests.engine.layers.neutral import NOON, calm, total

ml = Ml()
chances = st.floats(0.0, 1.0)
inputs = st.lists(
    st.tuples(st.sampled_from(["rsi_14", "adx_14", "btc_return"]), st.floats(-3.0, 3.0)), max_size=6
)


def prediction(p_up: float | None = 0.56, **changed: Any) -> Prediction:
    made = Prediction("SOLUSDT", NOON, "boosted", NOON, "v1", p_up, (0.3, 0.4, 0.3), skill=True)
    return replace(made, **changed)


def heard(said: Prediction) -> LayerScore:
    return ml(calm(), {"boosted": said})


@pytest.mark.parametrize(
    "predictions",
    [
        {},
        {"boosted": prediction(None, p3=None, fault="no version")},
        {"boosted": prediction(0.7, skill=False)},
        {"transformer": prediction(0.7, model="transformer")},
    ],
    ids=["nobody", "silent", "without skill", "another model"],
)
def test_without_a_calibrated_prediction_of_skill_it_has_nothing_to_say(
    predictions: dict[str, Prediction],
) -> None:
    score = ml(calm(), predictions)

    assert (score.layer, score.symbol, score.time) == ("ml", "SOLUSDT", NOON)
    assert (score.score, score.coverage, score.reasons) == (0.0, 0.0, ())


def test_as_any_layer_it_can_be_asked_with_a_moment_alone() -> None:
    assert LAYERS["ml"]("5m")(calm()).coverage == 0.0


def test_it_is_covered_whole_and_on_the_side_of_the_probability() -> None:
    up, down, none = (heard(prediction(p)) for p in (0.56, 0.44, 0.5))

    assert up.coverage == down.coverage == none.coverage == 1.0
    assert up.score == -down.score > 50
    assert none.score == 0.0


@given(one=chances, other=chances)
def test_a_likelier_rise_never_scores_less_and_nothing_is_beyond_the_scale(one: float, other: float) -> None:
    low, high = sorted((one, other))

    assert -100.0 <= points(low) <= points(high) <= 100.0


@given(p=st.floats(0.01, 0.99))
def test_up_and_down_weigh_alike_and_evidence_adds_up_near_the_middle(p: float) -> None:
    odds = log(p / (1 - p))

    assert points(p) == pytest.approx(-points(1 - p), abs=2 * GRID)
    if abs(odds) < 0.05:
        assert points(p) == pytest.approx(100 * odds / 0.4, abs=0.1)


@given(p=chances, contributions=inputs)
def test_a_score_is_the_sum_of_its_reasons_exactly_and_the_same_unexplained(
    p: float, contributions: list[tuple[str, float]]
) -> None:
    explained = heard(prediction(p, contributions=tuple(contributions)))
    plain = heard(prediction(p))

    assert explained.score == plain.score == total(explained) == total(plain)
    assert len(explained.reasons) <= len(contributions) + 1
    assert all(reason.text for reason in explained.reasons)


@given(p=chances, contributions=inputs)
def test_what_spoke_for_up_has_points_for_up_in_proportion(
    p: float, contributions: list[tuple[str, float]]
) -> None:
    reasons = heard(prediction(p, contributions=tuple(contributions))).reasons
    told = [reason for reason in reasons if reason.component != "rest"]
    moved = dict.fromkeys(name for name, _ in contributions)
    biggest = max((abs(value) for _, value in contributions), default=0.0)

    assert all(reason.component in moved and abs(reason.points) >= 1.0 for reason in told)
    for reason in told:
        value = float(reason.text.split()[1])
        assert reason.points * value >= 0
        assert abs(reason.points) <= 250.1 * biggest


def test_the_reasons_of_a_whole_explanation_are_shares_of_the_score() -> None:
    said = prediction(0.56, contributions=(("rsi_14", 0.3), ("adx_14", -0.1), ("btc_return", 0.2)))

    score = heard(said)

    assert [(reason.component, reason.text) for reason in score.reasons[:3]] == [
        ("rsi_14", "rsi_14 +0.300 log-odds"),
        ("adx_14", "adx_14 -0.100 log-odds"),
        ("btc_return", "btc_return +0.200 log-odds"),
    ]
    assert [reason.points for reason in score.reasons[:3]] == pytest.approx(
        [score.score * share for share in (0.75, -0.25, 0.5)], abs=1e-4
    )
    assert abs(sum(reason.points for reason in score.reasons[3:])) < 1e-3


def test_what_is_not_told_stands_together_in_a_last_reason() -> None:
    score = heard(prediction(0.56, contributions=(("rsi_14", 0.1), ("adx_14", 0.0001))))

    assert [reason.component for reason in score.reasons] == ["rsi_14", "rest"]
    assert score.reasons[-1].text == "what else it read, together"
    assert score.reasons[-1].points > 30


def test_without_an_explanation_the_one_reason_is_the_probability() -> None:
    [reason] = heard(prediction(0.56)).reasons

    assert (reason.component, reason.text) == ("rest", "boosted: P(up) 0.560")


def test_it_reads_nothing_of_the_market() -> None:
    wild = calm({"rsi_14": 90.0, "adx_14": 60.0}, market=None)

    assert ml(wild, {"boosted": prediction()}) == heard(prediction())
