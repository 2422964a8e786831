"""Keys out of every text: errors, logs, status.

Servers repeat what they were sent, encoded in their own way and cut anywhere; so not only the whole key is
looked for but every part of it that is long enough to matter.
"""

from __future__ import annotations

import logging
from base64 import b64encode
from collections.abc import Iterable
from html import escape
from itertools import groupby
from typing import Final
from urllib.parse import quote, quote_plus

import orjson

MASK: Final = "***"
LONGEST_SHOWN: Final = 11
"""Letters of a key that may stand in a text by chance; shorter keys are masked whole."""

LOGGERS: Final = (
    "httpx",
    "httpcore.connection",
    "httpcore.http11",
    "httpcore.http2",
    "httpcore.proxy",
    "httpcore.socks",
)
"""Whoever logs addresses and headers; a filter of a logger does not hold for those below it."""


class Secrets:
    """Texts that nobody may see.

    >>> secrets = Secrets(["s3cr3t/of+nobody"])
    >>> secrets.scrub("GET https://x.example/v1?api_key=s3cr3t%2Fof%2Bnobody&a=BTC")
    'GET https://x.example/v1?api_key=***&a=BTC'
    >>> secrets.scrub("401 no such key: s3cr3t/of+nob"), secrets
    ('401 no such key: ***', Secrets(1))
    """

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        self._whole: set[bytes] = set()
        self._parts: dict[int, set[bytes]] = {}
        self._count = 0
        for secret in secrets:
            self.add(secret)

    def __repr__(self) -> str:
        return f"Secrets({self._count})"

    def add(self, secret: str) -> None:
        """Hide one more from now on, in every way it may be written."""
        self._count += 1
        for form in written(secret):
            size = min(len(form), LONGEST_SHOWN + 1)
            low = form.lower()
            parts = self._parts.setdefault(size, set())
            parts.update(low[start : start + size] for start in range(len(low) - size + 1))
            if len(form) > LONGEST_SHOWN:
                self._whole.add(form)

    def scrub(self, text: str) -> str:
        """`text` with a mask in the place of every key and of every long part of one."""
        raw = text.encode("utf-8", "replace")
        hidden = self._hidden(raw.lower())
        if not any(hidden):
            return text
        places = groupby(range(len(raw)), key=hidden.__getitem__)
        kept = (MASK.encode() if masked else bytes(raw[at] for at in span) for masked, span in places)
        return b"".join(kept).decode("utf-8", "replace")

    def clean(self, body: bytes) -> bytes:
        """A whole body without the keys in it; those so short that data could hold them by chance stay."""
        for form in self._whole:
            if form in body:
                body = body.replace(form, MASK.encode())
        return body

    def _hidden(self, low: bytes) -> bytearray:
        out = bytearray(len(low))
        for size, parts in self._parts.items():
            for start in range(len(low) - size + 1):
                if low[start : start + size] in parts:
                    out[start : start + size] = b"\1" * size
        return out


def written(secret: str) -> set[bytes]:
    """The ways in which a key stands in addresses, JSON, pages, logs and headers."""
    json = orjson.dumps(secret).decode()[1:-1]
    forms = {secret, quote(secret, safe=""), quote(secret), quote_plus(secret), json}
    forms |= {json.replace("/", "\\/"), repr(secret)[1:-1], escape(secret)}
    return {form.encode() for form in forms if form} | {b64encode(secret.encode()).rstrip(b"=")}


class Scrubbed(logging.Filter):
    """Lets every record of a logger pass, without the keys.

    >>> record = logging.LogRecord("httpx", 20, "", 0, "GET %s", ("https://x.example?k=0123456789abc",), None)
    >>> Scrubbed(Secrets(["0123456789abc"])).filter(record), record.getMessage()
    (True, 'GET https://x.example?k=***')
    """

    def __init__(self, secrets: Secrets) -> None:
        super().__init__()
        self._secrets = secrets

    def filter(self, record: logging.LogRecord) -> bool:
        record.msg, record.args = self._secrets.scrub(record.getMessage()), ()
        # An exception's own text would be added by the formatter, with whatever it holds.
        record.exc_info = record.exc_text = None
        return True
