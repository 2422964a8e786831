"""The optional search: inside the folds of the rows it is given, repeatable, and told when it cannot be."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from dataflows.training.search import searched
from engine.errors import SettingsError
from engine.models.growing import Plan, Rows
from engine.records import INTERVALS
from engine.research.rows import INPUTS

HOUR = INTERVALS["1h"]


def rows(n: int = 600, seed: int = 1) -> Rows:
    """Rows in which two inputs say something of the side."""
    rng = np.random.default_rng(seed)
    inputs = rng.normal(size=(n, len(INPUTS))).astype(np.float32)
    moves = 0.01 * (inputs[:, 0] * inputs[:, 1] > 0) - 0.005 + rng.normal(0, 0.01, n)
    time = np.arange(1, n + 1, dtype=np.int64) * 5 * HOUR
    return Rows(time, np.zeros(n, np.int64), inputs, moves, {})


PLAN = Plan("1h", HOUR, 12, 0.005, {})


def test_the_same_rows_find_the_same_settings_and_more_trials_may_find_others() -> None:
    first, again = searched(rows(), PLAN, trials=2), searched(rows(), PLAN, trials=2)

    assert first == again
    assert first["n_estimators"] == 200
    assert 2 <= first["max_depth"] <= 8
    assert searched(rows(seed=5), PLAN, trials=2) != {} != first


def test_without_optuna_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)

    with pytest.raises(SettingsError, match=r"pip install 'signal-engine\[search\]'"):
        searched(rows(), PLAN, trials=1)
