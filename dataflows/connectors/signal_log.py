"""The two capped logs in Redis and what hangs on them: newest signals, the channel, and who wrote them.

One script does it all or nothing, and only if Redis stands where we think it does.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, cast

from redis import Redis

from engine.errors import SourceError

if TYPE_CHECKING:  # the record's sink owns the publisher that owns this
    from dataflows.connectors.record import Kind, Record, Row

KINDS: Final[tuple[Kind, Kind]] = ("signal", "outcome")
NAMES: Final = (
    "signals:log",
    "outcomes:log",
    "signals:latest",
    "signals:latest:time",
    "record:head",
    "signals",
)
BATCH: Final = 256
CHECK: Final = 5.0
"""Seconds between two looks whether Redis still has what it was given."""

SEND: Final = """
-- KEYS: signals:log outcomes:log signals:latest signals:latest:time record:head signals
-- ARGV: record id, log length, expected heads of both logs; per line: log, seq, symbol, time, json, publish
-- Answers {1} when all was done, {0, head, head, owner} when nothing was.
local function head(key)
    local info = redis.pcall('XINFO', 'STREAM', key)
    if info.err then return '0' end
    for i = 1, #info, 2 do
        if info[i] == 'last-generated-id' then return string.match(info[i + 1], '^%d+') end
    end
end
local owner = redis.call('HGET', KEYS[5], 'record')
local heads = {head(KEYS[1]), head(KEYS[2])}
if (owner and owner ~= ARGV[1]) or heads[1] ~= ARGV[3] or heads[2] ~= ARGV[4] then
    return {0, heads[1], heads[2], owner or ''}
end
for i = 5, #ARGV, 6 do
    local seq, symbol, time, json = ARGV[i + 1], ARGV[i + 2], ARGV[i + 3], ARGV[i + 4]
    local key = KEYS[tonumber(ARGV[i])]
    redis.call('XADD', key, 'MAXLEN', '~', ARGV[2], seq .. '-0', 'json', json, 'symbol', symbol)
    if ARGV[i] == '1' then
        local newest = redis.call('HGET', KEYS[4], symbol)
        if not newest or tonumber(newest) < tonumber(time) then
            redis.call('HSET', KEYS[4], symbol, time)
            redis.call('HSET', KEYS[3], symbol, json)
        end
        if ARGV[i + 5] == '1' then redis.call('PUBLISH', KEYS[6], json) end
    end
    redis.call('HSET', KEYS[5], 'record', ARGV[1], 'seq', seq)
end
return {1}
"""


@dataclass(slots=True)
class Position:
    """How far Redis is: the last number in each log, and the record's number from which on to send."""

    heads: dict[Kind, int]
    first: dict[Kind, int]
    after: int


class SignalLog:
    """Brings `signals:log`, `outcomes:log` and the rest in Redis up to `record`.

    `prefix` stands before every key, `log_length` entries stay in each log.
    """

    def __init__(self, record: Record, prefix: str, log_length: int) -> None:
        self.record = record
        self.prefix = prefix
        self.log_length = log_length
        self._position: Position | None = None
        self._checked = 0.0

    @property
    def sent(self) -> int:
        """The record's number up to which everything is in Redis, as far as we know."""
        position = self._position
        return position.after if position else min(self.record.head(), self.record.published)

    def send(self, client: Redis) -> None:
        """Send every line Redis lacks, in order.

        Raises `SourceError` if what Redis holds is not a part of this record.
        """
        if time.monotonic() - self._checked > CHECK and not self._still_there(client):
            self._position = None
        for _ in range(3):
            position = self._position or self._ask(client)
            self._position = None
            while rows := self.record.rows(position.after, BATCH):
                if not self._send_rows(client, position, rows):
                    break
            else:
                self._position = position
                return
        raise SourceError("the logs in Redis move while they are written: something else writes them")

    def _send_rows(self, client: Redis, position: Position, rows: list[Row]) -> bool:
        """One call of the script; False, with nothing done, if Redis is not where we thought."""
        published = self.record.published
        due = [row for row in rows if row.seq >= position.first[row.kind]]
        lines: list[str | bytes | int] = []
        for row in due:
            number = KINDS.index(row.kind) + 1
            lines += [number, row.seq, row.symbol, row.time, row.body, int(row.seq > published)]
        if due and self._script(client, *position.heads.values(), *lines)[0] != 1:
            return False
        position.heads |= {row.kind: row.seq for row in due}
        position.after = rows[-1].seq
        if position.after > published:
            self.record.mark_published(position.after)
        return True

    def _still_there(self, client: Redis) -> bool:
        self._checked = time.monotonic()
        position = self._position
        return position is None or self._script(client, *position.heads.values())[0] == 1

    def _ask(self, client: Redis) -> Position:
        """Where Redis is, and so where to go on."""
        # Read first: a line committed during the questions below lies beyond it and is not skipped.
        head = self.record.head()
        _, signals, outcomes, owner = self._script(client, -1, -1)
        heads: dict[Kind, int] = {"signal": int(signals), "outcome": int(outcomes)}
        self._refuse_foreign(max(heads.values()), bytes(owner).decode(), head)
        if max(heads.values()) > self.record.published:
            # Sent and PUBLISHed in one script, but we died before writing it down.
            self.record.mark_published(max(heads.values()))
        # What the logs would not keep is left out, but only if it was said before.
        said = self.record.published
        first = {
            kind: max(heads[kind], min(said, self.record.behind(kind, self.log_length))) + 1 for kind in KINDS
        }
        missing = [self.record.following(kind, first[kind] - 1) or head + 1 for kind in KINDS]
        return Position(heads, first, min(missing) - 1)

    def _refuse_foreign(self, redis_head: int, owner: str, head: int) -> None:
        if owner not in ("", self.record.id) or redis_head > head:
            raise SourceError(
                f"Redis holds {self.prefix}signals:log up to line {redis_head} of record {owner or '?'},"
                f" and this is record {self.record.id} at line {head}: it belongs to another engine or data"
                " folder, so no signal is published; set redis.prefix, or delete its keys"
            )

    def _script(self, client: Redis, *arguments: str | bytes | int) -> list[Any]:
        keys = [self.prefix + name for name in NAMES]
        answer = client.eval(SEND, len(keys), *keys, self.record.id, self.log_length, *arguments)
        return cast("list[Any]", answer)
