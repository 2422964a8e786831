"""A version asked about moments: order, company, silence, and what stands in a prediction."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache
from math import isfinite, nan
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st
from numpy.random import default_rng

from engine.errors import StorageError
from engine.features import SCHEMA
from engine.models import MODELS
from engine.models.boosted import TOLD, Boosted, largest
from engine.models.manifest import Facts, Manifest
from engine.models.segment import Segment
from engine.models.view import check
from engine.records import MarketFrame, Moment, Prediction
from engine.research.rows import INPUTS, MARKET
from tests.engine.models.asking import HOUR, NINE, features, moment
from tests.engine.models.test_segment import asked, segment
from tests.engine.research.test_rows import KINDS, as_quoted, priced

FIVE_ROWS = asked(40, seed=70)


@cache
def other() -> Segment:
    """Another segment, calibrated for its own interval alone and without skill."""
    made = segment()
    line = replace(made.line, coefficients=-made.line.coefficients)
    return replace(made, line=line, calibrations={"1h": made.calibrations["1h"]}, skill=False)


@cache
def version() -> Boosted:
    return Boosted("v1", "1h", {"majors": segment(), "alts": other()})


def manifest(*segments: str) -> Manifest:
    facts = Facts.of(metrics={"segments": {name: {} for name in segments}})
    known = {name: getattr(facts, name) for name in Facts.__dataclass_fields__}
    return Manifest(**known, version="v1", files={})


def telling(row: Sequence[float], segment: str = "majors", interval: str = "5m", at: int = 0) -> Moment:
    """A moment of which the version reads just this row."""
    time, symbol = NINE + at * HOUR, f"S{at}USDT"
    held = moment(time, symbol, interval=interval)
    values = [nan] * len(SCHEMA.names)
    for name, value in zip(SCHEMA.ratios, row, strict=False):
        values[SCHEMA.index[name]] = float(value)
    hourly = replace(features(symbol, "1h", time), values=tuple(values))
    numbers = dict(zip(MARKET, map(float, row[len(SCHEMA.ratios) :]), strict=True))
    frame = MarketFrame(symbol, time, 17, 17, **numbers, interval="1h", filled=96)
    return replace(
        held,
        listing=replace(held.listing, segment=segment),
        features={**held.features, "1h": hourly},
        frames={"1h": frame},
    )


def mixed() -> list[Moment]:
    """Moments of all segments and intervals, one after another."""
    kinds = [("majors", "5m"), ("alts", "1h"), ("memes", "1h"), ("majors", "1h"), ("alts", "5m")]
    return [telling(row, *kinds[at % len(kinds)], at) for at, row in enumerate(FIVE_ROWS)]


def test_a_moment_is_read_in_the_order_of_the_inputs() -> None:
    row = np.arange(len(INPUTS)) / 7

    assert version().row(telling(row.tolist())) == tuple(row.tolist())


def test_every_moment_has_its_prediction_in_order() -> None:
    moments = mixed()
    said = version().predict(moments)

    assert [(one.symbol, one.time, one.made, one.model, one.version) for one in said] == [
        (one.symbol, one.time, one.time, "boosted", "v1") for one in moments
    ]
    for place, (held, one) in enumerate(zip(moments, said, strict=True)):
        kind = held.listing.segment, held.interval
        if kind in (("memes", "1h"), ("alts", "5m")):
            assert one.p_up is None
            continue
        answer = version().segments[kind[0]].answer(FIVE_ROWS[place : place + 1], kind[1])
        assert one.p_up == answer.p_up[0]
        assert one.p3 == tuple(answer.p3[0])
        assert one.novelty == answer.novelty[0]
        assert one.skill is (kind[0] == "majors")
        assert one.quantile == version().segments[kind[0]].calibrations[kind[1]].quantile
    assert version().predict([]) == []


@pytest.mark.parametrize("explain", [True, False])
def test_a_prediction_is_the_same_alone_and_in_batches_of_every_size(explain: bool) -> None:
    moments = mixed()
    alone = [version().predict([one], explain)[0] for one in moments]

    for size in range(1, 41):
        parts = (moments[begin : begin + size] for begin in range(0, 40, size))
        assert [one for part in parts for one in version().predict(part, explain)] == alone
    assert version().predict(moments[::-1], explain)[::-1] == alone


def test_without_an_explanation_nothing_else_changes() -> None:
    told, untold = (version().predict(mixed(), explain) for explain in (True, False))

    assert [replace(one, contributions=()) for one in told] == untold
    assert all(one.contributions for one in told if one.p_up is not None)


@pytest.mark.parametrize(
    ("segment", "interval", "fault"),
    [
        ("memes", "1h", "no trees for memes"),
        ("memes", "5m", "no trees for memes"),
        ("alts", "5m", "not calibrated for 5m"),
        ("majors", "15m", "not calibrated for 15m"),
    ],
)
def test_what_cannot_be_said_is_a_fault_that_says_why(segment: str, interval: str, fault: str) -> None:
    [said] = version().predict([telling(FIVE_ROWS[0], segment, interval)])

    assert said == Prediction("S0USDT", NINE, "boosted", NINE, "v1", fault=fault)


def test_contributions_are_the_largest_first_by_name() -> None:
    parts = segment().explain(FIVE_ROWS[:1])[0]
    [said] = version().predict([telling(FIVE_ROWS[0])])
    by_size = sorted(zip(INPUTS, parts.tolist(), strict=True), key=lambda one: -abs(one[1]))

    assert list(said.contributions) == by_size[:TOLD]
    assert abs(by_size[0][1]) > abs(by_size[TOLD - 1][1]) > 0


def test_what_adds_nothing_is_not_told() -> None:
    parts = np.zeros(len(INPUTS))
    assert largest(parts) == ()
    parts[[4, 2, 9]] = 0.5, -0.5, 0.25
    assert largest(parts) == ((INPUTS[2], -0.5), (INPUTS[4], 0.5), (INPUTS[9], 0.25))


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 1.0])
def test_nothing_said_is_nan_when_inputs_are(share: float) -> None:
    rows = FIVE_ROWS.copy()
    rows[default_rng(5).random(rows.shape) < share] = nan
    for one in version().predict([telling(row, at=at) for at, row in enumerate(rows)]):
        check(one)
        assert one.p_up is not None
        assert one.p3 is not None
        assert one.novelty is not None
        numbers = [one.p_up, *one.p3, one.novelty, *(value for _, value in one.contributions)]
        assert all(map(isfinite, numbers))
        assert one.expected_move is None or isfinite(one.expected_move)
    if share == 1.0:
        assert one.expected_move is None


def test_a_version_comes_back_from_its_files_to_the_last_bit(tmp_path: Path) -> None:
    version().save(tmp_path)
    again = MODELS["boosted"].load(tmp_path, manifest("majors", "alts"))

    assert {Path(name).suffix for name in os.listdir(tmp_path)} == {".json"}
    assert len(os.listdir(tmp_path)) == 6
    assert again.predict(mixed()) == version().predict(mixed())


@pytest.mark.parametrize(
    "kept", [("majors", "memes"), ("",), ("../majors",)], ids=["not there", "nameless", "elsewhere"]
)
def test_a_manifest_that_promises_more_than_there_is_is_refused(
    tmp_path: Path, kept: tuple[str, ...]
) -> None:
    version().save(tmp_path)

    with pytest.raises(StorageError):
        Boosted.load(tmp_path, manifest(*kept))


@pytest.mark.parametrize("metrics", [{}, {"segments": None}, {"segments": 3}])
def test_a_manifest_without_segments_is_refused(tmp_path: Path, metrics: dict[str, Any]) -> None:
    version().save(tmp_path)

    with pytest.raises(StorageError, match="segments"):
        Boosted.load(tmp_path, replace(manifest(), metrics=metrics))


def test_a_moment_it_cannot_read_is_a_fault_of_the_asker() -> None:
    with pytest.raises(KeyError):
        version().predict([replace(telling(FIVE_ROWS[0]), frames={})])


TOLERATED: Mapping[str, tuple[float, float]] = {
    "no ticks": (1e-6, 0.002),
    "no ticks, still stretches": (1e-6, 0.05),
    "ticks": (0.01, 0.2),
}
"""By how much p_up may differ when prices are stated in another currency, and in what share of the rows."""


@pytest.mark.parametrize("kind", TOLERATED)
@examples(max_examples=6, deadline=None)
@given(k=st.floats(-6, 6).map(lambda power: 10.0**power))
def test_prices_times_any_factor_change_no_prediction_but_for_ties(kind: str, k: float) -> None:
    before, after = (
        segment().answer(rows, "1h") for rows in (as_quoted(**KINDS[kind]), priced(k, **KINDS[kind]))
    )

    most, share = TOLERATED[kind]
    assert np.abs(after.p_up - before.p_up).max() <= most
    assert (after.p_up != before.p_up).mean() < share
    assert np.abs(after.p3 - before.p3).max() <= 2 * most


@examples(max_examples=6, deadline=None)
@given(power=st.integers(-19, 19))
def test_prices_times_a_power_of_two_change_no_bit_of_a_prediction(power: int) -> None:
    kind = KINDS["ticks"]
    before, after = (segment().answer(rows, "1h") for rows in (as_quoted(**kind), priced(2.0**power, **kind)))

    assert [part.tobytes() for part in after] == [part.tobytes() for part in before]
