"""A provider as it is asked: its addresses, its key, and its mistakes as errors of the source."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from math import isfinite
from traceback import extract_tb
from typing import Any, Final, TypeVar

import httpx
import orjson
from pydantic import SecretStr

from dataflows.connectors.http.client import MIB, Call
from dataflows.connectors.http.wire import decoded
from engine.errors import NotServed, SourceError, Unreadable
from engine.providers.base import Deriving, Provider, Request
from engine.settings.sources import Polled

T = TypeVar("T")

LARGEST: Final[Mapping[str, int]] = {"defillama": 32 * MIB}
LARGEST_OTHERWISE: Final = 8 * MIB


class Plug:
    """`provider` at the addresses of `polled`; `key` goes into what it asks, and nowhere else.

    Every step raises errors of `SourceError` only.
    """

    def __init__(self, name: str, provider: Provider, polled: Polled, key: SecretStr | None) -> None:
        self.name = name
        self._provider = provider
        self._polled = polled
        self._key = key
        self._base = polled.base_url if key or polled.keyless is None else polled.keyless

    def requests(self, assets: Iterable[str], now: int) -> list[Request]:
        """What to ask at `now`, ms of stream time."""
        return self._own("requests", lambda: list(self._provider.requests(assets, now)))

    def call(self, request: Request) -> Call:
        """A request with its address, and with the key beside it."""
        return self._own("requests", lambda: self._call(request))

    def parse(self, request: Request, content: bytes) -> list[Any]:
        """The rows of an answer's body."""
        found = decoded(content, f"{self.name}: {request.path}")
        return self._own("parse", lambda: list(self._provider.parse(request, found)))

    @property
    def derives(self) -> bool:
        """Whether some numbers follow from several answers together."""
        return isinstance(self._provider, Deriving)

    def derive(self, rows: Iterable[Any]) -> list[Any]:
        """What follows from the rows of the last answer to each question."""
        provider = self._provider
        if not isinstance(provider, Deriving):
            return []
        return self._own("derive", lambda: list(provider.derive(rows)))

    def fault(self, status: int, headers: Mapping[str, str], body: Any) -> SourceError:
        """What a status other than 2xx means."""
        return self._own("fault", lambda: self._provider.fault(status, headers, body))

    def remaining(self, headers: Mapping[str, str]) -> float | None:
        """What is left of the quota, None where the headers do not say, or not in numbers."""
        try:
            left = self._own("remaining", lambda: self._provider.remaining(headers))
        except SourceError:
            return None
        return left if left is not None and isfinite(left) else None

    def _call(self, request: Request) -> Call:
        base = self._polled.hosts.get(request.host) if request.host else self._base
        if base is None:
            raise NotServed(f"{self.name}: no address of its host {request.host!r} is configured")
        secret = self._key.get_secret_value() if self._key else None
        url = httpx.URL(base + request.path)
        return Call(
            url=url.copy_merge_params(dict(request.params)) if request.params else url,
            shown=f"{self.name}: {request.path}",
            method="GET" if request.body is None else "POST",
            content=None if request.body is None else orjson.dumps(request.body, default=dict),
            keyed_headers=dict(self._provider.headers(secret)),
            keyed_query=dict(self._provider.query(secret)),
            timeout=self._polled.timeout,
            largest=LARGEST.get(self.name, LARGEST_OTHERWISE),
        )

    def _own(self, what: str, step: Callable[[], T]) -> T:
        """What a step answers; a mistake in it ends this question and nothing else."""
        try:
            return step()
        except SourceError:
            raise
        except Exception as error:  # noqa: BLE001 - whatever it is, its place is a line in the status
            # Its words might hold the key, or all of the answer.
            place = extract_tb(error.__traceback__)[-1]
            file = place.filename.rpartition("/")[2]
            fault = f"{type(error).__name__} in line {place.lineno} of {file}"
        raise Unreadable(f"{self.name}: {what} ended with {fault}")
