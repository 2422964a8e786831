"""One CSV out of one zip, in memory; whatever is not exactly that is refused. Pure.

Nothing is ever extracted to a path, and no size that a zip claims of itself is believed.
"""

from __future__ import annotations

import zipfile
import zlib
from io import BytesIO
from typing import Final

from engine.errors import SourceError

LARGEST: Final = 256 << 20
"""Bytes of the CSV; a month of 1m candles has 6 MiB."""

METHODS: Final = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
ENCRYPTED: Final = 0x1


def unpacked(body: bytes, name: str, largest: int = LARGEST) -> bytes:
    """The one CSV of a zip. Raises `SourceError` saying what else it was."""
    try:
        with zipfile.ZipFile(BytesIO(body)) as file:
            member = only(file.infolist(), name)
            if member.file_size > largest:
                raise SourceError(f"{name}: unpacks to {member.file_size} bytes, more than {largest}")
            with file.open(member) as stream:
                text = stream.read(largest + 1)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, OSError, ValueError) as error:
        raise SourceError(f"{name}: not a whole zip: {error}") from error
    if len(text) > largest:
        raise SourceError(f"{name}: unpacks to more than {largest} bytes")
    return text


def only(members: list[zipfile.ZipInfo], name: str) -> zipfile.ZipInfo:
    """The single plain CSV of a zip."""
    if len(members) != 1:
        raise SourceError(f"{name}: one file was expected in it; found {len(members)}")
    member = members[0]
    plain = member.filename.endswith(".csv") and not set(member.filename) & set("/\\:\0")
    if not plain or member.flag_bits & ENCRYPTED or member.compress_type not in METHODS:
        raise SourceError(f"{name}: a plain CSV was expected in it; found {member.filename!r}")
    return member
