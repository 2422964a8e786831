"""An answer's body, read piece by piece and never further than allowed, packed or not."""

from __future__ import annotations

import zlib
from collections.abc import AsyncIterable, Mapping
from typing import Final

from engine.errors import Unreadable

GZIP: Final = 16 + zlib.MAX_WBITS
"""How zlib is told to expect gzip's own header and check sum."""


class Gunzip:
    """Unpacks gzip, never further than asked: a few bytes may hold gigabytes.

    >>> import gzip
    >>> Gunzip().some(gzip.compress(b"a" * 1000), 4)
    b'aaaa'
    """

    def __init__(self) -> None:
        self._inflate = zlib.decompressobj(GZIP)

    def some(self, packed: bytes, most: int) -> bytes:
        """At most `most` bytes (at least 1) of what `packed` holds. Raises `Unreadable` for damage."""
        try:
            return self._inflate.decompress(packed, most)
        except zlib.error as error:
            raise Unreadable(f"the gzip of the answer is damaged: {error}") from error

    def end(self) -> None:
        """Raises `Unreadable` where the packed body was only half there."""
        if not self._inflate.eof:
            raise Unreadable("the gzip of the answer ends too early")


class Plain:
    """A body that is not packed."""

    def some(self, part: bytes, most: int) -> bytes:
        return part[:most]

    def end(self) -> None:
        """Half a body that is not packed is what HTTP itself notices."""


async def read(parts: AsyncIterable[bytes], headers: Mapping[str, str], largest: int) -> bytes:
    """The unpacked body; `headers` in lower case.

    Raises `Unreadable` as soon as more than `largest` bytes have come, or would come out of what has come,
    and for a packing that was not asked for.
    """
    declared = headers.get("content-length", "")
    if declared.isdecimal() and int(declared[:20]) > largest:
        raise too_large(largest)
    unpack = unpacking(headers.get("content-encoding", ""))
    body = bytearray()
    came = 0
    async for part in parts:
        came += len(part)
        # One more than is allowed tells that there is more.
        body += unpack.some(part, largest + 1 - len(body))
        if came > largest or len(body) > largest:
            raise too_large(largest)
    unpack.end()
    return bytes(body)


def unpacking(encoding: str) -> Gunzip | Plain:
    match encoding.strip().lower():
        case "" | "identity":
            return Plain()
        case "gzip" | "x-gzip":
            return Gunzip()
        case other:
            raise Unreadable(f"the answer is packed as {other[:40]!r}; gzip was asked for")


def too_large(largest: int) -> Unreadable:
    return Unreadable(f"the answer is larger than {largest} bytes")
