"""The training process as it runs: an exchange on loopback, a Redis of its own, a trainer that is none."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson
import psutil
import pytest
from redis import Redis

from dataflows.connectors import redis
from dataflows.replay.exchange import ReplayExchange
from dataflows.replay.simulate import Simulated
from dataflows.training.candles import read_file
from dataflows.training.diary import FILE, load
from dataflows.training.process import Training
from dataflows.up import free_port
from engine.errors import StorageError
from engine.models.manifest import Facts
from engine.models.shelf import Shelf
from engine.settings import load as settings_from
from tests.dataflows.runs import ROOT, playing, until

START = 1_760_000_400_000
HOUR = 3_600_000
SYMBOLS = ("BTCUSDT", "DOGEUSDT")
BESIDE = ("-m", "tests.dataflows.training.beside")


def exchange(speed: float, port: int = 0) -> ReplayExchange:
    return ReplayExchange("spot", Simulated(SYMBOLS, 7), START, speed=speed, port=port, prepare=0)


@dataclass
class Beside:
    """One data folder and the training process beside it; started as often as it is ended."""

    folder: Path
    rest: str
    knobs: dict[str, str] = field(default_factory=dict)
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def variables(self) -> dict[str, str]:
        own = {
            "SYMBOLS": orjson.dumps({"majors": SYMBOLS}).decode(),
            "MODELS__BOOSTED__WINDOW_DAYS": "10",
            "MODELS__BOOSTED__RETRAIN_HOURS": "1000",
            "BINANCE__SPOT__REST": self.rest,
            "STORAGE__FOLDER": str(self.folder),
            **self.knobs,
        }
        return {f"SIGNAL_ENGINE_{name}": value for name, value in own.items()}

    def start(self, *command: str) -> subprocess.Popen[bytes]:
        with (self.folder / f"training.{len(self.processes)}.log").open("xb") as log:
            process = subprocess.Popen(
                [sys.executable, *(command or (*BESIDE, str(self.folder)))],
                cwd=ROOT, env={**os.environ, **self.variables}, stdout=log, stderr=log,
            )  # fmt: skip
        self.processes.append(process)
        return process

    def log(self) -> str:
        """What the processes wrote, one after another."""
        return "".join(self.log_of(index) for index in range(len(self.processes)))

    def log_of(self, index: int) -> str:
        return (self.folder / f"training.{index}.log").read_text(errors="replace")

    def orders(self, **given: Any) -> None:
        """What the trainer does from its next run on."""
        (self.folder / "orders.json").write_bytes(orjson.dumps(given))

    def runs(self) -> list[dict[str, Any]]:
        path = self.folder / "runs"
        return [orjson.loads(line) for line in path.read_bytes().splitlines()] if path.exists() else []

    def client(self) -> Redis:
        return redis.open_client(redis.connect(None, self.folder).url)

    def status(self) -> dict[str, Any]:
        with self.client() as client:
            found = client.hget("status:models", "json")
        return dict(orjson.loads(found)) if isinstance(found, bytes) else {}

    def says(self, **wanted: Any) -> dict[str, Any]:
        """Wait for a status with these values; all of it."""
        until(lambda: wanted.items() <= self.status().items(), f"{wanted}: {self.status()} {self.log()}", 40)
        return self.status()

    def ran(self, count: int, seconds: float = 30.0) -> list[dict[str, Any]]:
        """Wait until so many runs have begun."""
        until(lambda: len(self.runs()) >= count, f"run {count}; {self.log()}", seconds)
        return self.runs()

    def end(self) -> None:
        for process in self.processes:
            if process.poll() is None:
                process.kill()
            process.wait()
        redis.stop(self.folder)


@pytest.fixture
def besides() -> Iterator[list[Beside]]:
    made: list[Beside] = []
    yield made
    for one in made:
        one.end()


@pytest.fixture
def beside(tmp_path: Path, besides: list[Beside]) -> Iterator[Beside]:
    """One beside an exchange at sixty times the speed."""
    with playing(exchange(60)) as playing_exchange:
        besides.append(made := Beside(tmp_path, playing_exchange.url))
        yield made
        made.end()


def alive(pid: int) -> bool:
    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE


def test_what_is_due_is_collected_trained_and_shown_also_where_redis_comes_later(beside: Beside) -> None:
    beside.knobs["MODELS__BOOSTED__RETRAIN_HOURS"] = "0.1"
    process = beside.start()
    first, second, *_ = beside.ran(2)
    found = beside.says(state="trained")

    assert START <= first["until"] < second["until"]
    assert second["until"] - first["until"] >= 300_000
    assert second["until"] % 300_000 == 0
    assert {run["profile"] for run in beside.runs()} == {"demo"}
    model = found["models"]["boosted"]
    assert model["version"] in Shelf(beside.folder / "shelf", "boosted").versions()
    assert model["segments"]["majors"]["auc_ci"] == [0.51, 0.55]
    assert model["serves_from"] == model["data_until"] + 13 * HOUR
    assert (model["speaks"], model["expired"]) == (model["serves_from"] <= found["stream_time"], False)
    assert model["age"] == (found["stream_time"] - model["data_until"]) / 1000
    assert found["last_attempt"]["result"] == "trained"
    assert found["next_due"] >= found["last_attempt"]["at"]
    assert beside.says(live={"boosted": {"brier": 0.25}})
    files = {path.parent.name: read_file(path) for path in (beside.folder / "history").rglob("*.parquet")}
    assert {interval: len(rows) >= 240 for interval, rows in files.items()} == {"1h": True, "5m": True}
    assert files["5m"]["close_time"][-1] < beside.runs()[-1]["until"]
    assert "no Redis" in beside.log()

    process.send_signal(signal.SIGTERM)
    assert process.wait(20) == 0
    assert "Traceback" not in beside.log()


def test_requests_while_one_runs_make_one_more_run_and_a_restart_none(beside: Beside) -> None:
    beside.orders(sleep=4)
    process = beside.start()
    beside.ran(1)
    assert beside.says(state="training")["progress"] == {"stage": "folds", "share": 0.45}
    with beside.client() as client:
        for _ in range(3):
            client.xadd("train:requests", {"reason": "drift"})
    beside.orders(sleep=0)
    beside.ran(2)
    beside.says(state="trained")
    time.sleep(3)
    process.send_signal(signal.SIGTERM)
    assert process.wait(20) == 0

    beside.start()
    until(lambda: beside.status().get("written_at", 0) > time.time() * 1000 - 1500, "a new status")
    time.sleep(3)

    assert len(beside.runs()) == 2

    with beside.client() as client:
        client.xadd("train:requests", {"reason": "a person"})
    beside.ran(3)


def test_a_failure_is_seen_and_tried_again(tmp_path: Path, besides: list[Beside]) -> None:
    with playing(exchange(600)) as fast:
        besides.append(beside := Beside(tmp_path, fast.url))
        beside.orders(fail="WIFUSDT has 120 candles, 500 are needed; at redis://:hush@host/0")
        beside.start()
        found = beside.says(state="failed")

        assert found["reason"].startswith("WIFUSDT has 120 candles, 500 are needed")
        assert "hush" not in str(found)
        assert found["models"] == {}
        assert found["next_due"] >= found["last_attempt"]["at"] + 600_000

        assert beside.ran(3)[2]["until"] - beside.runs()[1]["until"] >= 1_200_000
        beside.orders()
        found = beside.says(state="trained", failures=0)

        assert found["models"]["boosted"]["version"]
        assert found["reason"] is None
        beside.end()


def test_a_kill_of_the_trainer_is_a_failure_and_nothing_else(beside: Beside) -> None:
    beside.orders(die=True)
    process = beside.start()
    found = beside.says(state="failed", failures=1)

    assert found["reason"] == "training was killed by SIGKILL"
    assert process.poll() is None


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends a child with its starter")
def test_a_kill_of_the_process_leaves_no_orphan_and_the_next_one_tries_again_later(beside: Beside) -> None:
    beside.orders(sleep=60)
    process = beside.start()
    (run,) = beside.ran(1)
    process.kill()
    process.wait()
    until(lambda: not alive(run["pid"]), "the end of the trainer", 5)
    beside.orders()
    beside.start()
    found = beside.says(state="failed")

    assert found["reason"] == "the training process ended in the middle of it"
    assert len(beside.runs()) == 1
    assert beside.ran(2)[1]["until"] - run["until"] >= 600_000
    beside.says(state="trained")


def test_being_told_to_stop_ends_the_trainer_and_the_run_is_made_up_for(beside: Beside) -> None:
    beside.orders(sleep=60)
    process = beside.start()
    (run,) = beside.ran(1)
    began = time.monotonic()
    process.send_signal(signal.SIGTERM)

    assert process.wait(20) == 0
    assert time.monotonic() - began < 5
    assert not alive(run["pid"])
    assert load(beside.folder).attempt is None

    beside.orders()
    beside.start()
    beside.says(state="trained")


def test_an_exchange_that_is_away_is_said_and_waited_for(tmp_path: Path, besides: list[Beside]) -> None:
    port = free_port("127.0.0.1")
    besides.append(beside := Beside(tmp_path, f"http://127.0.0.1:{port}"))
    beside.start()
    found = beside.says(state="none")
    until(lambda: "ConnectError" in beside.status()["reason"], "the reason", 20)

    assert found["stream_time"] is None
    assert not (tmp_path / FILE).exists()

    with playing(exchange(60, port)):
        beside.says(state="trained")
        beside.end()


def test_the_command_says_in_one_line_what_it_cannot_use(beside: Beside) -> None:
    beside.orders(sleep=60)
    first = beside.start()
    beside.ran(1)
    second = beside.start("-m", "dataflows.training", "--config", "config.yaml")

    assert second.wait(30) == 4
    assert f"training: cannot open: process {first.pid} is writing it" in beside.log_of(1).splitlines()[-1]

    beside.knobs["DECIDE__INTERVAL"] = "7m"
    assert beside.start("-m", "dataflows.training").wait(30) == 2
    assert "decide.interval" in beside.log_of(2).splitlines()[-1]


def test_an_error_that_nobody_foresaw_is_a_failed_attempt(beside: Beside, tmp_path: Path) -> None:
    def broken(order: object) -> list[str]:
        raise ZeroDivisionError("a mistake")

    beside.knobs["STORAGE__FOLDER"] = str(tmp_path / "own")
    training = Training(settings_from("config.yaml", beside.variables), command=broken, profile="demo")
    try:
        until(lambda: training.exchange.clock.ready, "the time", 10)
        with pytest.raises(ZeroDivisionError):
            training.look()

        view = training.view()
        assert view.state == "failed"
        assert view.diary.failures == 1
        assert view.doing is None
        with pytest.raises(StorageError, match="is writing it"):
            Training(training.settings)
    finally:
        training.close()


class Worried:
    """A judge who asks for a training, or whose record cannot be read."""

    def __init__(self, fault: str = "") -> None:
        self.fault = fault

    def look(self, most: int | None = None) -> dict[str, Any]:
        if self.fault:
            raise StorageError(self.fault)
        return {"drift": {"boosted": "worse"}}

    def requests(self) -> list[str]:
        return ["boosted is worse than it was"]


def test_a_judge_that_sees_a_model_drift_asks_for_a_training(beside: Beside) -> None:
    beside.client().close()
    training = Training(settings_from("config.yaml", beside.variables), judge=Worried())
    try:
        training.judge()
        with beside.client() as client:
            ((_, request),) = client.xrange("train:requests")

        assert request == {b"reason": b"boosted is worse than it was"}
        assert training.view().live == {"drift": {"boosted": "worse"}}
    finally:
        training.close()


def test_a_record_that_cannot_be_read_is_said_and_stops_nothing(beside: Beside) -> None:
    judge = Worried("record.db: cannot read")
    training = Training(settings_from("config.yaml", beside.variables), judge=judge)
    try:
        training.judge()
        assert "record.db: cannot read" in training.view().faults

        judge.fault = ""
        training.judge()
        assert not [fault for fault in training.view().faults if "record.db" in fault]
    finally:
        training.close()


def test_a_damaged_memory_begins_anew(beside: Beside) -> None:
    (beside.folder / FILE).write_text("{")
    training = Training(settings_from("config.yaml", beside.variables))
    try:
        assert training.diary.attempt is None
    finally:
        training.close()


def test_a_stop_while_candles_come_is_heeded(beside: Beside) -> None:
    training = Training(settings_from("config.yaml", beside.variables))
    stop = threading.Event()
    thread = threading.Thread(target=training.run, args=(stop,))
    thread.start()
    until(lambda: training.doing is not None, "the candles to come", 20)
    stop.set()
    thread.join(10)

    assert not thread.is_alive()
    assert load(beside.folder).attempt is None


def test_only_so_many_versions_are_kept_and_those_to_be_rolled_back_to_among_them(beside: Beside) -> None:
    beside.knobs["MODELS__KEEP"] = "2"
    settings = settings_from("config.yaml", beside.variables)
    shelf = Shelf(settings.shelf, "boosted")
    names = []
    for day, promoted in enumerate((True, True, True, False, False), 1):
        at = (100 + day) * 24 * HOUR
        facts = Facts.of(at, until=at + 24 * HOUR, promoted=promoted)
        names.append(shelf.add(written, facts).version)
    shelf.point(names[2])
    training = Training(settings)
    try:
        training.tidy()
    finally:
        training.close()

    assert shelf.versions() == tuple(names[1:])


def written(folder: Path) -> None:
    (folder / "model.json").write_text("{}")
