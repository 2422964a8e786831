"""What the engine may hold and must never show: API keys and the password in a Redis URL.

Nothing here returns a secret in a text, a repr or an error.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from hashlib import sha256
from hmac import compare_digest
from typing import Final
from urllib.parse import parse_qs

from pydantic import SecretStr

NOT_SHOWN: Final = "what was found is not shown"


@dataclass(frozen=True, slots=True, repr=False)
class ApiKeys:
    """The keys of which a client must show one; only their SHA-256 is kept.

    >>> keys = ApiKeys.read("alpha, beta")
    >>> keys.accept("beta"), keys.accept("gamma"), keys
    (True, False, ApiKeys(2))
    """

    hashes: tuple[bytes, ...] = ()

    @classmethod
    def read(cls, given: object) -> ApiKeys:
        """From text, the keys separated by commas."""
        if isinstance(given, ApiKeys):
            return given
        if not isinstance(given, str):
            raise ValueError(f"must be text, keys separated by commas; {NOT_SHOWN}")
        keys = dict.fromkeys(key.strip() for key in given.split(","))
        return cls(tuple(digest(key) for key in keys if key))

    def accept(self, candidate: str) -> bool:
        """Whether `candidate` is one of the keys, in a time that tells neither which nor how nearly."""
        offered = digest(candidate)
        return bool(sum(compare_digest(offered, known) for known in self.hashes))

    def __len__(self) -> int:
        return len(self.hashes)

    def __repr__(self) -> str:
        return f"ApiKeys({len(self)})"


def digest(key: str) -> bytes:
    return sha256(key.encode("utf-8", "surrogateescape")).digest()


def redis_address(secret: SecretStr) -> SecretStr:
    """The URL as it is; raises `ValueError`, without showing it, when it is not one of Redis."""
    scheme, found, place = secret.get_secret_value().partition("://")
    if scheme not in ("redis", "rediss", "unix") or not found or not place or re.search(r"\s", place):
        raise ValueError(f"must be redis://host:port/number, rediss://... or unix://path; {NOT_SHOWN}")
    return secret


def holds_password(url: str) -> bool:
    """Whether a Redis URL carries credentials, before the host or among its options.

    >>> holds_password("redis://127.0.0.1:6379/0"), holds_password("redis://:x@127.0.0.1")
    (False, True)
    """
    place, _, options = url.partition("?")
    return "@" in place or not {"password", "username"}.isdisjoint(parse_qs(options))


def without_credentials(text: str) -> str:
    """`text` with whatever stands before the @ of a URL, and any password option, taken out.

    >>> without_credentials("redis://me:x@host/0?password=y")
    'redis://***@host/0?password=***'
    """
    text = re.sub(r"://\S*@", "://***@", text)
    return re.sub(r"((?:password|username)=)[^&\s]*", r"\1***", text)
