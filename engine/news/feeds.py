"""A feed's bytes into entries: RSS 2.0, RDF and Atom, damaged ones as far as they can be read.

Nothing in it is believed: no DTD, no entities of its own, no markup in a title, no date from the future.
"""

from __future__ import annotations

import re
from calendar import timegm
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from html import unescape
from io import BytesIO
from typing import Any, Final
from unicodedata import category

import feedparser

from engine.errors import Unreadable
from engine.records import Frozen

MOST: Final = 200
"""Entries read of one answer, the first ones: feeds are newest first."""

LONGEST: Final = 300
"""Characters of a title; a longer one is cut with an ellipsis."""

SUMMARY: Final = 600
LINK: Final = 2048

RAW: Final = 4096
"""Characters of markup that are read for a title or summary."""

MARKUP: Final = 100_000
"""Opening brackets in a feed; a parser takes seconds for more, and a feed of news has some thousands."""

AHEAD: Final = 600_000
"""ms that a feed's clock may be ahead of ours."""

DECLARED: Final = re.compile(rb"<!\s*(doctype|entity)", re.IGNORECASE)
SEVEN_BITS: Final = re.compile(rb"""encoding\s*=\s*["']\s*(utf-?7|u7|hz|iso-?2022)""", re.IGNORECASE)
"""Encodings in which a declaration does not look like one."""

ATTRIBUTES: Final = 512
"""Of one tag; a parser takes a time for them that grows with their square."""

ITEM_ENDS: Final = re.compile(rb"</(item|entry)\s{0,9}>", re.IGNORECASE)
DECLARATION: Final = re.compile(rb"^\s*<\?xml[^>]*>")
STUMBLES: Final = (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError)
"""What feedparser lets out of itself over hostile bytes: unknown encodings, places without a point."""

TAG: Final = re.compile(r"<(/?[a-zA-Z][^<>]*|!--.*?--)>", re.DOTALL)
HIDDEN: Final = frozenset({"Cc", "Cf", "Cs", "Co", "Cn"})
"""Unicode categories that a reader does not see: controls, joiners, turns of direction."""


@dataclass(frozen=True, slots=True)
class Entry(Frozen):
    """One item of a feed in plain text; `published` in ms UTC, None where the feed gave no usable date.

    `link` is "" where there is none for a browser.
    """

    title: str
    link: str
    published: int | None = None
    summary: str = ""


def entries(body: bytes, now: int, content_type: str = "") -> tuple[Entry, ...]:
    """The entries of a feed read at `now` (ms UTC), in its order; `content_type` as the server told it.

    Raises `Unreadable` for what is no feed (a web page, JSON, nothing) and for a feed with a DTD.

    >>> item = b"<item><title>Ether &amp;amp; friends</title><link>https://news.test/1</link></item>"
    >>> entries(b"<rss version='2.0'><channel>" + item + b"</channel></rss>", now=0)
    (Entry(title='Ether & friends', link='https://news.test/1', published=None, summary=''),)
    """
    refuse(body)
    told = parsed(shortened(body), {"content-type": content_type} if content_type else {})
    if not told["version"]:
        raise Unreadable(f"no feed: {len(body)} bytes that begin with {begins(body)}")
    return tuple(readable(told["entries"][:MOST], now))


def refuse(body: bytes) -> None:
    """Raises `Unreadable` for bytes that must not reach the parser."""
    plain = body.replace(b"\0", b"")
    if not plain.strip():
        raise Unreadable(f"no feed: {len(body)} bytes and nothing in them")
    if (found := DECLARED.search(plain)) is not None:
        raise Unreadable(f"a page or a feed with a DTD: {begins(plain[found.start() :])}")
    if (found := SEVEN_BITS.search(plain[:200])) is not None:
        raise Unreadable(f"a feed in an encoding that is not read: {begins(found.group())}")


def shortened(body: bytes) -> bytes:
    """A feed without the items beyond those that are read; raises `Unreadable` for a thicket of markup."""
    ends = [found.end() for found in ITEM_ENDS.finditer(body)]
    if len(ends) > MOST:
        body = body[: ends[MOST - 1]] + body[ends[-1] :]
    if body.count(b"<") > MARKUP:
        raise Unreadable(f"no feed of news: {body.count(b'<')} tags in {len(body)} bytes")
    if max(part.count(b"=") for part in body.split(b"<")) > ATTRIBUTES:
        raise Unreadable("no feed of news: a tag with hundreds of attributes")
    return body


def parsed(body: bytes, headers: Mapping[str, str]) -> Mapping[str, Any]:
    """What feedparser makes of it; a declaration that it stumbles over is left out the second time."""
    fault = ""
    for attempt in (body, DECLARATION.sub(b"", body, count=1)):
        try:
            # A stream, never the bytes: feedparser takes a short text for the name of a file.
            told: Mapping[str, Any] = feedparser.parse(
                BytesIO(attempt), response_headers=headers, sanitize_html=False, resolve_relative_uris=False
            )
        except STUMBLES as stumbled:
            fault = f"{type(stumbled).__name__}: {stumbled}"[:120]
        else:
            return told
    raise Unreadable(f"a feed that cannot be parsed: {fault}")


def readable(told: Iterable[Mapping[str, Any]], now: int) -> Iterator[Entry]:
    """What has words; where an item has no title, its text stands in for it."""
    for item in told:
        summary = plain(str(item.get("summary") or ""))
        title = plain(str(item.get("title") or "")) or summary
        if title:
            yield Entry(cut(title, LONGEST), link_of(item), published(item, now), cut(summary, SUMMARY))


def plain(text: str) -> str:
    """Words without markup, entities and invisible characters; escaped twice is common in CDATA.

    >>> plain("<b>Bulls &amp;amp; bears</b>: BTC &lt; $60K&#8230;")
    'Bulls & bears: BTC < $60K…'
    """
    text = text[:RAW]
    for _ in range(2):
        text = unescape(TAG.sub(" ", text))
    seen = "".join(" " if category(one) in HIDDEN else one for one in TAG.sub(" ", text))
    return re.sub(r"\s+([,.;:!?])(?=\s|$)", r"\1", " ".join(seen.split()))


def cut(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 1].rstrip() + "…"


def link_of(item: Mapping[str, Any]) -> str:
    link = str(item.get("link") or "").strip()
    return link if link.startswith(("http://", "https://")) and len(link) <= LINK else ""


def published(item: Mapping[str, Any], now: int) -> int | None:
    """ms UTC, None for a date that is missing, unreadable, before 1970 or in the future."""
    for name in ("published_parsed", "updated_parsed"):
        # Membership first: asked for a missing date, feedparser warns and answers with another one.
        told = item[name] if dict.__contains__(item, name) else None
        if told is not None:
            return instant(told, now)
    return None


def instant(told: tuple[int, ...], now: int) -> int | None:
    try:
        time = 1000 * timegm(told)
    except (OverflowError, ValueError):
        return None
    return time if 0 < time <= now + AHEAD else None


def begins(body: bytes) -> str:
    return repr(body[:60].decode("utf-8", "replace"))
