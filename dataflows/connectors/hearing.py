"""What sources beside the candles need of the feed: the time, and a way into the journal.

What they hand on is stamped with the stream time at which it was: what was known when is never in doubt.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any, Final, Protocol

from dataflows.connectors.binance.outbox import Outbox
from dataflows.connectors.clock import StreamClock
from engine.errors import StorageError
from engine.records import Headline, Metric

log = logging.getLogger(__name__)

BREATH: Final = 0.02
"""Wall seconds between two looks at whether the time is known."""

AGAIN: Final = 60.0
"""Wall seconds until a source that failed in a way nobody foresaw is started anew."""


class Hearing:
    """The way of metrics and headlines into the record stream.

    `heard` answers the largest exchange event time handed on, ms UTC; 0 before the first.
    """

    def __init__(self, clock: StreamClock, outbox: Outbox, heard: Callable[[], int]) -> None:
        self.clock = clock
        self._outbox = outbox
        self._heard = heard

    def now(self) -> int:
        """Stream time, ms UTC."""
        return max(self.clock.now_ms(), self._heard())

    def ready(self) -> bool:
        """Whether the exchange has told the time."""
        return self.clock.ready

    async def ready_wait(self) -> None:
        """Return once it has."""
        while not self.ready():
            await asyncio.sleep(BREATH)

    def hand(self, records: Iterable[Metric | Headline]) -> None:
        """Journal records as learned now, and hand them to the flow behind what was handed on before."""
        now = self.now()
        self._outbox.add([replace(record, learned=now) for record in records])


class Source(Protocol):
    """A source of metrics or headlines that polls or listens for itself."""

    async def run(self, hearing: Hearing) -> None:
        """Go on for ever; whatever the other side does is told in the status and ends nothing."""

    def told(self) -> Mapping[str, Mapping[str, Any]]:
        """How it is, by the names that `/providers/status` shows."""


async def heard(source: Source, hearing: Hearing, again: float = AGAIN) -> None:
    """Run a source for ever: a mistake in one of them must not end the candles.

    Raises `StorageError` only, when the disk that also the journal is on cannot be written.
    """
    while True:
        try:
            await source.run(hearing)
        except StorageError:
            raise
        except Exception as error:  # noqa: BLE001 - whatever it is, signals go on without this source
            # Its words might hold what was asked, and with it a key.
            log.error("%s ended by %s; again in %g s", type(source).__name__, type(error).__name__, again)
        await asyncio.sleep(again)
