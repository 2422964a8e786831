"""The companion as a server: every provider and feed below one address, and the faults that are on.

It starts no clock of its own: what it says is a function of its seed and of the stream time it is given.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any, Final, Self
from urllib.parse import unquote

import orjson

from dataflows.replay.answers import Answer, Request
from dataflows.replay.companion import feeds
from dataflows.replay.companion.answering import ANSWERS
from dataflows.replay.companion.door import Door, Reply
from dataflows.replay.companion.faults import Fault, Faults
from dataflows.replay.companion.numbers import Numbers
from dataflows.replay.companion.spoiling import spoilt
from dataflows.replay.companion.stories import ASSETS
from engine.errors import SettingsError
from engine.providers import PROVIDERS
from engine.settings.sources import Providers

CONTROL: Final = "/companion/"
NOT_FOUND: Final = Answer.of({"error": "not found"}, 404)

FAST: Final = 600
"""Questions a minute that a demo may ask each provider: at sixty times the speed a poll comes as often."""


class Companion:
    """Fifteen providers and the feeds on a loopback port; `async with` it, or `start` and `stop`.

    `clock` answers stream time in ms. `/<provider>/...` is below a provider's base URL and
    `/<provider>@<host>/...` below its other hosts, `/feeds/<name>` a feed; `GET /companion/state`, and `GET`,
    `POST` (a fault or a list of them, added), `DELETE /companion/faults[?of=][&name=]`.

    >>> companion = Companion(lambda: 1_760_000_000_000, faults=[Fault("hang", "santiment")])
    >>> companion.state()["faults"][0]["of"]
    'santiment'
    """

    def __init__(
        self,
        clock: Callable[[], int],
        port: int = 0,
        *,
        seed: int = 0,
        host: str = "127.0.0.1",
        faults: Iterable[Fault] = (),
        assets: Iterable[str] = ASSETS,
    ) -> None:
        self.clock = clock
        self.faults = Faults(faults)
        self.numbers = Numbers(seed)
        self.assets = tuple(assets)
        self._host, self._port = host, port
        self._doors: set[Door] = set()
        self._requests: Counter[str] = Counter()
        self._statuses: dict[str, Counter[str]] = {}

    @property
    def port(self) -> int:
        return self._port

    @property
    def url(self) -> str:
        return f"http://{self._host}:{self._port}"

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.stop()

    async def start(self) -> None:
        """Listen. Raises `SettingsError` where the port cannot be had."""
        loop = asyncio.get_running_loop()
        try:
            self._server = await loop.create_server(
                lambda: Door(self.reply, self._doors), self._host, self._port
            )
        except OSError as error:
            raise SettingsError(
                f"cannot listen on {self._host}:{self._port}: {error.strerror or error}"
            ) from None
        self._port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Cut every socket and stop listening."""
        self._server.close()
        for door in list(self._doors):
            door.reset()
        await self._server.wait_closed()

    def reply(self, request: Request) -> Reply:
        """What one request is answered, after all that goes wrong with it."""
        if request.path.startswith(CONTROL):
            return Reply(self._control(request))
        first, _, rest = request.path.removeprefix("/").partition("/")
        source, _, other = unquote(first).partition("@")
        feed = source == "feeds"
        name = rest if feed else source
        below = replace(request, path=f"/@{other}/{rest}" if other else f"/{rest}")
        now = self.clock()
        reply = Reply(self._answer(source, below, now))
        faults = self.faults.strike(name, now, time.monotonic(), feed=feed)
        bare = replace(below, headers={}, query={})
        reply = spoilt(reply, faults, request, name, lambda: self._answer(source, bare, now))
        self._count(f"feeds/{name}" if feed else name, reply)
        return reply

    def _answer(self, source: str, request: Request, now: int) -> Answer:
        if source == "feeds":
            return feeds.answer(request.path.removeprefix("/"), request, now, self.numbers.seed, self.assets)
        found = ANSWERS.get(source)
        return NOT_FOUND if found is None else found(request, now, self.numbers)

    def _count(self, name: str, reply: Reply) -> None:
        told = "reset" if reply.cut else "none" if reply.delay == float("inf") else str(reply.answer.status)
        self._requests[name] += 1
        self._statuses.setdefault(name, Counter())[told] += 1

    def state(self) -> dict[str, Any]:
        """What it was asked and what it answered, as JSON."""
        return {
            "simulated": True,
            "seed": self.numbers.seed,
            "clock": self.clock(),
            "requests": dict(self._requests),
            "statuses": {name: dict(counts) for name, counts in self._statuses.items()},
            "faults": self.faults.listed(),
        }

    def _control(self, request: Request) -> Answer:
        topic = request.path.removeprefix(CONTROL)
        if topic == "state":
            return Answer.of(self.state())
        if topic != "faults":
            return Answer.of({"error": f"{request.path} is not served; known: state, faults"}, 404)
        try:
            self._switch(request)
        except (SettingsError, orjson.JSONDecodeError) as error:
            return Answer.of({"error": str(error)}, 400)
        return Answer.of({"faults": self.faults.listed()})

    def _switch(self, request: Request) -> None:
        if request.method == "DELETE":
            self.faults.clear(request.query.get("of", ""), request.query.get("name", ""))
        elif request.method == "POST":
            given = orjson.loads(request.body)
            rows = given if isinstance(given, list) else [given]
            if not all(isinstance(row, dict) for row in rows):
                raise SettingsError("a fault must be an object with a name")
            for fault in [Fault.of_json(row) for row in rows]:
                self.faults.add(fault)


def environ(url: str) -> dict[str, str]:
    """The variables that point an engine at a companion: addresses, feeds, and a demo key for each provider.

    Budgets are lifted: nobody is billed, and a fast replay would spend a day's in minutes.

    >>> found = environ("http://127.0.0.1:8301")
    >>> found["SIGNAL_ENGINE_PROVIDERS__THETIE__HOSTS"]
    '{"trending":"http://127.0.0.1:8301/thetie@trending"}'
    """
    found = {"SIGNAL_ENGINE_NEWS__FEEDS": dumped(feed_settings(url)), "SIGNAL_ENGINE_NEWS__LOCAL": "true"}
    for name in Providers.model_fields:
        polled = getattr(Providers(), name)
        prefix = f"SIGNAL_ENGINE_PROVIDERS__{name.upper()}__"
        found[prefix + "ENABLED"] = "true"
        found[prefix + "BASE_URL"] = f"{url}/{name}"
        if polled.hosts:
            found[prefix + "HOSTS"] = dumped({host: f"{url}/{name}@{host}" for host in polled.hosts})
        if polled.keyless:
            found[prefix + "KEYLESS"] = f"{url}/{name}"
        found |= {prefix + budget: "null" for budget in ("PER_DAY", "PER_MONTH")}
        found[prefix + "PER_MINUTE"] = str(FAST)
    # A key that held its provider's name would have that name masked wherever it is told.
    keyed = (one.key for one in PROVIDERS.values() if one.key)
    return found | {variable: f"demo-key-{number:02}" for number, variable in enumerate(keyed, 1)}


def feed_settings(url: str) -> dict[str, dict[str, Any]]:
    """The block `news.feeds` of the simulated feeds."""
    return {
        name: {"url": f"{url}/feeds/{name}", "weight": feed.weight, "kind": feed.kind}
        for name, feed in feeds.FEEDS.items()
    }


def dumped(value: Any) -> str:
    return orjson.dumps(value).decode()
