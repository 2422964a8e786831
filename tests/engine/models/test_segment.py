"""A segment's answers: the same alone, in any batch and after a reload; sound whatever it is asked."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from math import inf, nan
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xgboost
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st
from numpy.random import default_rng

from engine.errors import StorageError
from engine.models.linear import Linear
from engine.models.segment import Answer, Calibration, Segment, Singles, margin, volatility
from engine.research.calibration import Platt, Thirds
from engine.research.rows import INPUTS
from tests.engine.models.test_growing import POSITIVE, columns, found

NAMES = ("majors.json", "majors.side.json", "majors.size.json")
FIVE = Calibration(Platt(0.8), Thirds(Platt(1.1, -0.3), Platt(0.7)), 1.9, 0.8)


@cache
def segment() -> Segment:
    """A grown one, which signals of 1h and of 5m can be made of."""
    grown = found().segment
    return replace(grown, calibrations={**grown.calibrations, "5m": FIVE}, skill=True)


def asked(rows: int = 40, seed: int = 50) -> Singles:
    """Rows it has not seen, some of them far from all it has."""
    made = columns(rows, seed)
    made[::7] *= 8
    made[3], made[11, ::2] = nan, nan
    return made


def said(answer: Answer) -> bytes:
    return b"".join(part.tobytes() for part in answer)


@pytest.mark.parametrize("interval", ["1h", "5m"])
def test_a_row_has_the_same_answer_alone_and_in_batches_of_every_size(interval: str) -> None:
    rows, made = asked(), segment()
    alone = [made.answer(row[None, :], interval) for row in rows]
    whole = [np.concatenate(part) for part in zip(*alone, strict=True)]
    explained = np.concatenate([made.explain(row[None, :]) for row in rows])

    for size in range(1, 41):
        parts = [rows[begin : begin + size] for begin in range(0, 40, size)]
        answers = [made.answer(part, interval) for part in parts]
        assert said(Answer(*map(np.concatenate, zip(*answers, strict=True)))) == said(Answer(*whole)), size
        assert np.concatenate([made.explain(part) for part in parts]).tobytes() == explained.tobytes(), size


def test_a_row_has_the_same_answer_among_thousands() -> None:
    rows, made = asked(3000), segment()
    many, some = made.answer(rows, "1h"), made.answer(rows[1234:1240], "1h")

    assert [part[1234:1240].tobytes() for part in many] == [part.tobytes() for part in some]


def test_it_comes_back_from_its_files_to_the_last_bit(tmp_path: Path) -> None:
    made, rows = segment(), asked(200)
    made.save(tmp_path, "majors")
    again = Segment.load(tmp_path, "majors")

    assert sorted(os.listdir(tmp_path)) == list(NAMES)
    assert all(json.loads((tmp_path / name).read_text()) for name in NAMES)
    assert again.skill is True
    assert again.calibrations == made.calibrations
    for interval in ("1h", "5m"):
        assert said(again.answer(rows, interval)) == said(made.answer(rows, interval))
    assert again.explain(rows).tobytes() == made.explain(rows).tobytes()
    again.save(tmp_path, "again")
    for name in NAMES:
        assert (tmp_path / name.replace("majors", "again")).read_bytes() == (tmp_path / name).read_bytes()


def test_what_inputs_add_and_what_none_brings_sum_to_the_margin() -> None:
    made, rows = segment(), asked()
    trees = made.side.predict(xgboost.DMatrix(rows), pred_contribs=True)
    bias = trees[:, -1]

    assert np.ptp(bias) == 0
    assert np.abs(trees[:, :-1]).max() > 0.01
    total = made.explain(rows).sum(axis=1) + made.line.intercept + bias[0]
    np.testing.assert_allclose(total, made.side_margin(rows), rtol=1e-5, atol=1e-5)


def test_the_margin_is_that_of_the_line_and_of_every_tree() -> None:
    made, rows = segment(), asked()
    trees = made.side.predict(xgboost.DMatrix(rows), output_margin=True)
    line = made.line.margin(rows.astype(np.float64))

    np.testing.assert_allclose(made.side_margin(rows), trees + line, rtol=1e-5, atol=1e-5)
    assert trees.std() > 0.01
    assert line.std() > 0.01


def test_probabilities_are_those_of_the_calibrations() -> None:
    made, rows = segment(), asked()
    near = made.answer(rows, "5m").novelty <= 1
    rows = rows[near]
    side, size = made.side_margin(rows), margin(made.size, rows)
    answer = made.answer(rows, "5m")
    m, s = 1 / (1 + np.exp(0.3 - 1.1 * size)), 1 / (1 + np.exp(-0.7 * side))

    assert near.sum() > 20
    np.testing.assert_allclose(answer.p_up, 1 / (1 + np.exp(-0.8 * side)), rtol=1e-12)
    np.testing.assert_allclose(answer.p3, np.stack([m * (1 - s), 1 - m, m * s], axis=-1), rtol=1e-9)
    wide = rows[:, [INPUTS.index("volatility_24"), INPUTS.index("volatility_96")]].astype(np.float64)
    np.testing.assert_array_equal(answer.move, 1.9 * (wide[:, 0] + wide[:, 1]) / 2)


@examples(max_examples=60, deadline=None)
@given(st.data(), st.integers(1, 12), st.floats(0, 1), st.floats(-3, 6))
def test_whatever_the_inputs_probabilities_are_sound(
    data: st.DataObject, count: int, holes: float, spread: float
) -> None:
    rng = default_rng(data.draw(st.integers(0, 1000)))
    rows = columns(count, int(rng.integers(1000))) * np.float32(10.0**spread)
    rows[rng.random(rows.shape) < holes] = nan
    answer = segment().answer(rows, "1h")

    assert ((answer.p_up > 0) & (answer.p_up < 1)).all()
    assert ((answer.p3 >= 0) & (answer.p3 <= 1)).all()
    np.testing.assert_allclose(answer.p3.sum(axis=1), 1, rtol=1e-12)
    assert np.isfinite(answer.novelty).all()
    assert (np.isnan(answer.move) == np.isnan(volatility(rows))).all()
    assert np.isfinite(segment().explain(rows)).all()


def test_the_surest_line_is_still_not_certain() -> None:
    made = segment()
    sure = replace(
        made,
        line=replace(made.line, intercept=1e4),
        calibrations={"1h": replace(made.calibrations["1h"], side=Platt(1.5))},
    )
    answer = sure.answer(columns(5, 1), "1h")
    other = replace(sure, line=replace(made.line, intercept=-1e4)).answer(columns(5, 1), "1h")

    assert ((answer.p_up > 0.99) & (answer.p_up < 1)).all()
    assert ((other.p_up < 0.01) & (other.p_up > 0)).all()


def test_what_lies_farther_out_is_believed_less_and_never_the_other_way() -> None:
    made, near = segment(), columns(200, 60)
    # A direction that neither the line nor a tree of the side reads.
    read = set(made.side.get_score(importance_type="weight")) | set(
        made.size.get_score(importance_type="weight")
    )
    unread = next(place for place in range(len(INPUTS)) if f"f{place}" not in read and place not in POSITIVE)
    made = replace(
        made,
        line=replace(
            made.line, coefficients=np.where(np.arange(len(INPUTS)) == unread, 0, made.line.coefficients)
        ),
    )
    near = near[made.answer(near, "1h").novelty < 1]
    usual = made.answer(near, "1h")
    before = usual
    for far in (30.0, 100.0, 1000.0):
        strange = near.copy()
        strange[:, unread] = far
        answer = made.answer(strange, "1h")
        assert (answer.novelty > np.maximum(before.novelty, 1)).all()
        assert (np.abs(answer.p_up - 0.5) < np.abs(before.p_up - 0.5)).all()
        assert (np.sign(answer.p_up - 0.5) == np.sign(usual.p_up - 0.5)).all()
        assert (np.sign(answer.p3[:, 2] - answer.p3[:, 0]) == np.sign(usual.p3[:, 2] - usual.p3[:, 0])).all()
        np.testing.assert_allclose((answer.p_up - 0.5) * answer.novelty, usual.p_up - 0.5, rtol=1e-9)
        np.testing.assert_array_equal(answer.p3[:, 1], usual.p3[:, 1])
        before = answer


def test_within_the_usual_distance_everything_is_believed() -> None:
    made, rows = segment(), columns(200, 61)
    answer = made.answer(rows, "1h")
    near = answer.novelty <= 1

    assert near.sum() > 150
    wanted = made.calibrations["1h"].side.of_logit(made.side_margin(rows))
    np.testing.assert_allclose(answer.p_up[near], wanted[near], rtol=1e-15)


def test_no_rows_have_no_answers() -> None:
    none = np.zeros((0, len(INPUTS)), np.float32)
    answer = segment().answer(none, "1h")

    assert [part.shape for part in answer] == [(0,), (0, 3), (0,), (0,)]


def test_an_interval_without_a_calibration_is_not_answered() -> None:
    with pytest.raises(KeyError, match="15m"):
        segment().answer(asked(), "15m")


def lost(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).unlink()


def written(name: str, text: str) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        (folder / name).write_text(text)

    return write


def cut(name: str) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        content = (folder / name).read_bytes()
        (folder / name).write_bytes(content[: len(content) // 2])

    return write


def changed(**parts: Any) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        kept = json.loads((folder / NAMES[0]).read_text())
        (folder / NAMES[0]).write_text(json.dumps({**kept, **parts}))

    return write


def trees_of(width: int, **settings: Any) -> Callable[[Path], None]:
    """Trees of another model in the place of the side's."""

    def write(folder: Path) -> None:
        x = default_rng(1).normal(size=(60, width)).astype(np.float32)
        known = xgboost.DMatrix(x, (x[:, 0] > 0).astype(np.float64))
        xgboost.train({"objective": "binary:logistic", **settings}, known, 2).save_model(folder / NAMES[1])

    return write


WRONG: tuple[Any, ...] = (None, {"1h": {}}, [1])
NARROW = Linear(np.zeros(3), np.ones(3), np.zeros(3), 0.0)


@pytest.mark.parametrize(
    "damage",
    [
        *(lost(name) for name in NAMES),
        *(cut(name) for name in NAMES),
        *(
            written(name, text)
            for name in NAMES
            for text in ("", "[]", "{}", '{"version": [3, 2, 0]}', "PAR1")
        ),
        *(changed(**{part: value}) for part in ("line", "calibrations", "novelty") for value in WRONG),
        changed(line=NARROW.to_json()),
        changed(calibrations={"1h": {**FIVE.to_json(), "move": nan}}),
        changed(calibrations={"1h": {**FIVE.to_json(), "move": -1.0}}),
        changed(calibrations={"1h": {**FIVE.to_json(), "quantile": inf}}),
        changed(calibrations={"1h": {**FIVE.to_json(), "thirds": [1, 2]}}),
        changed(calibrations={"1h": {**FIVE.to_json(), "side": {"slope": -1.0, "intercept": 0.0}}}),
        trees_of(3),
        trees_of(len(INPUTS) + 1),
        trees_of(len(INPUTS), objective="multi:softprob", num_class=3),
    ],
)
def test_missing_damaged_and_foreign_files_are_refused(
    tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    segment().save(tmp_path, "majors")
    damage(tmp_path)

    with pytest.raises(StorageError):
        Segment.load(tmp_path, "majors")


@pytest.mark.parametrize("name", NAMES)
def test_a_refusal_names_the_file(tmp_path: Path, name: str) -> None:
    segment().save(tmp_path, "majors")
    (tmp_path / name).write_text("[]")

    with pytest.raises(StorageError, match=f"{tmp_path}/{name} cannot be used"):
        Segment.load(tmp_path, "majors")
