from __future__ import annotations

import json
import logging
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from starlette.datastructures import Headers
from websockets.exceptions import ConnectionClosed, InvalidStatus

import api.conversation
from api.logs import redact
from api.security import refusal
from api.server import create_app
from engine.settings import Settings
from engine.settings.secrets import ApiKeys
from tests.api.conftest import Publisher, Relay, Start, Valkey, message, settings_for, signal, until

KEY = "a key of the test"
PROTECTED = (
    "/signals",
    "/signals/BTCUSDT",
    "/signals/BTCUSDT/history",
    "/models/status",
    "/providers/status",
    "/metrics",
)


@pytest.fixture
def guarded(start: Start, valkey: Valkey, publisher: Publisher) -> Relay:
    publisher.publish(signal())
    publisher.healthy()
    return start(valkey.url, keys=ApiKeys.read(f"another,{KEY}")).loaded()


def refused(relay: Relay, **options: Any) -> int:
    """The status a WebSocket handshake is refused with."""
    with pytest.raises(InvalidStatus) as found:
        relay.ws(**options)
    return int(found.value.response.status_code)


def test_without_a_key_nothing_is_served(guarded: Relay) -> None:
    for path in PROTECTED:
        answer = guarded.get(path)

        assert answer.status_code == 401
        assert answer.headers["WWW-Authenticate"] == "Bearer"
        assert answer.json() == {"error": "a valid API key is needed"}


@pytest.mark.parametrize("headers", [{"Authorization": f"Bearer {KEY}"}, {"X-API-Key": KEY}])
def test_a_key_opens_everything(guarded: Relay, headers: dict[str, str]) -> None:
    for path in PROTECTED:
        assert guarded.get(path, headers=headers).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"Authorization": "Bearer wrong"},
        {"Authorization": f"Basic {KEY}"},
        {"Authorization": "Bearer"},
        {"X-API-Key": "wrong"},
        {"X-API-Key": ""},
        {"Cookie": f"key={KEY}"},
    ],
)
def test_a_wrong_key_opens_nothing(guarded: Relay, headers: dict[str, str]) -> None:
    assert guarded.get("/signals", headers=headers).status_code == 401


def test_a_key_in_the_address_opens_nothing(guarded: Relay) -> None:
    assert guarded.get(f"/signals?key={KEY}&api_key={KEY}").status_code == 401
    client = guarded.ws("?key=" + KEY.replace(" ", "%20"))
    client.send('{"action":"ping"}')

    with pytest.raises(ConnectionClosed) as found:
        message(client)
    assert found.value.rcvd is not None
    assert found.value.rcvd.code == 1008


def test_health_gives_strangers_the_verdict_only(guarded: Relay, publisher: Publisher) -> None:
    publisher.redis.delete("heartbeat")
    until(lambda: guarded.get("/health").status_code == 503, "not healthy")
    stranger = guarded.get("/health").json()
    friend = guarded.get("/health", headers={"X-API-Key": KEY}).json()

    assert (stranger["status"], stranger["reasons"]) == ("unhealthy", ["details need an API key"])
    assert stranger["symbols"] == {}
    assert "no heartbeat: the engine is not running" in friend["reasons"]


def test_a_websocket_shows_its_key_in_a_header(guarded: Relay) -> None:
    client = guarded.ws(additional_headers={"Authorization": f"Bearer {KEY}"})

    assert message(client)["type"] == "snapshot"
    assert refused(guarded, additional_headers={"X-API-Key": "wrong"}) == 401


def test_a_websocket_shows_its_key_in_its_first_message(guarded: Relay) -> None:
    client = guarded.ws()
    client.send(json.dumps({"action": "auth", "key": KEY}))

    assert message(client)["type"] == "snapshot"


@pytest.mark.parametrize(
    "said", ['{"action":"auth","key":"wrong"}', '{"action":"auth"}', '{"action":"auth","key":5}', "{", "[]"]
)
def test_a_websocket_with_a_wrong_first_message_is_closed_and_told_nothing(guarded: Relay, said: str) -> None:
    client = guarded.ws()
    client.send(said)

    with pytest.raises(ConnectionClosed) as found:
        message(client)
    assert found.value.rcvd is not None
    assert found.value.rcvd.code == 1008


def test_a_websocket_that_shows_no_key_is_closed(guarded: Relay, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api.conversation, "AUTH_WITHIN", 0.05)
    client = guarded.ws()

    with pytest.raises(ConnectionClosed) as found:
        message(client)
    assert found.value.rcvd is not None
    assert (found.value.rcvd.code, found.value.rcvd.reason) == (1008, "no key within 0.05 s")


def test_a_page_of_another_site_may_not_listen(start: Start, valkey: Valkey) -> None:
    relay = start(valkey.url, origins=["https://desk.example"]).loaded()

    assert refused(relay, additional_headers={"Origin": "https://evil.example"}) == 403
    assert refused(relay, additional_headers={"Origin": "null"}) == 403
    assert refused(relay, additional_headers={"Origin": "http://127.0.0.1:1"}) == 403
    for origin in ("https://desk.example", relay.http):
        assert message(relay.ws(additional_headers={"Origin": origin}))["type"] == "snapshot"
    assert message(relay.ws())["type"] == "snapshot"


def test_no_page_of_another_site_may_read(relay: Relay) -> None:
    answer = relay.get("/signals", headers={"Origin": "https://evil.example"})

    assert not [name for name in answer.headers if name.lower().startswith("access-control")]


def test_one_address_and_all_together_have_a_limit(start: Start, valkey: Valkey) -> None:
    relay = start(valkey.url, clients_per_address=2).loaded()
    first, second = relay.ws(), relay.ws()
    message(first), message(second)

    assert refused(relay) == 429
    second.close()
    until(lambda: len(relay.app.state.relay.hub.clients) == 1, "one has gone")
    assert message(relay.ws())["type"] == "snapshot"


def test_clients_beyond_the_limit_are_refused() -> None:
    settings = Settings.model_validate({"api": {"clients": 3}})

    assert refusal(Headers(), settings, 2, 0) is None
    found = refusal(Headers(), settings, 3, 0)
    assert found is not None
    assert found.status == 503


def test_one_that_has_shown_no_key_yet_counts(start: Start, valkey: Valkey) -> None:
    relay = start(valkey.url, keys=ApiKeys.read(KEY), clients_per_address=1).loaded()
    relay.ws()

    assert refused(relay) == 429


def test_what_goes_wrong_inside_is_not_told(tmp_path: Path) -> None:
    app = create_app(settings_for(tmp_path))

    @app.get("/broken")
    async def broken() -> None:
        raise RuntimeError("the password is 1234")

    answer = TestClient(app, raise_server_exceptions=False).get("/broken")

    assert answer.status_code == 500
    assert answer.json() == {"error": "internal error"}


def test_an_unknown_path_and_a_wrong_method_are_json(relay: Relay) -> None:
    assert relay.get("/nothing").json() == {"error": "Not Found"}
    assert relay.get("/nothing").status_code == 404


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("/ws/signals?symbols=BTCUSDT&api_key=abc", "/ws/signals?symbols=BTCUSDT&api_key=***"),
        ("/signals?token=abc&direction=LONG", "/signals?token=***&direction=LONG"),
        ("/signals?symbols=BTCUSDT", "/signals?symbols=BTCUSDT"),
    ],
)
def test_a_secret_in_an_address_is_not_logged(written: str, read: str) -> None:
    record = logging.LogRecord(
        "uvicorn.access", logging.INFO, "", 0, '%s "GET %s"', ("127.0.0.1", written), None
    )
    redact(record)

    assert record.getMessage() == f'127.0.0.1 "GET {read}"'


def served(config: str, tmp_path: Path, **environ: str) -> subprocess.CompletedProcess[str]:
    """Run the program with these settings until it ends by itself."""
    file = tmp_path / "config.yaml"
    file.write_text(config)
    command = [sys.executable, "-m", "api.server", "--config", str(file)]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=60, env={**os.environ, **environ}, check=False
    )


def test_a_port_in_use_is_one_line(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        ended = served(f"api: {{port: {port}}}", tmp_path)

    assert ended.returncode == 3
    assert ended.stderr.strip().splitlines() == [
        f"cannot listen on 127.0.0.1:{port} (api.host, api.port): Address already in use"
    ]


def test_strangers_are_served_without_a_key_only_on_purpose(tmp_path: Path) -> None:
    ended = served("api: {host: 0.0.0.0, port: 0}", tmp_path)

    assert ended.returncode == 2
    assert "allow_public" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_keys_are_not_in_the_log_of_a_running_server(tmp_path: Path, valkey: Valkey) -> None:
    file = tmp_path / "config.yaml"
    file.write_text(f"storage: {{folder: {tmp_path}}}\napi: {{port: 0}}\nlogging: {{json: true}}\n")
    environ = {**os.environ, "SIGNAL_ENGINE_REDIS__URL": valkey.url, "SIGNAL_ENGINE_API__KEYS": KEY}
    command = [sys.executable, "-m", "api.server", "--config", str(file)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environ) as process:
        assert process.stderr is not None
        port = int(process.stderr.readline().split("127.0.0.1:")[1].split()[0])
        relay = Relay(None, port, None)  # type: ignore[arg-type]
        until(lambda: relay.get("/health").status_code, "it serves")
        relay.get("/signals?api_key=HUSH", headers={"X-API-Key": KEY})
        with relay.open:
            relay.ws("?token=HUSH")
        process.terminate()
        lines = process.stderr.read().splitlines()

    assert any("/signals?api_key=***" in json.loads(line)["event"] for line in lines)
    assert any("/ws/signals?token=***" in json.loads(line)["event"] for line in lines)
    assert not [line for line in lines if "HUSH" in line or KEY in line or valkey.url in line]
