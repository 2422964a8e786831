"""The publisher against a real server: what the record holds is in Redis once, whatever happens to either."""

from __future__ import annotations

import logging
import os
import signal as signals
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import bytewax.operators as op
import orjson
import pytest
from bytewax.dataflow import Dataflow
from bytewax.testing import TestingSource, cluster_main, run_main
from hypothesis import HealthCheck, given
from hypothesis import settings as examples
from hypothesis import strategies as st
from redis import Redis, RedisError

from dataflows.connectors import signal_log
from dataflows.connectors.publisher import Publisher
from dataflows.connectors.record import Kind, Record, RecordPartition, RecordSink
from dataflows.connectors.redis import connect, open_client, server_pid
from dataflows.connectors.shown import Shown
from dataflows.connectors.signal_log import SignalLog
from engine.errors import SourceError
from engine.records import Outcome, Price, Signal, Status
from engine.settings import load
from tests.dataflows.connectors_storage.samples import outcome, signal, until

CONFIG = Path(__file__).parents[3] / "config.yaml"


@pytest.fixture
def record(tmp_path: Path) -> Iterator[Record]:
    found = Record(tmp_path)
    yield found
    found.close()


@contextmanager
def publishing(record: Record, locate: Callable[[], str], **knobs: Any) -> Iterator[Publisher]:
    publisher = Publisher(record, locate, **{"every": 0.02, "backoff": (0.01, 0.05), **knobs})
    publisher.start()
    try:
        yield publisher
    finally:
        publisher.close()


class Listener:
    """Everything PUBLISHed on a channel since it was made, over every reconnect."""

    def __init__(self, url: str, channel: str = "signals") -> None:
        self.heard: list[dict[str, Any]] = []
        self._url, self._channel = url, channel
        self._ready, self._stop = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        assert self._ready.wait(10)

    def _run(self) -> None:
        while not self._stop.is_set():
            with suppress(RedisError, OSError), open_client(self._url) as client, client.pubsub() as channel:
                channel.subscribe(self._channel)
                while not self._stop.is_set():
                    message = channel.get_message(timeout=0.02)
                    if message and message["type"] == "message":
                        self.heard.append(orjson.loads(message["data"]))
                    elif message:
                        self._ready.set()

    def seqs(self) -> list[int]:
        return [body["seq"] for body in self.heard]

    def close(self) -> None:
        self._stop.set()
        self._thread.join()


@pytest.fixture
def listener(server: str, redis: Redis) -> Iterator[Listener]:
    found = Listener(server)
    yield found
    found.close()


def log_of(redis: Redis, name: str) -> list[tuple[int, bytes]]:
    """(seq, json) of every entry of a log."""
    entries: Any = redis.xrange(name)
    return [(int(id_.partition(b"-")[0]), fields[b"json"]) for id_, fields in entries]


def recorded(record: Record, kind: str) -> list[tuple[int, bytes]]:
    return [(row.seq, row.body) for row in record.rows(0, limit=1_000_000) if row.kind == kind]


def complete(redis: Redis, record: Record) -> bool:
    return all(log_of(redis, f"{kind}s:log") == recorded(record, kind) for kind in ("signal", "outcome"))


def test_every_line_is_in_its_log_and_every_signal_heard_once(
    server: str, redis: Redis, record: Record, listener: Listener
) -> None:
    record.commit([signal(0), outcome(0), signal(1)])
    with publishing(record, lambda: server) as publisher:
        until(lambda: complete(redis, record), "the first lines")
        record.commit([signal(2), outcome(1), signal(3)])
        publisher.wake()
        until(lambda: len(listener.heard) == 4, "four signals")
        stats = publisher.stats()
    entries: Any = redis.xrange("signals:log", "6-0", "6-0")

    assert listener.seqs() == [1, 3, 4, 6]
    assert complete(redis, record)
    assert entries == [(b"6-0", {b"json": record.rows(5)[0].body, b"symbol": b"BTCUSDT"})]
    assert redis.hget("signals:latest", "BTCUSDT") == record.rows(5)[0].body
    assert redis.hgetall("record:head") == {b"record": record.id.encode(), b"seq": b"6"}
    assert stats == {"head": 6, "waiting": 0, "conflicts": 0, "fault": None}


def test_the_newest_signal_of_a_symbol_never_goes_back_in_time(
    server: str, redis: Redis, record: Record, listener: Listener
) -> None:
    record.commit([signal(3), signal(0), replace(signal(3), id="same time")])
    with publishing(record, lambda: server):
        until(lambda: len(listener.heard) == 3, "three signals")

    assert redis.hget("signals:latest", "BTCUSDT") == record.rows(0)[0].body
    assert redis.hget("signals:latest:time", "BTCUSDT") == b"1200000"


def test_a_crash_between_commit_and_publish_publishes_once_at_the_next_start(
    server: str, redis: Redis, tmp_path: Path, listener: Listener
) -> None:
    record = Record(tmp_path)
    record.commit([signal(0), signal(1)])
    record.close()
    again = Record(tmp_path)
    with publishing(again, lambda: server):
        until(lambda: complete(redis, again), "the lines")
    again.close()
    third = Record(tmp_path)
    with publishing(third, lambda: server) as publisher:
        third.commit([signal(2)])
        publisher.wake()
        until(lambda: len(listener.heard) == 3, "the third signal")
    third.close()

    assert listener.seqs() == [1, 2, 3]


def test_a_crash_between_publish_and_remembering_it_publishes_nothing_twice(
    server: str, redis: Redis, record: Record, listener: Listener
) -> None:
    record.commit([signal(0), signal(1)])
    with publishing(record, lambda: server):
        until(lambda: len(listener.heard) == 2, "two signals")
    record.mark_published(0)
    with publishing(record, lambda: server) as publisher:
        until(lambda: record.published == 2, "the watermark")
        redis.flushall()
        record.commit([signal(2)])
        publisher.wake()
        until(lambda: complete(redis, record), "the lost lines")
        until(lambda: len(listener.heard) == 3, "the third signal")

    assert listener.seqs() == [1, 2, 3]


def test_a_redis_that_lost_everything_is_filled_again_and_nothing_heard_twice(
    server: str, redis: Redis, record: Record, listener: Listener, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(signal_log, "CHECK", 0.02)
    record.commit([signal(0), outcome(0), signal(1), signal(2)])
    with publishing(record, lambda: server):
        until(lambda: len(listener.heard) == 3, "three signals")
        redis.flushall()
        until(lambda: complete(redis, record), "the lost lines")

    assert listener.seqs() == [1, 3, 4]
    assert redis.hlen("signals:latest") == 3


def test_only_what_the_logs_keep_is_filled_again(redis: Redis, record: Record) -> None:
    record.commit([outcome(0)])
    record.commit([signal(n) for n in range(2000)])
    SignalLog(record, "", 300).send(redis)
    redis.flushall()
    SignalLog(record, "", 300).send(redis)
    log = log_of(redis, "signals:log")

    assert log == recorded(record, "signal")[-len(log) :]
    assert 300 <= len(log) <= 400
    assert log_of(redis, "outcomes:log") == recorded(record, "outcome")


def test_what_was_never_said_is_said_even_if_the_log_is_too_short_for_it(
    redis: Redis, record: Record, listener: Listener
) -> None:
    record.commit([signal(n) for n in range(600)])
    SignalLog(record, "", 100).send(redis)
    until(lambda: len(listener.heard) == 600, "every signal")

    assert listener.seqs() == list(range(1, 601))


@pytest.mark.parametrize("question", [1, 2])
def test_lines_committed_while_redis_is_asked_are_not_skipped(
    redis: Redis, record: Record, monkeypatch: pytest.MonkeyPatch, question: int
) -> None:
    asked: list[int | None] = []
    follow = record.following

    def following(kind: Kind, after: int) -> int | None:
        asked.append(follow(kind, after))
        if len(asked) == question:
            record.commit([signal(0), outcome(0)])
        return asked[-1]

    monkeypatch.setattr(record, "following", following)
    SignalLog(record, "", 100).send(redis)

    assert len(asked) == 2
    assert complete(redis, record)


def test_prices_and_status_are_shown_with_their_times_to_live(
    server: str, redis: Redis, record: Record
) -> None:
    with publishing(record, lambda: server) as publisher:
        publisher.show([Price("BTCUSDT", 1, 10.0), Price("ETHUSDT", 1, 5.0), Price("BTCUSDT", 2, 11.0)])
        publisher.show(
            [
                Status("streams", MappingProxyType({"faults": ("x",), "by": MappingProxyType({"a": 1})})),
                Status("serving", {"phase": "serving"}),
            ]
        )
        until(lambda: redis.exists("status:serving", "status:streams", "prices") == 3, "what is shown")
        streams = orjson.loads(redis.hget("status:streams", "json") or b"")
        serving = orjson.loads(redis.hget("status:serving", "json") or b"")
        prices = {name: orjson.loads(body) for name, body in redis.hgetall("prices").items()}
        lives = redis.ttl("status:serving"), redis.ttl("heartbeat"), redis.ttl("prices")

    assert prices == {b"BTCUSDT": {"price": 11.0, "time": 2}, b"ETHUSDT": {"price": 5.0, "time": 1}}
    assert streams == {"faults": ["x"], "by": {"a": 1}, "written_at": serving["written_at"]}
    assert serving["record"] == {"head": 0, "waiting": 0, "conflicts": 0, "fault": None}
    assert serving["faults"] == []
    assert int(redis.get("heartbeat") or 0) == serving["written_at"] > 1_700_000_000_000
    assert 0 < lives[1] <= 15 < lives[0] <= 30
    assert lives[2] == -1


def test_what_could_not_be_shown_is_shown_later_unless_something_newer_came(redis: Redis) -> None:
    shown = Shown("", lambda body: body)
    shown.put([Price("BTCUSDT", 1, 1.0), Price("ETHUSDT", 1, 1.0)])
    with pytest.raises(RedisError), open_client("redis://127.0.0.1:1") as nobody:
        shown.send(nobody)
    shown.put([Price("BTCUSDT", 2, 2.0)])
    shown.send(redis)

    assert redis.hgetall("prices") == {
        b"ETHUSDT": b'{"price":1.0,"time":1}',
        b"BTCUSDT": b'{"price":2.0,"time":2}',
    }


def test_a_status_that_is_no_json_fails_on_the_worker(record: Record) -> None:
    publisher = Publisher(record, lambda: "")

    with pytest.raises(TypeError, match=r"not JSON serializable|object is not iterable"):
        publisher.show([Status("serving", {"when": object()})])


def test_no_status_no_heartbeat(server: str, redis: Redis, record: Record) -> None:
    record.commit([signal(0)])
    with publishing(record, lambda: server) as publisher:
        publisher.show([Price("BTCUSDT", 1, 10.0)])
        until(lambda: complete(redis, record) and redis.exists("prices"), "the line")

    assert redis.exists("heartbeat") == 0


def test_a_replay_that_disagrees_is_a_fault_for_all_to_see(server: str, redis: Redis, record: Record) -> None:
    record.commit([signal(0)])
    record.commit([signal(0, score=1.0)])
    with publishing(record, lambda: server) as publisher:
        publisher.show([Status("serving", {"faults": ["the feed is silent"]})])
        until(lambda: redis.exists("status:serving"), "the status")
        body = orjson.loads(redis.hget("status:serving", "json") or b"")

    assert body["faults"] == [
        "the feed is silent",
        "1 replayed signals or outcomes differ from the record",
    ]


def test_every_key_and_the_channel_stand_behind_the_prefix(server: str, redis: Redis, record: Record) -> None:
    listener = Listener(server, "second:signals")
    record.commit([signal(0), outcome(0)])
    with publishing(record, lambda: server, prefix="second:") as publisher:
        publisher.show([Price("BTCUSDT", 1, 10.0), Status("serving", {})])
        until(lambda: redis.exists("second:heartbeat", "second:prices") == 2, "what is shown")
        until(lambda: listener.heard, "the signal")
    listener.close()
    keys: Any = redis.keys("*")

    assert [key for key in keys if not key.startswith(b"second:")] == []
    assert redis.exists("second:signals:log", "second:outcomes:log", "second:signals:latest") == 3


@pytest.mark.parametrize("ours", [0, 3])
def test_the_logs_of_another_record_are_left_alone_and_named(
    server: str, redis: Redis, tmp_path: Path, listener: Listener, ours: int
) -> None:
    theirs, record = Record(tmp_path / "theirs"), Record(tmp_path / "ours")
    theirs.commit([signal(0), signal(1)])
    SignalLog(theirs, "", 100).send(redis)
    record.commit([signal(n) for n in range(10, 10 + ours)])
    with publishing(record, lambda: server) as publisher:
        until(lambda: publisher.fault, "the fault")
        publisher.show([Status("serving", {})])
        until(lambda: redis.exists("status:serving"), "the status")
        body = orjson.loads(redis.hget("status:serving", "json") or b"")
        untouched = complete(redis, theirs)
        redis.flushall()
        until(lambda: publisher.fault is None and complete(redis, record), "our own lines")

    assert body["faults"] == [body["record"]["fault"]]
    assert (
        f"up to line 2 of record {theirs.id}, and this is record {record.id} at line {ours}"
        in body["faults"][0]
    )
    assert "set redis.prefix" in body["faults"][0]
    assert untouched
    assert listener.seqs()[2:] == list(range(1, ours + 1))
    theirs.close()
    record.close()


def test_a_redis_that_is_ahead_of_an_older_copy_of_the_record_gets_nothing(
    server: str, redis: Redis, tmp_path: Path, listener: Listener
) -> None:
    record = Record(tmp_path)
    record.commit([signal(0), signal(1)])
    SignalLog(record, "", 100).send(redis)
    record.database.connection.execute("DELETE FROM record WHERE seq = 2")
    with publishing(record, lambda: server) as publisher:
        until(lambda: publisher.fault, "the fault")
        fault = publisher.fault or ""
    record.close()

    assert "up to line 2" in fault
    assert "at line 1" in fault
    assert listener.seqs() == [1, 2]


def test_two_engines_on_one_redis_do_not_mix(server: str, redis: Redis, tmp_path: Path) -> None:
    one, two = Record(tmp_path / "1"), Record(tmp_path / "2")
    one_log, two_log = SignalLog(one, "", 100), SignalLog(two, "", 100)
    one.commit([signal(0)])
    one_log.send(redis)
    redis.flushall()
    two.commit([signal(5)])
    two_log.send(redis)
    one.commit([signal(1)])
    with pytest.raises(SourceError, match=f"of record {two.id}, and this is record {one.id}"):
        one_log.send(redis)
    one.close()
    two.close()


def test_an_unreachable_redis_is_a_fault_without_its_password(
    record: Record, caplog: pytest.LogCaptureFixture, server: str
) -> None:
    record.commit([signal(0)])
    place = server.rpartition("@")[2]
    with (
        caplog.at_level(logging.DEBUG),
        publishing(record, lambda: "redis://:hunter2@127.0.0.1:1/0") as refused,
        publishing(record, lambda: f"redis://:hunter2@{place}") as wrong,
    ):
        until(lambda: refused.fault and wrong.fault, "both faults")
        faults = refused.fault or "", wrong.fault or ""
        waiting = refused.stats()["waiting"]

    assert "redis://***@127.0.0.1:1/0: " in faults[0]
    assert "refused" in faults[0]
    assert "WRONGPASS" in faults[1] or "invalid" in faults[1]
    assert "hunter2" not in caplog.text + faults[0] + faults[1]
    assert waiting == 1


def test_a_server_that_is_killed_while_lines_come_loses_none(own: Path) -> None:
    record = Record(own)
    listener = Listener(connect(None, own).url)
    killed: set[int] = set()
    with publishing(record, lambda: connect(None, own).url) as publisher:
        for number in range(240):
            record.commit([signal(number), outcome(number)])
            publisher.wake()
            if number % 80 == 40:
                connect(None, own)
                killed.add(pid := server_pid(own) or 0)
                os.kill(pid, signals.SIGKILL)
        until(lambda: publisher.fault is None and publisher.stats()["waiting"] == 0, "the end")
        with open_client(connect(None, own).url) as client:
            until(lambda: complete(client, record), "every line")
    listener.close()
    record.close()

    assert len(killed) == 3
    # What was said while the listener was away is in the log only; nothing is said twice or out of order.
    assert listener.seqs() == sorted(set(listener.seqs()))


def test_dropped_connections_lose_and_repeat_nothing(
    server: str, redis: Redis, record: Record, listener: Listener
) -> None:
    with publishing(record, lambda: server) as publisher:
        for number in range(150):
            record.commit([signal(number)])
            publisher.wake()
            if number % 5 == 0:
                redis.client_kill_filter(_type="normal", skipme=True)
        until(lambda: len(listener.heard) == 150, "every signal")

    assert listener.seqs() == list(range(1, 151))
    assert complete(redis, record)


def test_a_frozen_redis_blocks_no_worker_and_repeats_nothing(own: Path) -> None:
    url = connect(None, own).url
    pid = server_pid(own)
    assert pid is not None
    record, listener = Record(own), Listener(url)
    publisher = Publisher(record, lambda: url, timeout=0.2, every=0.02, backoff=(0.01, 0.05))
    partition = RecordPartition(record, publisher)
    partition.write_batch([signal(0)])
    until(lambda: listener.heard, "the first signal")
    os.kill(pid, signals.SIGSTOP)
    try:
        for number in range(1, 40):
            partition.write_batch([signal(number), Price("BTCUSDT", number, 1.0), Status("serving", {})])
        head = record.head()
        until(lambda: publisher.fault, "the time-out")
        partition.write_batch([signal(40)])
    finally:
        os.kill(pid, signals.SIGCONT)
    until(lambda: len(listener.heard) >= 41, "every signal")
    partition.close()
    listener.close()
    again = Record(own, readonly=True)
    with open_client(url) as client:
        done = complete(client, again)
        price = client.hget("prices", "BTCUSDT")
    again.close()

    assert head == 40
    assert listener.seqs() == list(range(1, 42))
    assert done
    assert orjson.loads(price or b"") == {"price": 1.0, "time": 39}


def test_close_sends_what_was_committed_just_before(server: str, redis: Redis, tmp_path: Path) -> None:
    for number in range(5):
        partition = RecordPartition(
            record := Record(tmp_path), Publisher(record, lambda: server, every=60, prefix="")
        )
        partition.write_batch([signal(number)])
        partition.close()

    assert [seq for seq, _ in log_of(redis, "signals:log")] == [1, 2, 3, 4, 5]


def test_a_publisher_that_ended_is_not_taken_for_a_quiet_one(server: str, record: Record) -> None:
    with publishing(record, lambda: server) as publisher:
        pass

    with pytest.raises(SourceError, match="thread has ended"):
        publisher.show([])


def lose_tail(redis: Redis, name: str, keep: int) -> None:
    """Make a log what a replica knew that was `keep` entries into it when it became the master."""
    entries: Any = redis.xrange(name)
    redis.delete(name)
    for id_, fields in entries[:keep]:
        redis.xadd(name, fields, id=id_)


def said_at(number: int, action: str) -> list[Signal | Outcome]:
    """What an action of the test below commits."""
    said: list[Signal | Outcome] = []
    if action in ("signals", "both"):
        said += [signal(3 * number + n) for n in range(3)]
    if action in ("outcomes", "both"):
        said += [outcome(3 * number + n) for n in range(2)]
    return said


ACTIONS = st.lists(
    st.sampled_from(["signals", "outcomes", "both", "send", "send", "restart", "flush", "lose"]),
    min_size=3,
    max_size=25,
)


@examples(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(actions=ACTIONS)
def test_whatever_happens_the_logs_hold_the_record_and_each_signal_was_said_once(
    redis: Redis, tmp_path_factory: pytest.TempPathFactory, actions: list[str]
) -> None:
    redis.flushall()
    record = Record(tmp_path_factory.mktemp("record"), synchronous="NORMAL")
    logs = SignalLog(record, "", 10_000)
    channel = redis.pubsub()  # type: ignore[no-untyped-call]
    channel.subscribe("signals")
    for number, action in enumerate([*actions, "restart", "send"]):
        record.commit(said_at(number, action))
        match action:
            case "send":
                logs.send(redis)
            case "restart":
                logs = SignalLog(record, "", 10_000)
            case "flush":
                redis.flushall()
            case "lose":
                lose_tail(redis, "signals:log", redis.xlen("signals:log") // 2)
    heard = []
    while message := channel.get_message(timeout=0.05):
        if message["type"] == "message":
            heard.append(orjson.loads(message["data"])["seq"])
    channel.close()
    logs_are_complete = complete(redis, record)
    said = [row.seq for row in record.rows(0, limit=1_000_000) if row.kind == "signal"]
    record.close()

    assert logs_are_complete
    assert heard == said


@pytest.mark.parametrize("workers", [1, 2])
def test_a_flow_writes_and_publishes_each_item_once_also_when_run_again(
    server: str, redis: Redis, tmp_path: Path, listener: Listener, workers: int
) -> None:
    environ = {"SIGNAL_ENGINE_STORAGE__FOLDER": str(tmp_path / "data"), "SIGNAL_ENGINE_REDIS__URL": server}
    settings = load(CONFIG, MappingProxyType(environ))
    items = [(item.symbol, item) for n in range(50) for item in (signal(n), outcome(n))]
    for _ in range(2):
        flow = Dataflow("signals")
        op.output("record", op.input("in", flow, TestingSource(items)), RecordSink(settings))
        if workers == 1:
            run_main(flow)  # type: ignore[no-untyped-call]
        else:
            cluster_main(flow, [], 0, worker_count_per_proc=workers)  # type: ignore[no-untyped-call]
    record = Record(tmp_path / "data", readonly=True)
    verdict = record.verify()
    done = complete(redis, record)
    record.close()
    until(lambda: len(listener.heard) == 50, "every signal")

    assert (verdict.rows, verdict.fault) == (100, None)
    assert done
    assert len(set(listener.seqs())) == 50
