"""One story is told by many feeds, in other words and again at every poll: which one is this, and is it new?

A link seen before is the same story. So is a title of the last day that shares enough of its telling words,
where neither assets, numbers nor direction speak against it. Titles of one site must be nearly equal: a site
repeats its own wording ("Bitcoin and Ethereum Recover, SOL Rallies"), not its stories.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from hashlib import blake2b
from itertools import chain
from typing import Final
from urllib.parse import parse_qsl, urlencode, urlsplit

from engine.news.feeds import Entry
from engine.news.gist import Gist, alike, gist_of
from engine.records import Frozen

HOUR: Final = 3_600_000

TRACKING: Final = ("utm_", "mc_", "at_")
TRACKERS: Final = frozenset(
    {"fbclid", "gclid", "ref", "ref_src", "cmpid", "ncid", "feed", "rss", "src", "share"}
)
"""Query parameters that name the reader's way, not the page."""

ALIKE: Final = 0.45
"""Share of the words of two sites' titles that both have, from which on they tell one story."""

REPEATED: Final = 0.85
"""The same share for two titles of one site."""


@dataclass(frozen=True, slots=True)
class Story(Frozen):
    """Which story an entry tells, by 16 hex digits, and whether it is told for the first time."""

    id: str
    new: bool


@dataclass(frozen=True, slots=True)
class Kept(Frozen):
    """A story in memory: when it was first told and last seen, its first gist, and the links it came by."""

    first: int
    seen: int
    gist: Gist
    links: tuple[str, ...]


class Stories:
    """Tells stories apart over time and feeds; the same entries at the same times get the same answers.

    Parameters
    ----------
    hours
        A story is forgotten when no feed has listed it for so long.
    most
        Stories in memory; beyond, the one not seen for longest goes.
    recent
        Hours within which another title can be the same story.

    Examples
    --------
    >>> stories = Stories()
    >>> first = stories.place(Entry("Bitcoin tops $70,000 as ETF inflows return", "https://a.test/1"), at=0)
    >>> other = Entry("BTC climbs above $70K as inflows into ETFs return", "https://b.test/x")
    >>> again = stories.place(other, at=60_000)
    >>> first.new, again.new, first.id == again.id
    (True, False, True)
    """

    def __init__(self, hours: float = 72, most: int = 4096, recent: float = 24) -> None:
        self.hours = hours
        self.most = most
        self.recent = recent
        self._kept: dict[str, Kept] = {}
        self._links: dict[str, str] = {}
        self._by_word: dict[str, dict[str, None]] = {}

    def __len__(self) -> int:
        return len(self._kept)

    def place(self, entry: Entry, at: int) -> Story:
        """The story that an entry read at `at` (ms) tells."""
        self._forget(at)
        link, gist = page(entry.link), gist_of(entry.title)
        known = self._links.get(link) if link else None
        known = known or self._alike(gist, site(link), at)
        if known is None:
            return Story(self._learn(link or entry.title, link, gist, at), new=True)
        self._see(known, link, at)
        return Story(known, new=False)

    def _alike(self, gist: Gist, host: str, at: int) -> str | None:
        """The most similar story of the last day, the older of two; None where none is similar enough."""
        shared = Counter(chain.from_iterable(self._by_word.get(word, ()) for word in gist.words))
        best: tuple[float, int, str] | None = None
        for story, count in shared.items():
            kept = self._kept[story]
            wanted = REPEATED if host in map(site, kept.links or ("",)) else ALIKE
            if count < wanted * len(gist.words) or at - kept.first > self.recent * HOUR:
                continue
            found = alike(gist, kept.gist)
            if found >= wanted and (best is None or (-found, kept.first, story) < best):
                best = (-found, kept.first, story)
        return best[2] if best else None

    def _learn(self, name: str, link: str, gist: Gist, at: int) -> str:
        story = blake2b(name.encode(), digest_size=8).hexdigest()
        if story in self._kept:
            story = blake2b(f"{name} {at}".encode(), digest_size=8).hexdigest()
        self._kept[story] = Kept(at, at, gist, (link,) if link else ())
        if link:
            self._links[link] = story
        for word in gist.words:
            self._by_word.setdefault(word, {})[story] = None
        return story

    def _see(self, story: str, link: str, at: int) -> None:
        """Seen again: to the end of the row of those to forget."""
        kept = self._kept.pop(story)
        if link and link not in kept.links and len(kept.links) < 64:
            self._links[link] = story
            kept = replace(kept, links=(*kept.links, link))
        self._kept[story] = replace(kept, seen=max(at, kept.seen))

    def _forget(self, at: int) -> None:
        while self._kept:
            story, kept = next(iter(self._kept.items()))
            if len(self._kept) < self.most and at - kept.seen <= self.hours * HOUR:
                return
            del self._kept[story]
            for link in kept.links:
                self._links.pop(link, None)
            for word in kept.gist.words:
                left = self._by_word[word]
                left.pop(story, None)
                if not left:
                    del self._by_word[word]


def page(link: str) -> str:
    """A link without what does not name the page, "" where it names none.

    >>> page("HTTP://WWW.News.Test:443/a/?utm_source=rss&id=7#top")
    'news.test/a?id=7'
    >>> page("javascript:alert(1)"), page("https://[bad")
    ('', '')
    """
    try:
        parts = urlsplit(link.strip())
        host = (parts.hostname or "").removeprefix("www.")
    except ValueError:
        return ""
    if parts.scheme not in ("http", "https") or not host:
        return ""
    asked = [
        (name, value)
        for name, value in parse_qsl(parts.query, keep_blank_values=True)
        if not name.lower().startswith(TRACKING) and name.lower() not in TRACKERS
    ]
    query = urlencode(sorted(asked))
    return host + parts.path.rstrip("/") + (f"?{query}" if query else "")


def site(link: str) -> str:
    """The host of a link as `page` leaves it."""
    return link.partition("/")[0]
