from __future__ import annotations

import json
from dataclasses import fields
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel
from schemathesis.config import SchemathesisConfig
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import ignored_auth

from api import models
from api.document import SIGNAL
from api.server import create_app
from engine.models.track import Track
from engine.records import Candle, Outcome, Prediction, Signal
from engine.settings import Settings
from engine.settings.secrets import ApiKeys
from engine.signal_json import publish_bytes
from tests.api.conftest import CLOSE, Publisher, Relay, Start, Valkey, models_status, outcome, signal, until
from tests.engine.models.asking import moment as predicted_moment
from tests.engine.models.asking import said

ENDPOINTS = {
    "/signals",
    "/signals/{symbol}",
    "/signals/{symbol}/history",
    "/models/status",
    "/providers/status",
    "/metrics",
    "/health",
}
KEY = "a key of the test"
RECORD_ADDS = {"seq", "published_at"}


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    keys = Settings.model_validate({"api": {"keys": KEY}})
    found: dict[str, Any] = create_app(keys).openapi()
    return found


@pytest.mark.parametrize(("record", "model"), [(Signal, models.Signal), (Outcome, models.Outcome)])
def test_a_model_has_the_fields_of_its_record(record: type, model: type[BaseModel]) -> None:
    own = {field.name for field in fields(record)}
    iso = {name for name in model.model_fields if name.endswith("_iso")}

    assert set(model.model_fields) == own | RECORD_ADDS | iso
    assert {name.removesuffix("_iso") for name in iso} <= own


def told_of_models() -> dict[str, Any]:
    """What a signal tells of a model that has spoken, with a set that held, and of one that is silent."""
    track, moment = Track(), predicted_moment()
    track.told(said(moment), 300_000, 100.0, 0.01)
    track.resolve(Candle.of(100.0, time=300_000))
    silent = Prediction(moment.symbol, moment.time, "transformer", moment.time, fault="no version")
    return {one.model: track.told(one, 600_000, 100.0, 0.01) for one in (said(moment), silent)}


def test_published_bodies_are_what_the_models_say() -> None:
    whole = signal(
        p_up=0.61,
        p3=(0.2, 0.2, 0.6),
        regime={"state": "bull", "probabilities": {"bull": 0.9}},
        models=told_of_models(),
        risk={"var_95": 0.02},
    )
    neutral = signal(direction="NEUTRAL", stop_loss=None, take_profit=None, risk_reward=None)
    for made in (signal(), whole, neutral):
        models.Signal.model_validate_json(publish_bytes(made, 1, CLOSE), strict=True)

    open_end = Outcome("a", "BTCUSDT", CLOSE, "LONG", 50.0, CLOSE + 1, 100.0, None, None, None)
    for judged in (outcome(signal()), open_end):
        models.Outcome.model_validate_json(publish_bytes(judged, 1, CLOSE), strict=True)


def test_the_example_is_a_signal() -> None:
    models.Signal.model_validate_json(json.dumps(SIGNAL), strict=True)


def test_every_endpoint_is_documented(document: dict[str, Any]) -> None:
    assert set(document["paths"]) == ENDPOINTS
    assert "/ws/signals" in document["info"]["description"]
    assert document["components"]["schemas"]["Signal"]["example"] == SIGNAL
    assert set(document["components"]["securitySchemes"]) == {"HTTPBearer", "APIKeyHeader"}
    for path, methods in document["paths"].items():
        assert methods["get"]["description"], path


def test_answers_are_what_the_document_says(relay: Relay, publisher: Publisher) -> None:
    publisher.publish(signal("BTCUSDT"), signal("ETHUSDT"), signal("POLUSDT", CLOSE + 1))
    publisher.healthy()
    until(lambda: relay.get("/health").status_code == 200, "healthy")

    models.Signals.model_validate_json(relay.get("/signals").content, strict=True)
    models.Signal.model_validate_json(relay.get("/signals/BTCUSDT").content, strict=True)
    models.History.model_validate_json(relay.get("/signals/BTCUSDT/history").content, strict=True)
    models.Health.model_validate_json(relay.get("/health").content, strict=True)
    models.Providers.model_validate_json(relay.get("/providers/status").content, strict=True)
    models.ModelsStatus.model_validate_json(relay.get("/models/status").content, strict=True)
    publisher.status("models", models_status())
    until(lambda: relay.get("/models/status").json()["state"] == "trained", "the status is read")
    models.ModelsStatus.model_validate_json(relay.get("/models/status").content, strict=True)


@pytest.mark.parametrize("keys", [ApiKeys(), ApiKeys.read(KEY)], ids=["open", "guarded"])
def test_no_request_breaks_the_api(start: Start, valkey: Valkey, publisher: Publisher, keys: ApiKeys) -> None:
    publisher.publish(signal("BTCUSDT"), signal("ETHUSDT"))
    publisher.healthy()
    publisher.status("models", models_status())
    relay = start(valkey.url, keys=keys).loaded()
    until(lambda: relay.get("/health").status_code == 200, "healthy")
    schema = schemathesis.openapi.from_url(f"{relay.http}/openapi.json", config=SchemathesisConfig())
    headers = {"X-API-Key": KEY} if keys else {}
    for found in schema.get_all_operations():
        assert isinstance(found, Ok)
        operation = found.ok()

        @settings(
            max_examples=15,
            deadline=None,
            database=None,
            suppress_health_check=list(HealthCheck),
            phases=[Phase.generate],
        )
        @given(case=operation.as_strategy())
        def holds(case: Any) -> None:
            publisher.healthy()
            # That check sends its own wrong key beside our right one; wrong keys have their own tests.
            case.call_and_validate(headers=headers, excluded_checks=[ignored_auth] if keys else [])

        holds()


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(name=st.text(min_size=1, max_size=60))
def test_no_name_of_a_symbol_breaks_the_api(relay: Relay, name: str) -> None:
    answer = relay.get("/signals", params={"symbols": name})

    assert answer.status_code in (200, 404, 422)
    assert isinstance(answer.json(), dict)
