"""Optional inputs of a segment: read where they help, left where they do not, said where they are missing."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from numpy.random import default_rng

from engine.errors import StorageError
from engine.extras import EXTRAS, NOTHING
from engine.models.boosted import Boosted, absent
from engine.models.growing import Grown, Rows, grow, preferred
from engine.models.segment import Segment
from engine.records import MarketFrame
from engine.research.metrics import auc
from engine.research.rows import INPUTS
from tests.engine.builders import NOON, moment
from tests.engine.models.test_growing import DEEP, SMALL, plan, planted, saved

OPTIONAL = ("funding", "fear_greed")
FRAME = MarketFrame("BTCUSDT", NOON, 1, 1, *(0.0,) * 11)


def beside(rows: Rows, *, telling: bool) -> Rows:
    """The rows with two optional inputs behind them; the second tells the side, or neither tells anything."""
    rng = default_rng(5)
    more = rng.normal(size=(len(rows), 2))
    if telling:
        more[:, 1] += 2.0 * np.sign(rows.moves)
    inputs = np.hstack([rows.inputs, more.astype(np.float32)])
    return replace(rows, inputs=inputs, optional=OPTIONAL)


@cache
def telling() -> Grown:
    return grow(beside(planted(closes=250), telling=True), plan(candidates={"regularised": SMALL}))


def test_an_input_that_tells_is_read_and_its_worth_is_that_of_rows_it_had_not_seen() -> None:
    rows = planted(closes=250)
    up = (rows.moves > 0).astype(np.float64)
    grown = telling()

    assert grown.chosen == "regularised with optional inputs"
    assert grown.trees == "regularised"
    assert auc(grown.side, up) > 0.9
    assert grown.segment.read == OPTIONAL


def test_what_tells_nothing_changes_nothing_but_what_was_tried(tmp_path: Path) -> None:
    rows, asked = planted(closes=250), plan(candidates={"regularised": SMALL})
    plain, offered = grow(rows, asked), grow(beside(rows, telling=False), asked)

    assert offered.chosen == plain.chosen == "regularised"
    assert set(offered.losses) == {"regularised", "regularised with optional inputs"}
    first, second = saved(plain, tmp_path / "a"), saved(offered, tmp_path / "b")
    assert first["majors.side.json"] == second["majors.side.json"]


@pytest.mark.parametrize(
    ("gains", "chosen"),
    [((0.01, 0.01, 0.01, 0.012), 65), ((0.05, -0.03, 0.04, -0.02), 60), ((-0.01,) * 4, 60)],
)
def test_more_inputs_are_read_only_where_the_folds_agree(gains: tuple[float, ...], chosen: int) -> None:
    plain = np.full((4, 1), 0.69)
    curves = {("regularised", 60): plain, ("regularised", 65): plain - np.array(gains)[:, None]}

    assert preferred(curves, stop=True) == ("regularised", chosen)


def test_between_settings_that_read_the_same_the_better_one_is_taken() -> None:
    curves = {("a", 60): np.array([[0.690], [0.692]]), ("b", 60): np.array([[0.693], [0.688]])}

    assert preferred(curves, stop=True) == ("b", 60)


def test_it_comes_back_from_its_files_and_names_its_inputs(tmp_path: Path) -> None:
    rows = beside(planted(closes=40), telling=True).inputs
    segment = telling().segment
    segment.save(tmp_path, "majors")
    again = Segment.load(tmp_path, "majors")

    assert again.optional == OPTIONAL
    assert again.answer(rows, "1h").p_up.tobytes() == segment.answer(rows, "1h").p_up.tobytes()
    assert segment.explain(rows).shape == (len(rows), len(INPUTS) + 2)
    strongest = segment.inputs[int(np.abs(segment.explain(rows)).mean(axis=0).argmax())]
    assert strongest == "fear_greed"


def test_an_input_nobody_knows_of_is_refused(tmp_path: Path) -> None:
    telling().segment.save(tmp_path, "majors")
    path = tmp_path / "majors.json"
    path.write_text(path.read_text().replace("fear_greed", "moon_phase"))

    with pytest.raises(StorageError, match="moon_phase, which is no optional input"):
        Segment.load(tmp_path, "majors")


def test_a_missing_input_lies_at_the_centre_of_the_line_and_is_told() -> None:
    segment = telling().segment
    rows = beside(planted(closes=40), telling=True).inputs
    rows[:, len(INPUTS) :] = np.nan
    answer = segment.answer(rows, "1h")

    assert np.isfinite(answer.p_up).all()
    known = dict(zip(EXTRAS, NOTHING, strict=True)) | {"funding": 0.0001}
    assert absent(replace(moment(), extras=tuple(known.values())), segment.read) == "without fear_greed"
    assert absent(moment(), segment.read) == "without funding, fear_greed"
    assert absent(moment(), ()) == ""


def test_a_row_of_a_moment_has_the_optional_inputs_behind_the_others() -> None:
    values = tuple(float(place) for place in range(len(EXTRAS)))
    here = moment()
    features, version = here.features["5m"], Boosted("v", "5m", {})
    told = replace(here, extras=values, frames={"5m": FRAME}, features={"5m": features})
    row = version.row(told, OPTIONAL)

    assert row[len(INPUTS) :] == tuple(values[EXTRAS.index(name)] for name in OPTIONAL)


def test_trees_look_more_often_at_inputs_of_a_higher_chance() -> None:
    rows = planted(closes=250)
    favoured = 7
    chances = tuple(100.0 if place == favoured else 0.01 for place in range(len(INPUTS)))
    trees = {**DEEP, "colsample_bytree": 0.05}

    def looked(given: tuple[float, ...]) -> int:
        grown = grow(rows, plan(candidates={"configured": trees}, stop=False, chances=given))
        return sum(dump.count(f"[f{favoured}<") for dump in grown.segment.side.get_dump())

    assert looked(chances) > 10 * max(looked(()), 1)
