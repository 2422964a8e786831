"""What a status says in every situation, and that the relay understands each of them."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from api.training import training as read
from dataflows.connectors.shown import encode
from dataflows.training.diary import Attempt, Diary
from dataflows.training.status import Doing, View, body
from engine.models.manifest import Facts, Manifest
from engine.settings.blocks import Boosted

NOW = 1_760_000_400_000
HOUR = 3_600_000
BOOSTED = Boosted()


def manifest(data_until: int, **changed: Any) -> Manifest:
    return Manifest.made(Facts.of(data_until, **changed), {"model.json": "00" * 32})


def said(diary: Diary | None = None, **known: Any) -> dict[str, Any]:
    """The status as Redis gives it back, found to be what the relay's shape says."""
    made = View(diary or Diary(), BOOSTED, **{"now": NOW, **known})
    found: dict[str, Any] = orjson.loads(encode(body(made, 5)))
    shape = read(found)
    assert shape.state == found["state"], shape.reason
    return found


def attempt(result: Any, **changed: Any) -> Attempt:
    return Attempt(at=NOW - HOUR, ended=NOW - HOUR // 2, result=result, **changed)


def test_before_anything_it_says_what_is_in_the_way() -> None:
    assert said()["reason"] == "nothing has been trained yet"
    found = said(now=None, faults=("the exchange does not answer",))

    assert (found["state"], found["reason"]) == ("none", "the exchange does not answer")
    assert (found["next_due"], found["stream_time"]) == (None, None)


@pytest.mark.parametrize(("stage", "state"), [("collecting", "collecting"), ("folds", "training")])
def test_a_run_shows_its_stage_and_share(stage: str, state: str) -> None:
    found = said(Diary(attempt("failed"), 1), doing=Doing(stage, 0.25))

    assert (found["state"], found["progress"]) == (state, {"stage": stage, "share": 0.25})
    assert found["next_due"] is None


def test_a_failure_is_shown_with_its_reason_and_the_next_try_beside_the_version_that_serves() -> None:
    diary = Diary(attempt("failed", reason="WIFUSDT has 120 candles", seconds=3.5), failures=2)
    found = said(diary, manifests={"boosted": manifest(NOW - 20 * HOUR)})

    assert (found["state"], found["reason"]) == ("failed", "WIFUSDT has 120 candles")
    assert found["last_attempt"]["seconds"] == 3.5
    assert found["next_due"] == max(NOW, NOW - HOUR // 2 + 1_200_000)
    assert found["models"]["boosted"]["speaks"] is True


def test_a_run_whose_version_was_not_promoted_says_so() -> None:
    found = said(Diary(attempt("trained", reason="worse on majors", version="v2")))

    assert (found["state"], found["reason"]) == ("trained", "not promoted: worse on majors")
    assert found["next_due"] == NOW + 5 * HOUR


@pytest.mark.parametrize(
    ("hours", "speaks", "expired"),
    [(12, False, False), (13, True, False), (168, True, False), (169, True, True)],
)
def test_a_version_speaks_from_its_first_moment_until_it_is_too_old(
    hours: int, speaks: bool, expired: bool
) -> None:
    now = NOW // HOUR * HOUR
    model = said(now=now, manifests={"boosted": manifest(now - hours * HOUR)})["models"]["boosted"]

    assert (model["speaks"], model["expired"]) == (speaks, expired)
    assert model["age"] == hours * 3600
    assert model["expires"] == model["data_until"] + 168 * HOUR


def test_the_figures_it_was_judged_by_are_shown() -> None:
    metrics = {"segments": {"majors": {"skill": False, "auc": 0.49}}, "gate": {"champion": "v1"}}
    made = manifest(NOW // HOUR * HOUR, metrics=metrics, parameters={"majors": {"max_depth": 3}})
    model = said(manifests={"boosted": made})["models"]["boosted"]

    assert model["segments"] == metrics["segments"]
    assert model["gate"] == metrics["gate"]
    assert model["parameters"] == {"majors": {"max_depth": 3}}
    assert (model["version"], model["trials"]) == (made.version, 1)


def test_it_shows_how_the_models_do_now() -> None:
    assert said(live={"boosted": {"brier": 0.25}})["live"] == {"boosted": {"brier": 0.25}}
