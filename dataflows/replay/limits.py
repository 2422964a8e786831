"""The exchange's limits: request weight, other pools, bans, WebSocket messages and connects.

All of them run on wall time, whatever the speed of the exchange's clock.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Self

from dataflows.replay.instruments import Market


@dataclass(frozen=True, slots=True)
class Limits:
    """What one client address may do; seconds are wall seconds.

    `patience` requests after a 429 of the same minute turn it into a ban of `ban` seconds, doubled each time
    up to three days. `window` is how many frames a client may be behind at full speed.
    """

    weight: int = 6000
    raw_requests: int = 300_000
    statistics: int = 1000
    funding: int = 500
    patience: int = 5
    ban: float = 120.0
    messages: int = 5
    streams: int = 1024
    connects: int = 300
    ping_every: float = 20.0
    pong_within: float = 60.0
    life: float = 86_400.0
    window: int = 64

    @classmethod
    def of(cls, market: Market) -> Self:
        """The exchange's own figures."""
        if market == "spot":
            return cls()
        return cls(weight=2400, messages=10, ping_every=180.0, pong_within=600.0)


@dataclass(slots=True)
class Pool:
    """So much per fixed window of wall time, which begins on a multiple of its length.

    >>> pool = Pool(limit=3, seconds=60)
    >>> [pool.spend(2, 61.0), pool.spend(2, 62.0), pool.spend(2, 120.0)]
    [True, False, True]
    """

    limit: int
    seconds: int
    used: int = 0
    _window: int = -1

    def spend(self, amount: int, wall: float) -> bool:
        """Count `amount`; whether it still fits. What does not fit is counted too."""
        self.used = self.spent(wall) + amount
        return self.used <= self.limit

    def spent(self, wall: float) -> int:
        window = int(wall // self.seconds)
        if window != self._window:
            self._window, self.used = window, 0
        return self.used

    def ends_in(self, wall: float) -> int:
        """Whole seconds until the next window, at least 1."""
        return max(1, int(self.seconds - wall % self.seconds))


@dataclass(frozen=True, slots=True)
class Denial:
    """A request that is not answered: `status` 429 or 418, and the seconds of its Retry-After."""

    status: int
    retry_after: int
    text: str


@dataclass(slots=True)
class Meter:
    """Weights and bans of the one address that reaches a loopback exchange."""

    limits: Limits
    bans: int = 0
    _ignored: int = 0
    _banned_until: float = 0.0
    _limited_until: float = 0.0
    _pools: dict[str, Pool] = field(default_factory=dict)

    def __post_init__(self) -> None:
        limits = self.limits
        self._pools = {
            "weight": Pool(limits.weight, 60),
            "raw": Pool(limits.raw_requests, 300),
            "statistics": Pool(limits.statistics, 300),
            "funding": Pool(limits.funding, 300),
        }

    def used(self, wall: float) -> int:
        """Weight used in the running minute."""
        return self._pools["weight"].spent(wall)

    def charge(self, pool: str, amount: int, wall: float) -> Denial | None:
        """Count one request; the denial it earns, if any."""
        if wall < self._banned_until:
            return self._denied(418, self._banned_until - wall, wall)
        raw = self._pools["raw"].spend(1, wall)
        if self._pools[pool].spend(amount, wall) and raw:
            return None
        return self._over(self._pools[pool] if raw else self._pools["raw"], wall)

    def _over(self, pool: Pool, wall: float) -> Denial:
        if wall >= self._limited_until:
            self._ignored = 0
        self._ignored += 1
        self._limited_until = wall + pool.ends_in(wall)
        if self._ignored <= self.limits.patience:
            return self._denied(429, pool.ends_in(wall), wall)
        length = min(self.limits.ban * 2**self.bans, 3 * 86_400.0)
        self.bans += 1
        self._banned_until = wall + length
        return self._denied(418, length, wall)

    def _denied(self, status: int, seconds: float, wall: float) -> Denial:
        allowed = f"{self.limits.weight} request weight per 1 MINUTE"
        text = f"Too much request weight used; current limit is {allowed}."
        if status == 418:
            text = f"Way too much request weight used; IP banned until {int((wall + seconds) * 1000)}."
        advice = " Please use WebSocket Streams for live updates to avoid bans."
        return Denial(status, max(1, round(seconds)), text + advice)


@dataclass(slots=True)
class Rate:
    """At most `limit` events in any `seconds` of wall time.

    >>> rate = Rate(limit=2, seconds=1.0)
    >>> [rate.allows(0.0), rate.allows(0.1), rate.allows(0.2), rate.allows(1.05)]
    [True, True, False, True]
    """

    limit: int
    seconds: float
    _times: deque[float] = field(default_factory=deque)

    def allows(self, wall: float) -> bool:
        while self._times and wall - self._times[0] >= self.seconds:
            self._times.popleft()
        if len(self._times) >= self.limit:
            return False
        self._times.append(wall)
        return True
