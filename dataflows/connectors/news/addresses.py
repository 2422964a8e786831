"""Where a feed may be read: https on public addresses, judged at the very connection that is made.

A name is resolved once for a connection, everything it resolves to is checked, and the connection goes to one
of the checked addresses: there is no second look-up that could answer otherwise. The certificate is still
checked against the name.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable, Iterable, Sequence
from ipaddress import IPv4Address, ip_address, ip_network
from typing import Final

import httpcore
import httpx

from engine.errors import Refused, SourceError
from engine.settings.values import is_loopback

Resolve = Callable[[str, int], Awaitable[Sequence[str]]]
"""(host, port) -> the addresses it may be reached at; raises OSError where there is none."""

SocketOption = tuple[int, int, int] | tuple[int, int, bytes | bytearray] | tuple[int, int, None, int]

NO_STATUS: Final = 0
"""The status of a `Refused` that is ours: nobody was asked."""

MOST_TRIED: Final = 4
"""Addresses of one name that are tried, one after the other."""

CONNECT: Final = 3.0
"""Seconds that one of them has; the next may be of the protocol that works here."""

PRIVATE_4: Final = tuple(
    ip_network(text)
    for text in (
        "0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12",
        "192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24", "192.168.0.0/16", "198.18.0.0/15",
        "198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4",
    )
)  # fmt: skip
"""IANA's special-purpose registry of IPv4, and multicast."""

PUBLIC_6: Final = ip_network("2000::/3")
"""All that is given out of IPv6: outside it are loopback, link-local, unique local, multicast, IPv4-mapped
and NAT64 addresses."""

PRIVATE_6: Final = tuple(
    ip_network(text) for text in ("2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20")
)
"""Of those: protocol assignments and Teredo, documentation, 6to4 (an IPv4 address in disguise)."""


def is_public(text: str) -> bool:
    """Whether an address is one of the open internet.

    >>> [is_public(one) for one in ("93.184.216.34", "2606:4700::1111")]
    [True, True]
    >>> [is_public(one) for one in ("10.0.0.1", "::ffff:8.8.8.8", "64:ff9b::808:808", "fe80::1%lo", "x")]
    [False, False, False, False, False]
    """
    try:
        address = ip_address(text)
    except ValueError:
        return False
    if isinstance(address, IPv4Address):
        return not any(address in network for network in PRIVATE_4)
    return address in PUBLIC_6 and not any(address in network for network in PRIVATE_6)


def permitted(url: httpx.URL, *, local: bool) -> httpx.URL:
    """`url`, where a feed may be at it; `local` allows this machine too, without https and on any port.

    Raises `Refused`, naming the host only: a path may hold a reader's own token.
    """
    fault = _fault(url, local=local)
    if fault:
        raise Refused(f"{place(url)} is not read: {fault}", NO_STATUS)
    return url


def _fault(url: httpx.URL, *, local: bool) -> str:
    if url.userinfo:
        return "it holds a user or password"
    if local and url.scheme in ("http", "https") and is_loopback(url.host):
        return ""
    if url.scheme != "https":
        return "it is not https"
    if not url.host:
        return "it has no host"
    return "" if url.port in (None, 443) else f"port {url.port} is not that of https"


def place(url: httpx.URL) -> str:
    """An address without what may be private in it.

    >>> place(httpx.URL("https://me:secret@coin.example/feed?token=secret"))
    'https://coin.example'
    """
    return f"{url.scheme}://{url.host}"[:120]


async def resolved(host: str, port: int) -> Sequence[str]:
    """The addresses of `host` by this machine's resolver, in its order."""
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(address[0]) for *_, address in found))


class CheckedNetwork(httpcore.AsyncNetworkBackend):
    """Connects to public addresses only, and to this machine where `local` names it.

    `resolve` answers a name's addresses; `dial` makes the connection to one address.
    """

    def __init__(
        self,
        *,
        local: bool = False,
        resolve: Resolve = resolved,
        dial: httpcore.AsyncNetworkBackend | None = None,
    ) -> None:
        self.local = local
        self._resolve = resolve
        self._dial = dial or httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[SocketOption] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Connect to the first checked address that answers.

        Raises `Refused` where any address of the name is not public, `SourceError` where there is none.
        """
        fault: httpcore.NetworkError | httpcore.TimeoutException | None = None
        for address in (await self._checked(host, port))[:MOST_TRIED]:
            try:
                return await self._dial.connect_tcp(address, port, timeout, local_address, socket_options)
            except (httpcore.NetworkError, httpcore.TimeoutException) as error:
                fault = error
        raise fault or SourceError(f"{host} has no address")

    async def _checked(self, host: str, port: int) -> Sequence[str]:
        try:
            found = await self._resolve(host, port)
        except (OSError, UnicodeError) as error:
            raise SourceError(f"{host} cannot be resolved: {error}") from error
        allowed = is_loopback if self.local and is_loopback(host) else is_public
        for address in found:
            if not allowed(address):
                raise Refused(f"{host} is not read: {address} is no public address", NO_STATUS)
        return found
