"""What a signal tells of its models, and whether the sets they promised held."""

from __future__ import annotations

import pickle
from dataclasses import replace
from typing import Any

import orjson
import pytest

from engine.models.track import Track
from engine.records import Candle, Prediction
from engine.signal_json import MODEL
from tests.engine.models.asking import FIVE, NINE, moment, said

UNTIL = NINE + 12 * FIVE


def close(time: int, price: float) -> Candle:
    return Candle.of(price, time=time, interval="5m")


def told(track: Track, time: int = NINE, entry: float = 100.0, **changed: Any) -> dict[str, Any]:
    prediction = replace(said(moment(NINE)), time=time, **changed)
    return track.told(prediction, until=time + 12 * FIVE, entry=entry, move=0.01)


def test_a_signal_tells_what_the_model_said_and_how_old_it_is() -> None:
    body = told(Track(), NINE + 3 * FIVE)

    assert body == {
        "version": "v1",
        "made": NINE,
        "age": 900,
        "p_up": 0.56,
        "p3": {"down": pytest.approx(0.22), "neutral": 0.5, "up": pytest.approx(0.28)},
        "skill": True,
        "expected_move": 0.02,
        "novelty": 0.5,
        "set": ["neutral"],
        "coverage": None,
        "covered": 0,
        "contributions": [["rsi_14", 0.3], ["btc_return", -0.1]],
        "fault": None,
    }
    assert body.keys() == MODEL
    assert orjson.loads(orjson.dumps(body)) == body  # lists, not tuples


def test_a_silent_model_has_null_and_its_fault() -> None:
    silent = Prediction("BTCUSDT", NINE, "boosted", NINE, None, fault="no version")

    body = Track().told(silent, UNTIL, 100.0, 0.01)

    assert body.keys() == MODEL
    assert {name for name, value in body.items() if value is None} == {
        *("version", "p_up", "p3", "expected_move", "novelty", "set", "coverage")
    }
    assert (body["fault"], body["contributions"], body["age"]) == ("no version", [], 0)


def test_without_a_quantile_nothing_is_promised() -> None:
    track = Track()
    body = told(track, quantile=None)
    track.resolve(close(UNTIL, 100.0))

    assert body["set"] is None
    assert told(track, UNTIL, quantile=None)["covered"] == 0


@pytest.mark.parametrize(
    ("price", "held"), [(100.0, 1.0), (101.0, 1.0), (99.0, 1.0), (101.1, 0.0), (98.9, 0.0), (90.0, 0.0)]
)
def test_the_close_at_the_horizon_says_whether_the_set_held(price: float, held: float) -> None:
    track = Track()
    told(track)  # the set holds no move alone
    track.resolve(close(UNTIL, price))

    body = told(track, UNTIL)
    assert (body["coverage"], body["covered"]) == (held, 1)


@pytest.mark.parametrize(
    ("price", "members"), [(110.0, ["neutral", "up"]), (90.0, ["down", "neutral"]), (100.0, ["neutral"])]
)
def test_the_right_class_is_judged(price: float, members: list[str]) -> None:
    track = Track()
    p3 = {110.0: (0.1, 0.5, 0.4), 90.0: (0.4, 0.5, 0.1), 100.0: (0.15, 0.7, 0.15)}[price]
    body = told(track, p3=p3)
    track.resolve(close(UNTIL, price))

    assert body["set"] == members
    assert told(track, UNTIL)["coverage"] == 1.0


def test_misses_widen_the_sets_and_hits_narrow_them() -> None:
    missing, hitting = Track(), Track()
    for at in range(60):
        time = NINE + at * FIVE
        for track, price in ((missing, 100.0 * 1.02**at), (hitting, 100.0)):
            track.resolve(close(time, price))
            told(track, time, price)

    wide, narrow = (told(track, NINE + 60 * FIVE, p3=(0.3, 0.4, 0.3)) for track in (missing, hitting))
    assert wide["set"] == ["down", "neutral", "up"]
    assert narrow["set"] == ["neutral"]
    assert (narrow["coverage"], narrow["covered"]) == (1.0, 48)


def test_a_horizon_whose_candle_never_came_teaches_nothing() -> None:
    track = Track()
    told(track)
    track.resolve(close(UNTIL + FIVE, 150.0))
    track.resolve(close(UNTIL, 150.0))

    assert told(track, UNTIL + FIVE)["covered"] == 0


def test_a_new_versions_quantile_is_taken_over_with_what_was_learned() -> None:
    track = Track()
    told(track)
    track.resolve(close(UNTIL, 150.0))

    body = told(track, UNTIL, version="v2", quantile=0.95)
    assert (body["set"], body["covered"]) == (["down", "neutral", "up"], 1)


def test_models_are_judged_apart() -> None:
    track = Track()
    told(track)
    told(track, model="transformer", p3=(0.1, 0.1, 0.8), quantile=0.5)
    track.resolve(close(UNTIL, 150.0))

    assert (told(track, UNTIL)["coverage"], told(track, UNTIL, model="transformer")["coverage"]) == (0.0, 1.0)


def test_at_most_a_horizon_of_sets_is_open_and_it_survives_pickling() -> None:
    moved, plain = Track(), Track()
    sizes = []
    for at in range(600):
        time = NINE + at * FIVE
        moved = pickle.loads(pickle.dumps(moved))
        for track in (moved, plain):
            track.resolve(close(time, 100.0 + at % 7))

        assert told(moved, time, 100.0 + at % 7) == told(plain, time, 100.0 + at % 7)
        sizes.append(len(pickle.dumps(plain)))

    assert sizes[-1] <= sizes[250] + 16 < 2500
