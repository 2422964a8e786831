"""Which version of each model is to serve: what the shelf's pointer says, on its way into the record stream.

A version that cannot be used is named, and the last good one goes on serving.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from dataflows.connectors.binance.outbox import Outbox
from engine.errors import StorageError
from engine.models.manifest import Manifest
from engine.models.shelf import Shelf
from engine.records import NEVER, Activation
from engine.settings import Settings

EVERY: Final = 1.0
"""Wall seconds between two looks at the pointers."""

AGAIN: Final = 30.0
"""Wall seconds until a version that could not be opened is tried again."""

HOUR: Final = 3_600_000

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Served:
    """A shelf whose current version is to serve.

    Its versions must be of features of this `schema`; they expire `max_age` ms after their data.
    """

    shelf: Shelf
    schema: str
    max_age: int

    @classmethod
    def boosted(cls, settings: Settings, schema: str) -> Served:
        """The boosted models as configured."""
        return cls(Shelf(settings.shelf, "boosted"), schema, max_age(settings))

    def opened(self, version: str) -> Manifest:
        """What a version says of itself once every byte of it was checked. Raises `StorageError`."""
        self.shelf.opened(version, self.schema)
        return self.shelf.manifest(version)


def max_age(settings: Settings) -> int:
    """How old the data of a boosted version may be until it expires, in ms."""
    return round(settings.models.boosted.max_age_hours * HOUR)


def activation(manifest: Manifest, time: int, max_age: int | None) -> Activation:
    """A version may serve moments after `time`; without a `max_age` (ms) it never expires."""
    expires = NEVER if max_age is None else manifest.data_until + max_age
    return Activation(time, manifest.model, manifest.version, manifest.serves_from, expires)


def recorded(shelf: Shelf, max_age: int | None) -> list[Activation]:
    """Every promoted version at the first moment it may serve, as if it had been trained in time.

    The order is the one in which `Shelf.serving` prefers them. Raises `StorageError` for a version that
    cannot be opened: without it the past would look different.
    """
    manifests = [shelf.manifest(version) for version in shelf.versions()]
    promoted = [manifest for manifest in manifests if manifest.promoted]
    for manifest in promoted:
        shelf.opened(manifest.version, manifest.schema)
    promoted.sort(key=lambda manifest: (manifest.serves_from, manifest.version))
    return [activation(manifest, manifest.serves_from - 1, max_age) for manifest in promoted]


class Activations:
    """Watches the pointers of some shelves and hands on an Activation whenever one of them moves.

    `closed` tells the time of the newest decision close that may have been handed on already, ms UTC: a
    version starts behind it, so that no symbol meets it a close earlier than another.
    """

    def __init__(
        self, shelves: Sequence[Served], outbox: Outbox, closed: Callable[[], int], *, every: float = EVERY
    ) -> None:
        self._shelves = {one.shelf.model: one for one in shelves}
        self._outbox = outbox
        self._closed = closed
        self._every = every
        self._opened: dict[str, str] = {}
        self._tried: dict[str, tuple[str, float]] = {}
        self._faults: dict[str, str] = {}
        self._last: dict[str, Activation] = {}

    @property
    def faults(self) -> list[str]:
        """What is wrong with the shelves now, by name."""
        return list(self._faults.values())

    async def begin(self, last: Mapping[str, Activation], time: int) -> list[Activation]:
        """What has changed since the `last` Activation of each model was journaled, to serve after `time`."""
        self._last = dict(last)
        found = [await self._look(one) for one in self._shelves.values()]
        return self._new([manifest for manifest in found if manifest], time)

    async def run(self) -> None:
        """Look until cancelled."""
        while self._shelves:
            await asyncio.sleep(self._every)
            for one in self._shelves.values():
                if (manifest := await self._look(one)) is not None:
                    # Nothing is awaited between the question and the answer: no close comes between.
                    self._outbox.add(self._new([manifest], self._closed()))

    def _new(self, manifests: Sequence[Manifest], time: int) -> list[Activation]:
        """What is to be journaled now that these versions are current."""
        out = []
        for manifest in manifests:
            new = activation(manifest, time, self._shelves[manifest.model].max_age)
            last = self._last.get(new.model)
            if last is None or new != replace(last, time=time):
                self._last[new.model] = new
                out.append(new)
        return out

    async def _look(self, served: Served) -> Manifest | None:
        """The version that has become current, None where nothing changed or it cannot be used."""
        model = served.shelf.model
        version = None
        try:
            version = await asyncio.to_thread(served.shelf.current)
            if version is None or version == self._opened.get(model):
                self._faults.pop(model, None)
                return None
            if not self._due(model, version):
                return None
            manifest = await asyncio.to_thread(served.opened, version)
        except StorageError as error:
            self._fault(model, f"model {error}")
            return await self._instead(served, version)
        self._opened[model] = version
        self._faults.pop(model, None)
        return manifest

    async def _instead(self, served: Served, refused: str | None) -> Manifest | None:
        """The newest good version, where the refused one is the very one that serves."""
        last = self._last.get(served.shelf.model)
        if last is None or last.version != refused:
            return None
        shelved = await asyncio.to_thread(served.shelf.listed, served.schema)
        good = [one.manifest for one in shelved if one.manifest and one.manifest.promoted and not one.fault]
        return good[-1] if good else None

    def _due(self, model: str, version: str) -> bool:
        """Whether a version is to be opened now: one that was refused waits until it is tried again."""
        tried, wall = self._tried.get(model, ("", 0.0))
        if version == tried and time.monotonic() - wall < AGAIN:
            return False
        self._tried[model] = version, time.monotonic()
        return True

    def _fault(self, model: str, text: str) -> None:
        if self._faults.get(model) != text:
            log.warning("%s; the last good version goes on serving", text)
        self._faults[model] = text
