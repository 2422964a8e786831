"""Who may ask: keys, origins, and how many from one place.

A key is compared in constant time, kept nowhere, and never read from an address.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated
from urllib.parse import urlsplit

from fastapi import Depends, HTTPException, Request
from fastapi.security import APIKeyHeader, HTTPAuthorizationCredentials, HTTPBearer
from starlette.datastructures import Headers

from engine.settings import Settings
from engine.settings.secrets import ApiKeys
from engine.settings.values import is_loopback

bearer = HTTPBearer(auto_error=False, description="One of the configured keys; not needed where none is.")
header = APIKeyHeader(name="X-API-Key", auto_error=False, description="The same, for clients without bearer.")


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a WebSocket is not opened, as an HTTP status and a sentence."""

    status: int
    text: str


def shown(headers: Headers) -> str | None:
    """The key a request shows in a header.

    >>> shown(Headers({"Authorization": "Bearer abc"})), shown(Headers({"X-API-Key": "abc"}))
    ('abc', 'abc')
    """
    scheme, _, key = headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer" and key.strip():
        return key.strip()
    return headers.get("x-api-key") or None


def knows_a_key(keys: ApiKeys, headers: Headers) -> bool:
    """Whether a request may see everything: no keys are configured, or it shows one."""
    key = shown(headers)
    return not keys or (key is not None and keys.accept(key))


def authorised(
    request: Request,
    _bearer: Annotated[HTTPAuthorizationCredentials | None, Depends(bearer)],
    _header: Annotated[str | None, Depends(header)],
) -> None:
    """Let a request pass, or answer 401; the two parameters put both ways into the OpenAPI document."""
    if not knows_a_key(request.app.state.settings.api.keys, request.headers):
        raise HTTPException(401, "a valid API key is needed", {"WWW-Authenticate": "Bearer"})


def foreign(origin: str | None, host: str | None, allowed: tuple[str, ...], own: str) -> bool:
    """Whether a browser page of another site asks.

    Not a browser (no origin), a page from the allow-list, and our own page, reached by an address of this
    machine or by `own`, are not foreign; a name that merely points here is.

    >>> foreign(None, "127.0.0.1:8300", (), "127.0.0.1")
    False
    >>> foreign("http://127.0.0.1:8300", "127.0.0.1:8300", (), "127.0.0.1")
    False
    >>> foreign("http://evil.example:8300", "evil.example:8300", (), "127.0.0.1")
    True
    """
    if origin is None or origin.rstrip("/") in allowed:
        return False
    page = urlsplit(origin)
    name = page.hostname or ""
    return page.netloc != (host or "") or not (is_loopback(name) or name == own)


def refusal(headers: Headers, settings: Settings, clients: int, from_address: int) -> Refusal | None:
    """Why a WebSocket may not be opened; None lets it in.

    `clients` are open now, `from_address` of them from the same place.
    """
    api = settings.api
    if foreign(headers.get("origin"), headers.get("host"), tuple(api.origins), api.host):
        return Refusal(403, "this origin is not in api.origins")
    if shown(headers) is not None and not knows_a_key(api.keys, headers):
        return Refusal(401, "a valid API key is needed")
    if clients >= api.clients:
        return Refusal(503, f"{clients} clients are connected, no more are allowed (api.clients)")
    if from_address >= api.clients_per_address:
        text = f"{from_address} clients are connected from this address, no more are allowed"
        return Refusal(429, f"{text} (api.clients_per_address)")
    return None
