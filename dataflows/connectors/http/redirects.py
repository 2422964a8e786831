"""Where a redirect may lead: https only, or from loopback to loopback, and never away with a key."""

from __future__ import annotations

from ipaddress import ip_address
from typing import Final

import httpx

from dataflows.connectors.http.redaction import Secrets
from engine.errors import SourceError
from engine.settings.values import is_loopback

REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
MOST: Final = 3


def next_place(asked: httpx.URL, here: httpx.URL, place: str, shown: str, secrets: Secrets) -> httpx.URL:
    """The address that `place` means at `here`; `asked` is where the question was meant for.

    Raises `SourceError` for a place that is not followed.

    >>> base = httpx.URL("https://api.example/v1/x")
    >>> next_place(base, base, "/v2/x", "x", Secrets())
    URL('https://api.example/v2/x')
    >>> next_place(base, base, "http://api.example/v2/x", "x", Secrets())
    Traceback (most recent call last):
    engine.errors.SourceError: x: redirected to http://api.example, which is not followed
    """
    url = here.join(place)
    known = same_origin(url, asked) or secrets.scrub(str(url)) == str(url)
    if known and not url.userinfo and allowed(url, from_loopback=is_loopback(asked.host)):
        return url
    raise SourceError(f"{shown}: redirected to {url.scheme}://{url.host}, which is not followed")


def allowed(url: httpx.URL, *, from_loopback: bool) -> bool:
    """Whether a redirect may lead there from a public address, or from one of this machine."""
    if from_loopback and is_loopback(url.host):
        return url.scheme in ("http", "https")
    return url.scheme == "https" and is_public(url.host)


def is_public(host: str) -> bool:
    """Whether a host is not, by its own name, of this machine or network.

    >>> is_public("api.example"), is_public("10.0.0.1"), is_public("localhost"), is_public("")
    (True, False, False, False)
    """
    try:
        return ip_address(host).is_global
    except ValueError:
        return bool(host) and host != "localhost"


def same_origin(one: httpx.URL, other: httpx.URL) -> bool:
    """Whether both are of one scheme, host and port."""
    return (one.scheme, one.host, port(one)) == (other.scheme, other.host, port(other))


def port(url: httpx.URL) -> int | None:
    return url.port or {"http": 80, "https": 443}.get(url.scheme)
