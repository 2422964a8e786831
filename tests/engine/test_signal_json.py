from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, replace
from datetime import UTC, datetime, timedelta
from math import inf, nan
from re import escape
from types import MappingProxyType
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.composer import Composer
from engine.models.track import Track
from engine.records import LayerVote, Outcome, Reason, Signal
from engine.signal_json import canonical, iso, publish_bytes, published
from tests.engine.builders import NOON, moment, scores
from tests.engine.models.asking import moment as held
from tests.engine.models.asking import said

OUTCOME = Outcome("a1", "BTCUSDT", NOON, "LONG", 52.5, NOON + 3_600_000, 100.0, 101.0, 0.01, True)
UNTOLD = replace(OUTCOME, close=None, move=None, hit=None)


def signal(**changed: Any) -> Signal:
    said = Composer(config_hash="abc").compose(
        moment(support=98.0, step=0.01), scores(50, 20), "mixed", "replay", {"spot:5m": NOON}
    )
    return replace(said, **changed)


def with_vote(**changed: Any) -> Signal:
    vote = LayerVote(50.0, 37.0, 1.0, 1.0, (Reason("trend", 30.0, "up"), Reason("momentum", 20.0, "up")))
    return signal(layers={"technical": replace(vote, **changed)})


def test_a_signal_has_its_fields_and_its_times_in_words_and_no_other_key() -> None:
    body = published(signal())

    expected = {field.name for field in fields(Signal)} | {"time_iso", "horizon_end_iso", "valid_until_iso"}
    assert body.keys() == expected
    for name in (
        "id",
        "time",
        "direction",
        "confidence",
        "score",
        "entry",
        "stop_loss",
        "position_size",
        "feed",
    ):
        assert body[name] == getattr(signal(), name)


def test_an_outcome_has_its_fields_and_its_times_in_words_and_no_other_key() -> None:
    body = published(OUTCOME)

    assert body.keys() == {field.name for field in fields(Outcome)} | {"time_iso", "resolved_at_iso"}
    assert {name: body[name] for name in (field.name for field in fields(Outcome))} == {
        field.name: getattr(OUTCOME, field.name) for field in fields(Outcome)
    }


def test_an_outcome_that_cannot_be_told_is_null() -> None:
    body = orjson.loads(publish_bytes(UNTOLD, 1, 2))

    assert (body["close"], body["move"], body["hit"]) == (None, None, None)


def test_layers_carry_their_votes_and_reasons() -> None:
    assert published(with_vote())["layers"] == {
        "technical": {
            "score": 50.0,
            "weight_raw": 37.0,
            "weight": 1.0,
            "coverage": 1.0,
            "reasons": [
                {"component": "trend", "points": 30.0, "text": "up"},
                {"component": "momentum", "points": 20.0, "text": "up"},
            ],
        }
    }


def test_three_probabilities_are_named() -> None:
    assert published(signal())["p3"] is None
    assert published(signal(p3=(0.2, 0.5, 0.3)))["p3"] == {"down": 0.2, "neutral": 0.5, "up": 0.3}


def test_publishing_adds_what_the_record_knows() -> None:
    said = signal()
    body = orjson.loads(publish_bytes(said, 7, NOON + 123))

    assert (body.pop("seq"), body.pop("published_at")) == (7, NOON + 123)
    assert body == orjson.loads(orjson.dumps(published(said)))


@pytest.mark.parametrize("record", [signal(), OUTCOME, UNTOLD])
def test_canonical_bytes_are_the_same_from_record_json_and_what_was_published(
    record: Signal | Outcome,
) -> None:
    expected = canonical(record)

    assert canonical(published(record)) == expected
    assert canonical(orjson.loads(publish_bytes(record, 7, NOON + 123))) == expected
    assert canonical({**published(record), "prev": "0" * 64, "seq": 9}) == expected
    assert publish_bytes(published(record), 7, NOON) == publish_bytes(record, 7, NOON)


def test_canonical_bytes_have_sorted_keys_and_keep_the_times_in_words() -> None:
    text = canonical(signal())
    body = orjson.loads(text)

    assert text == orjson.dumps(body, option=orjson.OPT_SORT_KEYS)
    assert body["time_iso"] == iso(NOON)
    assert not {"seq", "published_at", "prev"} & body.keys()


def test_canonical_bytes_do_not_depend_on_the_order_of_layers_and_sources() -> None:
    said = signal(sources={"a": 1, "b": 2})
    turned = replace(said, sources={"b": 2, "a": 1}, layers=dict(reversed(list(said.layers.items()))))

    assert canonical(turned) == canonical(said)


def test_any_changed_field_changes_the_canonical_bytes() -> None:
    said = signal()
    changes: dict[str, Any] = {field.name: "changed" for field in fields(Signal)}
    changes |= dict.fromkeys(("time", "horizon_end", "valid_until"), 60_000)
    changes |= dict.fromkeys(("confidence", "score", "p_up", "position_size", "entry"), 0.125)
    changes |= dict.fromkeys(("stop_loss", "take_profit", "risk_reward"), 0.125)
    changes |= {"p3": (0.1, 0.2, 0.7), "layers": {}, "sources": {}, "degraded": ("changed",)}
    changes |= {"regime": {"state": "bull"}, "models": {"boosted": {"p_up": 0.5}}, "risk": {"var_95": 0.1}}

    assert len({canonical(replace(said, **{name: value})) for name, value in changes.items()}) == len(changes)
    assert all(
        canonical(replace(said, **{name: value})) != canonical(said) for name, value in changes.items()
    )


NUMBERS = ("confidence", "score", "p_up", "position_size", "entry", "stop_loss", "take_profit", "risk_reward")


def in_signal(name: str) -> Callable[[float], Signal]:
    return lambda bad: signal(**{name: bad})


def outcome(**changed: Any) -> Outcome:
    return replace(OUTCOME, **changed)


def in_outcome(name: str) -> Callable[[float], Outcome]:
    return lambda bad: outcome(**{name: bad})


BODY: dict[str, Any] = Track().told(said(held()), NOON, 100.0, 0.01)
"""What a signal tells of a model."""


def in_model(name: str) -> Callable[[float], Signal]:
    return lambda bad: signal(models={"boosted": {**BODY, name: bad}})


SICK: dict[str, Callable[[float], Signal | Outcome]] = {
    **{name: in_signal(name) for name in NUMBERS},
    **{f"outcome {name}": in_outcome(name) for name in ("confidence", "entry", "close", "move")},
    "p3.neutral": lambda bad: signal(p3=(0.5, bad, 0.5)),
    "layers.technical.score": lambda bad: with_vote(score=bad),
    "layers.technical.weight_raw": lambda bad: with_vote(weight_raw=bad),
    "layers.technical.weight": lambda bad: with_vote(weight=bad),
    "layers.technical.coverage": lambda bad: with_vote(coverage=bad),
    "layers.technical.reasons[1].points": lambda bad: with_vote(
        reasons=(Reason("trend", 1.0, "up"), Reason("momentum", bad, "?"))
    ),
    "regime.probabilities[1]": lambda bad: signal(regime={"probabilities": [0.5, bad]}),
    "models.transformer.p_up": lambda bad: signal(models={"transformer": {"p_up": bad}}),
    "risk.var_95": lambda bad: signal(risk={"var_95": bad}),
    **{f"models.boosted.{name}": in_model(name) for name in ("p_up", "expected_move", "novelty", "coverage")},
    "models.boosted.p3.up": lambda bad: signal(models={"boosted": {**BODY, "p3": {**BODY["p3"], "up": bad}}}),
    "models.boosted.contributions[1][1]": lambda bad: signal(
        models={"other": BODY, "boosted": {**BODY, "contributions": [["rsi_14", 0.1], ["adx_14", bad]]}}
    ),
    "models.boosted.added": lambda bad: signal(models={"boosted": {**BODY, "added": bad}}),
}


@pytest.mark.parametrize("bad", [nan, inf, -inf])
@pytest.mark.parametrize(("field", "build"), SICK.items())
def test_a_number_that_is_not_finite_is_refused_by_name(
    field: str, build: Callable[[float], Signal | Outcome], bad: float
) -> None:
    record = build(bad)
    writers: list[Callable[[Signal | Outcome], object]] = [
        published,
        canonical,
        lambda said: publish_bytes(said, 1, 2),
    ]

    for write in writers:
        with pytest.raises(ValueError, match=f"^{escape(field.removeprefix('outcome '))} was {bad}"):
            write(record)


def test_a_number_that_is_not_finite_is_refused_in_json_too() -> None:
    with pytest.raises(ValueError, match=r"^layers\.technical\.weight was nan"):
        canonical({"layers": {"technical": {"weight": nan}}})
    with pytest.raises(ValueError, match=r"^move was inf"):
        publish_bytes({"move": inf}, 1, 2)


def test_what_is_told_of_a_model_is_not_walked_while_it_is_healthy(monkeypatch: pytest.MonkeyPatch) -> None:
    walked: list[object] = []
    monkeypatch.setattr("engine.signal_json.refuse", walked.append)

    body = published(signal(models={"boosted": BODY, "transformer": BODY}))
    assert body["models"] == {"boosted": BODY, "transformer": BODY}
    assert walked == []

    published(signal(models={"boosted": {**BODY, "novelty": nan}}))
    assert len(walked) == 1


def test_a_signal_with_models_has_the_same_canonical_bytes_from_its_json() -> None:
    made = signal(models={"boosted": BODY}, p_up=0.56, p3=(0.2, 0.5, 0.3))

    assert canonical(orjson.loads(publish_bytes(made, 7, NOON + 123))) == canonical(made)


def test_numpy_numbers_are_numbers() -> None:
    said = signal()
    plain, numeric = replace(said, score=0.1 + 0.2), replace(said, score=np.float64(0.1 + 0.2))

    assert canonical(numeric) == canonical(plain)
    assert publish_bytes(numeric, 1, 2) == publish_bytes(plain, 1, 2)
    with pytest.raises(ValueError, match=r"^score was nan"):
        published(signal(score=np.float32("nan")))


def test_huge_finite_numbers_are_published() -> None:
    huge = replace(OUTCOME, entry=1.7e308, close=1.7e308)

    assert published(huge)["entry"] == 1.7e308


def test_read_only_mappings_can_be_published() -> None:
    said = signal(sources=MappingProxyType({"spot:5m": NOON}), models=MappingProxyType({}))

    assert canonical(said) == canonical(signal())


@given(time=st.integers(0, 4_102_444_800_000))
def test_a_time_in_words_is_the_same_time(time: int) -> None:
    text = iso(time)

    assert text.endswith("Z")
    assert datetime.fromisoformat(text) == datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=time)


def test_a_time_in_words_has_milliseconds_only_where_there_are_some() -> None:
    assert iso(NOON) == "2023-11-14T22:15:00Z"
    assert iso(NOON + 7) == "2023-11-14T22:15:00.007Z"
