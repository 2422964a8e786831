"""The one task that reads Redis: what was published goes to the board and to the hub, once and in order.

A lost Redis is normal: it asks again until there is one, and goes on where it was.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from time import monotonic, time
from typing import Any, Final, cast

import orjson
from redis.asyncio import Redis
from redis.exceptions import ResponseError

from api.board import KINDS, Board, Entry, Kind, Statuses
from api.link import connected, find
from api.stream import Hub
from engine.errors import SourceError

logger = logging.getLogger("api.reader")

STREAMS: Final[Mapping[Kind, str]] = {"signal": "signals:log", "outcome": "outcomes:log"}
BATCH: Final = 500
"""Entries of each log read at once."""
WAIT: Final = 0.5
"""Seconds a read waits for news, and between two looks at the statuses."""
BACKOFF: Final = (0.05, 1.0)
"""Seconds until Redis is asked again: at first, and at most."""

Raw = tuple[bytes, Mapping[bytes, bytes]]


class Reader:
    """Follows both logs and the statuses of one engine.

    `url` None = the embedded Redis of `folder`; `prefix` stands before every key, and the publisher keeps
    at least `log_length` entries in each log.
    """

    def __init__(
        self,
        board: Board,
        hub: Hub,
        *,
        folder: Path,
        url: str | None = None,
        prefix: str = "",
        log_length: int = 20_000,
    ) -> None:
        self.board = board
        self.hub = hub
        self.url = url
        self.folder = folder
        self.prefix = prefix
        self.log_length = log_length
        self.connects = 0
        self.last: dict[Kind, int] = dict.fromkeys(KINDS, 0)
        self.next_look = 0.0

    async def run(self) -> None:
        """Read until cancelled."""
        delay = BACKOFF[0]
        while True:
            reached = monotonic()
            try:
                await self.follow()
            except SourceError as fault:
                self.lost(str(fault))
            except Exception as fault:
                # A reader that ends would leave a relay that only looks alive.
                logger.exception("the reader failed and starts again")
                self.lost(f"the reader failed ({type(fault).__name__})")
            if monotonic() - reached > BACKOFF[1]:
                delay = BACKOFF[0]
            await asyncio.sleep(delay)
            delay = min(delay * 2, BACKOFF[1])

    async def follow(self) -> None:
        """One connection's life; ends only by raising `SourceError`."""
        address = find(self.url, self.folder)
        async with connected(address) as redis:
            await redis.ping()
            self.found(address.kind)
            await self.look(redis)
            while True:
                await self.read(redis)
                if monotonic() >= self.next_look:
                    await self.look(redis)

    def found(self, kind: str) -> None:
        self.connects += 1
        self.board.redis, self.board.redis_kind, self.board.redis_fault = "up", kind, None
        logger.info("Redis is there (%s)", kind)
        self.hub.tell({"type": "status", "redis": "up"})

    def lost(self, fault: str) -> None:
        if self.board.redis == "up":
            logger.warning("Redis is lost: %s", fault)
            self.hub.tell({"type": "status", "redis": "down"})
        self.board.redis, self.board.redis_fault = "down", fault

    async def look(self, redis: Redis) -> None:
        """Read the statuses, and whether the logs are still the ones we know; load them if not."""
        self.next_look = monotonic() + WAIT
        newest = self.board.logs["signal"].last
        statuses, same, end, begin = await self.ask(redis, newest.seq if newest else 0)
        self.board.learn(statuses)
        if not self.board.loaded:
            await self.load(redis)
        elif newest and another_record(newest, readable("signal", [*same, *end])[0]):
            logger.warning("Redis holds another record: starting over")
            self.board.forget()
            await self.load(redis)
            self.hub.start_over()
        elif newest and begin and not same:
            self.skip(newest.seq, number_of(begin[0]))

    async def ask(self, redis: Redis, number: int) -> tuple[Statuses, list[Raw], list[Raw], list[Raw]]:
        """The statuses, and of the signals' log entry `number`, the last and the first, as of one instant."""
        log = self.prefix + STREAMS["signal"]
        pipe = redis.pipeline(transaction=True)
        pipe.get(self.prefix + "heartbeat")
        for topic in ("serving", "streams", "providers", "models"):
            pipe.hget(f"{self.prefix}status:{topic}", "json")
        pipe.xrange(log, f"{number}-0", f"{number}-0")
        pipe.xrevrange(log, count=1)
        pipe.xrange(log, count=1)
        heartbeat, serving, streams, providers, models, same, end, begin = await pipe.execute()
        statuses = Statuses(
            read_at=int(time() * 1000),
            heartbeat=whole(heartbeat),
            serving=mapping(serving),
            streams=mapping(streams),
            providers=mapping(providers),
            models=mapping(models),
        )
        return statuses, same, end, begin

    def skip(self, known: int, first: int) -> None:
        """Redis forgot entries before we read them: say so once, then go on."""
        if first > known + 1 and first - 1 > self.board.logs["signal"].complete_after:
            self.board.logs["signal"].complete_after = first - 1
            self.hub.tell({"type": "gap", "from": known + 1, "to": first - 1})

    async def load(self, redis: Redis) -> None:
        """The newest signals and the tail of both logs, as of one instant, then everyone's first snapshot."""
        count = self.board.resume + 1
        pipe = redis.pipeline(transaction=True)
        pipe.hgetall(self.prefix + "signals:latest")
        for kind in KINDS:
            pipe.xrevrange(self.prefix + STREAMS[kind], count=count)
        latest, *tails = await pipe.execute()
        for signal in self.parse("signal", [(b"", {b"json": raw}) for raw in latest.values()]):
            self.board.keep(signal)
            self.board.head = max(self.board.head, signal.seq)
        for kind, tail in zip(KINDS, tails, strict=True):
            self.fill(kind, tail[::-1], complete=await self.never_cut(redis, kind))
        self.board.loaded = True
        self.hub.welcome_all()

    async def never_cut(self, redis: Redis, kind: Kind) -> bool:
        """Whether Redis' log holds everything of its kind since the record's beginning."""
        with suppress(ResponseError):  # there is no log yet
            about = await redis.xinfo_stream(self.prefix + STREAMS[kind])
            return bool(about["length"] == about["entries-added"] and about["length"] < self.log_length)
        return True

    def fill(self, kind: Kind, tail: Sequence[Raw], *, complete: bool) -> None:
        self.last[kind] = number_of(tail[-1]) if tail else 0
        if tail and not complete:
            self.board.logs[kind].complete_after = number_of(tail[0]) - 1
        for entry in self.parse(kind, tail):
            self.board.add(entry)

    async def read(self, redis: Redis) -> None:
        """Wait for news of either log and hand them on in the order of their numbers."""
        ids = {self.prefix + STREAMS[kind]: f"{self.last[kind]}-0" for kind in KINDS}
        answer: Any = await redis.xread(cast(Any, ids), count=BATCH, block=int(WAIT * 1000))
        found: dict[str, list[Raw]] = {name.decode(): entries for name, entries in answer}
        batches = {kind: found.get(self.prefix + STREAMS[kind], []) for kind in KINDS}
        entries = []
        for kind, batch in within_reach(batches).items():
            if batch:
                self.last[kind] = number_of(batch[-1])
                entries += self.parse(kind, batch)
        for entry in sorted(entries, key=lambda entry: entry.seq):
            self.board.add(entry)
            self.hub.publish(entry)

    def parse(self, kind: Kind, batch: Sequence[Raw]) -> list[Entry]:
        """Those that can be used; the others are counted, named in the log and left out."""
        entries, faults = readable(kind, batch)
        self.board.corrupt += len(faults)
        for fault in faults:
            logger.warning("%s: left out: %s", STREAMS[kind], fault)
        return entries


def readable(kind: Kind, batch: Sequence[Raw]) -> tuple[list[Entry], list[str]]:
    """The entries of a batch, and what is wrong with those that are none."""
    entries, faults = [], []
    for name, fields in batch:
        try:
            number = int(name.partition(b"-")[0]) if name else None
            entries.append(Entry.read(kind, fields.get(b"json", b""), number))
        except ValueError as fault:
            faults.append(f"entry {name.decode() or '(newest of a symbol)'}: {fault}")
    return entries, faults


def number_of(raw: Raw) -> int:
    return int(raw[0].partition(b"-")[0])


def within_reach(batches: Mapping[Kind, list[Raw]]) -> dict[Kind, list[Raw]]:
    """Leave for the next read what lies beyond the end of a batch that was cut short.

    Otherwise outcomes could run ahead of signals, and a client that resumes from one would miss the other.
    """
    ends = [number_of(batch[-1]) for batch in batches.values() if len(batch) == BATCH]
    reach = min(ends, default=None)
    return {
        kind: [raw for raw in batch if reach is None or number_of(raw) <= reach]
        for kind, batch in batches.items()
    }


def another_record(newest: Entry, found: Sequence[Entry]) -> bool:
    """Whether Redis holds a different history than the one `newest` belongs to.

    Either its number is another signal now, or the log ends before it with something committed later;
    a Redis that is being filled again ends before it too, but with older commits.
    """
    return any(entry.id != newest.id if entry.seq == newest.seq else before(entry, newest) for entry in found)


def before(entry: Entry, newest: Entry) -> bool:
    return entry.seq < newest.seq and entry.published_at > newest.published_at


def whole(raw: bytes | None) -> int | None:
    try:
        return None if raw is None else int(float(raw))
    except (ValueError, OverflowError):
        return None


def mapping(raw: bytes | None) -> Mapping[str, Any] | None:
    """A status as it was written; one that is not a JSON object counts as not there."""
    try:
        found = orjson.loads(raw or b"null")
    except ValueError:
        return None
    return found if isinstance(found, dict) else None
