"""Every signal and outcome ever said, once, in order, each chained to the one before; one process writes it.

Nothing in it is changed or removed: what a replay says differently is counted, named, and not believed.
"""

from __future__ import annotations

import logging
import secrets
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, NamedTuple

import orjson
from bytewax.outputs import FixedPartitionedSink, StatefulSinkPartition

from dataflows.connectors.database import Database, Synchronous
from dataflows.connectors.publisher import Publisher
from dataflows.connectors.redis import connect
from engine.ledger import GENESIS, chain
from engine.records import Outcome, Price, Signal, Status
from engine.settings import Settings
from engine.signal_json import canonical, publish_bytes

log = logging.getLogger(__name__)

Kind = Literal["signal", "outcome"]
VERSION: Final = "record 1"
COLUMNS: Final = "seq, kind, id, symbol, time, body, prev, hash"
KNOWN: Final = "SELECT seq, prev, hash FROM record WHERE kind = ? AND id = ?"
SCHEMA: Final = """
CREATE TABLE record (
    seq INTEGER PRIMARY KEY,
    kind TEXT NOT NULL CHECK (kind IN ('signal', 'outcome')),
    id TEXT NOT NULL,
    symbol TEXT NOT NULL,
    time INTEGER NOT NULL,
    body BLOB NOT NULL,
    prev TEXT NOT NULL,
    hash TEXT NOT NULL,
    UNIQUE (kind, id)
) STRICT;
CREATE INDEX of_kind ON record (kind, seq);
CREATE INDEX of_symbol ON record (symbol, kind, seq)
"""


class Row(NamedTuple):
    """One line of the record; `body` is the published JSON, `hash` = chain(`prev`, its canonical bytes)."""

    seq: int
    kind: Kind
    id: str
    symbol: str
    time: int
    body: bytes
    prev: str
    hash: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """What walking the chain found: `rows` good ones up to `hash`, then the `fault`, if there is one."""

    rows: int
    hash: str
    fault: str | None = None


def wall_ms() -> int:
    """Now by this machine's clock, ms UTC."""
    return time.time_ns() // 1_000_000


class Record:
    """The record in `folder`/record.db.

    `now` gives a line's `published_at` (ms UTC); the other knobs are the database's. A `readonly` record may
    be read beside the engine that writes it. Raises `StorageError` naming the file and what SQLite said.
    """

    def __init__(
        self,
        folder: Path | str,
        *,
        synchronous: Synchronous = "FULL",
        readonly: bool = False,
        patience: float = 5.0,
        now: Callable[[], int] = wall_ms,
    ) -> None:
        self.database = Database(
            Path(folder) / "record.db",
            SCHEMA,
            VERSION,
            synchronous=synchronous,
            readonly=readonly,
            patience=patience,
        )
        self.now = now
        self.conflicts = 0
        if not readonly and self.database.meta("id") is None:
            self._put("id", secrets.token_hex(8))

    @property
    def id(self) -> str:
        """What tells this record from any other, a deleted and restarted one included."""
        return self.database.meta("id") or ""

    def commit(self, items: Sequence[Signal | Outcome]) -> list[int]:
        """Write in one transaction what is not there yet; the number of every item, in order.

        An item that is there with other canonical bytes keeps its first ones and counts as a conflict.
        """
        if not items:
            return []
        at = self.now()
        with self.database.transaction("commit") as connection:
            last = connection.execute("SELECT seq, hash FROM record ORDER BY seq DESC LIMIT 1").fetchone()
            head, link = last or (0, GENESIS)
            numbers = []
            for item in items:
                known = connection.execute(KNOWN, (kind_of(item), item.id)).fetchone()
                if known is not None:
                    self._compare(item, *known)
                    numbers.append(known[0])
                    continue
                row = line(item, head + 1, link, at)
                connection.execute("INSERT INTO record VALUES (?, ?, ?, ?, ?, ?, ?, ?)", row)
                head, link = row.seq, row.hash
                numbers.append(head)
        return numbers

    def _compare(self, item: Signal | Outcome, seq: int, prev: str, kept: str) -> None:
        """Notice a replay that says something else than was said the first time."""
        found = chain(prev, canonical(item))
        if found != kept:
            self.conflicts += 1
            log.error(
                "%s: a replay says something else of %s %s (%s at %d), line %d: kept %s, refused %s",
                self.database.path, kind_of(item), item.id, item.symbol, item.time, seq, kept, found,
            )  # fmt: skip

    def rows(self, after: int, limit: int = 1_000) -> list[Row]:
        """At most `limit` lines numbered above `after`, in order."""
        query = f"SELECT {COLUMNS} FROM record WHERE seq > ? ORDER BY seq LIMIT ?"
        return [Row(*row) for row in self.database.rows(query, after, limit)]

    def head(self) -> int:
        """The last number given; 0 before the first."""
        return self.database.value("SELECT max(seq) FROM record") or 0

    def following(self, kind: Kind, after: int) -> int | None:
        """The first number above `after` that is a `kind`."""
        found: int | None = self.database.value(
            "SELECT min(seq) FROM record WHERE kind = ? AND seq > ?", kind, after
        )
        return found

    def behind(self, kind: Kind, count: int) -> int:
        """The number behind which the newest `count` of a `kind` lie; 0 where there are not so many."""
        found: int | None = self.database.value(
            "SELECT seq FROM record WHERE kind = ? ORDER BY seq DESC LIMIT 1 OFFSET ?", kind, count
        )
        return found or 0

    @property
    def published(self) -> int:
        """Up to here every signal has been PUBLISHed, and will not be again."""
        return int(self.database.meta("published") or 0)

    def mark_published(self, seq: int) -> None:
        """Remember that the signals up to `seq` went out; losing this costs a repeated PUBLISH at worst."""
        self._put("published", str(seq))

    def verify(self) -> Verdict:
        """Walk the chain from its first line and name the first one that is not what was written."""
        seq, link = 0, GENESIS
        for row in self._all():
            fault = fault_of(row, seq + 1, link)
            if fault is not None:
                return Verdict(seq, link, f"{self.database.path}: line {row.seq}: {fault}")
            seq, link = row.seq, row.hash
        return Verdict(seq, link)

    def close(self) -> None:
        """Close the file; another process may write it now."""
        self.database.close()

    def _all(self) -> Iterator[Row]:
        after = 0
        while rows := self.rows(after):
            yield from rows
            after = rows[-1].seq

    def _put(self, key: str, value: str) -> None:
        with self.database.transaction("mark") as connection:
            connection.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (key, value))


def kind_of(item: Signal | Outcome) -> Kind:
    return "signal" if isinstance(item, Signal) else "outcome"


def line(item: Signal | Outcome, seq: int, prev: str, at: int) -> Row:
    """The line that records `item` behind the one whose hash is `prev`."""
    link = chain(prev, canonical(item))
    return Row(seq, kind_of(item), item.id, item.symbol, item.time, publish_bytes(item, seq, at), prev, link)


def fault_of(row: Row, seq: int, link: str) -> str | None:
    """What is wrong with a line that should be number `seq` behind `link`."""
    if row.seq != seq:
        return f"line {seq} is missing"
    if row.prev != link:
        return f"it follows {row.prev}, the line before is {link}"
    try:
        body = orjson.loads(row.body)
        said = tuple(body[name] for name in ("seq", "id", "symbol", "time"))
        link = chain(row.prev, canonical(body))
    except (ValueError, TypeError, KeyError) as error:
        return f"its body cannot be read: {error!r}"
    if said != (row.seq, row.id, row.symbol, row.time):
        return f"its body is of {said}, its columns of {(row.seq, row.id, row.symbol, row.time)}"
    return None if link == row.hash else f"its hash was {row.hash}, its body gives {link}"


class RecordPartition(StatefulSinkPartition[Signal | Outcome | Price | Status, None]):
    """The one writer: commits on the worker, leaves Redis to the publisher's thread."""

    def __init__(self, record: Record, publisher: Publisher) -> None:
        self.record = record
        self.publisher = publisher
        record.database.checkpoint_elsewhere()
        publisher.start()

    def write_batch(self, values: list[Signal | Outcome | Price | Status]) -> None:
        said = [value for value in values if isinstance(value, Signal | Outcome)]
        if said:
            self.record.commit(said)
            self.publisher.wake()
        self.publisher.show([value for value in values if isinstance(value, Price | Status)])

    def snapshot(self) -> None:
        """Nothing: the record itself is what a restart resumes from."""

    def close(self) -> None:
        self.publisher.close()
        self.record.close()


class RecordSink(FixedPartitionedSink[Signal | Outcome | Price | Status, None]):
    """Writes the record in `storage.folder` and publishes it; its one partition is the `primary` process's.

    `synchronous` is the record's.
    """

    def __init__(
        self, settings: Settings, *, primary: bool = True, synchronous: Synchronous = "FULL"
    ) -> None:
        self.settings = settings
        self.primary = primary
        self.synchronous = synchronous

    def list_parts(self) -> list[str]:
        return ["record"] if self.primary else []

    def part_fn(self, item_key: str) -> int:
        return 0

    def build_part(self, step_id: str, for_part: str, resume_state: None) -> RecordPartition:
        folder, redis = self.settings.storage.folder, self.settings.redis
        url = redis.url.get_secret_value() if redis.url else None
        record = Record(folder, synchronous=self.synchronous)
        publisher = Publisher(
            record, lambda: connect(url, folder).url, prefix=redis.prefix, log_length=redis.log_length
        )
        return RecordPartition(record, publisher)
