"""Where answers become headlines: read off the loop, each story told once, whoever tells it.

One thread does all of it, in turn: the stories it remembers need no lock, and a feed that is slow to read
takes none of the loop's time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final, Literal, Protocol, Self

from engine.news.feeds import Entry, entries
from engine.news.headlines import headline
from engine.news.stories import Stories
from engine.records import Frozen, Headline

HOUR: Final = 3_600_000

REMEMBERED: Final = 72.0
"""Hours a story is remembered after it was last told, at least."""

Known = Callable[[], Iterable[Headline]]
"""The headlines that have been handed on already, oldest first; asked once a run, off the loop."""


class Telling(Protocol):
    """Who tells an entry: the feed's name, how far it is believed, and its kind."""

    @property
    def name(self) -> str: ...
    @property
    def weight(self) -> float: ...
    @property
    def kind(self) -> Literal["news", "social"]: ...


@dataclass(frozen=True, slots=True)
class Found(Frozen):
    """What one answer came to: the new headlines, how many items it had, and the date of the newest.

    `newest` is in ms UTC of the stream, None where nothing tells.
    """

    headlines: tuple[Headline, ...]
    items: int
    newest: int | None


class Desk:
    """Reads answers and remembers stories; in use between `async with`.

    Parameters
    ----------
    known
        What was handed on before, so that a restart repeats nothing.
    window
        Hours after which an item is too old to be handed on.
    """

    def __init__(self, known: Known, window: float) -> None:
        self._known = known
        self._window = int(window * HOUR)
        # What is still within the window must still be remembered.
        self._hours = max(REMEMBERED, 1.5 * window)
        self._stories = Stories(hours=self._hours)
        self._undated: dict[str, frozenset[str]] = {}
        self._thread = ThreadPoolExecutor(1, "news")

    async def __aenter__(self) -> Self:
        self._thread = ThreadPoolExecutor(1, "news")
        await asyncio.get_running_loop().run_in_executor(self._thread, self._remember)
        return self

    async def __aexit__(self, *error: object) -> None:
        # Nobody waits for what is being read; its headlines would not be handed on any more.
        self._thread.shutdown(wait=False, cancel_futures=True)

    async def read(self, body: bytes, content_type: str, by: Telling, now: int) -> Found:
        """The stories of an answer heard at `now` that are new and not older than the window.

        An item without a date counts where the feed's answer before did not have it: else it may be of any
        age.
        Raises `Unreadable` for what is no feed.
        """
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._thread, self._read, body, content_type, by, now)

    def _remember(self) -> None:
        self._stories = Stories(hours=self._hours)
        for one in self._known():
            self._stories.place(Entry(one.title, one.url), one.time)

    def _read(self, body: bytes, content_type: str, by: Telling, now: int) -> Found:
        told = entries(body, now, content_type)
        before = self._undated.get(by.name)
        self._undated[by.name] = frozenset(entry.title for entry in told if entry.published is None)
        coming = (entry for entry in told if entry.published is not None or appeared(entry, before))
        fresh = [one for entry in oldest_first(coming) if (one := self._new(entry, by, now)) is not None]
        dates = [entry.published for entry in told if entry.published is not None]
        dates += [now for one in fresh if not one.dated]
        return Found(tuple(fresh), len(told), max(dates, default=None))

    def _new(self, entry: Entry, by: Telling, now: int) -> Headline | None:
        """The headline of a story that nobody has told before, and that is not too old to be told."""
        at = heard(entry, now)
        story = self._stories.place(entry, at)
        if not story.new or at < now - self._window:
            return None
        return headline(entry, by.name, by.weight, by.kind, story.id, now)


def appeared(entry: Entry, before: frozenset[str] | None) -> bool:
    """Whether an item without a date is new since the feed's answer `before`, None = there was none."""
    return before is not None and entry.title not in before


def heard(entry: Entry, now: int) -> int:
    """When a story was told, for comparing it with others.

    Its own date, not the poll's: after a restart old items must find the stories they were part of.
    """
    return now if entry.published is None else min(entry.published, now)


def oldest_first(told: Iterable[Entry]) -> Sequence[Entry]:
    """Items by their dates, those without one last; of one date those listed last are older."""
    upwards = list(told)[::-1]
    return sorted(upwards, key=lambda entry: (entry.published is None, entry.published or 0))
