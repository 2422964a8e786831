"""How a segment is fitted: what it finds, what it must not see, and that it is the same each time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import cache
from math import nan
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

import numpy as np
import pytest
from numpy.random import default_rng
from numpy.typing import NDArray

from engine.errors import StorageError
from engine.models import growing
from engine.models.growing import FOLD_EMBARGO, FOLDS, REGULARISED, Grown, Plan, Rows, fewest, grow, split
from engine.models.linear import Linear
from engine.models.segment import margin, volatility
from engine.research.calibration import Platt, sigmoid
from engine.research.metrics import auc, ece
from engine.research.rows import INPUTS
from engine.research.splits import Fold, audit

HOUR: Final = 3_600_000
MIDNIGHT: Final = 1_700_006_400_000
HORIZON: Final = 12
FIRST, SECOND = INPUTS.index("rsi_14"), INPUTS.index("beta")
"""The inputs that a planted signal bears on."""

POSITIVE: Final = tuple(
    INPUTS.index(name)
    for name in ("atr_ratio", "true_range_atr", "volatility_6", "volatility_24", "volatility_96")
)
DAY_OF_SPAN: Final = INPUTS.index("lead")
"""The input that tells when a row was, where labels are to leak."""

SMALL: Final[Mapping[str, Any]] = MappingProxyType({**REGULARISED, "n_estimators": 40, "learning_rate": 0.1})
DEEP: Final[Mapping[str, Any]] = MappingProxyType(
    {"max_depth": 6, "learning_rate": 0.3, "n_estimators": 40, "subsample": 0.8, "min_child_weight": 1}
)


def columns(rows: int, seed: int) -> NDArray[np.float32]:
    """What a market could look like to a model: heavy tails, holes, and volatility above 0."""
    rng = default_rng(seed)
    made = rng.standard_t(6, (rows, len(INPUTS)))
    made[:, POSITIVE] = 0.01 * np.exp(0.5 * rng.normal(size=(rows, 1)) + 0.1 * made[:, POSITIVE])
    made[rng.random(made.shape) < 0.01] = nan
    return made.astype(np.float32)


def blank(closes: int, symbols: int, seed: int, stride: int = 5) -> Rows:
    """Closes of a few symbols, pooled by time, without a label."""
    time = np.repeat(MIDNIGHT + stride * HOUR * np.arange(closes), symbols)
    symbol = np.tile(np.arange(symbols), closes)
    return Rows(time, symbol, columns(closes * symbols, seed), np.zeros(closes * symbols), {})


def planted(closes: int = 700, symbols: int = 3, seed: int = 1, strength: float = 0.7) -> Rows:
    """The side follows two inputs, the size the volatility; every label by itself."""
    rows, rng = blank(closes, symbols, seed), default_rng(seed + 1000)
    first, second = np.nan_to_num(rows.inputs[:, FIRST]), np.nan_to_num(rows.inputs[:, SECOND])
    up = rng.random(len(rows)) < sigmoid(strength * (first - second).astype(np.float64))
    wide = 3 * np.nan_to_num(rows.inputs[:, INPUTS.index("volatility_24")], nan=0.01)
    return replace(rows, moves=np.where(up, 1, -1) * wide * rng.exponential(1.0, len(rows)))


def walked(
    closes: int = 900, symbols: int = 3, seed: int = 1, stride: int = 5, horizon: int = HORIZON
) -> Rows:
    """Nothing is known beforehand: prices of symbols that walk together, labels that overlap."""
    rows, rng = blank(closes, symbols, seed, stride), default_rng(seed + 2000)
    steps = closes * stride + horizon
    walk = np.cumsum(0.007 * (rng.normal(size=(steps, 1)) + rng.normal(size=(steps, symbols))), axis=0)
    begin = stride * np.arange(closes)
    moves = np.exp(walk[begin + horizon - 1] - np.where(begin[:, None] > 0, walk[begin - 1], 0.0)) - 1
    return replace(rows, moves=moves.ravel())


def plan(**changes: Any) -> Plan:
    known: dict[str, Any] = {
        "interval": "1h",
        "step": HOUR,
        "horizon": HORIZON,
        "threshold": 0.02,
        "candidates": {"configured": DEEP, "regularised": SMALL},
        "seed": 7,
    }
    return Plan(**{**known, **changes})


@cache
def found() -> Grown:
    """A segment grown on the planted signal; the same one for every test of this process."""
    return grow(planted(), plan())


def saved(grown: Grown, folder: Path) -> dict[str, bytes]:
    folder.mkdir()
    grown.segment.save(folder, "majors")
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_the_same_rows_and_seed_give_the_same_files(tmp_path: Path) -> None:
    rows, asked = planted(closes=120, symbols=2), plan()
    first, again = saved(grow(rows, asked), tmp_path / "a"), saved(grow(rows, asked), tmp_path / "b")

    assert sorted(first) == ["majors.json", "majors.side.json", "majors.size.json"]
    assert again == first
    assert saved(grow(rows, plan(seed=8)), tmp_path / "c") != first


def test_a_planted_signal_is_found_and_what_is_said_of_it_is_calibrated() -> None:
    grown, rows = found(), planted()
    up = (rows.moves > 0).astype(np.float64)
    p_up = grown.segment.calibrations["1h"].side.of_logit(grown.side)

    assert auc(grown.side, up) > 0.6
    assert auc(grown.line, up) > 0.6
    assert ece(p_up, up) < 0.05
    assert p_up.std() > 0.08
    assert auc(grown.size, (np.abs(rows.moves) > 0.02).astype(np.float64)) > 0.6


def test_the_segment_says_of_other_rows_what_the_folds_promised() -> None:
    other = planted(seed=2)
    answer = found().segment.answer(other.inputs, "1h")
    up = (other.moves > 0).astype(np.float64)

    assert auc(answer.p_up, up) > 0.6
    assert ece(answer.p_up, up) < 0.05
    assert auc(answer.p3[:, 1], (np.abs(other.moves) <= 0.02).astype(np.float64)) > 0.6
    known = np.isfinite(answer.move)
    assert known.mean() > 0.95
    assert answer.move[known].mean() == pytest.approx(np.abs(other.moves[known]).mean(), rel=0.25)


def test_no_fold_learns_from_a_label_that_its_judged_rows_share() -> None:
    for stride in (1, 5):
        rows = walked(closes=500, stride=stride)
        folds = split(rows, plan())

        assert len(folds) == FOLDS
        assert sorted(np.concatenate([fold.test for fold in folds])) == list(range(len(rows)))
        for fold in folds:
            assert audit(rows.time, fold.train, fold.test, HOUR, HORIZON, FOLD_EMBARGO) == []
            assert len(fold.train) > len(rows) / 2


def shuffled(rows: Rows, asked: Plan) -> Iterator[Fold]:
    """Folds as a careless hand makes them."""
    part = default_rng(3).permutation(len(rows)) % FOLDS
    for number in range(FOLDS):
        yield Fold(np.flatnonzero(part != number), np.flatnonzero(part == number))


def test_overlapping_labels_leak_through_shuffled_folds_and_not_through_these(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # A row tells its time, and neighbours in time share most of their labels.
    rows = walked(closes=1000, symbols=1, stride=1, horizon=48)
    rows.inputs[:, DAY_OF_SPAN] = np.arange(len(rows))
    up = (rows.moves > 0).astype(np.float64)
    asked = plan(candidates={"configured": DEEP}, horizon=48)

    honest = growing.grow_side(rows, asked).judged.margin
    monkeypatch.setattr(growing, "split", lambda rows, asked: list(shuffled(rows, asked)))
    leaked = growing.grow_side(rows, asked).judged.margin

    assert auc(leaked, up) > 0.8
    assert auc(honest, up) < 0.6


def test_out_of_fold_answers_come_from_lines_and_trees_that_did_not_see_the_row() -> None:
    # Outcomes of one fold are turned over: what is said of its own rows must not change for the trees.
    rows = planted(closes=120)
    asked = plan(candidates={"configured": DEEP}, stop=False)
    up = (rows.moves > 0).astype(np.float64)
    folds, weight = split(rows, asked), np.ones(len(rows))
    fold = folds[1]
    other = up.copy()
    other[fold.test] = 1 - other[fold.test]
    said, changed = (
        growing.judge(rows, y, weight, [fold], {**DEEP, "seed": 1}, stop=False).margin for y in (up, other)
    )

    assert said[fold.test].tobytes() == changed[fold.test].tobytes()
    start = growing.starting(rows, up, weight, folds)
    lines = [
        Linear.fit(rows.inputs[one.train].astype(np.float64), up[one.train], weight[one.train])
        for one in folds
    ]
    unseen = np.zeros(len(rows))
    for one, line in zip(folds, lines, strict=True):
        unseen[one.test] = line.margin(rows.inputs[one.test].astype(np.float64))
    slope = Platt.fit(unseen, up, weight).slope
    np.testing.assert_allclose(start.unseen, unseen * slope, rtol=1e-12)


@pytest.mark.parametrize(
    ("curves", "stop", "rounds"),
    [
        ([[0.7, 0.6, 0.5, nan], [0.7, 0.6, 0.8, 0.1]], True, 2),
        ([[0.7, 0.6, 0.5, nan], [0.7, 0.6, 0.8, 0.1]], False, 4),
        ([[0.7, 0.71, 0.72], [0.7, 0.6, 0.5]], True, 3),
        ([[0.6, 0.6, 0.6]], True, 1),
        ([[0.9, nan, nan], [0.9, 0.1, nan]], True, 1),
    ],
)
def test_as_many_rounds_are_grown_as_the_folds_together_bear(
    curves: list[list[float]], stop: bool, rounds: int
) -> None:
    assert fewest(np.array(curves), stop) == rounds


def test_without_stopping_every_round_is_grown_and_with_it_fewer_where_there_is_nothing() -> None:
    rows = walked(closes=120)
    full, short = (grow(rows, plan(candidates={"configured": DEEP}, stop=stop)) for stop in (False, True))

    assert full.rounds == {"side": 40, "size": 200}
    assert full.segment.side.num_boosted_rounds() == 40
    assert full.segment.size.num_boosted_rounds() == 200
    assert short.rounds["side"] < 20
    assert short.segment.side.num_boosted_rounds() == short.rounds["side"]


def test_the_candidate_with_the_lower_loss_is_chosen() -> None:
    rows = planted(closes=150)
    asked = plan(candidates={"regularised": SMALL, "deep": {**DEEP, "n_estimators": 10}})
    grown = grow(rows, asked)
    up = (rows.moves > 0).astype(np.float64)
    weight = growing.weights(rows, asked, up)
    start = growing.starting(rows, up, weight, split(rows, asked))
    folds = split(rows, asked)
    tried = {
        name: growing.judge(rows, up, weight, folds, {**trees, "seed": 7}, stop=True, start=start)
        for name, trees in asked.candidates.items()
    }
    losses = {
        name: one.curves[:, np.isfinite(one.curves).all(axis=0)].mean(axis=0).min()
        for name, one in tried.items()
    }

    assert grown.losses == pytest.approx(losses)
    assert grown.chosen == min(losses, key=lambda name: losses[name])
    turned = growing.grow_side(rows, plan(candidates=dict(reversed(list(asked.candidates.items())))))
    assert turned.chosen == grown.chosen
    assert turned.judged.margin.tobytes() == grown.side.tobytes()


def test_a_fold_has_no_say_in_the_rounds_it_is_judged_by() -> None:
    rows = planted(closes=150)
    asked, trees = plan(), {**DEEP, "n_estimators": 25, "seed": 7}
    up, folds, weight = (rows.moves > 0).astype(np.float64), split(rows, asked), np.ones(len(rows))
    judged = growing.judge(rows, up, weight, folds, trees, stop=True)
    own = 0
    for place, fold in enumerate(folds):
        booster, curve = growing.folded(rows, up, weight, fold, trees, True, None)
        rounds = fewest(np.delete(judged.curves, place, axis=0), stop=True)
        said = margin(booster[: min(rounds, booster.num_boosted_rounds())], rows.inputs[fold.test])

        np.testing.assert_array_equal(curve, judged.curves[place])
        assert judged.margin[fold.test].tobytes() == said.tobytes()
        own += rounds != int(np.nanargmin(curve)) + 1
    assert own


def test_newer_rows_count_more_overlapping_ones_less_and_both_sides_the_same() -> None:
    rows = planted(closes=400)
    rows.moves[::3] = np.abs(rows.moves[::3])
    up = (rows.moves > 0).astype(np.float64)
    weight = growing.weights(rows, plan(), up)

    assert weight[up > 0.5].sum() == pytest.approx(weight[up < 0.5].sum())
    raw = growing.recent(rows)
    assert raw[-1] == 1.0
    assert raw[0] == pytest.approx(0.5 ** ((rows.time[-1] - rows.time[0]) / growing.HALF_LIFE))
    middle, year = len(rows) // 2, 365 * 86_400_000
    later, earlier = (
        replace(rows, time=np.where(np.arange(len(rows)) < middle, rows.time - gap, rows.time))
        for gap in (0, 3 * year)
    )
    old, new = (
        weight[:middle].sum() / weight[middle:].sum()
        for weight in (growing.weights(one, plan(), up) for one in (earlier, later))
    )
    assert old == pytest.approx(new / 2, rel=0.02)


def test_a_label_that_others_share_counts_less() -> None:
    rows, up = planted(closes=400, symbols=2), np.arange(800) % 4 < 2
    alone = replace(rows, time=np.where(rows.symbol == 1, MIDNIGHT + (rows.time - MIDNIGHT) * 3, rows.time))
    weight = growing.weights(alone, plan(), up.astype(np.float64))

    # A label of twelve hours every five hours shares nearly all of itself, one every fifteen nothing.
    shared, apart = (np.median(weight[rows.symbol == number]) for number in (0, 1))
    assert shared / apart == pytest.approx(5 / 12, rel=0.15)


@pytest.mark.parametrize(
    ("moves", "text"),
    [
        (lambda n: np.full(n, 0.1), "moves up"),
        (lambda n: np.full(n, -0.1), "0 moves up"),
        (lambda n: np.where(np.arange(n) < 9, 0.1, -0.1), "9 moves up"),
        (lambda n: np.where(np.arange(n) % 2, 0.001, -0.001), "0 moves beyond the threshold"),
    ],
)
def test_too_little_to_learn_from_is_refused(moves: Any, text: str) -> None:
    rows = blank(closes=100, symbols=2, seed=1)

    with pytest.raises(StorageError, match=f"{text}.* of 200 rows: too few to learn from"):
        grow(replace(rows, moves=moves(200)), plan())


def test_rows_that_cannot_be_split_are_refused() -> None:
    rows = planted(closes=12, symbols=3)

    with pytest.raises(StorageError, match=f"cannot be split into {FOLDS} purged folds"):
        split(rows, plan())


def with_others(closes: int = 250, share: float = 1.0, turned: bool = False) -> Rows:
    """Rows with the moves of twelve 5m closes each, which follow the same two inputs more weakly."""
    rows, rng = planted(closes=closes), default_rng(9)
    side = (np.nan_to_num(rows.inputs[:, FIRST]) - np.nan_to_num(rows.inputs[:, SECOND])).astype(np.float64)
    up = rng.random((len(rows), 12)) < sigmoid((-0.3 if turned else 0.3) * side)[:, None]
    moves = np.where(up, 1, -1) * 0.02 * rng.exponential(1.0, up.shape)
    moves[: round(len(rows) * (1 - share))] = nan
    return replace(rows, others={"5m": moves})


@cache
def known_for_both() -> tuple[Rows, Grown]:
    rows = with_others(closes=400, share=0.6)
    return rows, grow(rows, plan(candidates={"regularised": SMALL}))


def test_signals_of_another_interval_have_a_calibration_of_their_own() -> None:
    rows, grown = known_for_both()
    moves = rows.others["5m"]
    known = np.isfinite(moves)
    p_up = np.broadcast_to(grown.segment.calibrations["5m"].side.of_logit(grown.side)[:, None], moves.shape)[
        known
    ]
    up = (moves[known] > 0).astype(np.float64)
    own, other = (grown.segment.calibrations[name] for name in ("1h", "5m"))

    assert other.side.slope == pytest.approx(
        Platt.fit(np.broadcast_to(grown.side[:, None], moves.shape)[known], up).slope
    )
    assert 0 < other.side.slope < 0.8 * own.side.slope
    assert ece(p_up, up) < 0.03
    width = volatility(rows.inputs)
    seen = known & np.isfinite(width)[:, None]
    slope = np.linalg.lstsq(
        np.broadcast_to(width[:, None], moves.shape)[seen][:, None], np.abs(moves[seen]), rcond=None
    )[0]
    assert other.move == pytest.approx(float(slope[0]))
    assert 0 < other.quantile <= 1


def test_a_calibration_on_a_handful_of_moves_is_not_made() -> None:
    side = size = np.zeros(60)
    rows = with_others(closes=20)
    for moves in (np.full((60, 12), nan), np.where(np.arange(12) == 0, 0.01, nan) * np.ones((60, 1))):
        made = growing.calibrations(replace(rows, others={"5m": moves}), plan(), side, size)

        assert list(made) == ["1h"]


def test_a_version_wrong_about_another_interval_says_even_of_it() -> None:
    rows = with_others(closes=400, turned=True)
    grown = known_for_both()[1]
    made = growing.calibrations(rows, plan(), grown.side, grown.size)

    assert made["5m"].side.slope == 0.0
    assert made["1h"].side.slope > 0.0


def test_a_set_of_classes_holds_what_comes_nine_times_in_ten() -> None:
    other = planted(seed=4)
    segment = found().segment
    answer = segment.answer(other.inputs, "1h")
    became = np.where(other.moves > 0.02, 2, np.where(other.moves < -0.02, 0, 1))
    score = 1 - answer.p3[np.arange(len(other)), became]

    assert (score <= segment.calibrations["1h"].quantile).mean() == pytest.approx(0.9, abs=0.03)


def test_expected_moves_are_known_without_volatility_of_some_rows() -> None:
    rows = planted(closes=250)
    rows.inputs[::2, INPUTS.index("volatility_96")] = nan
    made = growing.calibrations(rows, plan(), np.zeros(len(rows)), np.zeros(len(rows)))

    assert made["1h"].move > 0
