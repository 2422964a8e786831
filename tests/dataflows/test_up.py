"""The whole engine by one command: it starts, says so, survives its parts, ends, and goes on next time."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import orjson
import psutil
import pytest
from websockets.exceptions import WebSocketException
from websockets.sync.client import connect

from dataflows.connectors import redis
from dataflows.connectors.database import claim
from dataflows.connectors.journal import Journal
from dataflows.greeting import Greeting
from dataflows.replay.companion.server import environ as played
from dataflows.supervise import Crew
from dataflows.up import (
    alone,
    await_port,
    check_free,
    demo_exchange,
    free_port,
    journaled_feed,
    newest_journaled,
    open_redis,
    start_training,
    up,
    watch,
)
from engine.errors import SettingsError, SourceError, StorageError
from engine.providers import PROVIDERS
from engine.records import Candle, Live, Tick
from engine.settings import Settings, load
from tests.dataflows.runs import ROOT, until

SYMBOLS = ("BTCUSDT", "DOGEUSDT", "POLUSDT")
TRAINING = "-m dataflows.training --config"


def knobs(folder: Path, **more: str) -> dict[str, str]:
    own = {
        "SYMBOLS": orjson.dumps({"majors": SYMBOLS}).decode(),
        "DECIDE__WARM_UP": "60",
        "DECIDE__MINIMUM": "60",
        "BINANCE__INTERVALS": "5m,15m",
        "STORAGE__FOLDER": str(folder),
        **more,
    }
    return {f"SIGNAL_ENGINE_{name}": value for name, value in own.items()}


def settings_of(folder: Path, **more: str) -> Settings:
    return load("config.yaml", knobs(folder, **more))


def others() -> dict[str, str]:
    """The environment without what this test session itself was told."""
    return {k: v for k, v in os.environ.items() if not k.startswith(("SIGNAL_ENGINE_", "BYTEWAX_"))}


class Demo:
    """`signal-engine demo` on a folder and a port of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port("127.0.0.1")
        self.log = folder.with_suffix(".log")
        self.began = time.time()
        with self.log.open("ab") as out:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "dataflows", "demo"],
                cwd=ROOT, env={**others(), **knobs(folder, API__PORT=str(self.port))},
                stdout=out, stderr=subprocess.STDOUT,
            )  # fmt: skip

    @property
    def site(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def signals(self, since: float) -> dict[str, dict[str, Any]]:
        """What GET /signals holds that was published after `since`, wall seconds."""
        try:
            found = httpx.get(f"{self.site}/signals", trust_env=False).json().get("signals", [])
        except (httpx.HTTPError, ValueError):
            return {}
        return {one["symbol"]: one for one in found if one["published_at"] >= since * 1000}

    def training(self) -> dict[str, Any]:
        """What GET /models/status says."""
        found: dict[str, Any] = httpx.get(f"{self.site}/models/status", trust_env=False).json()
        return found

    def speaks(self, since: float) -> dict[str, dict[str, Any]]:
        """Wait until every symbol has a signal that was published after `since`."""

        def all_there() -> bool:
            assert self.process.poll() is None, self.log.read_text()
            return set(self.signals(since)) == set(SYMBOLS)

        until(all_there, f"signals; the demo said {self.log.read_text()}", 60)
        return self.signals(since)

    def members(self) -> dict[str, psutil.Process]:
        """The processes that were started for this folder, by what they run, those of their own included."""
        found = {}
        for process in psutil.process_iter():
            try:
                mine = process.environ().get("SIGNAL_ENGINE_STORAGE__FOLDER") == str(self.folder)
                words = process.cmdline()
            except psutil.Error:
                continue
            if mine and process.pid != self.process.pid and process.status() != psutil.STATUS_ZOMBIE:
                found[" ".join(words[1:4])] = process
        return found

    def leaves_nothing(self) -> None:
        assert self.members() == {}
        assert redis.stop(self.folder) is False
        with socket.socket() as probe:
            assert probe.connect_ex(("127.0.0.1", self.port)) != 0

    def end(self, number: int) -> int:
        self.process.send_signal(number)
        return self.process.wait(60)


@pytest.fixture
def demos() -> Iterator[list[Demo]]:
    made: list[Demo] = []
    yield made
    for demo in made:
        if demo.process.poll() is None:
            demo.end(signal.SIGTERM)


def heard(demo: Demo, seconds: float = 60.0) -> set[str]:
    """The symbols of the signals that come over the WebSocket, until all have."""
    symbols: set[str] = set()
    deadline = time.monotonic() + seconds
    while symbols != set(SYMBOLS) and time.monotonic() < deadline:
        try:
            with connect(f"ws://127.0.0.1:{demo.port}/ws/signals", proxy=None) as client:
                while symbols != set(SYMBOLS):
                    said = orjson.loads(client.recv(timeout=deadline - time.monotonic()))
                    symbols |= {found["symbol"] for found in signals_in(said)}
        except (OSError, WebSocketException, TimeoutError):
            time.sleep(0.1)
    return symbols


def signals_in(said: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The signals of one message: those of a snapshot, or itself."""
    if said["type"] == "snapshot":
        return list(said["signals"])
    return [said] if said["type"] == "signal" else []


def test_a_demo_lives_through_the_death_of_its_flow_and_the_next_one_goes_on(
    tmp_path: Path, demos: list[Demo]
) -> None:
    folder = tmp_path / "demo"
    demos.append(demo := Demo(folder))

    assert heard(demo) == set(SYMBOLS), demo.log.read_text()
    first = demo.speaks(demo.began)
    assert {one["feed"] for one in first.values()} == {"simulated"}
    until(lambda: "Ctrl-C" in demo.log.read_text(), "the greeting", 30)
    said = demo.log.read_text()
    assert "first signals: simulated market" in said
    assert all(symbol in said for symbol in SYMBOLS)
    assert f"{demo.site}/signals" in said

    second = subprocess.run(
        [sys.executable, "-m", "dataflows", "demo"],
        cwd=ROOT, env={**others(), **knobs(folder, API__PORT="0")},
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert second.returncode == 4
    assert second.stderr.splitlines() == [
        f"signal-engine: {folder} cannot be used: process {demo.process.pid} is running an engine on it"
    ]

    until(lambda: TRAINING in demo.members(), "training, once the first signals were out", 30)
    until(lambda: demo.training()["state"] not in (None, "none"), "what training says", 60)
    until(lambda: "\nmodels: " in demo.log.read_text(), "what is told of it", 30)
    assert demo.members()[TRAINING].nice() == 15
    demo.members()[TRAINING].kill()
    until(lambda: "training started again" in demo.log.read_text(), "a new training", 30)
    assert "training was killed by SIGKILL; next start in 1 s" in demo.log.read_text()
    assert "flow started again" not in demo.log.read_text()

    demo.members()["-m bytewax.run dataflows.signals"].kill()
    killed = time.time()
    until(lambda: "flow started again" in demo.log.read_text(), "a new flow", 30)
    demo.speaks(killed + 1)
    assert "flow was killed by SIGKILL; next start in 1 s" in demo.log.read_text()

    assert demo.end(signal.SIGINT) == 0
    assert demo.log.read_text().endswith("stopping\nstopped\n")
    demo.leaves_nothing()

    newest = newest_journaled(folder)
    demos.append(later := Demo(folder))
    again = later.speaks(later.began)
    assert min(one["time"] for one in again.values()) > newest - 300_000
    assert later.end(signal.SIGTERM) == 0
    later.leaves_nothing()


def test_a_port_in_use_is_said_before_anything_is_started(tmp_path: Path) -> None:
    said: list[Any] = []
    with socket.create_server(("127.0.0.1", 0)) as busy:
        settings = settings_of(tmp_path, API__PORT=str(busy.getsockname()[1]))
        with pytest.raises(SourceError, match=r"api\.port: 127\.0\.0\.1:\d+ cannot be used: Address already"):
            up(settings, {}, said.append, simulated=True)

    assert said == []
    assert not (tmp_path / "logs").exists()
    assert redis.read_address(tmp_path) is None


def test_a_part_that_does_not_start_ends_the_rest(tmp_path: Path) -> None:
    said: list[Any] = []
    settings = settings_of(tmp_path, API__PORT="0")
    with pytest.raises(SourceError, match=r"api did not start, it ended with 2: .*unknown key"):
        up(settings, {"SIGNAL_ENGINE_CONFIG": str(wrong(tmp_path))}, said.append)

    assert said == ["stopping"]
    assert redis.stop(tmp_path) is False


def wrong(folder: Path) -> Path:
    path = folder / "wrong.yaml"
    path.write_text("decide: {intervall: 5m}\n")
    return path


def test_a_configured_redis_that_is_away_stops_nothing_and_is_said(tmp_path: Path) -> None:
    said: list[Any] = []
    port = free_port("127.0.0.1")
    address = open_redis(settings_of(tmp_path, REDIS__URL=f"redis://:secret@127.0.0.1:{port}"), said.append)

    assert address.kind == "configured"
    assert said == [
        f"redis: redis://***@127.0.0.1:{port} does not answer; the record keeps every signal and publishes "
        "it once Redis is there"
    ]


def test_a_folder_has_one_engine(tmp_path: Path) -> None:
    with (
        alone(tmp_path),
        pytest.raises(StorageError, match=f"{tmp_path} cannot be used: process {os.getpid()} is"),
        alone(tmp_path),
    ):
        pass
    with alone(tmp_path):
        pass


def test_a_bare_flow_holds_its_folder_too(tmp_path: Path) -> None:
    lock = claim(tmp_path / "journal.db")
    with pytest.raises(StorageError, match=r"journal\.db: cannot open: process"), alone(tmp_path):
        pass
    os.close(lock)
    with alone(tmp_path):
        pass


def test_a_broken_journal_is_said_at_once(tmp_path: Path) -> None:
    (tmp_path / "journal.db").write_bytes(b"no database" * 1000)

    with pytest.raises(StorageError, match=r"journal\.db"), alone(tmp_path):
        pass
    with pytest.raises(StorageError, match=r"journal\.db"):
        newest_journaled(tmp_path)


def journaled(folder: Path, *records: Any) -> Path:
    journal = Journal(folder)
    journal.append(records)
    journal.close()
    return folder


def test_the_clock_of_a_demo_goes_on_behind_the_journal(tmp_path: Path) -> None:
    ahead = (round(time.time() * 1000) // 300_000 + 100) * 300_000
    later = Candle.of(1.0, time=ahead + 120_000)
    settings = settings_of(journaled(tmp_path, Live(0, "simulated"), Tick(ahead), later))
    command = demo_exchange(settings).command()
    begins = command[command.index("--from") + 1]

    assert newest_journaled(tmp_path) == ahead + 120_000
    assert begins == time.strftime("%Y-%m-%dT%H:%M:%S+00:00", time.gmtime(ahead / 1000 + 180))


def test_a_first_demo_begins_now(tmp_path: Path) -> None:
    command = demo_exchange(settings_of(tmp_path)).command()

    assert newest_journaled(tmp_path) == 0
    assert journaled_feed(tmp_path) is None
    assert command[command.index("--symbols") + 1] == "BTCUSDT,DOGEUSDT,POLUSDT"


def test_a_demo_of_futures_speaks_of_contracts(tmp_path: Path) -> None:
    settings = settings_of(
        tmp_path, MARKET="um", SYMBOLS="{memes: [PEPEUSDT]}", SEGMENTS="{memes: {threshold: 1}}"
    )
    exchange = demo_exchange(settings)
    command = exchange.command()

    assert command[command.index("--symbols") + 1] == "1000PEPEUSDT"
    assert "--futures-port" not in command
    assert exchange.environ == {
        "SIGNAL_ENGINE_BINANCE__UM__REST": f"http://127.0.0.1:{exchange.port}",
        "SIGNAL_ENGINE_BINANCE__UM__STREAM": f"ws://127.0.0.1:{exchange.port}/market",
        **played(f"http://127.0.0.1:{exchange.companion}"),
    }


def test_a_demo_plays_the_futures_and_every_provider_beside_its_exchange(tmp_path: Path) -> None:
    exchange = demo_exchange(settings_of(tmp_path))
    command, told = exchange.command(), exchange.environ
    settings = load(ROOT / "config.yaml", told)

    assert len({exchange.port, exchange.futures, exchange.companion}) == 3
    assert command[command.index("--futures-port") + 1] == str(exchange.futures)
    assert command[command.index("--companion-port") + 1] == str(exchange.companion)
    assert settings.binance.um.rest == f"http://127.0.0.1:{exchange.futures}"
    for name in type(settings.providers).model_fields:
        block = getattr(settings.providers, name)
        assert block.enabled
        assert block.base_url == f"http://127.0.0.1:{exchange.companion}/{name}"
    assert len(settings.news.feeds) >= 20
    assert all(told[one.key] for one in PROVIDERS.values() if one.key)


@pytest.mark.parametrize("feed", ["live", "replay"])
def test_a_demo_writes_into_no_other_markets_journal(tmp_path: Path, feed: Any) -> None:
    journaled(tmp_path, Live(0, "simulated"), Live(1, feed))

    with pytest.raises(SettingsError, match=f"holds a journal of a {feed} market"):
        demo_exchange(settings_of(tmp_path))


def test_a_port_is_waited_for_as_long_as_its_process_lives(tmp_path: Path) -> None:
    crew = Crew(tmp_path)
    port = free_port("127.0.0.1")
    stop = threading.Event()
    member = crew.start("api", (sys.executable, "-c", "import time; time.sleep(60)"), {})
    with pytest.raises(SourceError, match=f"api is not on port {port} after 0.2 s: it said nothing"):
        await_port(crew, member, "127.0.0.1", port, stop, patience=0.2)
    crew.stop()
    with pytest.raises(SourceError, match="api did not start"):
        await_port(crew, member, "127.0.0.1", port, stop)
    stop.set()
    await_port(crew, member, "127.0.0.1", port, stop)


class Quiet(Greeting):
    """A greeting that asks nobody, and has shown the first signals from the `after`-th look on."""

    def __init__(self, after: int) -> None:
        super().__init__("http://127.0.0.1:1", [])
        self.looks = 0
        self.after = after

    def news(self) -> list[Any]:
        self.looks += 1
        self.greeted = self.looks >= self.after
        return []


def test_training_waits_for_the_first_signals_but_not_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dataflows.up.TURN", 0.0)

    def looks_until_later(after: int) -> list[int]:
        stop, greeting, found = threading.Event(), Quiet(after), []

        def later() -> None:
            found.append(greeting.looks)
            threading.Timer(0.1, stop.set).start()
            raise SourceError("training cannot be started: no such program")

        said: list[Any] = []
        watch(Crew(tmp_path), greeting, said.append, stop, later)
        assert said == ["training cannot be started: no such program"]
        return found

    assert looks_until_later(after=7) == [7]

    monkeypatch.setattr("dataflows.up.HEAD_START", -1.0)

    assert looks_until_later(after=1 << 60) == [1]


@pytest.mark.parametrize(("demo", "profile"), [(True, "demo"), (False, "full")])
def test_training_is_told_how_much_and_to_use_one_thread(tmp_path: Path, demo: bool, profile: str) -> None:
    crew = Crew(tmp_path)
    start_training(crew, {"SIGNAL_ENGINE_CONFIG": "no/such.yaml"}, demo=demo)
    (member,) = crew.members
    command = list(member.command())
    crew.stop()

    assert command[1:3] == ["-m", "dataflows.training"]
    assert command[-1] == profile
    assert member.environ["OMP_NUM_THREADS"] == "1"


def test_an_address_that_is_not_ours_is_named() -> None:
    with pytest.raises(SourceError, match=r"203\.0\.113\.1:8300 cannot be used"):
        check_free("203.0.113.1", 8300)
