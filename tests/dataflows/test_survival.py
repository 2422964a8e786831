"""kill -9 wherever it hurts, other workers, other processes, the journal alone: always the same bytes."""

from __future__ import annotations

import math
import signal
import socket
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
from bytewax.testing import run_main
from redis import Redis, RedisError

from dataflows.connectors import redis
from dataflows.connectors.background import Mailbox
from dataflows.connectors.ingest import STOP, Ingest
from dataflows.connectors.journal import Journal
from dataflows.replay.exchange import ReplayExchange
from dataflows.replay.simulate import Simulated
from dataflows.signals import build
from dataflows.world import World
from engine.records import INTERVALS, Outcome, Signal
from engine.settings import load
from engine.signal_json import canonical
from tests.crash import STAGES
from tests.dataflows.runs import BARE, PAUSE, Engine, engine, playing, release, until
from tests.dataflows.test_flow import Listener

FIVE = INTERVALS["5m"]
START = 1_760_000_100_000
CLOSES = 36
LAST = START + CLOSES * FIVE
WARM_UP = 400
"""Candles of each market: enough for several journal writes, so that a kill can land between two."""

SYMBOLS = ("BTCUSDT", "ETHUSDT", "SOLUSDT", "DOGEUSDT")

Said = dict[tuple[str, str, int], bytes]


@pytest.fixture(autouse=True)
def running() -> Iterator[None]:
    STOP.clear()
    yield
    STOP.clear()


def exchange() -> ReplayExchange:
    """The same simulated market every time, a little slower than it could be read."""
    made = ReplayExchange("spot", Simulated(SYMBOLS, 7), START + 60_000, LAST, math.inf, faults=[PAUSE])
    made.player.pace = 0.05
    return made


@pytest.fixture(scope="module")
def calm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """A run that nobody interrupts."""
    with (
        playing(exchange()) as market,
        engine(tmp_path_factory.mktemp("calm"), market, SYMBOLS, warm_up=WARM_UP) as made,
    ):
        made.run_until(LAST)
        yield made


@pytest.fixture(scope="module")
def whole(calm: Engine) -> Said:
    """What an uninterrupted run says."""
    return calm.said()


def test_an_uninterrupted_run_says_every_close_of_every_symbol_once(whole: Said) -> None:
    closes = {(symbol, time) for kind, symbol, time in whole if kind == "signal"}

    assert closes == {(symbol, START + at * FIVE) for symbol in SYMBOLS for at in range(CLOSES + 1)}


class Ears(threading.Thread):
    """A subscriber of the channel `signals` that outlives the flow."""

    def __init__(self, url: str) -> None:
        super().__init__(daemon=True)
        self.ids: list[str] = []
        self.client = Redis.from_url(url, socket_timeout=None)
        self.channel: Any = self.client.pubsub(ignore_subscribe_messages=True)  # type: ignore[no-untyped-call]
        self.channel.subscribe("signals")
        self.channel.get_message(timeout=5)

    def run(self) -> None:
        try:
            for message in self.channel.listen():
                self.ids.append(orjson.loads(message["data"])["id"])
        except (RedisError, OSError, ValueError, AttributeError):
            return  # the server was ended, or the channel closed

    def close(self) -> None:
        self.channel.close()
        self.client.close()


def die(made: Engine, stage: str, count: int) -> dict[str, Any]:
    """Run until the kill lands; answer what was true at that instant."""
    proof = made.folder / f"proof-{len(made.processes)}.json"
    process = made.start(("-m", "tests.crash", stage, str(count), str(proof), "--", "dataflows.signals"))
    if stage != "warm_up":
        until(lambda: process.poll() is not None or made.warmed(), "the warm-up, or a kill before its end")
        if process.poll() is None:
            release(made.exchange)
    code = process.wait(60)

    assert code == -signal.SIGKILL, made.log()[-3000:]
    facts: dict[str, Any] = orjson.loads(proof.read_bytes())
    assert facts["pid"] == process.pid
    print(f"killed: {facts}")  # noqa: T201 - the proof that the kill landed there
    return facts


PROOFS = {
    "warm_up": lambda facts: facts["newest_candle"] < START,
    "journal_to_flow": lambda facts: facts["newest_candle"] > START,
    "commit_to_publish": lambda facts: facts["record"] > facts["published"],
    "frame_waits": lambda facts: facts["frames_waiting"] > 0,
    "snapshot": lambda facts: facts["bytes"] > 0,
}
"""What shows that a kill landed where it was meant to."""


def survive(folder: Path, kills: Sequence[tuple[str, int]]) -> tuple[Said, list[str], list[str]]:
    """Kill again and again, then finish; what the record, the log and a subscriber hold."""
    with playing(exchange()) as market, engine(folder, market, SYMBOLS, warm_up=WARM_UP) as made:
        address = redis.connect(None, folder)
        ears = Ears(address.url)
        ears.start()
        for stage, count in kills:
            assert PROOFS[stage](die(made, stage, count))
        made.run_until(LAST)
        client = Redis.from_url(address.url)
        entries: Any = client.xrange("signals:log")
        log = [orjson.loads(entry[b"json"])["id"] for _, entry in entries]
        ears.close()
        client.close()
        return made.said(), log, ears.ids


def check(whole: Said, said: Said, log: list[str], heard: list[str]) -> None:
    ids = sorted(orjson.loads(body)["id"] for (kind, _, _), body in whole.items() if kind == "signal")

    assert said == whole
    assert sorted(log) == ids
    assert sorted(heard) == ids


def test_four_kills_change_nothing(whole: Said, tmp_path: Path) -> None:
    kills = [("warm_up", 1), ("journal_to_flow", 6), ("commit_to_publish", 3), ("frame_waits", 7)]

    check(whole, *survive(tmp_path, kills))


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(5))
def test_twenty_kills_change_nothing(whole: Said, tmp_path: Path, seed: int) -> None:
    rng = np.random.default_rng(seed)
    stages = [STAGES[(seed + at) % len(STAGES)] for at in range(1, 5)]
    stages.sort(key=lambda stage: stage != "warm_up")
    kills = [(stage, int(1 if stage == "warm_up" else rng.integers(1, 8))) for stage in stages]

    check(whole, *survive(tmp_path, kills))


def test_two_workers_say_the_same(whole: Said, tmp_path: Path) -> None:
    with playing(exchange()) as market, engine(tmp_path, market, SYMBOLS, warm_up=WARM_UP) as made:
        made.run_until(LAST, (*BARE, "-w", "2"))

        assert made.said() == whole


def test_two_processes_say_the_same(whole: Said, tmp_path: Path) -> None:
    ports = [free_port(), free_port()]
    addresses = ";".join(f"127.0.0.1:{port}" for port in ports)
    with playing(exchange()) as market, engine(tmp_path, market, SYMBOLS, warm_up=WARM_UP) as made:
        second = made.start((*BARE, "-i", "1", "-a", addresses))
        made.run_until(LAST, (*BARE, "-i", "0", "-a", addresses))

        assert second.wait(30) == 0, made.log()[-3000:]
        assert made.said() == whole


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_the_journal_alone_says_the_same(calm: Engine, whole: Said, tmp_path: Path) -> None:
    (tmp_path / "journal.db").write_bytes(consolidated(calm.folder))
    settings = load(
        "config.yaml", {k: v for k, v in calm.variables.items() if k.startswith("SIGNAL_ENGINE_")}
    )
    listener = Listener()
    enough = sum(kind == "signal" for kind, _, _ in whole)

    async def nothing(journal: Journal, mailbox: Mailbox) -> None:
        """No exchange: what the journal holds is all there is."""

    timer = threading.Timer(8.0, STOP.set)
    timer.start()
    run_main(build(World(Ingest(tmp_path, nothing), listener), settings))  # type: ignore[no-untyped-call]
    timer.cancel()
    said = {
        ("signal" if isinstance(one, Signal) else "outcome", one.symbol, one.time): canonical(one)
        for one in listener.said
        if isinstance(one, Signal | Outcome)
    }

    assert sum(kind == "signal" for kind, _, _ in said) == enough
    assert said == whole


def consolidated(folder: Path) -> bytes:
    """A journal as one file."""
    journal = Journal(folder)
    journal.database.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    journal.close()
    return (folder / "journal.db").read_bytes()
