"""The training process's line to Redis: its own status out, requests for a training in.

A Redis that is not there stops nothing; it is looked for again at every call.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from redis import Redis, RedisError

from dataflows.connectors.redis import hide, open_client, read_address, redact
from dataflows.connectors.shown import encode
from engine.errors import SourceError
from engine.settings import Settings

STATUS: Final = "status:models"
REQUESTS: Final = "train:requests"
TTL: Final = 30
"""Seconds after which Redis forgets a status that nobody renews."""

BATCH: Final = 1_000


class Line:
    """Writes `status:models` and reads `train:requests`, from any thread; `locate` answers Redis's URL."""

    def __init__(self, locate: Callable[[], str], prefix: str = "") -> None:
        self.prefix = prefix
        self._locate = locate
        self._lock = threading.Lock()
        self._url = ""
        self._client: Redis | None = None

    def show(self, body: Mapping[str, Any]) -> None:
        """Replace the status. Raises `SourceError`."""
        with self._connected() as client:
            pipe = client.pipeline(transaction=True)
            pipe.hset(self.prefix + STATUS, "json", encode(body).decode())
            pipe.expire(self.prefix + STATUS, TTL)
            pipe.execute()

    def asked(self, after: str) -> str | None:
        """The id of the newest request behind `after`, None where nobody has asked since.

        However many there are, they ask for one training. Raises `SourceError`.
        """
        newest = after
        with self._connected() as client:
            while True:
                answer: Any = client.xread({self.prefix + REQUESTS: newest}, count=BATCH)
                entries = answer[0][1] if answer else []
                if not entries:
                    return None if newest == after else newest
                newest = entries[-1][0].decode()

    def ask(self, reason: str) -> None:
        """Ask for a training, as anybody may. Raises `SourceError`."""
        with self._connected() as client:
            client.xadd(self.prefix + REQUESTS, {"reason": reason}, maxlen=BATCH)

    def close(self) -> None:
        """Let go of Redis."""
        with self._lock:
            self._drop()

    @contextmanager
    def _connected(self) -> Iterator[Redis]:
        with self._lock:
            try:
                if self._client is None:
                    self._url = self._locate()
                    self._client = open_client(self._url)
                yield self._client
            except (RedisError, OSError, ValueError) as error:
                self._drop()
                told = hide(str(error), self._url)
                raise SourceError(f"Redis at {redact(self._url)}: {told}") from error

    def _drop(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            client.close()


def locator(settings: Settings) -> Callable[[], str]:
    """Where Redis is now: the configured one, or the embedded one that the engine started."""
    given, folder = settings.redis.url, Path(settings.storage.folder)

    def locate() -> str:
        url = given.get_secret_value() if given else read_address(folder)
        if url is None:
            raise SourceError(f"no Redis: none is configured, and none was started in {folder}")
        return url

    return locate
