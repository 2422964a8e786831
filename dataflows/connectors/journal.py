"""Everything that came in, numbered in the order it was handed on.

A record is on disk before any worker sees it, so restart, replay and live are one path.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from time import sleep
from typing import Any, Final, cast

import orjson

from dataflows.connectors.database import Database, Synchronous
from engine.errors import CorruptRecord, StorageError
from engine.records import (
    Activation,
    Candle,
    Correction,
    Headline,
    Listing,
    Live,
    Metric,
    Tick,
    Universe,
)

Journaled = Candle | Correction | Tick | Live | Universe | Activation | Metric | Headline
Columns = tuple[int, str, str, int, bytes]  # kind, symbol, interval, time, body

CANDLE, CORRECTION, TICK, LIVE, UNIVERSE, ACTIVATION, METRIC, HEADLINE = 1, 2, 3, 4, 5, 6, 7, 8
COLUMNS: Final = "seq, kind, symbol, interval, time, body"
VERSION: Final = "journal 1"
SCHEMA: Final = """
CREATE TABLE journal (
    seq INTEGER PRIMARY KEY,
    kind INTEGER NOT NULL,
    symbol TEXT NOT NULL,
    interval TEXT NOT NULL,
    time INTEGER NOT NULL,
    body BLOB NOT NULL
) STRICT;
CREATE INDEX candles ON journal (symbol, interval, time) WHERE kind <= 2;
CREATE INDEX marks ON journal (kind, time) WHERE kind > 2
"""


class Journal:
    """The write-ahead journal in `folder`/journal.db; one process writes it, any thread may use it.

    `synchronous` and `patience` (seconds) are the database's; a `readonly` journal needs no lock and may be
    read beside the engine that writes it. Raises `StorageError` naming the file and what SQLite said; after a
    failed append nothing of it is there.
    """

    def __init__(
        self,
        folder: Path | str,
        *,
        synchronous: Synchronous = "FULL",
        readonly: bool = False,
        patience: float = 5.0,
    ) -> None:
        self.database = Database(
            Path(folder) / "journal.db",
            SCHEMA,
            VERSION,
            synchronous=synchronous,
            readonly=readonly,
            patience=patience,
        )

    def append(self, records: Sequence[Journaled]) -> list[int]:
        """Write all of `records` in one transaction; their numbers, gapless and increasing from 1."""
        if not records:
            return []
        rows = [encode(record) for record in records]
        with self.database.transaction("append") as connection:
            (head,) = connection.execute("SELECT max(seq) FROM journal").fetchone()
            numbers = range((head or 0) + 1, (head or 0) + 1 + len(rows))
            connection.executemany(
                "INSERT INTO journal VALUES (?, ?, ?, ?, ?, ?)",
                ((seq, *row) for seq, row in zip(numbers, rows, strict=True)),
            )
        return list(numbers)

    def read(self, after: int, upto: int | None = None, limit: int = 10_000) -> list[tuple[int, Journaled]]:
        """At most `limit` records numbered above `after` and not above `upto`, in order."""
        rows = self.database.rows(
            f"SELECT {COLUMNS} FROM journal WHERE seq > ? AND seq <= ? ORDER BY seq LIMIT ?",
            after,
            1 << 62 if upto is None else upto,
            limit,
        )
        return self._decoded(rows)

    def head(self) -> int:
        """The last number given; 0 before the first."""
        return self.database.value("SELECT max(seq) FROM journal") or 0

    def newest(self, symbol: str, interval: str) -> int | None:
        """When the newest journaled candle of one market closed, ms UTC."""
        found: int | None = self.database.value(
            "SELECT max(time) FROM journal WHERE kind <= 2 AND symbol = ? AND interval = ?", symbol, interval
        )
        return found

    def newest_all(self) -> dict[tuple[str, str], int]:
        """`newest` of every (symbol, interval) there is."""
        rows = self.database.rows(
            "SELECT symbol, interval, max(time) FROM journal WHERE kind <= 2 GROUP BY symbol, interval"
        )
        return {(symbol, interval): time for symbol, interval, time in rows}

    def newest_tick(self) -> int | None:
        """The stream time of the newest Tick, ms UTC."""
        found: int | None = self.database.value(
            "SELECT max(time) FROM journal WHERE kind > 2 AND kind = ?", TICK
        )
        return found

    def last_universe(self) -> Universe | None:
        """Who is expected now."""
        return cast("Universe | None", self._last("kind > 2 AND kind = ?", UNIVERSE))

    def last_activations(self) -> dict[str, Activation]:
        """The newest Activation of each model."""
        rows = self.database.rows(
            f"SELECT {COLUMNS} FROM journal WHERE kind > 2 AND kind = ? ORDER BY seq", ACTIVATION
        )
        found = (cast("Activation", record) for _, record in self._decoded(rows))
        return {activation.model: activation for activation in found}

    def headlines(self) -> list[Headline]:
        """Every headline there is, in the order in which they were learned."""
        rows = self.database.rows(
            f"SELECT {COLUMNS} FROM journal WHERE kind > 2 AND kind = ? ORDER BY seq", HEADLINE
        )
        return [cast("Headline", record) for _, record in self._decoded(rows)]

    def candle(self, symbol: str, interval: str, time: int) -> Candle | None:
        """The candle that closed at `time` as it is known now: with its last Correction, if one came."""
        found = self._last("kind <= 2 AND symbol = ? AND interval = ? AND time = ?", symbol, interval, time)
        return found.candle if isinstance(found, Correction) else cast("Candle | None", found)

    def prune(
        self, before_ms: int, keep_after: int | None = None, *, chunk: int = 1_000, pause: float = 0.005
    ) -> int:
        """Forget what is older than `before_ms`; how many records went.

        Kept whatever their age: everything numbered above `keep_after`, everything from the first Tick at or
        after `before_ms` on, and the newest record of every kind and market, so that no question above
        changes its answer; and of each model the newest old Activation: what is kept begins with it.
        Goes `chunk` records at a time, with a `pause` in seconds between for appends.
        """
        (end,) = self.database.rows(PRUNE_END, TICK, before_ms)[0]
        if keep_after is not None:
            end = min(end, keep_after + 1)
        # Asked once: of a kind that comes by the thousand it would take longer than all the rest.
        kept = orjson.dumps([seq for (seq,) in self.database.rows(NEWEST)]).decode()
        gone = 0
        while True:
            with self.database.transaction("prune") as connection:
                last = connection.execute(PRUNE, (end, before_ms, ACTIVATION, chunk, kept)).rowcount
            gone += last
            if last < chunk:
                return gone
            sleep(pause)

    def close(self) -> None:
        """Close the file; another process may write it now."""
        self.database.close()

    def _last(self, where: str, *values: Any) -> Journaled | None:
        rows = self.database.rows(
            f"SELECT {COLUMNS} FROM journal WHERE {where} ORDER BY seq DESC LIMIT 1",
            *values,
        )
        return self._decoded(rows)[0][1] if rows else None

    def _decoded(self, rows: Iterable[Any]) -> list[tuple[int, Journaled]]:
        out: list[tuple[int, Journaled]] = []
        for seq, kind, symbol, interval, time, body in rows:
            try:
                out.append((seq, DECODE[kind](symbol, interval, time, orjson.loads(body))))
            except (KeyError, TypeError, ValueError, CorruptRecord) as error:
                raise StorageError(f"{self.database.path}: cannot read record {seq}: {error!r}") from error
        return out


# The scan ends at the first Tick that is young enough: behind it nothing is old. Without one it ends before
# the last record, whose number the next one follows.
PRUNE_END: Final = """
SELECT min(coalesce((SELECT min(seq) FROM journal WHERE kind > 2 AND kind = ? AND time >= ?), head), head)
FROM (SELECT coalesce(max(seq), 0) AS head FROM journal)
"""
NEWEST: Final = "SELECT max(seq) FROM journal WHERE kind > 2 GROUP BY kind"
PRUNE: Final = """
DELETE FROM journal WHERE seq IN (
    SELECT seq FROM journal AS old
    WHERE seq < ?1 AND time < ?2
      AND CASE WHEN kind <= 2
          THEN time < (SELECT max(time) FROM journal AS n
                       WHERE n.kind <= 2 AND n.symbol = old.symbol AND n.interval = old.interval)
          WHEN kind = ?3
          THEN seq < (SELECT max(seq) FROM journal AS n
                      WHERE n.kind > 2 AND n.kind = ?3 AND n.symbol = old.symbol
                        AND n.seq < ?1 AND n.time < ?2)
          ELSE seq NOT IN (SELECT value FROM json_each(?5))
          END
    ORDER BY seq LIMIT ?4)
"""


def encode(record: Journaled) -> Columns:
    """A record as its row without the number; floats come back as the same 64 bits."""
    if isinstance(record, Candle):
        return CANDLE, record.symbol, record.interval, record.time, candle_body(record)
    if isinstance(record, Correction):
        return CORRECTION, record.symbol, record.interval, record.time, candle_body(record.candle)
    if isinstance(record, Tick):
        return TICK, "", "", record.time, b"[]"
    if isinstance(record, Live):
        return LIVE, "", "", record.time, orjson.dumps([record.feed])
    if isinstance(record, Universe):
        listings = [
            (one.symbol, one.exchange_symbol, one.asset, one.segment, one.multiplier, one.price_step)
            for one in record.listings
        ]
        return UNIVERSE, "", "", record.time, orjson.dumps(listings)
    if isinstance(record, Activation):
        # A model's name stands where a market's does.
        body = orjson.dumps((record.version, record.serves_from, record.expires))
        return ACTIVATION, record.model, "", record.time, body
    if isinstance(record, Metric):
        # Its time here is when it was learned: what is old is what was learned long ago.
        return METRIC, record.asset, record.name, record.learned, orjson.dumps((record.time, record.value))
    if isinstance(record, Headline):
        return HEADLINE, record.source, "", record.learned, headline_body(record)
    raise StorageError(f"the journal keeps no {type(record).__name__}: {record!r}")


def headline_body(story: Headline) -> bytes:
    """What a headline's row holds beside source and `learned`."""
    return orjson.dumps(
        (
            story.id,
            story.time,
            story.title,
            story.url,
            story.assets,
            story.sentiment,
            story.weight,
            story.kind,
            story.dated,
        )
    )


def candle_body(candle: Candle) -> bytes:
    """What a candle's row holds beside symbol, interval and time."""
    return orjson.dumps(
        (
            candle.open,
            candle.high,
            candle.low,
            candle.close,
            candle.volume,
            candle.quote_volume,
            candle.trades,
            candle.taker_base,
            candle.taker_quote,
        )
    )


def to_correction(symbol: str, interval: str, time: int, body: list[Any]) -> Correction:
    return Correction(symbol, interval, time, Candle(symbol, interval, time, *body))


def to_universe(symbol: str, interval: str, time: int, body: list[list[Any]]) -> Universe:
    return Universe(time, tuple(Listing(*one) for one in body))


def to_metric(asset: str, name: str, learned: int, body: list[Any]) -> Metric:
    return Metric(name, asset, body[0], body[1], learned)


def to_headline(source: str, interval: str, learned: int, body: list[Any]) -> Headline:
    story, time, title, url, assets, sentiment, weight, kind, dated = body
    return Headline(story, source, time, title, url, tuple(assets), sentiment, weight, kind, dated, learned)


DECODE: Final[dict[int, Callable[[str, str, int, Any], Journaled]]] = {
    CANDLE: lambda symbol, interval, time, body: Candle(symbol, interval, time, *body),
    CORRECTION: to_correction,
    TICK: lambda symbol, interval, time, body: Tick(time),
    LIVE: lambda symbol, interval, time, body: Live(time, *body),
    UNIVERSE: to_universe,
    ACTIVATION: lambda symbol, interval, time, body: Activation(time, symbol, *body),
    METRIC: to_metric,
    HEADLINE: to_headline,
}
"""How a row of each kind becomes its record again."""
