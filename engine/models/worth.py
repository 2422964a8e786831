"""What a fitted segment is worth on rows it had not seen: the figures that travel with its version."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final

import numpy as np
from numpy.random import Generator

from engine.models.growing import Grown, Plan, Rows, split, starting
from engine.models.segment import Segment
from engine.research import Array
from engine.research.calibration import Thirds, compare
from engine.research.labels import classes
from engine.research.metrics import auc, brier, brier3_skill, brier_skill, ece, log_loss, reliability
from engine.research.rows import INPUTS
from engine.research.significance import Days

SURE: Final = 0.98
"""The two-sided level whose lower end skill must clear: on noise meant to be 1 model in 20, not 1 in 100. Two
folds learn from each other and so judge one agreement twice: the variance of what they say together is about
twice what drawing days shows. Of 60 segments of random walks .90 believed ten, .98 six."""

CALM: Final = tuple(
    INPUTS.index(name)
    for name in (
        *("atr_ratio", "true_range_atr", "volatility_6", "volatility_24", "volatility_96"),
        *("day_sin", "day_cos", "week_sin", "week_cos"),
    )
)
"""Volatility and the clock: the baseline of three classes, which every model must beat."""


def judged(rows: Rows, plan: Plan, grown: Grown, rng: Generator) -> tuple[Segment, dict[str, Any]]:
    """The segment with the verdict on its skill, and its figures on out-of-fold predictions.

    It has skill when the AUC of its side clears 1/2 with its lower bound, days drawn in blocks.
    """
    up = (rows.moves > 0).astype(np.float64)
    became = classes(rows.moves, plan.threshold)
    calibration = grown.segment.calibrations[plan.interval]
    p_up = calibration.side.of_logit(grown.side)
    days = Days.of(rows.time, rng, count=300)
    bounds = days.auc(p_up, up, level=SURE)
    skill = bool(bounds.low > 0.5) and calibration.side.slope > 0
    base, rates = float(up.mean()), np.bincount(became.astype(np.int64), minlength=3) / len(rows)
    ways = compare(grown.side, up, split(rows, plan))
    figures = {
        "skill": skill,
        "rows": len(rows),
        "symbols": len(np.unique(rows.symbol)),
        "base_rate": base,
        "auc": auc(p_up, up),
        "auc_ci": list(days.auc(p_up, up)),
        "line_auc": auc(grown.line, up),
        "brier": brier(p_up, up),
        "brier_skill": brier_skill(p_up, up, base),
        "ece": ece(p_up, up),
        "log_loss": log_loss(p_up, up),
        "log_loss_base": log_loss(np.full(len(up), base), up),
        "isotonic_log_loss": ways["isotonic"]["log_loss"],
        "platt_log_loss": ways["platt"]["log_loss"],
        "slope": calibration.side.slope,
        "reliability": [list(row) for row in reliability(p_up, up) if row[0]],
        "p3_brier_skill": brier3_skill(calibration.thirds.of_logit(grown.size, grown.side), became, rates),
        "volatility_brier_skill": brier3_skill(calm(rows, plan), became, rates),
        "rounds": dict(grown.rounds),
        "chosen": grown.chosen,
    }
    return replace(grown.segment, skill=skill), figures


def calm(rows: Rows, plan: Plan) -> Array:
    """p3 of the baseline: a line on volatility and the clock for the size, up as often as down."""
    wide = rows.inputs[:, CALM].astype(np.float64)
    wide[:, :5] = np.log(np.maximum(wide[:, :5], 1e-6))
    known = replace(rows, inputs=wide.astype(np.float32))
    moved = (np.abs(rows.moves) > plan.threshold).astype(np.float64)
    said = starting(known, moved, np.ones(len(rows)), split(rows, plan)).unseen
    became = classes(rows.moves, plan.threshold)
    nowhere = np.zeros(len(said))
    return Thirds.fit(said, nowhere, became).of_logit(said, nowhere)
