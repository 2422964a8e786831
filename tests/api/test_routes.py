from __future__ import annotations

import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import orjson
import pytest

from engine.signal_json import publish_bytes
from tests.api.conftest import CLOSE, FIVE, Publisher, Relay, Start, Valkey, models_status, signal, until


def read(relay: Relay, upto: int) -> None:
    until(lambda: relay.app.state.relay.board.head >= upto, f"the relay has read number {upto}")


def test_the_newest_signal_of_every_symbol_is_served_as_published(relay: Relay, publisher: Publisher) -> None:
    publisher.publish(signal("ETHUSDT"), signal("BTCUSDT"), signal("BTCUSDT", CLOSE + FIVE))
    read(relay, 3)
    answer = relay.get("/signals").json()

    assert answer == {"seq": 3, "redis": "up", "signals": [publisher.sent[2], publisher.sent[0]]}


def test_signals_are_filtered_by_symbol_and_direction(relay: Relay, publisher: Publisher) -> None:
    publisher.publish(signal("BTCUSDT"), signal("ETHUSDT", direction="SHORT"), signal("POLUSDT"))
    read(relay, 3)

    def asked(query: str) -> list[str]:
        return [found["symbol"] for found in relay.get(f"/signals?{query}").json()["signals"]]

    assert asked("symbols=maticusdt,BTCUSDT") == ["BTCUSDT", "POLUSDT"]
    assert asked("direction=SHORT") == ["ETHUSDT"]
    assert asked("symbols=BTCUSDT&direction=SHORT") == []
    assert relay.get("/signals?direction=UP").status_code == 422


@pytest.mark.parametrize("name", ["POLUSDT", "polusdt", "MATICUSDT"])
def test_a_symbol_is_understood_in_any_case_and_by_its_former_name(
    relay: Relay, publisher: Publisher, name: str
) -> None:
    publisher.publish(signal("POLUSDT"))
    read(relay, 1)

    assert relay.get(f"/signals/{name}").json() == publisher.sent[0]


def test_an_unknown_symbol_is_answered_with_the_known_and_the_near_ones(relay: Relay) -> None:
    for path in ("/signals/BTCUDST", "/signals?symbols=BTCUDST", "/signals/BTCUDST/history"):
        answer = relay.get(path)

        assert answer.status_code == 404
        assert answer.json()["near"] == ["BTCUSDT"]
        assert len(answer.json()["known"]) == 17


def test_a_known_symbol_without_a_signal_says_why(relay: Relay, publisher: Publisher) -> None:
    publisher.healthy(phase="warming", progress=0.4)
    until(lambda: relay.app.state.relay.board.serving, "the status is read")
    answer = relay.get("/signals/BTCUSDT")

    assert answer.status_code == 404
    assert answer.json() == {"error": "no signal of BTCUSDT yet: warming 40 %"}


def test_the_newest_signal_never_goes_back_in_time(relay: Relay, publisher: Publisher) -> None:
    publisher.publish(signal("BTCUSDT", CLOSE + FIVE), signal("BTCUSDT", CLOSE))
    read(relay, 2)

    assert relay.get("/signals/BTCUSDT").json()["time"] == CLOSE + FIVE


def test_history_pages_through_the_log_and_says_that_it_is_short(relay: Relay, publisher: Publisher) -> None:
    for number in range(5):
        publisher.publish(signal("BTCUSDT", CLOSE + number * FIVE), signal("ETHUSDT", CLOSE + number * FIVE))
    read(relay, 10)
    first = relay.get("/signals/BTCUSDT/history?limit=3").json()
    second = relay.get(f"/signals/BTCUSDT/history?limit=3&before_seq={first['next_before_seq']}").json()

    assert [s["seq"] for s in first["signals"]] == [9, 7, 5]
    assert [s["seq"] for s in second["signals"]] == [3, 1]
    assert (first["source"], first["truncated"], second["next_before_seq"]) == ("log", True, None)


def test_history_reaches_further_back_in_the_record(
    relay: Relay, publisher: Publisher, tmp_path: Path
) -> None:
    publisher.publish(signal())
    read(relay, 1)
    rows = [
        (seq, "signal", signal(at=CLOSE + seq).id, "BTCUSDT", publish_bytes(signal(at=CLOSE + seq), seq, seq))
        for seq in range(1, 8)
    ]
    with closing(sqlite3.connect(tmp_path / "record.db")) as database, database:
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("CREATE TABLE record (seq INTEGER PRIMARY KEY, kind, id, symbol, body BLOB)")
        database.executemany("INSERT INTO record VALUES (?, ?, ?, ?, ?)", rows)
    page = relay.get("/signals/btcusdt/history?limit=2&before_seq=6").json()

    assert [s["seq"] for s in page["signals"]] == [5, 4]
    assert (page["source"], page["truncated"], page["next_before_seq"]) == ("record", False, 4)


def test_a_record_that_cannot_be_read_leaves_the_log(
    relay: Relay, publisher: Publisher, tmp_path: Path
) -> None:
    (tmp_path / "record.db").write_bytes(b"this is no database" * 100)
    publisher.publish(signal())
    read(relay, 1)
    page = relay.get("/signals/BTCUSDT/history").json()

    assert (page["source"], page["truncated"], len(page["signals"])) == ("log", True, 1)


def test_models_are_not_made_up_where_nothing_trained(relay: Relay) -> None:
    answer = relay.get("/models/status").json()

    assert answer["models"] == {}
    assert answer["state"] == "none"
    assert "no training process" in answer["reason"]


def test_models_are_shown_as_training_wrote_them(relay: Relay, publisher: Publisher) -> None:
    said = models_status()
    publisher.status("models", said)
    until(lambda: relay.app.state.relay.board.models, "the status is read")
    found = relay.get("/models/status").json()

    unknown = {"symbols", "p3_brier_skill"}
    assert found == {**said, "written_at": found["written_at"]}
    assert unknown <= found["models"]["boosted"]["segments"]["majors"].keys()


def test_a_training_that_runs_shows_how_far_it_is(relay: Relay, publisher: Publisher) -> None:
    progress = {"stage": "folds", "share": 0.45}
    publisher.status("models", models_status(state="training", progress=progress, next_due=None))
    until(lambda: relay.app.state.relay.board.models, "the status is read")
    found = relay.get("/models/status").json()

    assert (found["state"], found["progress"], found["next_due"]) == ("training", progress, None)


@pytest.mark.parametrize(
    ("body", "place"),
    [
        ({"state": 7}, "state"),
        (models_status(version={"age": "old"}), "models.boosted.age"),
        (models_status(secret="hush"), "secret"),
    ],
)
def test_a_status_of_training_that_makes_no_sense_is_said(
    relay: Relay, publisher: Publisher, body: dict[str, Any], place: str
) -> None:
    publisher.redis.hset("status:models", "json", orjson.dumps(body))
    until(lambda: relay.app.state.relay.board.models, "the status is read")
    answer = relay.get("/models/status")

    assert answer.status_code == 200
    assert answer.json()["state"] == "none"
    assert answer.json()["reason"] == f"the status of training cannot be read: {place}"
    assert "hush" not in answer.text


def test_a_training_that_is_gone_is_forgotten_with_its_status(relay: Relay, publisher: Publisher) -> None:
    publisher.status("models", models_status())
    until(lambda: relay.app.state.relay.board.models, "the status is read")
    publisher.redis.delete("status:models")
    until(lambda: not relay.app.state.relay.board.models, "the status is gone")

    assert relay.get("/models/status").json()["state"] == "none"


def test_metrics_count_what_happens(relay: Relay, publisher: Publisher) -> None:
    with relay.ws():
        publisher.healthy()
        publisher.publish(signal())
        read(relay, 1)
        until(
            lambda: 'signal_age_seconds{symbol="BTCUSDT"}' in relay.get("/metrics").text,
            "the age of the signal is known",
        )
        text = relay.get("/metrics").text

    assert "signal_engine_api_clients 1.0" in text
    assert "signal_engine_api_last_seq 1.0" in text
    assert "signal_engine_api_redis_up 1.0" in text
    assert 'signal_engine_api_source{source="binance",state="ok"} 1.0' in text


def test_without_redis_nothing_is_made_up_and_its_coming_is_noticed(
    start: Start, valkey: Valkey, publisher: Publisher, tmp_path: Path
) -> None:
    relay = start(None)

    for path in ("/signals", "/signals/BTCUSDT", "/models/status", "/health"):
        assert relay.get(path).status_code == 503
    assert relay.get("/health").json()["redis"] == {"state": "down", "kind": "unknown"}

    publisher.publish(signal())
    (tmp_path / "valkey.json").write_text(f'{{"url": "{valkey.url}", "pid": 1, "kind": "embedded"}}')
    relay.loaded()

    assert relay.get("/signals/BTCUSDT").json() == publisher.sent[0]
    assert relay.get("/health").json()["redis"] == {"state": "up", "kind": "embedded"}


@pytest.mark.parametrize("content", ["", "[]", '{"url": 5}', '{"url": "http://x"}'])
def test_an_address_file_that_cannot_be_used_is_a_reason(start: Start, tmp_path: Path, content: str) -> None:
    (tmp_path / "valkey.json").write_text(content)
    relay = start(None)
    until(
        lambda: "not asked yet" not in relay.get("/health").json()["reasons"][0],
        "Redis was looked for",
    )

    assert relay.get("/health").json()["reasons"][0].startswith("Redis unreachable: ")


def test_the_last_signals_are_served_while_redis_is_away(
    relay: Relay, publisher: Publisher, valkey: Valkey
) -> None:
    publisher.publish(signal())
    read(relay, 1)
    valkey.kill()
    until(lambda: relay.get("/signals").json()["redis"] == "down", "the loss is noticed")

    assert relay.get("/signals/BTCUSDT").json() == publisher.sent[0]
    assert relay.get("/health").status_code == 503


def test_only_its_own_prefix_is_read(start: Start, valkey: Valkey, publisher: Publisher) -> None:
    publisher.publish(signal())
    relay = start(valkey.url).loaded()
    other = relay.app.state.relay.reader
    other.prefix = "second:"
    with Publisher(valkey.url, "second:") as second:
        second.seq = 1
        second.publish(signal("ETHUSDT"))
        read(relay, 2)

    assert "ETHUSDT" in relay.app.state.relay.board.latest


def test_a_corrupt_entry_is_left_out_and_told(relay: Relay, publisher: Publisher) -> None:
    publisher.redis.xadd("signals:log", {"json": b"{", "symbol": "BTCUSDT"}, id="1-0")
    publisher.redis.xadd("signals:log", {"json": b'{"seq":9}', "symbol": "BTCUSDT"}, id="2-0")
    publisher.seq = 2
    publisher.publish(signal())
    read(relay, 3)

    assert relay.get("/signals/BTCUSDT").json() == publisher.sent[0]
    assert "2 entries in Redis could not be read" in relay.get("/health").json()["notes"]


def test_importing_the_relay_loads_no_dataflow_and_no_model() -> None:
    heavy = "bytewax polars torch xgboost hmmlearn river numpy dataflows"
    code = f"import sys, api.server; print([n for n in {heavy.split()!r} if n in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert found.stdout.strip() == "[]"


def test_a_status_that_makes_no_sense_fails_no_endpoint(relay: Relay, publisher: Publisher) -> None:
    publisher.redis.set("heartbeat", "soon")
    publisher.status(
        "serving", {"last_close": 5, "symbols": None, "phase": 7, "stream_rate": "x", "warm": []}
    )
    publisher.status("streams", {"connections": [3], "symbols": [], "rest": 1, "faults": None})
    publisher.redis.hset("status:providers", "json", "[]")
    until(lambda: relay.app.state.relay.board.streams, "the status is read")

    assert relay.get("/health").status_code == 503
    assert relay.get("/providers/status").json()["providers"][0]["state"] == "down"
    assert relay.get("/metrics").status_code == 200
