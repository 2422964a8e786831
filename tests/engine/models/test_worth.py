"""What a segment's figures say: those of a second library, and skill where there is some, seldom else."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest
from numpy.random import default_rng
from sklearn.metrics import brier_score_loss, log_loss, roc_auc_score

from engine.models.growing import Grown, Rows, grow
from engine.models.segment import Segment
from engine.models.worth import CALM, calm, judged
from engine.research.calibration import Platt
from engine.research.rows import INPUTS
from tests.engine.models.test_growing import SMALL, found, plan, planted, walked


@cache
def worth() -> tuple[Segment, dict[str, Any]]:
    """What the segment on the planted signal is worth."""
    return judged(planted(), plan(), found(), default_rng(7))


def of_noise(seed: int) -> tuple[Segment, dict[str, Any]]:
    rows = walked(closes=300, symbols=3, seed=seed)
    asked = plan(candidates={"regularised": SMALL})
    return judged(rows, asked, grow(rows, asked), default_rng(seed))


def test_a_planted_signal_is_skill() -> None:
    segment, figures = worth()

    assert segment.skill is True
    assert figures["skill"] is True
    assert found().segment.skill is False
    assert figures["auc_ci"][0] > 0.55
    assert figures["auc_ci"][0] < figures["auc"] < figures["auc_ci"][1]
    assert figures["ece"] < 0.05
    assert 0 < figures["slope"] <= 1.5
    assert figures["brier_skill"] > 0.02


@pytest.mark.parametrize("seed", [1, 2])
def test_noise_is_not_skill(seed: int) -> None:
    segment, figures = of_noise(seed)

    assert segment.skill is False
    assert figures["skill"] is False
    assert figures["brier_skill"] < 0.01


@pytest.mark.soak
def test_of_twenty_markets_without_a_signal_two_at_most_seem_to_have_one() -> None:
    assert sum(not of_noise(seed)[1]["skill"] for seed in range(100, 120)) >= 18


def test_a_segment_that_its_folds_turned_around_has_no_skill() -> None:
    rows, grown = planted(), found()
    wrong = replace(
        grown,
        side=-grown.side,
        segment=replace(
            grown.segment,
            calibrations={
                "1h": replace(
                    grown.segment.calibrations["1h"],
                    side=Platt.fit(-grown.side, (rows.moves > 0).astype(np.float64)),
                )
            },
        ),
    )

    assert judged(rows, plan(), wrong, default_rng(7))[1]["skill"] is False


def multi_brier(p: Any, became: Any) -> float:
    return float(np.square(p - np.eye(3)[became]).sum(axis=1).mean())


def test_figures_are_those_of_scikit_learn() -> None:
    rows, grown, (segment, figures) = planted(), found(), worth()
    up = (rows.moves > 0).astype(np.float64)
    calibration = segment.calibrations["1h"]
    p_up = calibration.side.of_logit(grown.side)
    base = np.full(len(up), up.mean())
    brier = brier_score_loss(up, p_up)

    assert figures["rows"] == len(rows)
    assert figures["symbols"] == 3
    assert figures["base_rate"] == up.mean()
    assert figures["auc"] == pytest.approx(roc_auc_score(up, p_up))
    assert figures["line_auc"] == pytest.approx(roc_auc_score(up, grown.line))
    assert figures["brier"] == pytest.approx(brier)
    assert figures["brier_skill"] == pytest.approx(1 - brier / brier_score_loss(up, base))
    assert figures["log_loss"] == pytest.approx(log_loss(up, p_up))
    assert figures["log_loss_base"] == pytest.approx(log_loss(up, base))
    assert figures["rounds"] == grown.rounds
    assert figures["chosen"] == grown.chosen
    # A calibration judged on what it was not fitted on says a little less than one that was.
    assert figures["log_loss"] <= figures["platt_log_loss"] < figures["log_loss"] + 0.01
    assert figures["log_loss"] <= figures["isotonic_log_loss"] < figures["log_loss"] + 0.1


def test_three_classes_are_measured_against_their_rates_and_against_volatility() -> None:
    rows, grown, (segment, figures) = planted(), found(), worth()
    became = np.where(rows.moves > 0.02, 2, np.where(rows.moves < -0.02, 0, 1))
    rates = multi_brier(np.bincount(became, minlength=3) / len(rows), became)
    p3 = segment.calibrations["1h"].thirds.of_logit(grown.size, grown.side)

    assert figures["p3_brier_skill"] == pytest.approx(1 - multi_brier(p3, became) / rates)
    assert figures["volatility_brier_skill"] == pytest.approx(
        1 - multi_brier(calm(rows, plan()), became) / rates
    )
    assert figures["p3_brier_skill"] > figures["volatility_brier_skill"] > 0.01


def test_the_baseline_reads_volatility_and_the_clock_alone_and_no_side() -> None:
    rows = planted(closes=200)
    p3 = calm(rows, plan())
    other = rows.inputs.copy()
    other[:, [place for place in range(len(INPUTS)) if place not in CALM]] = 0
    turned = replace(rows, inputs=other, moves=-rows.moves)

    np.testing.assert_allclose(p3[:, 0], p3[:, 2])
    np.testing.assert_allclose(p3.sum(axis=1), 1)
    assert p3[:, 1].std() > 0.02
    np.testing.assert_array_equal(calm(turned, plan()), p3)


def test_reliability_tells_of_every_row_once() -> None:
    told = worth()[1]["reliability"]

    assert sum(n for n, _, _ in told) == len(planted())
    assert all(n > 0 and 0 < said < 1 and 0 <= came <= 1 for n, said, came in told)
    assert [said for _, said, _ in told] == sorted(said for _, said, _ in told)


def test_figures_are_json_and_the_same_each_time() -> None:
    figures = worth()[1]
    again = judged(planted(), plan(), found(), default_rng(7))[1]

    assert json.loads(json.dumps(figures, allow_nan=False)) == json.loads(json.dumps(again, allow_nan=False))


def test_the_verdict_changes_nothing_else_of_the_segment() -> None:
    grown: Grown = found()
    rows: Rows = planted()
    segment = worth()[0]

    assert replace(segment, skill=False).calibrations == grown.segment.calibrations
    assert segment.side is grown.segment.side
    assert (
        segment.answer(rows.inputs[:9], "1h").p_up.tobytes()
        == grown.segment.answer(rows.inputs[:9], "1h").p_up.tobytes()
    )
