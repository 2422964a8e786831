"""What was last answered well, by question: fresh for a while, and still known when newer answers fail.

Ages are in stream time: an accelerated replay wears its answers out faster.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Kept(Generic[T]):
    """One good answer and when it came, ms of stream time."""

    value: T
    at: int

    def age(self, now: int) -> int:
        """Ms since then."""
        return now - self.at


class Cache(Generic[T]):
    """At most `most` answers, the longest kept given up first.

    >>> cache: Cache[str] = Cache()
    >>> cache.keep("nupl", "0.4", at=1_000)
    >>> cache.fresh("nupl", now=1_500, ttl=1_000), cache.fresh("nupl", now=2_000, ttl=1_000)
    (Kept(value='0.4', at=1000), None)
    >>> cache.last("nupl").age(now=9_000)
    8000
    """

    def __init__(self, most: int = 4096) -> None:
        self._most = most
        self._kept: dict[Hashable, Kept[T]] = {}

    def __len__(self) -> int:
        return len(self._kept)

    def keep(self, key: Hashable, value: T, at: int) -> None:
        """Put the newest good answer in the place of the one before."""
        self._kept.pop(key, None)
        self._kept[key] = Kept(value, at)
        if len(self._kept) > self._most:
            del self._kept[next(iter(self._kept))]

    def last(self, key: Hashable) -> Kept[T] | None:
        """The last good answer, however old."""
        return self._kept.get(key)

    def fresh(self, key: Hashable, now: int, ttl: float) -> Kept[T] | None:
        """The last good answer if it is younger than `ttl` ms; one from the future is of another stream."""
        kept = self._kept.get(key)
        return kept if kept and 0 <= kept.age(now) < ttl else None
