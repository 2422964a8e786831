"""What the relay knows: the newest signals, the recent log, the engine's statuses.

Only memory: nothing here asks anyone anything, and a reader of it never waits.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from heapq import merge
from itertools import dropwhile
from typing import Any, Final, Literal, Self

import orjson

from api.facts import items, numbers

Kind = Literal["signal", "outcome"]
KINDS: Final[tuple[Kind, Kind]] = ("signal", "outcome")


@dataclass(frozen=True, slots=True)
class Entry:
    """One published record, already the text that a WebSocket client gets."""

    kind: Kind
    seq: int
    symbol: str
    id: str
    time: int
    published_at: int
    direction: str
    text: str

    @classmethod
    def read(cls, kind: Kind, raw: bytes, seq: int | None = None) -> Self:
        """From the JSON in Redis; `seq` is its entry's number. Raises `ValueError` if it cannot be used.

        >>> raw = b'{"id":"a","symbol":"BTCUSDT","time":1,"seq":7,"published_at":2,"direction":"LONG"}'
        >>> Entry.read("signal", raw).body == raw
        True
        """
        try:
            found = orjson.loads(raw)
            number = int(found["seq"])
            if seq not in (None, number):
                raise ValueError(f"the entry says seq {seq}, its JSON says {number}")
            return cls(
                kind,
                number,
                str(found["symbol"]),
                str(found["id"]),
                int(found["time"]),
                int(found["published_at"]),
                str(found["direction"]),
                f'{{"type":"{kind}",{raw.strip()[1:].decode()}',
            )
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"not a published {kind}: {error!r}") from error

    @property
    def body(self) -> bytes:
        """The JSON as it was published."""
        return b"{" + self.text[len(f'{{"type":"{self.kind}",') :].encode()


class Log:
    """The tail of one of Redis' logs, oldest first.

    `complete_after` is the sequence number after which nothing of this log is missing.
    """

    def __init__(self, length: int = 5000) -> None:
        self.length = length
        self.entries: deque[Entry] = deque()
        self.complete_after = 0

    @property
    def last(self) -> Entry | None:
        return self.entries[-1] if self.entries else None

    def append(self, entry: Entry) -> None:
        self.entries.append(entry)
        if len(self.entries) > self.length:
            self.complete_after = self.entries.popleft().seq

    def after(self, seq: int) -> Iterator[Entry]:
        """Everything newer than `seq`; found from the end, because few ask for much."""
        newer: list[Entry] = []
        for entry in reversed(self.entries):
            if entry.seq <= seq:
                break
            newer.append(entry)
        return reversed(newer)

    def before(self, seq: int | None) -> Iterator[Entry]:
        """Newest first, from below `seq` or from the end."""
        return dropwhile(lambda entry: seq is not None and entry.seq >= seq, reversed(self.entries))


@dataclass(frozen=True, slots=True)
class Statuses:
    """What the engine last said about itself; None where Redis holds nothing. `read_at` is wall ms."""

    read_at: int
    heartbeat: int | None = None
    serving: Mapping[str, Any] | None = None
    streams: Mapping[str, Any] | None = None
    providers: Mapping[str, Any] | None = None
    models: Mapping[str, Any] | None = None


class Board:
    """The newest signal of each symbol, the logs and the statuses of one engine.

    `resume` is how many entries of each log are kept; `symbols` are the configured ones.
    """

    def __init__(self, symbols: Iterable[str] = (), resume: int = 5000) -> None:
        self.configured = tuple(symbols)
        self.resume = resume
        self.statuses: Statuses | None = None
        self.redis = "down"
        self.redis_kind = "unknown"
        self.redis_fault: str | None = "not asked yet"
        self.newest_close = 0
        self.newest_close_seen = 0
        self.corrupt = 0
        self.forget()

    def forget(self) -> None:
        """Start over, as before anything was read."""
        self.loaded = False
        self.head = 0
        self.latest: dict[str, Entry] = {}
        self.logs: dict[Kind, Log] = {kind: Log(self.resume) for kind in KINDS}

    def add(self, entry: Entry) -> None:
        """One new entry; the newest signal of a symbol never goes back in time."""
        self.logs[entry.kind].append(entry)
        self.head = max(self.head, entry.seq)
        if entry.kind == "signal":
            self.keep(entry)

    def keep(self, signal: Entry) -> None:
        known = self.latest.get(signal.symbol)
        if known is None or (known.time, known.seq) < (signal.time, signal.seq):
            self.latest[signal.symbol] = signal

    def learn(self, statuses: Statuses) -> None:
        """Take in new statuses; remembers when the newest close last moved by our own clock."""
        self.statuses = statuses
        newest = max(numbers(self.serving.get("last_close")).values(), default=0)
        if newest != self.newest_close or not self.newest_close_seen:
            self.newest_close, self.newest_close_seen = newest, statuses.read_at

    @property
    def serving(self) -> Mapping[str, Any]:
        """What the engine says of itself; empty if nothing is known."""
        return (self.statuses.serving if self.statuses else None) or {}

    @property
    def streams(self) -> Mapping[str, Any]:
        """What it says of the exchange; empty if nothing is known."""
        return (self.statuses.streams if self.statuses else None) or {}

    @property
    def models(self) -> Mapping[str, Any]:
        """What training says of the models; empty if nothing is known."""
        return (self.statuses.models if self.statuses else None) or {}

    @property
    def symbols(self) -> tuple[str, ...]:
        """Every symbol that a signal may be asked for, the configured ones first."""
        served = map(str, items(self.serving, "symbols"))
        return tuple(dict.fromkeys((*self.configured, *served, *self.latest)))

    def missed(self, since: int, outcomes: bool = False) -> tuple[tuple[int, int] | None, list[Entry]]:
        """What came after `since`, in order, and the span (from, to) of which not everything is held."""
        logs = [self.logs[kind] for kind in KINDS if outcomes or kind == "signal"]
        floor = max(log.complete_after for log in logs)
        gap = (since + 1, floor) if since < floor else None
        found = merge(*(log.after(since) for log in logs), key=lambda entry: entry.seq)
        return gap, list(found)
