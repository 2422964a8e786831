from __future__ import annotations

import json
import os
import signal as signals
import socket
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection

from api.board import Board, Entry
from api.reader import Raw, another_record, within_reach
from api.server import UNSENT, listen
from api.stream import Client, Hub
from engine.signal_json import publish_bytes
from tests.api.conftest import (
    CLOSE,
    FIVE,
    Publisher,
    Relay,
    Start,
    Valkey,
    collect,
    message,
    next_of,
    outcome,
    signal,
    until,
)


def entry(seq: int, symbol: str = "BTCUSDT", **changed: Any) -> Entry:
    return Entry.read("signal", publish_bytes(signal(symbol, CLOSE + seq, **changed), seq, 1000 + seq))


def closed(client: ClientConnection) -> tuple[int, str]:
    """The code and reason a client is closed with, after whatever still comes."""
    with pytest.raises(ConnectionClosed) as found:
        drain(client)
    assert found.value.rcvd is not None
    return found.value.rcvd.code, found.value.rcvd.reason


def drain(client: ClientConnection) -> None:
    while True:
        client.recv(timeout=20)


def test_the_first_message_is_the_state_then_comes_what_is_new(relay: Relay, publisher: Publisher) -> None:
    publisher.publish(signal("BTCUSDT"), signal("ETHUSDT"))
    until(lambda: relay.app.state.relay.board.head == 2, "both are read")
    client = relay.ws()
    first = message(client)
    publisher.publish(signal("BTCUSDT", CLOSE + FIVE))

    assert first == {"type": "snapshot", "seq": 2, "redis": "up", "signals": publisher.sent[:2]}
    assert message(client) == {"type": "signal", **publisher.sent[2]}


def test_only_the_symbols_asked_for_come(relay: Relay, publisher: Publisher) -> None:
    publisher.publish(signal("BTCUSDT"), signal("POLUSDT"))
    until(lambda: relay.app.state.relay.board.head == 2, "both are read")
    client = relay.ws("?symbols=maticusdt,ethusdt")
    first = message(client)
    publisher.publish(signal("BTCUSDT", CLOSE + FIVE), signal("ETHUSDT"))

    assert [s["symbol"] for s in first["signals"]] == ["POLUSDT"]
    assert message(client)["symbol"] == "ETHUSDT"


def test_outcomes_come_only_if_asked_for(relay: Relay, publisher: Publisher) -> None:
    without, with_them = relay.ws(), relay.ws("?outcomes=true")
    message(without), message(with_them)
    publisher.publish(outcome(signal()), signal())

    assert message(with_them) == {"type": "outcome", **publisher.sent[0]}
    assert message(with_them)["type"] == "signal"
    assert message(without)["type"] == "signal"


def test_resuming_brings_exactly_what_was_missed(relay: Relay, publisher: Publisher) -> None:
    publisher.publish(*(signal(at=CLOSE + n) for n in range(10)))
    until(lambda: relay.app.state.relay.board.head == 10, "all are read")
    client = relay.ws("?since=4")
    first = message(client)
    publisher.publish(signal(at=CLOSE + 10))

    assert first["seq"] == 10
    assert collect(client, 11) == list(range(5, 12))


@settings(max_examples=5, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(batches=st.lists(st.integers(1, 40), min_size=8, max_size=20), part=st.data())
def test_resuming_while_signals_pour_in_loses_and_repeats_nothing(
    relay: Relay, publisher: Publisher, batches: list[int], part: st.DataObject
) -> None:
    board = relay.app.state.relay.board
    before = publisher.seq

    def pour() -> None:
        for size in batches:
            publisher.publish(*(signal(at=CLOSE + publisher.seq + n) for n in range(size)))

    pouring = threading.Thread(target=pour)
    pouring.start()
    end = before + sum(batches)
    seen: list[int] = []
    while not seen or seen[-1] < end:
        since = seen[-1] if seen else before
        client = relay.ws(f"?since={since}")
        seen += collect(client, min(end, since + part.draw(st.integers(1, 30))))
        client.close()
    pouring.join()
    until(lambda: board.head == end, "all are read")

    assert seen == list(range(before + 1, end + 1))


def test_what_is_no_longer_held_is_said_before_the_rest(
    start: Start, valkey: Valkey, publisher: Publisher
) -> None:
    publisher.publish(*(signal(at=CLOSE + n) for n in range(20)))
    relay = start(valkey.url, resume=5).loaded()
    client = relay.ws("?since=3")

    assert message(client)["type"] == "snapshot"
    assert message(client) == {"type": "gap", "from": 4, "to": 15}
    assert collect(client, 20) == [16, 17, 18, 19, 20]


def test_a_log_that_began_late_is_not_a_gap(start: Start, valkey: Valkey, publisher: Publisher) -> None:
    publisher.publish(signal(), signal(at=CLOSE + 1), signal(at=CLOSE + 2), outcome(signal()))
    relay = start(valkey.url).loaded()
    client = relay.ws("?since=1&outcomes=true")

    assert [message(client)["type"] for _ in range(4)] == ["snapshot", "signal", "signal", "outcome"]


def test_a_log_that_was_cut_is_a_gap(start: Start, valkey: Valkey, publisher: Publisher) -> None:
    publisher.publish(*(signal(at=CLOSE + n) for n in range(5)))
    publisher.redis.xtrim("signals:log", maxlen=2, approximate=False)
    relay = start(valkey.url).loaded()
    client = relay.ws("?since=1")

    assert message(client)["type"] == "snapshot"
    assert message(client) == {"type": "gap", "from": 2, "to": 3}
    assert collect(client, 5) == [4, 5]


def test_resuming_from_a_number_of_another_record_is_told_so(relay: Relay, publisher: Publisher) -> None:
    publisher.publish(signal())
    until(lambda: relay.app.state.relay.board.head == 1, "it is read")
    client = relay.ws("?since=5000")

    assert message(client)["type"] == "snapshot"
    assert message(client)["type"] == "reset"
    publisher.publish(signal(at=CLOSE + FIVE))
    assert message(client)["seq"] == 2


def test_a_client_changes_its_mind(relay: Relay, publisher: Publisher) -> None:
    publisher.publish(signal("BTCUSDT"), signal("ETHUSDT"))
    until(lambda: relay.app.state.relay.board.head == 2, "both are read")
    client = relay.ws("?symbols=BTCUSDT")
    message(client)
    client.send('{"action":"subscribe","symbols":["ethusdt"],"outcomes":true}')
    agreed, state = message(client), message(client)
    client.send('{"action":"unsubscribe","symbols":["BTCUSDT"]}')
    then = message(client)
    publisher.publish(signal("BTCUSDT", CLOSE + FIVE), outcome(signal("ETHUSDT")))

    assert agreed == {"type": "subscribed", "symbols": ["BTCUSDT", "ETHUSDT"], "outcomes": True}
    assert (state["type"], [s["symbol"] for s in state["signals"]]) == ("snapshot", ["ETHUSDT"])
    assert then["symbols"] == ["ETHUSDT"]
    assert message(client)["type"] == "outcome"


def test_one_of_all_can_be_left_out(relay: Relay, publisher: Publisher) -> None:
    client = relay.ws()
    message(client)
    client.send('{"action":"unsubscribe","symbols":["BTCUSDT"]}')
    left = message(client)["symbols"]
    publisher.publish(signal("BTCUSDT"), signal("ETHUSDT"))

    assert len(left) == 16
    assert message(client)["symbol"] == "ETHUSDT"


NONSENSE: list[str | bytes] = [
    "",
    "{",
    "[]",
    "null",
    '{"action":5}',
    '{"action":"sell"}',
    '{"action":"subscribe"}',
    '{"action":"subscribe","symbols":"BTCUSDT"}',
    '{"action":"subscribe","symbols":[1]}',
    '{"action":"subscribe","symbols":["NOPE"]}',
    '{"action":"subscribe","symbols":["BTCUSDT"],"outcomes":"yes"}',
    b"\xff\xfe",
    "[" * 4000,
]


def test_a_message_that_makes_no_sense_is_answered_and_changes_nothing(
    relay: Relay, publisher: Publisher
) -> None:
    client = relay.ws("?symbols=BTCUSDT")
    message(client)
    for said in NONSENSE:
        client.send(said)
        answer = message(client)

        assert answer["type"] == "error", said
        assert answer["message"], said
    publisher.publish(signal("ETHUSDT"), outcome(signal()), signal("BTCUSDT"))
    assert message(client)["seq"] == 3


def test_a_message_over_the_limit_ends_the_connection(relay: Relay) -> None:
    client = relay.ws()
    client.send("x" * 5000)

    assert closed(client)[0] == 1009


def test_a_server_that_takes_larger_messages_does_not_make_us_read_them(relay: Relay) -> None:
    relay.server.config.ws_max_size = 1 << 20
    client = relay.ws()
    client.send("x" * 5000)

    assert closed(client) == (1009, "a message may have 4096 bytes")


def test_too_many_messages_end_the_connection(relay: Relay) -> None:
    client = relay.ws()
    with suppress(ConnectionClosed):
        for _ in range(100):
            client.send('{"action":"ping"}')

    assert closed(client) == (1008, "more than 20 messages in a second")


@pytest.mark.parametrize(
    ("query", "status"), [("?symbols=NOPE", 404), ("?since=x", 422), ("?since=-1", 422), ("?since=1e3", 422)]
)
def test_a_wish_that_cannot_be_met_refuses_the_handshake(
    relay: Relay, query: str, status: int, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(Exception, match=f"HTTP {status}") as found:
        relay.ws(query)

    assert "error" in json.loads(found.value.response.body)  # type: ignore[attr-defined]
    until(lambda: not relay.app.state.relay.hub.clients, "nobody is counted in")
    assert not [line for line in caplog.records if line.levelname == "ERROR"]


def test_a_heartbeat_says_where_the_stream_is(start: Start, valkey: Valkey, publisher: Publisher) -> None:
    publisher.publish(signal())
    publisher.healthy()
    relay = start(valkey.url, heartbeat=0.05).loaded()

    assert next_of(relay.ws(), "heartbeat") == {
        "type": "heartbeat",
        "seq": 1,
        "stream_time": CLOSE + 20_000,
    }


def stalled(relay: Relay) -> ClientConnection:
    """A client that takes a handshake and then nothing more."""
    raw = socket.socket()
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    raw.connect(("127.0.0.1", relay.port))
    # The library's own reader would read for it; a tiny queue makes it stop.
    return relay.ws(sock=raw, max_queue=1)


def test_a_client_that_takes_nothing_is_closed_and_the_others_get_everything(
    start: Start, valkey: Valkey, publisher: Publisher
) -> None:
    relay = start(valkey.url, queue=16).loaded()
    slow = stalled(relay)
    good = [relay.ws() for _ in range(3)]
    for client in good:
        message(client)
    hub = relay.app.state.relay.hub
    sent, deadline = 0, time.monotonic() + 60
    while not hub.closed[1013] and not any(c.ending for c in tuple(hub.clients)):
        assert time.monotonic() < deadline
        publisher.publish(*(signal(at=CLOSE + sent + n) for n in range(10)))
        sent += 10
        for client in good:
            assert collect(client, sent) == list(range(sent - 9, sent + 1))

    code, reason = closed(slow)

    assert code == 1013
    assert reason.startswith("too slow: ")
    until(lambda: hub.closed[1013] == 1 and len(hub.clients) == 3, "only the slow one is gone")


def test_a_burst_is_nobodys_fault(start: Start, valkey: Valkey, publisher: Publisher) -> None:
    relay = start(valkey.url, queue=16).loaded()
    client = relay.ws()
    message(client)
    publisher.publish(*(signal(at=CLOSE + n) for n in range(2000)))

    assert collect(client, 2000) == list(range(1, 2001))


def test_a_lost_redis_is_told_and_what_was_missed_comes_in_order(
    relay: Relay, publisher: Publisher, valkey: Valkey
) -> None:
    publisher.publish(signal(), signal(at=CLOSE + 1))
    client = relay.ws("?since=0")
    assert collect(client, 2) == [1, 2]

    valkey.kill()
    assert next_of(client, "status") == {"type": "status", "redis": "down"}

    valkey.start()
    # It came back empty; the publisher fills it again from the record and goes on.
    again = [
        (
            signal(at=CLOSE + n - 1),
            n,
            publish_bytes(signal(at=CLOSE + n - 1), n, publisher.sent[n - 1]["published_at"]),
        )
        for n in (1, 2)
    ]
    publisher.write(again)
    assert next_of(client, "status") == {"type": "status", "redis": "up"}
    publisher.publish(signal(at=CLOSE + 2), signal(at=CLOSE + 3))

    assert collect(client, 4) == [3, 4]
    assert relay.get("/signals").json()["redis"] == "up"


def test_a_new_record_starts_everybody_over(relay: Relay, publisher: Publisher) -> None:
    publisher.publish(*(signal(at=CLOSE + n) for n in range(5)))
    client = relay.ws("?since=0")
    collect(client, 5)
    publisher.redis.flushall()
    publisher.seq = 0
    time.sleep(0.01)  # the new record's first commit is later than the old one's last
    publisher.publish(signal("ETHUSDT", id="of the new record"))

    assert next_of(client, "reset")["seq"] == 1
    assert [s["id"] for s in next_of(client, "snapshot")["signals"]] == ["of the new record"]
    publisher.publish(signal("ETHUSDT", CLOSE + FIVE))
    assert next_of(client, "signal")["seq"] == 2


def test_a_log_cut_short_while_nobody_read_it_is_a_gap(
    relay: Relay, publisher: Publisher, valkey: Valkey
) -> None:
    publisher.publish(signal())
    client = relay.ws("?since=0")
    collect(client, 1)
    valkey.kill()
    next_of(client, "status")
    # While it is away the engine goes on, and only the end of its log is sent again.
    bodies = [(signal(at=CLOSE + n), n, publish_bytes(signal(at=CLOSE + n), n, n)) for n in range(8, 11)]
    held = Publisher(valkey.url)
    valkey.start()
    held.write(bodies)
    held.redis.close()

    seen: list[tuple[Any, ...]] = []
    while not seen or seen[-1] != ("signal", 10):
        found = message(client)
        if found["type"] in ("gap", "signal"):
            seen.append((found["type"], found.get("seq", (found.get("from"), found.get("to")))))
    assert seen == [("gap", (2, 7)), ("signal", 8), ("signal", 9), ("signal", 10)]


def test_a_client_from_before_the_first_redis_gets_everything_it_asked_for(
    start: Start, valkey: Valkey, publisher: Publisher, tmp_path: Path
) -> None:
    relay = start(None)
    client = relay.ws("?since=1")
    first = message(client)
    publisher.publish(signal(), signal(at=CLOSE + 1), signal(at=CLOSE + 2))
    (tmp_path / "valkey.json").write_text(json.dumps({"url": valkey.url, "kind": "embedded"}))

    assert (first["type"], first["redis"]) == ("status", "down")
    assert next_of(client, "snapshot")["seq"] == 3
    assert collect(client, 3) == [2, 3]


def test_many_clients_lose_nothing_while_stalled_ones_are_closed(
    start: Start, valkey: Valkey, publisher: Publisher
) -> None:
    relay = start(valkey.url, queue=16).loaded()
    for _ in range(20):
        stalled(relay)
    good = [relay.ws() for _ in range(180)]
    hub = relay.app.state.relay.hub
    end, deadline = 0, time.monotonic() + 100
    while sum(1 for c in tuple(hub.clients) if c.ending) + hub.closed[1013] < 20:
        assert time.monotonic() < deadline
        publisher.publish(*(signal(at=CLOSE + end + n, degraded=("x" * 8_000,)) for n in range(10)))
        end += 10
        for client in good:
            assert collect(client, end) == list(range(end - 9, end + 1))

    assert not any(c.ending for c in tuple(hub.clients) if c.sent >= end)
    assert "signal_engine_api_sent_total" in relay.get("/metrics").text


def test_the_end_of_the_server_is_told(tmp_path: Path, valkey: Valkey) -> None:
    config = tmp_path / "config.yaml"
    config.write_text(f"storage: {{folder: {tmp_path}}}\napi: {{port: 0}}\n")
    environ = {**os.environ, "SIGNAL_ENGINE_REDIS__URL": valkey.url}
    command = [sys.executable, "-m", "api.server", "--config", str(config)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environ) as process:
        assert process.stderr is not None
        port = int(process.stderr.readline().split("127.0.0.1:")[1].split()[0])
        relay = Relay(None, port, None)  # type: ignore[arg-type]
        until(lambda: relay.get("/health").status_code, "it serves")
        client = relay.ws()
        process.send_signal(signals.SIGTERM)
        ending = closed(client)
        said = process.stderr.read()

    assert ending == (1001, "the server ends")
    assert process.returncode == 0
    assert "Traceback" not in said


def test_entries_beyond_a_batch_that_was_cut_short_wait() -> None:
    full: list[Raw] = [(f"{n}-0".encode(), {}) for n in range(1, 501)]
    kept = within_reach({"signal": full, "outcome": [(b"400-0", {}), (b"600-0", {})]})

    assert len(kept["signal"]) == 500
    assert kept["outcome"] == [(b"400-0", {})]


def test_another_record_is_told_from_one_being_filled_again() -> None:
    newest = entry(10)

    assert not another_record(newest, [entry(10)])
    assert not another_record(newest, [entry(4)])
    assert not another_record(newest, [entry(11)])
    assert another_record(newest, [entry(10, id="other")])
    later = Entry.read("signal", publish_bytes(signal(), 4, 99_999))
    assert another_record(newest, [later])


@pytest.mark.skipif(not hasattr(socket, "TCP_USER_TIMEOUT"), reason="this system has no such limit")
def test_a_connection_that_takes_nothing_is_not_kept_for_ever() -> None:
    with listen("127.0.0.1", 0) as listener, socket.create_connection(listener.getsockname()):
        accepted, _ = listener.accept()
        with accepted:
            limit = accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT)

    assert limit == UNSENT


async def test_a_client_is_cut_at_once_beyond_the_most_that_may_wait() -> None:
    client = Client(queue=2, most=4)
    for number in range(4):
        client.offer(str(number))

    assert client.ending is None
    client.offer("one more")
    assert client.ending is not None
    assert client.ending[0] == 1013
    assert not client.waiting


async def test_what_a_client_missed_is_not_held_against_it() -> None:
    board = Board(resume=100)
    for number in range(1, 51):
        board.add(entry(number))
    board.loaded = True
    hub = Hub(board, queue=2, resume=3)
    client = hub.admit("here")
    client.since = 0
    hub.join(client)
    hub.publish(entry(51))

    assert client.ending is None
    assert len(client.waiting) == 52


async def test_publishing_survives_clients_that_come_and_go() -> None:
    board = Board()
    board.loaded = True
    hub = Hub(board)
    clients = [hub.admit("here") for _ in range(10)]
    for client in clients:
        hub.join(client)
    first = clients[0]
    first.offer = lambda text: hub.leave(clients[5])  # type: ignore[method-assign]
    hub.publish(entry(1))

    assert len(hub.clients) == 9
    assert all(len(client.waiting) == 2 for client in clients[6:])
