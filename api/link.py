"""Where Redis is, and one connection to it that says at once when it is not there.

The address holds a password: it is read anew for every connection and shown to nobody.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import AuthenticationError, AuthorizationError, RedisError

from engine.errors import SourceError

PATIENCE: Final = 4.0
"""Seconds without an answer after which a connection counts as dead; longer than any wait for news."""


@dataclass(frozen=True, slots=True)
class Address:
    """`kind` is "configured" or what the embedded server's file says."""

    url: str = field(repr=False)
    kind: str


def find(url: str | None, folder: Path) -> Address:
    """The configured Redis, or the embedded one of `folder`. Raises `SourceError` where there is none yet."""
    if url is not None:
        return Address(url, "configured")
    file = folder / "valkey.json"
    try:
        found = json.loads(file.read_bytes())
        return Address(str(found["url"]), str(found.get("kind", "embedded")))
    except FileNotFoundError as error:
        raise SourceError(f"no Redis yet: the engine has not written {file.name}") from error
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise SourceError(f"no Redis: {file.name} cannot be read ({type(error).__name__})") from error


@asynccontextmanager
async def connected(address: Address) -> AsyncIterator[Redis]:
    """A client that retries nothing; every fault of Redis leaves as a `SourceError` without the address."""
    try:
        redis = Redis.from_url(
            address.url,
            socket_timeout=PATIENCE,
            socket_connect_timeout=2.0,
            retry=Retry(NoBackoff(), 0),
            single_connection_client=True,
        )
    except ValueError as error:
        raise SourceError("redis.url cannot be used") from error
    try:
        yield redis
    except (AuthenticationError, AuthorizationError) as error:
        raise SourceError("Redis refused our password") from error
    except (RedisError, OSError, TimeoutError) as error:
        raise SourceError(f"Redis does not answer ({type(error).__name__})") from error
    finally:
        await redis.aclose()
