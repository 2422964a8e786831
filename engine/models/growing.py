"""How a segment is fitted: purged folds choose the trees, their answers to what they had not seen calibrate.

Everything is grown on one thread from one seed: the same rows give the same segment.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any, Final

import numpy as np
import xgboost
from numpy.typing import NDArray

from engine.errors import StorageError
from engine.models.linear import Linear
from engine.models.segment import Calibration, Segment, margin, volatility
from engine.research import Array, Ints
from engine.research.calibration import Platt, Thirds
from engine.research.conformal import quantile, scores
from engine.research.labels import classes
from engine.research.novelty import Novelty
from engine.research.splits import Fold, purged_k_fold
from engine.research.weights import balance, recency, uniqueness

FOLDS: Final = 4
FOLD_EMBARGO: Final = 24
"""Candles left out behind a judged block, beside the label's own: its features look back on that block."""

PATIENCE: Final = 20
"""Rounds without a better log-loss on the judged block after which a fold stops."""

FEWEST: Final = 200
"""Moves of another interval that are enough to calibrate for it; a few hours are not."""

HALF_LIFE: Final = 3 * 365 * 86_400_000
"""Ms after which a row counts half."""

BASE: Final[Mapping[str, Any]] = MappingProxyType(
    {"objective": "binary:logistic", "tree_method": "hist", "max_bin": 64, "nthread": 1, "base_score": 0.5}
)
REGULARISED: Final[Mapping[str, Any]] = MappingProxyType(
    {
        "max_depth": 3,
        "learning_rate": 0.02,
        "n_estimators": 200,
        "subsample": 0.5,
        "colsample_bytree": 0.5,
        "min_child_weight": 50,
        "reg_lambda": 10,
    }
)
"""Few, shallow, slow trees: what noise leaves room for. The folds choose between these and the configured."""

SIZES: Final[Mapping[str, Any]] = MappingProxyType({**REGULARISED, "max_depth": 4, "learning_rate": 0.05})
"""The same for the size of a move, of which there is more to know."""

Singles = NDArray[np.float32]
Key = tuple[str, int]
"""What a candidate is known by: its settings, and how many inputs it reads."""


@dataclass(frozen=True, eq=False)
class Rows:
    """What one segment is fitted on: closes of its symbols, pooled.

    `time` (n,) in ms, `symbol` (n,) numbers, `inputs` (n, INPUTS and `optional` ones), `moves` (n,) over the
    horizon. `others` are the moves that signals of other intervals are judged by, (n, k) each: of the k
    closes until the next row's, nan where unknown.
    """

    time: Ints
    symbol: Ints
    inputs: Singles
    moves: Array
    others: Mapping[str, Array]
    optional: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.time)

    @property
    def widths(self) -> tuple[int, ...]:
        """How many inputs may be read: those that are always there, or all."""
        own = self.inputs.shape[1] - len(self.optional)
        return (own, own + len(self.optional)) if self.optional else (own,)

    def narrowed(self, width: int) -> Rows:
        """The same rows with their first `width` inputs."""
        if width == self.inputs.shape[1]:
            return self
        return replace(self, inputs=np.ascontiguousarray(self.inputs[:, :width]), optional=())


@dataclass(frozen=True)
class Plan:
    """How to fit: the `interval` of the model in ms as `step`, its `horizon`, the segment's `threshold`.

    `candidates` are tree settings by name; without `stop` all rounds are grown. `chances` are by input how
    often trees of the side look at it, relative to the others, () = alike.
    """

    interval: str
    step: int
    horizon: int
    threshold: float
    candidates: Mapping[str, Mapping[str, Any]]
    seed: int = 0
    stop: bool = True
    chances: tuple[float, ...] = ()


@dataclass(frozen=True, eq=False)
class Judged:
    """Out-of-fold log-odds (n,), the rounds the folds together bore, and log-losses (folds, rounds).

    How many rounds speak for a fold the other folds decide: it had no say in what it is judged by.
    """

    margin: Array
    rounds: int
    curves: Array


@dataclass(frozen=True, eq=False)
class Side:
    """Trees for the side with the line they start from, whose settings were `chosen`, and their judgement.

    `settings` is the name of the tree settings among the plan's candidates. `unseen` are the line's own
    out-of-fold log-odds (n,), `losses` the log-loss of each candidate.
    """

    line: Linear
    trees: xgboost.Booster
    chosen: str
    losses: Mapping[str, float]
    judged: Judged
    unseen: Array
    settings: str


@dataclass(frozen=True, eq=False)
class Size:
    """Trees for the size of a move, and how they were judged."""

    trees: xgboost.Booster
    judged: Judged


@dataclass(frozen=True, eq=False)
class Grown:
    """A fitted segment, what chose it, and its out-of-fold log-odds of side and size (n,) of the rows.

    `trees` is the name of the tree settings that `chosen` uses.
    """

    segment: Segment
    chosen: str
    rounds: Mapping[str, int]
    losses: Mapping[str, float]
    side: Array
    size: Array
    line: Array
    trees: str


def grow(rows: Rows, plan: Plan) -> Grown:
    """Fit one segment; raises `StorageError` where there is too little to fit on."""
    return assembled(rows, plan, grow_side(rows, plan), grow_size(rows, plan))


def grow_side(rows: Rows, plan: Plan) -> Side:
    """The candidates judged on purged folds, the best of them grown on all rows.

    Each candidate competes without the optional inputs and, where there are any, with them.
    """
    up, _ = outcomes(rows, plan)
    weight = weights(rows, plan, up)
    folds = split(rows, plan)
    tried, starts = {}, {}
    for width in rows.widths:
        known = rows.narrowed(width)
        starts[width] = start = starting(known, up, weight, folds)
        for name, candidate in plan.candidates.items():
            seeded = {**candidate, "seed": plan.seed}
            judged = judge(known, up, weight, folds, seeded, plan.stop, start, plan.chances)
            tried[name, width] = judged
    curves = {key: judged.curves for key, judged in tried.items()}
    chosen = preferred(curves, plan.stop)
    name, width = chosen
    known, start = rows.narrowed(width), starts[width]
    settings = {**plan.candidates[name], "seed": plan.seed}
    begin = beginning(start.line, known.inputs)
    trees = trained(known.inputs, up, weight, settings, tried[chosen].rounds, begin, plan.chances)
    losses = {labelled(rows, *key): least(curve, plan.stop) for key, curve in curves.items()}
    judgement = replace(tried[chosen], margin=unseen(tried, folds, plan.stop))
    return Side(start.line, trees, labelled(rows, *chosen), losses, judgement, start.unseen, name)


def labelled(rows: Rows, name: str, width: int) -> str:
    """What a candidate is called: that it reads the optional inputs is part of it."""
    return f"{name} with optional inputs" if width > rows.widths[0] else name


def unseen(tried: Mapping[Key, Judged], folds: Sequence[Fold], stop: bool) -> Array:
    """Out-of-fold log-odds; which candidate speaks for a fold the other folds decide."""
    said = np.zeros(len(next(iter(tried.values())).margin))
    for place, fold in enumerate(folds):
        others = {key: np.delete(judged.curves, place, axis=0) for key, judged in tried.items()}
        said[fold.test] = tried[preferred(others, stop)].margin[fold.test]
    return said


def preferred(curves: Mapping[Key, Array], stop: bool) -> Key:
    """The best candidate; one that reads more inputs only where the folds agree that it is better.

    They do when it gains more than one standard error of the folds' gains (the rule of Breiman et al. 1984,
    Classification and Regression Trees, 3.4.3): of two that are alike the simpler one is preferred.
    """
    narrow = min(width for _, width in curves)
    plain = best({key: curve for key, curve in curves.items() if key[1] == narrow}, stop)
    found = best(curves, stop)
    gains = reached(curves[plain], stop) - reached(curves[found], stop)
    return found if gains.mean() > gains.std(ddof=1) / np.sqrt(len(gains)) else plain


def grow_size(rows: Rows, plan: Plan) -> Size:
    """Trees for the size, as many rounds as the purged folds bore, with the inputs that they prefer."""
    _, moved = outcomes(rows, plan)
    settings, weight = {**SIZES, "seed": plan.seed}, recent(rows)
    folds = split(rows, plan)
    tried = {
        ("sizes", width): judge(rows.narrowed(width), moved, weight, folds, settings, plan.stop)
        for width in rows.widths
    }
    chosen = preferred({key: judged.curves for key, judged in tried.items()}, plan.stop)
    width, judged = chosen[1], replace(tried[chosen], margin=unseen(tried, folds, plan.stop))
    return Size(trained(rows.narrowed(width).inputs, moved, weight, settings, judged.rounds), judged)


def assembled(rows: Rows, plan: Plan, side: Side, size: Size) -> Grown:
    """A segment of its two halves, calibrated by their answers to what they had not seen."""
    segment = Segment(
        side.line,
        side.trees,
        size.trees,
        calibrations(rows, plan, side.judged.margin, size.judged.margin),
        Novelty.fit(rows.narrowed(rows.widths[0]).inputs.astype(np.float64)),
        skill=False,
        optional=rows.optional,
    )
    rounds = {"side": side.judged.rounds, "size": size.judged.rounds}
    margins = (side.judged.margin, size.judged.margin, side.unseen)
    return Grown(segment, side.chosen, rounds, side.losses, *margins, side.settings)


def outcomes(rows: Rows, plan: Plan) -> tuple[Array, Array]:
    """1.0 where the move was up, and where it was beyond the threshold; raises `StorageError` for too few."""
    up = (rows.moves > 0).astype(np.float64)
    moved = (np.abs(rows.moves) > plan.threshold).astype(np.float64)
    for name, y in (("moves up", up), ("moves beyond the threshold", moved)):
        if not 10 <= y.sum() <= len(y) - 10:
            raise StorageError(f"{int(y.sum())} {name} of {len(y)} rows: too few to learn from")
    return up, moved


def split(rows: Rows, plan: Plan) -> list[Fold]:
    try:
        return list(purged_k_fold(rows.time, plan.step, plan.horizon, FOLD_EMBARGO, FOLDS))
    except ValueError as error:
        raise StorageError(f"the rows cannot be split into {FOLDS} purged folds: {error}") from error


def weights(rows: Rows, plan: Plan, y: Array) -> Array:
    """Newer rows count more, those whose label overlaps others' less, and both classes the same."""
    alone = np.ones(len(rows))
    for symbol in np.unique(rows.symbol):
        mine = rows.symbol == symbol
        alone[mine] = uniqueness(rows.time[mine], rows.time[mine] + plan.horizon * plan.step)
    counted = recent(rows) * alone / alone.mean()
    return np.asarray(counted * balance(y, counted), np.float64)


def recent(rows: Rows) -> Array:
    return recency(rows.time, HALF_LIFE)


@dataclass(frozen=True, eq=False)
class Start:
    """What the trees start from: a line on all rows, one a fold on its own, and each row's unseen margin."""

    line: Linear
    folded: Sequence[Linear]
    unseen: Array


def starting(rows: Rows, y: Array, weight: Array, folds: Sequence[Fold]) -> Start:
    """Lines as sure as they turned out to be right on rows they had not seen."""
    wide = rows.inputs.astype(np.float64)
    folded = [Linear.fit(wide[fold.train], y[fold.train], weight[fold.train]) for fold in folds]
    unseen = np.zeros(len(rows))
    for fold, line in zip(folds, folded, strict=True):
        unseen[fold.test] = line.margin(wide[fold.test])
    slope = Platt.fit(unseen, y, weight).slope
    line = Linear.fit(wide, y, weight).tempered(slope)
    return Start(line, [one.tempered(slope) for one in folded], unseen * slope)


def judge(
    rows: Rows,
    y: Array,
    weight: Array,
    folds: Sequence[Fold],
    trees: Mapping[str, Any],
    stop: bool,
    start: Start | None = None,
    chances: Sequence[float] = (),
) -> Judged:
    """What these trees say of rows they had not seen, grown as long as that helps on the folds together."""
    lines = [None] * len(folds) if start is None else start.folded
    grown = [
        folded(rows, y, weight, fold, trees, stop, line, chances)
        for fold, line in zip(folds, lines, strict=True)
    ]
    curves = np.array([curve for _, curve in grown])
    said = np.zeros(len(rows))
    for place, (fold, (booster, _)) in enumerate(zip(folds, grown, strict=True)):
        unseen = None if start is None else start.unseen[fold.test].astype(np.float32)
        rounds = min(fewest(np.delete(curves, place, axis=0), stop), booster.num_boosted_rounds())
        said[fold.test] = margin(booster[:rounds], rows.inputs[fold.test], unseen)
    return Judged(said, fewest(curves, stop), curves)


def best(curves: Mapping[Key, Array], stop: bool) -> Key:
    """The candidate whose folds' mean log-loss was least."""
    return min(curves, key=lambda name: least(curves[name], stop))


def least(curves: Array, stop: bool) -> float:
    """The folds' mean log-loss, (folds, rounds), after the rounds that `fewest` answers."""
    return float(reached(curves, stop).mean())


def reached(curves: Array, stop: bool) -> Array:
    """Each fold's log-loss, (folds,), after the rounds that `fewest` answers."""
    losses: Array = curves[:, fewest(curves, stop) - 1]
    return losses


def fewest(curves: Array, stop: bool) -> int:
    """Rounds at which the folds' mean log-loss, (folds, rounds), was least: one fold alone is mostly luck.

    Only rounds that every fold reached are compared; all rounds where none may stop.

    >>> fewest(np.array([[0.7, 0.6, 0.5, np.nan], [0.7, 0.6, 0.8, 0.1]]), stop=True)
    2
    """
    if not stop:
        return int(curves.shape[1])
    told = np.isfinite(curves).all(axis=0)
    return int(np.argmin(curves[:, told].mean(axis=0))) + 1


def folded(
    rows: Rows,
    y: Array,
    weight: Array,
    fold: Fold,
    trees: Mapping[str, Any],
    stop: bool,
    line: Linear | None,
    chances: Sequence[float] = (),
) -> tuple[xgboost.Booster, Array]:
    """One fold's trees, and the log-loss on its judged block after each round, nan from the stop on."""
    known, asked = (
        matrix(
            rows.inputs[part],
            y[part],
            weight[part],
            None if line is None else beginning(line, rows.inputs[part]),
            chances,
        )
        for part in (fold.train, fold.test)
    )
    told: dict[str, dict[str, list[float]]] = {}
    booster = xgboost.train(
        settings(trees),
        known,
        trees["n_estimators"],
        evals=[(asked, "judged")],
        evals_result=told,
        early_stopping_rounds=PATIENCE if stop else None,
        verbose_eval=False,
    )
    curve = np.full(trees["n_estimators"], np.nan)
    losses = told["judged"]["logloss"]
    curve[: len(losses)] = losses
    return booster, curve


def beginning(line: Linear, inputs: Singles) -> Singles:
    return line.margin(inputs.astype(np.float64)).astype(np.float32)


def settings(trees: Mapping[str, Any]) -> dict[str, Any]:
    return {**BASE, **{name: value for name, value in trees.items() if name != "n_estimators"}}


def matrix(
    inputs: Singles, y: Array, weight: Array, start: Singles | None, chances: Sequence[float] = ()
) -> xgboost.DMatrix:
    looked = np.array(chances[: inputs.shape[1]], np.float32) if len(chances) else None
    return xgboost.DMatrix(inputs, y, weight=weight, base_margin=start, feature_weights=looked, nthread=1)


def trained(
    inputs: Singles,
    y: Array,
    weight: Array,
    trees: Mapping[str, Any],
    rounds: int,
    start: Singles | None = None,
    chances: Sequence[float] = (),
) -> xgboost.Booster:
    """Trees on all rows."""
    booster = xgboost.train(settings(trees), matrix(inputs, y, weight, start, chances), rounds)
    booster.set_param({"nthread": 1})
    return booster


def calibrations(rows: Rows, plan: Plan, side: Array, size: Array) -> dict[str, Calibration]:
    """One for the model's own interval, and one for each other interval whose moves are known."""
    found = {plan.interval: calibrated(side, size, rows.moves, volatility(rows.inputs), plan.threshold)}
    for interval, moves in rows.others.items():
        known = np.isfinite(moves)
        if known.sum() >= max(len(rows) // 100, FEWEST):
            asked, sized, width = [
                np.broadcast_to(of[:, None], moves.shape)[known]
                for of in (side, size, volatility(rows.inputs))
            ]
            found[interval] = calibrated(asked, sized, moves[known], width, plan.threshold)
    return found


def calibrated(side: Array, size: Array, moves: Array, width: Array, threshold: float) -> Calibration:
    """What out-of-fold log-odds are worth for these moves; `width` is the volatility beside each."""
    seen = np.isfinite(width) & (width > 0)
    became = classes(moves, threshold)
    thirds = Thirds.fit(size, side, became)
    p3 = thirds.of_logit(size, side)
    return Calibration(
        Platt.fit(side, (moves > 0).astype(np.float64)),
        thirds,
        float(np.abs(moves[seen]) @ width[seen] / (width[seen] @ width[seen])) if seen.any() else 0.0,
        min(quantile(scores(p3, became)), 1.0),
    )
