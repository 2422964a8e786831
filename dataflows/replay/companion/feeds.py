"""Simulated news feeds, RSS 2.0 and Atom: each tells some of the stories, later and in words of its own.

Publication times are stream time; a feed answers 304 to a client that has what is newest.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import format_datetime, parsedate_to_datetime
from functools import lru_cache
from hashlib import sha256
from types import MappingProxyType
from typing import Final, Literal
from xml.sax.saxutils import escape

import numpy as np

from dataflows.replay.answers import Answer, Request
from dataflows.replay.companion.stories import SLOT, story

MOST: Final = 20
"""Items in a feed."""

PAST: Final = 24 * 3_600_000
"""How far back a feed tells, ms."""


@dataclass(frozen=True, slots=True)
class Feed:
    """One feed: how far it is believed, its format, how many of the stories it has and how late at most."""

    title: str
    weight: float
    form: Literal["rss", "atom"] = "rss"
    kind: Literal["news", "social"] = "news"
    share: float = 0.35
    late: int = 25 * 60_000


FEEDS: Final[Mapping[str, Feed]] = MappingProxyType(
    {
        "ledger_wire": Feed("The Ledger Wire", 0.9, share=0.6, late=6 * 60_000),
        "coin_courier": Feed("Coin Courier", 0.85, share=0.5, late=10 * 60_000),
        "block_gazette": Feed("Block Gazette", 0.85, share=0.45, late=12 * 60_000),
        "chain_observer": Feed("Chain Observer", 0.8, "atom"),
        "digital_asset_post": Feed("Digital Asset Post", 0.8),
        "hash_and_harbour": Feed("Hash & Harbour", 0.75),
        "node_times": Feed("Node Times", 0.75),
        "satoshi_street": Feed("Satoshi Street", 0.7),
        "token_tribune": Feed("Token Tribune", 0.7, "atom"),
        "merkle_review": Feed("Merkle Review", 0.7),
        "mempool_daily": Feed("Mempool Daily", 0.65),
        "open_ledger": Feed("Open Ledger", 0.65),
        "bridge_report": Feed("Bridge Report", 0.6),
        "genesis_herald": Feed("Genesis Herald", 0.6, "atom"),
        "gas_station": Feed("Gas Station", 0.55),
        "validator_voice": Feed("Validator Voice", 0.55),
        "fork_finder": Feed("Fork Finder", 0.5),
        "altcoin_almanac": Feed("Altcoin Almanac", 0.5),
        "cold_storage": Feed("Cold Storage", 0.5, "atom"),
        "staking_sheet": Feed("Staking Sheet", 0.45),
        "moon_monitor": Feed("Moon Monitor", 0.3, share=0.5),
        "coin_chatter": Feed("r/CoinChatter", 0.25, "atom", "social", 0.5),
        "meme_mill": Feed("r/MemeMill", 0.2, "atom", "social", 0.4),
        "dip_diary": Feed("r/DipDiary", 0.2, "atom", "social", 0.4),
    }
)


@dataclass(frozen=True, slots=True)
class Item:
    """One story as one feed tells it; `published` in ms UTC, whole seconds."""

    slot: int
    published: int
    title: str
    text: str
    topic: str


def answer(name: str, request: Request, now: int, seed: int, assets: tuple[str, ...]) -> Answer:
    """One feed at `now`; 404 for a name that no feed has."""
    feed = FEEDS.get(name)
    if feed is None:
        return Answer(404, b"no such feed\n", kind="text/plain")
    told = items(name, now, seed, assets)
    newest = max((item.published for item in told), default=now // PAST * PAST)
    body = (atom if feed.form == "atom" else rss)(name, feed, told, newest).encode()
    tag = f'"{sha256(body).hexdigest()[:20]}"'
    headers = (("etag", tag), ("last-modified", http_date(newest)))
    if known(request, tag, newest):
        return Answer(304, b"", headers)
    return Answer(200, body, headers, kind=f"application/{feed.form}+xml; charset=utf-8")


def known(request: Request, tag: str, newest: int) -> bool:
    """Whether the client has this already; a tag goes before a date."""
    if "if-none-match" in request.headers:
        offered = [one.strip().removeprefix("W/") for one in request.headers["if-none-match"].split(",")]
        return tag in offered or "*" in offered
    try:
        since = parsedate_to_datetime(request.headers.get("if-modified-since", ""))
    except ValueError:
        return False
    return since.timestamp() * 1000 >= newest


def items(name: str, now: int, seed: int, assets: tuple[str, ...]) -> list[Item]:
    """What a feed holds at `now`, newest first."""
    found = [
        item
        for slot in range(now // SLOT, (now - PAST) // SLOT, -1)
        if (item := item_of(name, slot, seed, assets)) is not None and item.published <= now
    ]
    return sorted(found, key=lambda item: (-item.published, item.slot))[:MOST]


@lru_cache(maxsize=32_768)
def item_of(name: str, slot: int, seed: int, assets: tuple[str, ...]) -> Item | None:
    """How a feed tells the story of a slot, None where it does not."""
    feed = FEEDS[name]
    mark = int.from_bytes(sha256(name.encode()).digest()[:8], "big")
    rng = np.random.default_rng([seed, mark, slot])
    if rng.random() >= feed.share:
        return None
    happened = story(seed, slot, assets)
    variant = int(rng.integers(len(happened.topic.words)))
    title = happened.headline(variant)
    if feed.kind == "social":
        title += str(rng.choice(["", "?", "!", " - thoughts?"]))
    published = (happened.time + int(rng.integers(feed.late))) // 1000 * 1000
    return Item(slot, published, title, happened.headline(variant + 1) + ".", happened.topic.name)


def link_of(name: str, item: Item) -> str:
    slug = "-".join("".join(letter if letter.isalnum() else " " for letter in item.title.lower()).split())
    return f"{site(name)}/{item.slot}/{slug}?utm_source=feed&utm_medium=rss"


def site(name: str) -> str:
    """Where a feed says it comes from; no such place can exist."""
    return f"https://{name.replace('_', '-')}.example"


def rss(name: str, feed: Feed, told: list[Item], newest: int) -> str:
    """RSS 2.0."""
    rows = "".join(
        f"<item><title><![CDATA[{escape(item.title)}]]></title><link>{escape(link_of(name, item))}</link>"
        f'<guid isPermaLink="false">{name}-{item.slot}</guid><pubDate>{http_date(item.published)}</pubDate>'
        f"<category>{item.topic}</category><description><![CDATA[<p>{escape(item.text)}</p>]]></description>"
        "</item>\n"
        for item in told
    )
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n<rss version="2.0"><channel>'
        f"<title>{escape(feed.title)} (simulated)</title><link>{site(name)}</link>"
        f"<description>Simulated headlines</description><lastBuildDate>{http_date(newest)}</lastBuildDate>\n"
        f"{rows}</channel></rss>\n"
    )


def atom(name: str, feed: Feed, told: list[Item], newest: int) -> str:
    """Atom 1.0."""
    rows = "".join(
        f"<entry><id>{name}:{item.slot}</id><title>{escape(item.title)}</title>"
        f'<link href="{escape(link_of(name, item))}"/><published>{iso_date(item.published)}</published>'
        f"<updated>{iso_date(item.published)}</updated>"
        f'<content type="html">{escape("<p>" + escape(item.text) + "</p>")}</content></entry>\n'
        for item in told
    )
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n<feed xmlns="http://www.w3.org/2005/Atom">'
        f"<id>{name}</id><title>{escape(feed.title)} (simulated)</title>"
        f"<updated>{iso_date(newest)}</updated>\n"
        f"{rows}</feed>\n"
    )


def http_date(time: int) -> str:
    return format_datetime(datetime.fromtimestamp(time / 1000, UTC), usegmt=True)


def iso_date(time: int) -> str:
    return datetime.fromtimestamp(time / 1000, UTC).isoformat(timespec="seconds")
