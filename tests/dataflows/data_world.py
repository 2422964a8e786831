"""A play of the whole data world: the flow as a process, futures, fifteen providers with keys, and feeds.

All is well at first, then the flow is killed, and starts again against providers that misbehave in every way.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import httpx
import orjson
from redis import Redis

from dataflows.connectors import redis
from dataflows.connectors.background import Background
from dataflows.connectors.journal import Journal, Journaled
from dataflows.replay.answers import Answer, Request
from dataflows.replay.companion.door import Reply
from dataflows.replay.companion.faults import Fault
from dataflows.replay.companion.server import Companion, environ
from dataflows.replay.exchange import ReplayExchange
from dataflows.replay.simulate import Simulated
from dataflows.replay.traits import futures_name
from dataflows.up import contracts
from engine.providers import PROMISES, PROVIDERS
from tests.dataflows.runs import BARE, Engine, engine, playing, until
from tests.dataflows.test_survival import free_port

START: Final = 1_760_000_400_000
SYMBOLS: Final = ("ARBUSDT", "BTCUSDT", "ETHUSDT")
"""Between them they have every metric there is: coins that are mined, staked, and still unlocked."""

SPEED: Final = 60.0
"""Seconds of the market a second: a close of 1m each."""

SOURCES: Final = (*PROVIDERS, "binance_futures", "news")
CANARY: Final = "c4naryThatNobodyMaySee"
LOUD: Final = (
    "import logging, runpy, sys; logging.basicConfig(level=logging.DEBUG); "
    "sys.argv[0] = 'bytewax.run'; runpy.run_module('bytewax.run', run_name='__main__', alter_sys=True)"
)
"""The flow as users start it, but that every logger of the process tells all it has."""

HOSTILE: Final = {
    "glassnode": "401",
    "santiment": "error200",
    "cryptoquant": "429",
    "nansen": "5xx",
    "kaiko": "hang",
    "coinmetrics": "html",
    "messari": "truncated",
    "lunarcrush": "redirect_loop",
    "token_terminal": "huge",
    "intotheblock": "reset",
    "artemis": "wrong_type",
    "thetie": "nulls",
    "defillama": "strings",
    "alternative_me": "drip",
    "coingecko": "newest_first",
}
"""What goes wrong with each provider after the kill."""

HARMLESS: Final = frozenset({"artemis", "defillama", "coingecko"})
"""Those whose answers can be read all the same."""

Said = dict[tuple[str, str, int], bytes]


class Attentive(Companion):
    """A companion that notes who showed it a key, and that repeats the key in every refusal."""

    def __init__(self, *given: Any, **options: Any) -> None:
        super().__init__(*given, **options)
        self.shown: dict[str, str] = {}

    def reply(self, request: Request) -> Reply:
        reply = super().reply(request)
        source = request.path.split("/")[1].partition("@")[0]
        values = [*request.headers.values(), *request.query.values(), request.body.decode()]
        held = next((value for value in values if CANARY in value), None)
        if held is None:
            return reply
        self.shown[source] = held
        if reply.answer.status < 400:
            return reply
        words = {"error": f"no such key: {held}", "message": f"{held} is not known", "path": request.path}
        return replace(reply, answer=Answer.of(words, reply.answer.status))


@dataclass(frozen=True)
class Story:
    """What is left of it: how the sources said they were, what was said, and everything shown or written."""

    settings: Mapping[str, str]
    well: Mapping[str, Any]
    ill: Mapping[str, Any]
    killed_at: int
    ill_at: int
    shown: Mapping[str, str]
    texts: Mapping[str, bytes] = field(repr=False)
    said: Said = field(repr=False)
    records: Sequence[Journaled] = field(repr=False)

    def newest(self, symbol: str, before: int = 1 << 60) -> dict[str, Any]:
        """The last signal of a symbol whose close is not after `before`."""
        times = [at for kind, name, at in self.said if (kind, name) == ("signal", symbol) and at <= before]
        found: dict[str, Any] = orjson.loads(self.said["signal", symbol, max(times)])
        return found


@contextmanager
def tell(folder: Path) -> Iterator[Story]:
    """Play it in `folder`."""
    exchange = ReplayExchange("spot", Simulated(SYMBOLS), START, speed=SPEED)
    futures = exchange.beside("um", Simulated(tuple(map(futures_name, SYMBOLS)), 0, "um"))
    companion, port = Attentive(exchange.clock.now), free_port()
    with playing(exchange), served(companion):
        knobs = variables(companion, futures.port, port)
        settled: dict[str, Any] = {"interval": "1m", "intervals": ("1m", "5m"), "environ": knobs}
        with engine(folder, exchange, SYMBOLS, **settled) as made:
            yield played(made, companion, f"http://127.0.0.1:{port}")


def played(made: Engine, companion: Attentive, api: str) -> Story:
    with Redis.from_url(redis.connect(None, made.folder).url) as client:
        made.start(("-m", "api.server"))
        flow = made.start(("-c", LOUD, *BARE[2:]))
        made.wait(flow, lambda: not amiss(client), "all sources well", 60)
        well = statuses(client)
        heard_of(made, 3)
        killed_at = newest(made)
        flow.kill()
        flow.wait()
        for name, fault in HOSTILE.items():
            companion.faults.add(Fault(fault, name))
        flow = made.start(("-c", LOUD, *BARE[2:], "-w", "2"))
        made.wait(flow, lambda: newest(made) > killed_at, "signals after the kill", 60)
        made.wait(flow, lambda: all_hurt(client), "every provider hurt", 60)
        ill, ill_at = statuses(client), newest(made)
        heard_of(made, 3)
        texts = shown(client, api)
        made.stop(flow)
    files = (path for path in made.folder.rglob("*") if path.is_file())
    texts |= {f"file {path.relative_to(made.folder)}": path.read_bytes() for path in files}
    own = {name: value for name, value in made.variables.items() if name.startswith("SIGNAL_ENGINE_")}
    records = journaled(made.folder)
    return Story(own, well, ill, killed_at, ill_at, companion.shown, texts, made.said(), records)


def journaled(folder: Path) -> list[Journaled]:
    journal = Journal(folder, readonly=True)
    try:
        return [record for _, record in journal.read(0, limit=1_000_000)]
    finally:
        journal.close()


def shown(client: Redis, api: str) -> dict[str, bytes]:
    """Everything that can be seen from outside."""
    texts = {f"redis {key}": value for key, value in held(client).items()}
    for path in ("/providers/status", "/metrics", "/health", "/signals", "/signals/BTCUSDT"):
        texts[f"GET {path}"] = httpx.get(api + path, trust_env=False).content
    return texts


def variables(companion: Companion, futures: int, api: int) -> dict[str, str]:
    """The environment of the play: a canary for each key, and little patience with who will not answer."""
    told = {**environ(companion.url), **contracts(f"127.0.0.1:{futures}")}
    prefix = "SIGNAL_ENGINE_PROVIDERS__"
    for name, provider in PROVIDERS.items():
        told[f"{prefix}{name.upper()}__PER_MINUTE"] = "6000"
        if HOSTILE[name] in ("hang", "drip"):
            told[f"{prefix}{name.upper()}__TIMEOUT"] = "1"
        if provider.key:
            told[provider.key] = key_of(name)
    return told | {"SIGNAL_ENGINE_API__PORT": str(api)}


def key_of(name: str) -> str:
    """A key that is nobody else's; without the name itself, which may well be shown."""
    return f"{CANARY}-{list(PROVIDERS).index(name):02}"


@contextmanager
def served(companion: Companion) -> Iterator[None]:
    background = Background("companion")
    background.spawn(companion.start()).result(30)
    try:
        yield
    finally:
        background.spawn(companion.stop()).result(30)
        background.close()


def statuses(client: Redis) -> dict[str, Any]:
    """The body of every source by its name."""
    body: Any = client.hget("status:providers", "json")
    found: dict[str, Any] = orjson.loads(body)["providers"] if body else {}
    return found


def promised(name: str) -> set[str]:
    """The metrics that a provider still serves, without its name."""
    return {full.partition(".")[2] for full in PROMISES if full.startswith(f"{name}.")}


def amiss(client: Redis) -> list[str]:
    """The sources that are not ok, or did not tell all that they promise yet."""
    found = statuses(client)
    if not found:
        return ["everything"]
    ill = [name for name in SOURCES if found[name]["state"] != "ok"]
    return ill + [name for name in PROVIDERS if promised(name) - found[name]["metrics"].keys()]


def all_hurt(client: Redis) -> bool:
    """Whether each provider says what came of it: those that cannot be read, an error."""
    found = statuses(client)
    return all(
        found[name]["state"] == "ok" if name in HARMLESS else asked_in_vain(name, found[name])
        for name in HOSTILE
    )


def asked_in_vain(name: str, body: Mapping[str, Any]) -> bool:
    # Rows without numbers are no mistake: they are an answer, and nothing to hand on.
    return body["error"] is not None or (HOSTILE[name] == "nulls" and body["last_success"] is not None)


def newest(made: Engine) -> int:
    """The newest close of which every symbol has its signal; 0 before the first."""
    times = {at for _, at in made.signals()}
    return max((at for at in times if made.reached(at)), default=0)


def heard_of(made: Engine, closes: int) -> None:
    """Let so many more closes be said."""
    since = newest(made)
    until(lambda: newest(made) >= since + closes * 60_000, f"{closes} more closes", 30)


def held(client: Redis) -> dict[str, bytes]:
    """Everything in Redis, by key."""
    read: dict[Any, Any] = {
        b"string": client.get,
        b"hash": client.hgetall,
        b"stream": client.xrange,
        b"list": lambda key: client.lrange(key, 0, -1),
        b"set": client.smembers,
        b"zset": lambda key: client.zrange(key, 0, -1, withscores=True),
    }
    return {key.decode(): repr(read[client.type(key)](key)).encode() for key in client.scan_iter()}
