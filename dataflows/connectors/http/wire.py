"""The body of an answer, taken piece by piece, so that none is larger than allowed, packed or unpacked."""

from __future__ import annotations

import re
import zlib
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Final

import httpx
import orjson

from engine.errors import Unreadable

ACCEPTED: Final = "gzip"
GZIP: Final = frozenset({"gzip", "x-gzip"})
PLAIN: Final = frozenset({"", "identity"})
WITH_GZIP_HEADER: Final = 31
BOM: Final = b"\xef\xbb\xbf"
TITLE: Final = re.compile(rb"<title[^>]*>\s*([^<]{1,200})", re.IGNORECASE)
LONGEST_TOLD: Final = 500
"""Letters of an answer that is no JSON which are looked at for what went wrong."""


async def taken(response: httpx.Response, shown: str, largest: int, *, cut: bool = False) -> bytes:
    """The unpacked body. One larger than `largest` is `Unreadable`, or cut there.

    What the peer says of its length and packing is not believed: pieces are unpacked only as far as they fit.
    """
    packed = response.headers.get("content-encoding", "").strip().lower()
    if packed not in GZIP | PLAIN:
        raise Unreadable(f"{shown}: packed as {packed[:20]!r}, where only gzip is understood")
    unpack = zlib.decompressobj(WITH_GZIP_HEADER) if packed in GZIP else None
    body, seen = bytearray(), 0
    async for part in response.aiter_raw():
        seen += len(part)
        body += unpacked(unpack, part, largest + 1 - len(body), shown) if unpack else part
        if max(seen, len(body)) > largest:
            if cut:
                return bytes(body[:largest])
            raise Unreadable(f"{shown}: the answer is larger than {largest >> 20} MiB")
    if unpack and seen and not unpack.eof:
        raise Unreadable(f"{shown}: half an answer: it ends within what is packed")
    return bytes(body)


def unpacked(unpack: zlib._Decompress, part: bytes, most: int, shown: str) -> bytes:
    try:
        return unpack.decompress(part, most)
    except zlib.error as error:
        fault = str(error)
    raise Unreadable(f"{shown}: cannot be unpacked: {fault}")


def decoded(body: bytes, shown: str) -> Any:
    """A body as JSON, whatever its content type says. Raises `Unreadable`, naming what came in its place.

    >>> decoded(b'{"a": [1, null]}', "x")
    {'a': [1, None]}
    >>> decoded(b"<html><title>Just a moment...</title>", "x")
    Traceback (most recent call last):
    engine.errors.Unreadable: x: no JSON but a page: Just a moment...
    >>> decoded(b'{"a": [1, nu', "x")
    Traceback (most recent call last):
    engine.errors.Unreadable: x: no JSON, or half of it: 12 bytes that begin with '{"a": [1, nu'
    """
    try:
        return orjson.loads(body.removeprefix(BOM))
    except orjson.JSONDecodeError:
        # Its own error would carry the whole body along.
        found = page(body)
    if found is not None:
        raise Unreadable(f"{shown}: no JSON but a page{': ' * bool(found)}{found}")
    begins = body[:40].decode("utf-8", "replace")
    raise Unreadable(f"{shown}: no JSON, or half of it: {len(body)} bytes that begin with {begins!r}")


def told(body: bytes) -> Any:
    """The body of a refusal: JSON where it is, else what its page or its text says.

    >>> told(b'{"error": "no"}'), told(b"<html><h1>x</h1>"), told(b" unsupported asset")
    ({'error': 'no'}, 'a page', 'unsupported asset')
    """
    try:
        return orjson.loads(body.removeprefix(BOM))
    except orjson.JSONDecodeError:
        pass
    found = page(body)
    if found is not None:
        return f"a page{': ' * bool(found)}{found}"
    return body[:LONGEST_TOLD].decode("utf-8", "replace").strip()


def page(body: bytes) -> str | None:
    """The title of an HTML or XML page, "" where it has none; None for anything else."""
    if not body.removeprefix(BOM).lstrip().startswith(b"<"):
        return None
    title = TITLE.search(body[:65_536])
    return " ".join(title[1].decode("utf-8", "replace").split())[:80] if title else ""


def retry_after(header: str | None, now: float) -> float | None:
    """Seconds to wait by a Retry-After header, as seconds or as a date; None where it says nothing usable.

    `now` is in seconds since 1970.

    >>> retry_after("17", 0), retry_after("Thu, 01 Jan 1970 00:02:00 GMT", 30.0), retry_after("soon", 0)
    (17.0, 90.0, None)
    """
    text = (header or "").strip()
    if re.fullmatch(r"\d{1,9}(\.\d*)?", text):
        return max(1.0, float(text))
    try:
        at = parsedate_to_datetime(text)
        at = at if at.tzinfo else at.replace(tzinfo=UTC)
        return max(1.0, (at - datetime.fromtimestamp(now, UTC)).total_seconds())
    except (ValueError, OverflowError, TypeError):
        return None
