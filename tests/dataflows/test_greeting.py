"""What is told to who starts the engine: each stage once, the first signals, every turn of its health."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import orjson
import pytest
from rich.console import Console
from rich.table import Table

from dataflows import greeting
from dataflows.greeting import Greeting, first_signals


class Relay(ThreadingHTTPServer):
    """An API that says what a test wants it to say."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answer)
        self.health: dict[str, Any] = {}
        self.signals: list[dict[str, Any]] = []
        self.models: dict[str, Any] = {"state": "none", "reason": "no training process", "models": {}}
        self.keys: list[str | None] = []
        threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()

    @property
    def site(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class Answer(BaseHTTPRequestHandler):
    server: Relay

    def do_GET(self) -> None:
        self.server.keys.append(self.headers["Authorization"])
        known = {
            "/health": self.server.health,
            "/signals": {"signals": self.server.signals},
            "/models/status": self.server.models,
        }
        body = orjson.dumps(known[self.path])
        self.send_response(200 if self.server.health.get("status") == "healthy" else 503)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Be silent."""


@pytest.fixture
def relay(monkeypatch: pytest.MonkeyPatch) -> Iterator[Relay]:
    monkeypatch.setattr(greeting, "STARTING", 0.0)
    monkeypatch.setattr(greeting, "RUNNING", 0.0)
    made = Relay()
    yield made
    made.shutdown()
    made.server_close()


def one(symbol: str, *degraded: str, published: float | None = None) -> dict[str, Any]:
    return {
        "symbol": symbol,
        "direction": "LONG",
        "confidence": 52.25,
        "score": 31.0,
        "entry": 100.0,
        "stop_loss": 98.5,
        "take_profit": None,
        "degraded": ["uncalibrated", *degraded],
        "feed": "simulated",
        "time": 1_760_000_100_000,
        "time_iso": "2025-10-09T08:55:00Z",
        "published_at": round((published or time.time() + 1) * 1000),
    }


def text(said: str | Table) -> str:
    console = Console(width=160)
    with console.capture() as captured:
        console.print(said)
    return captured.get()


def test_each_stage_is_told_once_in_words(relay: Relay) -> None:
    told: list[str | Table] = []
    made = Greeting(relay.site, ["BTCUSDT"])
    for health in (
        {},
        {"phase": None, "reasons": ["no heartbeat: the engine is not running"]},
        {"phase": "starting", "reasons": ["starting"]},
        {"phase": "warming", "progress": 0.31, "reasons": ["warming 31 %"]},
        {"phase": "warming", "progress": 0.38, "reasons": ["warming 38 %"]},
        {"phase": "warming", "progress": 0.9, "reasons": ["fault: disk full"]},
        {"phase": "serving", "reasons": []},
    ):
        relay.health = health
        told += made.news() + made.news()
    made.close()

    assert told == [
        "waiting for the API",
        "waiting for the flow",
        "connecting to the exchange",
        "warming 30 %",
        "warming 90 % (fault: disk full)",
        "warm, waiting for the next close",
    ]


def test_an_api_that_is_not_there_is_waited_for(relay: Relay) -> None:
    made = Greeting("http://127.0.0.1:1", ["BTCUSDT"])

    assert made.news() == ["waiting for the API"]
    made.close()


def test_the_first_signals_are_shown_once_all_have_come(relay: Relay) -> None:
    relay.health = {"status": "healthy", "phase": "serving", "reasons": []}
    relay.signals = [one("BTCUSDT", published=time.time() - 5), one("ETHUSDT", "1h candles absent")]
    made = Greeting(relay.site, ["BTCUSDT", "ETHUSDT"])

    assert made.news() == []

    relay.signals[0] = one("BTCUSDT")
    table, *addresses = made.news()

    assert isinstance(table, Table)
    assert table.row_count == 2
    assert f"all of them  {relay.site}/signals" in addresses
    assert any("ws://" in str(line) for line in addresses)
    assert made.news() == []
    made.close()


def test_those_that_do_not_come_are_not_waited_for_for_ever(
    relay: Relay, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(greeting, "PATIENCE", -1.0)
    relay.health = {"status": "healthy", "phase": "serving", "reasons": []}
    relay.signals = [one("BTCUSDT")]
    made = Greeting(relay.site, ["BTCUSDT", "ETHUSDT", "SOLUSDT"])
    table = made.news()[0]
    made.close()

    assert "2 symbols have none yet" in " ".join(text(table).split())


def test_a_turn_of_health_is_told_when_it_lasts(relay: Relay) -> None:
    relay.health = well = {"status": "healthy", "phase": "serving", "reasons": []}
    ill = {"status": "unhealthy", "phase": "serving", "reasons": ["no heartbeat", "silent: BTCUSDT"]}
    relay.signals = [one("BTCUSDT")]
    made = Greeting(relay.site, ["BTCUSDT"])
    made.news()
    told: list[str | Table] = []
    for health in (well, ill, well, ill, ill, ill, well, well, well):
        relay.health = health
        told += made.news()
    made.close()

    assert told == ["unhealthy: no heartbeat; silent: BTCUSDT", "healthy"]


def model(**changed: Any) -> dict[str, Any]:
    segments = {"majors": {"skill": True}, "memes": {"skill": False}}
    known = {"version": "v1", "serves_from": 1_760_000_400_000, "expired": False, "segments": segments}
    return {"state": "trained", "reason": None, "models": {"boosted": {**known, **changed}}}


def test_where_the_models_are_is_told_once_each_time_it_is_something_new(relay: Relay) -> None:
    relay.health = {"status": "healthy", "phase": "serving", "reasons": []}
    relay.signals = [one("BTCUSDT")]
    made = Greeting(relay.site, ["BTCUSDT"])
    made.news()
    told: list[str | Table] = []
    for status in (
        {"error": "Redis unreachable"},
        {"state": "none", "reason": "no training process", "models": {}},
        {"state": "collecting", "progress": {"stage": "collecting", "share": 0.5}, "models": {}},
        {"state": "training", "progress": {"stage": "folds", "share": 0.45}, "models": {}},
        {"state": "training", "progress": {"stage": "folds", "share": 0.59}, "models": {}},
        {"state": "failed", "reason": "WIFUSDT has 120 candles", "models": {}},
        model(),
        model(expired=True),
        {"state": "trained", "reason": "not promoted: worse on majors", "models": {}},
    ):
        relay.models = status
        told += made.news() + made.news()
    made.close()

    assert told == [
        "models: collecting candles 40 %",
        "models: training 40 %",
        "models: training failed: WIFUSDT has 120 candles",
        "models: boosted v1 speaks from 2025-10-09T09:00:00Z on, without skill on memes",
        "models: boosted v1 is too old to be used",
        "models: not promoted: worse on majors",
    ]


def test_nothing_is_said_of_models_before_the_first_signals(relay: Relay) -> None:
    relay.health = {"status": "warming", "phase": "warming", "progress": 0.5, "reasons": []}
    relay.models = model()
    made = Greeting(relay.site, ["BTCUSDT"])

    assert not made.greeted
    assert made.news() == ["warming 50 %"]
    made.close()


def test_a_key_is_shown_where_one_is_needed(relay: Relay) -> None:
    made = Greeting(relay.site, ["BTCUSDT"], "alpha")
    made.news()
    made.close()

    assert set(relay.keys) == {"Bearer alpha"}


def test_the_table_says_once_what_all_lack_and_beside_each_what_only_it_lacks() -> None:
    shown = text(first_signals([one("BTCUSDT"), one("ETHUSDT", "1h candles absent")], 2))
    btc, eth = (next(line for line in shown.splitlines() if symbol in line) for symbol in ("BTC", "ETH"))

    assert btc.split() == ["BTCUSDT", "LONG", "52.2", "+31.0", "100.00", "98.500"]
    assert eth.rstrip().endswith("1h candles absent")
    assert "degraded, all of them: uncalibrated" in shown
    assert "simulated market, close 2025-10-09T08:55:00Z" in shown
