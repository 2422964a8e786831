"""The record's way to Redis, on a thread of its own: whatever lies beyond Redis's head, in order.

Crash, outage and loss are one case, "publish from the head"; a signal is PUBLISHed once, however often sent.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Final

from redis import Redis, RedisError

from dataflows.connectors.redis import hide, open_client, redact
from dataflows.connectors.shown import Shown
from dataflows.connectors.signal_log import SignalLog
from engine.errors import EngineError, SourceError, StorageError
from engine.records import Price, Status

if TYPE_CHECKING:  # the record's sink owns a publisher
    from dataflows.connectors.record import Record

log = logging.getLogger(__name__)

TIDY: Final = 5.0
"""Seconds between two checkpoints of the record's file."""


class Publisher:
    """Sends a record to Redis and shows prices and status there; never more than one per record.

    `locate` answers Redis's URL at every connect. `timeout` is in seconds of one command, `every` in seconds
    between two looks when nobody calls, `backoff` the first and the longest wait in seconds after a fault.
    """

    def __init__(
        self,
        record: Record,
        locate: Callable[[], str],
        *,
        prefix: str = "",
        log_length: int = 20_000,
        timeout: float = 2.0,
        every: float = 0.25,
        backoff: tuple[float, float] = (0.1, 2.0),
    ) -> None:
        self.record = record
        self.locate = locate
        self.timeout = timeout
        self.every = every
        self.backoff = backoff
        self.fault: str | None = None
        self.shown = Shown(prefix, self._finish)
        self.logs = SignalLog(record, prefix, log_length)
        self._url = ""
        self._tidied = time.monotonic()
        self._client: Redis | None = None
        self._call = threading.Event()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="publisher", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def wake(self) -> None:
        """Say that the record has grown."""
        self._call.set()

    def show(self, records: Iterable[Price | Status]) -> None:
        """Show the newest of each symbol and topic as soon as Redis is there; never waits for it."""
        if self._thread.ident is not None and not self._thread.is_alive():
            raise SourceError("the publisher's thread has ended; nothing reaches Redis any more")
        if self.shown.put(records):
            self._call.set()

    def stats(self) -> dict[str, Any]:
        """How far publishing is: the record's last number, how many lines wait, and what is wrong."""
        head = self.record.head()
        return {
            "head": head,
            "waiting": head - self.logs.sent,
            "conflicts": self.record.conflicts,
            "fault": self.fault,
        }

    def close(self, patience: float = 5.0) -> None:
        """Send what waits if Redis takes it within `patience` seconds; the next start sends the rest."""
        self._stop.set()
        self._call.set()
        if self._thread.is_alive():
            self._thread.join(patience)

    def _run(self) -> None:
        self.record.database.relax()
        wait = 0.0
        while True:
            # Read before the work, so that what came until close() was called still goes out.
            last = self._stop.is_set()
            try:
                self._turn()
                wait = 0.0
            except (RedisError, OSError, EngineError) as error:
                self._away(error)
                wait = min(max(wait * 2, self.backoff[0]), self.backoff[1])
            self._tidy()
            if last:
                self._disconnect()
                return
            if wait:
                self._stop.wait(wait)
            else:
                self._call.wait(self.every)
                self._call.clear()

    def _turn(self) -> None:
        """Send everything there is to send; what is wrong with the logs does not hide the status."""
        client = self._client or self._connect()
        try:
            self.logs.send(client)
            fault = None
        except SourceError as error:
            fault = str(error)
        self._note(fault)
        self.shown.send(client)

    def _tidy(self) -> None:
        """Do the record's slow writing here, so that no commit on the worker has to."""
        if time.monotonic() - self._tidied > TIDY:
            self._tidied = time.monotonic()
            try:
                self.record.database.checkpoint()
            except StorageError as error:
                log.warning("%s", error)

    def _connect(self) -> Redis:
        self._url = self.locate()
        self._client = open_client(self._url, self.timeout)
        return self._client

    def _away(self, error: Exception) -> None:
        self._disconnect()
        where = "" if isinstance(error, EngineError) else f"Redis at {redact(self._url)}: "
        self._note(where + hide(str(error), self._url))

    def _disconnect(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            client.close()

    def _note(self, fault: str | None) -> None:
        if fault != self.fault:
            if fault is None:
                log.info("publishing again, all sent up to line %d", self.logs.sent)
            else:
                log.warning("not publishing: %s", fault)
        self.fault = fault

    def _finish(self, body: dict[str, Any]) -> dict[str, Any]:
        """What only the publisher knows, said in the status of the whole."""
        stats = self.stats()
        faults = [*body.get("faults", ()), *([stats["fault"]] if stats["fault"] else ())]
        if stats["conflicts"]:
            faults.append(f"{stats['conflicts']} replayed signals or outcomes differ from the record")
        return {**body, "faults": faults, "record": stats}
