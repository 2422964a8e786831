"""One question to one feed: conditional, bounded in time, size and redirects, at checked addresses only.

Each hop is a connection of its own, so that each is judged anew. Proxies of the environment are not used: a
proxy would do the resolving, and what it connects to could not be checked here.
"""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

import certifi
import httpcore
import httpx

from dataflows.connectors.news.addresses import (
    CONNECT,
    NO_STATUS,
    CheckedNetwork,
    Resolve,
    permitted,
    place,
    resolved,
)
from dataflows.connectors.news.answers import fault_of
from dataflows.connectors.news.body import read
from engine.errors import Refused, SourceError, Unreadable
from engine.settings.values import is_loopback

LARGEST: Final = 2 << 20
DEADLINE: Final = 10.0
REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
MOST_REDIRECTS: Final = 3
ACCEPT: Final = b"application/rss+xml, application/atom+xml, application/xml;q=0.9, text/xml;q=0.9, */*;q=0.5"

Header = tuple[bytes | str, bytes | str]

LONGEST_VALIDATOR: Final = 512
"""Characters of an ETag that are sent back; a longer one would be somebody filling our requests."""

TROUBLE: Final = (httpcore.NetworkError, httpcore.TimeoutException, httpcore.ProtocolError, OSError)


@dataclass(frozen=True, slots=True)
class Validators:
    """What a server gave with an answer to ask again by; "" = it gave none."""

    etag: str = ""
    modified: str = ""

    @classmethod
    def of(cls, headers: Mapping[str, str]) -> Validators:
        """Those of an answer, its header names in lower case."""
        etag, modified = headers.get("etag", ""), headers.get("last-modified", "")
        return cls(*(text if len(text) <= LONGEST_VALIDATOR else "" for text in (etag, modified)))

    def headers(self) -> list[Header]:
        asked = [(b"if-none-match", self.etag), (b"if-modified-since", self.modified)]
        return [(name, text.encode("latin-1")) for name, text in asked if text]


@dataclass(frozen=True, slots=True)
class Page:
    """An answer: its body, None where nothing has changed since the validators' one; `seconds` it took."""

    body: bytes | None
    content_type: str
    validators: Validators
    seconds: float


class Fetch:
    """Asks feeds; every knob bounds one whole question, over all its redirects.

    Parameters
    ----------
    contact
        Told to the servers with the engine's name, so that they know whom to write to.
    deadline
        Wall seconds for everything together, name look-ups included: a slow drip ends here.
    largest
        Bytes of a body, packed or unpacked.
    resolve, dial, tls
        The resolver, the network behind the checks, and whom to trust; tests bring their own.
    """

    def __init__(
        self,
        contact: str = "",
        *,
        deadline: float = DEADLINE,
        largest: int = LARGEST,
        resolve: Resolve = resolved,
        dial: httpcore.AsyncNetworkBackend | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.deadline = deadline
        self.largest = largest
        self._resolve = resolve
        self._dial = dial
        self._tls = tls or ssl.create_default_context(cafile=certifi.where())
        about = f"; {contact}" if contact else ""
        self._agent = f"signal-engine/0.1 (reader of RSS and Atom feeds{about})".encode()

    async def get(self, text: str, validators: Validators, *, local: bool = False) -> Page:
        """The feed at `text`; `local` lets one that is on this machine be there, and be sent there.

        Raises `RateLimited`, `Refused`, `Unreadable` or, for what may pass, `SourceError`.
        """
        began = time.monotonic()
        url = address_of(text)
        here = local and is_loopback(url.host)
        try:
            async with asyncio.timeout(self.deadline):
                return await self._follow(url, validators, here, began)
        except TimeoutError as error:
            raise SourceError(f"{place(url)}: no whole answer in {self.deadline:g} s") from error
        except TROUBLE as error:
            raise SourceError(f"{place(url)}: {type(error).__name__} {error}".rstrip()[:200]) from error

    async def _follow(self, url: httpx.URL, validators: Validators, local: bool, began: float) -> Page:
        hop = 0
        while True:
            answer = await self._ask(permitted(url, local=local), validators, local, began)
            if isinstance(answer, Page):
                return answer
            hop += 1
            if hop > MOST_REDIRECTS:
                raise Refused(f"{place(url)}: more than {MOST_REDIRECTS} redirects", NO_STATUS)
            url = answer

    async def _ask(
        self, url: httpx.URL, validators: Validators, local: bool, began: float
    ) -> Page | httpx.URL:
        """The page at `url`, or where it is instead."""
        async with (
            self._connection(url, local) as connection,
            connection.stream(
                "GET",
                httpcore.URL(scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path),
                headers=[*self._asking(url), *validators.headers()],
                extensions={"timeout": {"connect": CONNECT}},
            ) as response,
        ):
            headers = lower(response.headers)
            if response.status in REDIRECTS:
                return joined(url, headers.get("location", ""))
            if response.status == 304 and validators != Validators():
                return Page(None, "", validators, time.monotonic() - began)
            if response.status != 200:
                raise fault_of(place(url), response.status, headers)
            body = await read(response.aiter_stream(), headers, self.largest)
            kind = headers.get("content-type", "")
            return Page(body, kind, Validators.of(headers), time.monotonic() - began)

    def _asking(self, url: httpx.URL) -> list[Header]:
        return [
            (b"host", url.netloc),
            (b"user-agent", self._agent),
            (b"accept", ACCEPT),
            (b"accept-encoding", b"gzip"),
            (b"connection", b"close"),
        ]

    def _connection(self, url: httpx.URL, local: bool) -> httpcore.AsyncHTTPConnection:
        port = url.port or (443 if url.scheme == "https" else 80)
        return httpcore.AsyncHTTPConnection(
            httpcore.Origin(url.raw_scheme, url.raw_host, port),
            ssl_context=self._tls,
            network_backend=CheckedNetwork(local=local, resolve=self._resolve, dial=self._dial),
        )


def lower(headers: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    """Headers by their names in lower case; of equal names the last wins."""
    return {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in headers}


def address_of(text: str) -> httpx.URL:
    try:
        return httpx.URL(text)
    except httpx.InvalidURL as error:
        raise Refused(f"no address that can be read: {error}", NO_STATUS) from error


def joined(url: httpx.URL, location: str) -> httpx.URL:
    """Where a redirect leads to. Raises `Unreadable` where it does not say, or not in an address."""
    if not location:
        raise Unreadable(f"{place(url)}: a redirect to nowhere")
    try:
        return url.join(location)
    except httpx.InvalidURL as error:
        raise Unreadable(f"{place(url)}: a redirect to no address: {error}") from error
