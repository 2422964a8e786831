"""Other settings for the trees, tried inside the purged folds and nowhere else; needs the extra `search`.

What is found competes with the configured and the regularised settings like any third candidate.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any, Final

from engine.errors import SettingsError
from engine.models.growing import Plan, Rows, judge, least, outcomes, split, starting, weights

ROUNDS: Final = 200
"""The most that any of them may grow."""


def searched(rows: Rows, plan: Plan, trials: int) -> Mapping[str, Any]:
    """The best of `trials` tree settings by their log-loss on the purged folds of the rows.

    The same rows, seed and number of trials find the same. Raises `SettingsError` without optuna.
    """
    try:
        optuna: Any = import_module("optuna")  # heavy, and few ever search
    except ImportError as error:
        raise SettingsError(
            "--search needs optuna, which is not installed: pip install 'signal-engine[search]'"
        ) from error
    up, _ = outcomes(rows, plan)
    weight = weights(rows, plan, up)
    folds = split(rows, plan)
    start = starting(rows, up, weight, folds)

    def loss(trial: Any) -> float:
        trees = {**drawn(trial), "seed": plan.seed}
        return least(judge(rows, up, weight, folds, trees, plan.stop, start).curves, plan.stop)

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=plan.seed))
    study.optimize(loss, n_trials=trials)
    return {**study.best_params, "n_estimators": ROUNDS}


def drawn(trial: Any) -> dict[str, Any]:
    """One try: from the specification's deep trees to stumps of many rows."""
    return {
        "max_depth": trial.suggest_int("max_depth", 2, 8),
        "learning_rate": trial.suggest_float("learning_rate", 0.01, 0.1, log=True),
        "subsample": trial.suggest_float("subsample", 0.4, 0.9),
        "colsample_bytree": trial.suggest_float("colsample_bytree", 0.3, 0.9),
        "min_child_weight": trial.suggest_float("min_child_weight", 1, 200, log=True),
        "reg_lambda": trial.suggest_float("reg_lambda", 0.1, 100, log=True),
        "n_estimators": ROUNDS,
    }
