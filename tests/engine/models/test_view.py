"""What is refused of a prediction, and what a signal says where one lacks."""

from __future__ import annotations

from math import inf, nan
from typing import Any

import pytest

from engine.errors import CorruptRecord
from engine.models.view import calibrated, check, remarks
from tests.engine.models.asking import moment, said


@pytest.mark.parametrize(
    "changed",
    [
        {"p_up": nan},
        {"p_up": 1.01},
        {"p_up": -0.01},
        {"p_up": None},
        {"p3": None},
        {"p3": (0.5, 0.5, 0.1)},
        {"p3": (nan, 0.5, 0.5)},
        {"p3": (-0.1, 0.6, 0.5)},
        {"expected_move": -0.1},
        {"expected_move": nan},
        {"expected_move": inf},
        {"novelty": nan},
        {"novelty": inf},
        {"quantile": nan},
        {"contributions": (("rsi_14", nan),)},
    ],
    ids=str,
)
def test_numbers_that_no_model_can_mean_are_refused(changed: dict[str, Any]) -> None:
    with pytest.raises(CorruptRecord, match=r"BTCUSDT model boosted at 1709629200000 answered p_up"):
        check(said(moment(), **changed))


@pytest.mark.parametrize(
    "changed",
    [
        {},
        {"p_up": 0.0},
        {"p_up": 1.0},
        {"quantile": inf},
        {"quantile": None, "novelty": None, "expected_move": None},
        {"p_up": None, "p3": None},
        {"p3": (1 / 3, 1 / 3, 1 / 3)},
    ],
    ids=str,
)
def test_what_a_model_can_mean_is_not(changed: dict[str, Any]) -> None:
    check(said(moment(), **changed))


def test_only_the_model_that_decides_decides_and_only_with_a_probability() -> None:
    silent = said(moment(), p_up=None, p3=None)

    assert calibrated({}) is None
    assert calibrated({"boosted": silent}) is None
    assert calibrated({"transformer": said(moment(), model="transformer")}) is None
    assert calibrated({"boosted": said(moment())}) == said(moment())
    with pytest.raises(CorruptRecord):
        calibrated({"boosted": said(moment(), 2.0)})


@pytest.mark.parametrize(
    ("changed", "notes"),
    [
        ({}, []),
        ({"skill": False}, ["model boosted: no skill"]),
        ({"p_up": None, "p3": None, "fault": "no version"}, ["model boosted: no version"]),
        ({"p_up": None, "p3": None, "skill": False, "novelty": 9.0}, ["model boosted: silent"]),
        ({"novelty": 1.0}, []),
        ({"novelty": 1.75}, ["model boosted: novel market, 1.8 times the usual distance"]),
        (
            {"skill": False, "novelty": 3.0},
            ["model boosted: no skill", "model boosted: novel market, 3.0 times the usual distance"],
        ),
    ],
    ids=str,
)
def test_what_is_wrong_with_it_is_said(changed: dict[str, Any], notes: list[str]) -> None:
    assert list(remarks(said(moment(), **changed))) == notes
