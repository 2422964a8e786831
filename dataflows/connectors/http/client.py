"""One exchange with a server that may do anything: it ends in time, in memory, and with our own errors.

Errors are made where the keys are and raised where they are not: no exception and none of its causes holds a
request.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from http.cookiejar import DefaultCookiePolicy
from typing import Final, Self

import httpx

from dataflows.connectors.http.redaction import LOGGERS, Scrubbed, Secrets
from dataflows.connectors.http.redirects import MOST, REDIRECTS, next_place, same_origin
from dataflows.connectors.http.wire import ACCEPTED, taken
from engine.errors import SourceError

MIB: Final = 1 << 20
LARGEST_FAULT: Final = 64 << 10
"""Bytes of an answer other than 2xx that are read: enough for its words."""

CONNECT_WITHIN: Final = 5.0
WHOLE: Final = 2.0
"""How many times the time-out between two pieces a whole exchange may take, redirects included."""

DIRECT: Final = ("all://127.0.0.1", "all://localhost", "all://[::1]")
"""Never asked through a proxy of the environment."""


@cache
def trust() -> ssl.SSLContext:
    """Whose certificates are believed; read once, for that takes long enough to be felt."""
    return httpx.create_ssl_context()


@dataclass(frozen=True, slots=True, repr=False)
class Call:
    """One question. `keyed` headers and query go to the host of `url` only; `shown` is its name in errors.

    `timeout` is in seconds, `largest` in bytes of the unpacked answer.
    """

    url: httpx.URL
    shown: str
    method: str = "GET"
    content: bytes | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    keyed_headers: Mapping[str, str] = field(default_factory=dict)
    keyed_query: Mapping[str, str] = field(default_factory=dict)
    timeout: float = 10.0
    largest: int = 8 * MIB


@dataclass(frozen=True, slots=True)
class Answer:
    """Status, headers (lower case) and body without any key; `seconds` is how long it took."""

    status: int
    headers: Mapping[str, str]
    body: bytes = field(repr=False)
    seconds: float = 0.0


class Client:
    """One pool of connections for every source; used as an async context, on the loop that it was entered in.

    Its `secrets` are kept out of answers, errors and the logs of the libraries below.
    """

    def __init__(self, secrets: Secrets | None = None, *, agent: str = "signal-engine") -> None:
        self.secrets = secrets or Secrets()
        self._agent = agent
        self._filter = Scrubbed(self.secrets)
        self._http: httpx.AsyncClient | None = None

    async def __aenter__(self) -> Self:
        for name in LOGGERS:
            logging.getLogger(name).addFilter(self._filter)
        self._http = httpx.AsyncClient(
            headers={"user-agent": self._agent, "accept": "application/json, */*;q=0.5"},
            limits=httpx.Limits(max_connections=128, max_keepalive_connections=32),
            mounts=dict.fromkeys(DIRECT),
            verify=trust(),
        )
        # A cookie would be one more thing that a server could have us carry about.
        self._http.cookies.jar.set_policy(DefaultCookiePolicy(allowed_domains=[]))
        return self

    async def __aexit__(self, *error: object) -> None:
        http, self._http = self._http, None
        if http is not None:
            await http.aclose()
        for name in LOGGERS:
            logging.getLogger(name).removeFilter(self._filter)

    async def fetch(self, call: Call) -> Answer:
        """The answer, whatever its status. Raises `SourceError`; `Unreadable` for a body out of bounds."""
        found = await self._fetched(call)
        if isinstance(found, SourceError):
            raise found
        return found

    async def _fetched(self, call: Call) -> Answer | SourceError:
        whole = WHOLE * call.timeout
        try:
            async with asyncio.timeout(whole):
                return await self._followed(call)
        except SourceError as error:
            return type(error)(self.secrets.scrub(str(error)))
        except TimeoutError:
            return SourceError(f"{call.shown}: no whole answer within {whole:g} s")
        except (httpx.HTTPError, httpx.InvalidURL, OSError, UnicodeError) as error:
            text = f"{call.shown}: {type(error).__name__} {error}".rstrip()
            return SourceError(self.secrets.scrub(text)[:300])

    async def _followed(self, call: Call) -> Answer:
        """The answer behind at most three redirects."""
        url, method, content = call.url, call.method, call.content
        for _ in range(MOST + 1):
            began = time.monotonic()
            response = await self._sent(call, url, method, content)
            try:
                if response.status_code not in REDIRECTS or "location" not in response.headers:
                    return await self._answer(call, response, began)
                url = next_place(call.url, url, response.headers["location"], call.shown, self.secrets)
            finally:
                await response.aclose()
            if response.status_code in (301, 302, 303):
                method, content = "GET", None
        raise SourceError(f"{call.shown}: more than {MOST} redirects")

    async def _sent(self, call: Call, url: httpx.URL, method: str, content: bytes | None) -> httpx.Response:
        """The head of an answer; the key goes where the question was meant for, and nowhere else."""
        if self._http is None:
            raise RuntimeError("the client is used outside of its context")
        headers = {"accept-encoding": ACCEPTED, **call.headers}
        if same_origin(url, call.url):
            headers |= call.keyed_headers
            url = url.copy_merge_params(call.keyed_query) if call.keyed_query else url
        if content is not None:
            headers["content-type"] = "application/json"
        timeout = httpx.Timeout(call.timeout, connect=min(call.timeout, CONNECT_WITHIN))
        request = self._http.build_request(method, url, headers=headers, content=content, timeout=timeout)
        return await self._http.send(request, stream=True)

    async def _answer(self, call: Call, response: httpx.Response, began: float) -> Answer:
        fine = response.is_success
        largest = call.largest if fine else LARGEST_FAULT
        body = await taken(response, call.shown, largest, cut=not fine)
        headers = {name.lower(): self._clean(value) for name, value in response.headers.items()}
        took = time.monotonic() - began
        return Answer(response.status_code, headers, self.secrets.clean(body), took)

    def _clean(self, value: str) -> str:
        return self.secrets.clean(value.encode("utf-8", "replace")).decode("utf-8", "replace")
