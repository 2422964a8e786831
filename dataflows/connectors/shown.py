"""What people look at and no signal depends on: prices, status, heartbeat; the newest of each, never a queue.

Each carries when the flow let it pass, so that a standing flow cannot look alive.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping
from itertools import chain
from typing import Any, Final

import orjson
from redis import Redis, RedisError

from engine.records import Price, Status

STATUS_TTL: Final = 30
HEARTBEAT_TTL: Final = 15
"""Seconds after which Redis forgets what nobody renews."""


class Shown:
    """The newest price of each symbol and the newest status of each topic, until they are in Redis.

    `finish` may complete the body of `status:serving` just before it is sent.
    """

    def __init__(self, prefix: str, finish: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
        self.prefix = prefix
        self.finish = finish
        self._lock = threading.Lock()
        self._prices: dict[str, Price] = {}
        self._status: dict[str, tuple[int, Status]] = {}

    def put(self, records: Iterable[Price | Status]) -> bool:
        """Take records from any thread; True if a status was among them."""
        now = time.time_ns() // 1_000_000
        urgent = False
        with self._lock:
            for record in records:
                if isinstance(record, Price):
                    self._prices[record.symbol] = record
                else:
                    encode(record.body)  # what is no JSON fails here, where it came from
                    self._status[record.topic] = now, record
                    urgent = True
        return urgent

    def send(self, client: Redis) -> None:
        """Write everything in one round trip; on a fault it stays, unless a newer one came meanwhile."""
        with self._lock:
            prices, self._prices = self._prices, {}
            status, self._status = self._status, {}
        if not prices and not status:
            return
        try:
            self._write(client, prices, status)
        except (RedisError, OSError):
            with self._lock:
                self._prices = prices | self._prices
                self._status = status | self._status
            raise

    def _write(self, client: Redis, prices: dict[str, Price], status: dict[str, tuple[int, Status]]) -> None:
        pipe = client.pipeline(transaction=False)
        if prices:
            bodies = ((name, orjson.dumps({"price": p.price, "time": p.time})) for name, p in prices.items())
            pipe.hset(self.prefix + "prices", items=list(chain.from_iterable(bodies)))
        for topic, (passed, record) in status.items():
            key = f"{self.prefix}status:{topic}"
            body: dict[str, Any] = {**record.body, "written_at": passed}
            if topic == "serving":
                body = self.finish(body)
            pipe.hset(key, "json", encode(body))
            pipe.expire(key, STATUS_TTL)
            pipe.set(self.prefix + "heartbeat", passed, ex=HEARTBEAT_TTL)
        pipe.execute()


def encode(body: Mapping[str, Any]) -> bytes:
    """A status as JSON; any mapping inside it is an object, a number that is not finite is null."""
    return orjson.dumps(body, default=dict)
