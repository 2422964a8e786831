"""The whole engine on one machine: Redis, the API, the flow, and before them a demo's simulated exchange.

Whatever was started here is ended here, in reverse order, by its id.
"""

from __future__ import annotations

import os
import re
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import orjson

from dataflows.connectors import redis
from dataflows.connectors.database import claim
from dataflows.connectors.journal import LIVE, Journal
from dataflows.greeting import Greeting, Say
from dataflows.recovery import FOLDER_VARIABLE, variables
from dataflows.replay.companion.server import environ as played
from dataflows.stopping import stopping
from dataflows.supervise import Crew, Member
from dataflows.training.child import ONE_THREAD
from engine.errors import EngineError, SettingsError, SourceError, StorageError
from engine.settings import Settings
from engine.symbols import Market, resolve

PYTHON: Final = sys.executable
FLOW: Final = (PYTHON, "-m", "bytewax.run", "dataflows.signals")
API: Final = (PYTHON, "-m", "api.server")
TRAINING: Final = (PYTHON, "-m", "dataflows.training")
DEMO_SPEED: Final = 60
"""Seconds of the simulated market per second of ours: a 5m candle every five seconds."""

MINUTE: Final = 60_000
TURN: Final = 0.25
"""Seconds between two looks at the processes."""

HEAD_START: Final = 120.0
"""Seconds the first signals may take before training starts all the same."""

EVERYWHERE: Final = {"0.0.0.0": "127.0.0.1", "::": "::1"}
"""Addresses that mean all of this machine's own -> one of them to ask at."""


@dataclass(frozen=True)
class Exchange:
    """A demo's simulated world: where it listens, whose journal its clock must not fall behind.

    Beside the exchange itself, futures and the companion that plays all providers have ports of their own.
    """

    port: int
    futures: int
    companion: int
    folder: Path
    market: Market
    symbols: tuple[str, ...]

    def command(self) -> tuple[str, ...]:
        """How it is started now: also after a crash its clock goes on behind the journal."""
        start = max(round(time.time() * 1000), newest_journaled(self.folder) + MINUTE)
        listed = ",".join(resolve(symbol, start, self.market).exchange_symbol for symbol in self.symbols)
        wanted = {
            "--market": self.market,
            "--symbols": listed,
            "--from": datetime.fromtimestamp(start / 1000, UTC).isoformat(),
            "--speed": str(DEMO_SPEED),
            "--port": str(self.port),
            "--companion-port": str(self.companion),
            **({"--futures-port": str(self.futures)} if self.market == "spot" else {}),
        }
        named = (word for pair in wanted.items() for word in pair)
        return (PYTHON, "-m", "dataflows", "replay-exchange", "--simulate", *named)

    @property
    def environ(self) -> dict[str, str]:
        """What points the engine at it."""
        prefix, path = f"SIGNAL_ENGINE_BINANCE__{self.market.upper()}__", "/market" * (self.market == "um")
        here = f"127.0.0.1:{self.port}"
        beside = contracts(f"127.0.0.1:{self.futures}") if self.market == "spot" else {}
        own = {f"{prefix}REST": f"http://{here}", f"{prefix}STREAM": f"ws://{here}{path}"}
        return {**own, **beside, **played(f"http://127.0.0.1:{self.companion}")}


def contracts(here: str) -> dict[str, str]:
    """What points the engine at the futures of a demo."""
    prefix = "SIGNAL_ENGINE_BINANCE__UM__"
    return {f"{prefix}REST": f"http://{here}", f"{prefix}STREAM": f"ws://{here}/market"}


def up(settings: Settings, environ: Mapping[str, str], say: Say, *, simulated: bool = False) -> None:
    """Run everything until SIGINT, SIGTERM or SIGHUP.

    `environ` is what the processes are told beside our own environment. Raises `SourceError` when a part does
    not start, and `StorageError` when the data folder cannot be used or another engine uses it.
    """
    folder, host = settings.storage.folder, settings.api.host
    crew = Crew(folder / "logs")
    with stopping() as stop, alone(folder):
        check_free(host, settings.api.port)
        port = settings.api.port or free_port(host)
        # Recovery is made ready here: the flow need not find out, and start a second time.
        ready = {} if FOLDER_VARIABLE in os.environ else variables(settings)
        environ = {**ready, **environ, "SIGNAL_ENGINE_API__PORT": str(port)}
        exchange = demo_exchange(settings) if simulated else None
        address = open_redis(settings, say)
        try:
            environ = start(crew, environ, (host, port), exchange, stop)
            greeting = Greeting(site(host, port), settings.all_symbols, api_key({**os.environ, **environ}))
            watch(crew, greeting, say, stop, lambda: start_training(crew, environ, demo=simulated))
        finally:
            with suppress(OSError):  # the terminal may have gone, and still nothing may be left running
                say("stopping")
            crew.stop()
            if address.kind == "embedded":
                redis.stop(folder)
    say("stopped")


def start(
    crew: Crew,
    environ: Mapping[str, str],
    where: tuple[str, int],
    exchange: Exchange | None,
    stop: threading.Event,
) -> Mapping[str, str]:
    """The exchange and the API together, and the flow once both listen; what every process is told."""
    waited = []
    if exchange is not None:
        environ = {**environ, **exchange.environ}
        waited.append((crew.start("exchange", exchange.command, environ), ("127.0.0.1", exchange.port)))
    config = environ.get("SIGNAL_ENGINE_CONFIG", "config.yaml")
    waited.append((crew.start("api", (*API, "--config", config), environ), where))
    for member, listening in waited:
        await_port(crew, member, *listening, stop)
    if not stop.is_set():
        crew.start("flow", FLOW, environ)
    return environ


def start_training(crew: Crew, environ: Mapping[str, str], *, demo: bool) -> None:
    """The training process, on one thread."""
    config = environ.get("SIGNAL_ENGINE_CONFIG", "config.yaml")
    command = (*TRAINING, "--config", config, "--profile", "demo" if demo else "full")
    crew.start("training", command, {**environ, **ONE_THREAD})


def watch(crew: Crew, greeting: Greeting, say: Say, stop: threading.Event, later: Callable[[], None]) -> None:
    """Tell how the engine is, and start again whatever dies, until told to stop.

    `later` is called once, when the first signals are out: until then nothing is to be in their way.
    """
    deadline = time.monotonic() + HEAD_START
    waiting = True
    try:
        while not stop.wait(TURN):
            for line in crew.watch():
                say(line)
            for said in greeting.news():
                say(said)
            if waiting and (greeting.greeted or time.monotonic() > deadline):
                waiting = False
                try:
                    later()
                except EngineError as error:  # signals go on without it
                    say(str(error))
    finally:
        greeting.close()


def open_redis(settings: Settings, say: Say) -> redis.RedisAddress:
    """The embedded Redis, running, or the configured one; that it is not there stops nothing."""
    given = settings.redis.url.get_secret_value() if settings.redis.url else None
    address = redis.connect(given, settings.storage.folder)
    if not redis.answers(address.url):
        say(
            f"redis: {redis.redact(address.url)} does not answer; the record keeps every signal and "
            "publishes it once Redis is there"
        )
    return address


def demo_exchange(settings: Settings) -> Exchange:
    """A simulated exchange for a folder that has only ever seen one; raises `SettingsError` for another."""
    folder = settings.storage.folder
    feed = journaled_feed(folder)
    if feed not in (None, "simulated"):
        raise SettingsError(f"{folder} holds a journal of a {feed} market: give the demo a folder of its own")
    port, futures, companion = (free_port("127.0.0.1") for _ in range(3))
    return Exchange(port, futures, companion, folder, settings.market, settings.all_symbols)


def newest_journaled(folder: Path) -> int:
    """When the newest candle or Tick of the folder's journal closed, ms UTC; 0 without one."""
    if not (folder / "journal.db").exists():
        return 0
    journal = Journal(folder, readonly=True)
    try:
        return max((journal.newest_tick() or 0, *journal.newest_all().values()))
    finally:
        journal.close()


def journaled_feed(folder: Path) -> str | None:
    """Which kind of market the folder's journal was last fed by; None where it has none yet."""
    if not (folder / "journal.db").exists():
        return None
    journal = Journal(folder, readonly=True)
    try:
        query = "SELECT body FROM journal WHERE kind > 2 AND kind = ? ORDER BY seq DESC LIMIT 1"
        found = journal.database.value(query, LIVE)
    finally:
        journal.close()
    return None if found is None else str(orjson.loads(found)[0])


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Hold the data folder; raises `StorageError` when another engine does, or it cannot be written."""
    try:
        lock = claim(folder / "engine")
    except StorageError as error:
        owner = re.search(r"process \S+ is", str(error))
        found = f"{owner[0]} running an engine on it" if owner else str(error)
        raise StorageError(f"{folder} cannot be used: {found}") from error
    try:
        # Looked at before anything is started: what is wrong with it the flow would only say in its log.
        Journal(folder).close()
        yield
    finally:
        os.close(lock)


def await_port(
    crew: Crew, member: Member, host: str, port: int, stop: threading.Event, patience: float = 60.0
) -> None:
    """Wait until a member listens; raises `SourceError` when it ends instead, or takes too long."""
    deadline = time.monotonic() + patience
    while not stop.is_set():
        crew.require(member)
        try:
            socket.create_connection((EVERYWHERE.get(host, host), port), timeout=1.0).close()
        except OSError:
            if time.monotonic() > deadline:
                said = member.last_words()
                raise SourceError(
                    f"{member.name} is not on port {port} after {patience:g} s: {said}"
                ) from None
            stop.wait(0.05)
        else:
            return


def check_free(host: str, port: int) -> None:
    """Raise `SourceError` when somebody listens there already."""
    try:
        bound(host, port).close()
    except OSError as error:
        raise SourceError(
            f"api.port: {host}:{port} cannot be used: {error.strerror}; end what listens there, or set "
            "SIGNAL_ENGINE_API__PORT"
        ) from error


def free_port(host: str) -> int:
    """A port nobody listens on now."""
    with bound(host, 0) as probe:
        return int(probe.getsockname()[1])


def bound(host: str, port: int) -> socket.socket:
    family, kind, protocol, _, where = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    probe = socket.socket(family, kind, protocol)
    try:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(where)
    except OSError:
        probe.close()
        raise
    return probe


def site(host: str, port: int) -> str:
    """The address people and we ask the API at.

    >>> site("0.0.0.0", 8300), site("::1", 8300)
    ('http://127.0.0.1:8300', 'http://[::1]:8300')
    """
    here = EVERYWHERE.get(host, host)
    return f"http://[{here}]:{port}" if ":" in here else f"http://{here}:{port}"


def api_key(environ: Mapping[str, str]) -> str | None:
    """The first of the keys a client must show; the settings themselves keep only their hashes."""
    return environ.get("SIGNAL_ENGINE_API__KEYS", "").partition(",")[0].strip() or None
