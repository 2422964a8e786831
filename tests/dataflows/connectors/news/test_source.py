"""The source as a whole on a hostile web: what is handed on, what is said, and what goes on meanwhile."""

from __future__ import annotations

import asyncio
import gzip
import time
from collections.abc import Iterable
from typing import Any

import pytest

from dataflows.connectors.news import NewsSource, desk
from dataflows.connectors.news.feed import Pace
from engine.errors import StorageError
from engine.news.feeds import Entry, entries
from engine.records import Headline
from tests.dataflows.connectors.news.rig import (
    HASTY,
    HOUR,
    NOW,
    Ears,
    feed,
    polled,
    rss,
    running,
    settings,
    until,
)
from tests.dataflows.connectors.news.site import hanging, page, pouring, raw, redirect, site

BITCOIN = "Bitcoin climbs above $60,000 as funds buy"
ETHER = "Ethereum developers delay the next upgrade"
SOLANA = "Solana network halts for five hours"

BOMB = (
    b'<?xml version="1.0"?><!DOCTYPE lolz [<!ENTITY a "aaaaaaaaaa">'
    + b"".join(b'<!ENTITY %c "%s">' % (98 + n, b"&%c;" % (97 + n) * 10) for n in range(9))
    + b']><rss version="2.0"><channel><item><title>&j;</title></item></channel></rss>'
)
ENTITY = (
    b'<?xml version="1.0"?><!DOCTYPE rss [<!ENTITY x SYSTEM "file:///etc/passwd">]>'
    b'<rss version="2.0"><channel><item><title>&x;</title></item></channel></rss>'
)


def turn(ears: Ears, seconds: float = 60.0) -> None:
    """Let the stream's time go on."""
    ears.wall += seconds


async def test_each_story_is_handed_on_once_and_new_ones_when_they_come() -> None:
    ears = Ears()
    async with site() as one:
        one.pages["/coins"] = feed((BITCOIN, NOW - HOUR))
        async with running(settings(one, "coins"), ears) as source:
            await until(lambda: ears.heard)
            turn(ears)
            await until(lambda: one.times("/coins") == 2)
            one.pages["/coins"] = feed((SOLANA, NOW), (BITCOIN, NOW - HOUR))
            turn(ears)
            await until(lambda: len(ears.heard) == 2, lambda: source.told())

    first, second = ears.heard
    assert (first.title, first.time, first.learned, first.source) == (BITCOIN, NOW - HOUR, NOW, "coins")
    assert (first.assets, first.kind, first.dated) == (("BTC",), "news", True)
    assert (second.title, second.time, second.learned) == (SOLANA, NOW, NOW + 120_000)
    assert second.sentiment < 0


async def test_a_headline_carries_the_weight_and_the_kind_of_its_feed() -> None:
    ears = Ears()
    async with site() as one:
        one.pages["/sub"] = feed((BITCOIN, NOW))
        feeds = {"sub": {"url": one.url("/sub"), "weight": 0.25, "kind": "social"}}
        async with running(settings(one, feeds=feeds), ears):
            await until(lambda: ears.heard)

    assert (ears.heard[0].weight, ears.heard[0].kind) == (0.25, "social")


async def test_one_story_of_two_feeds_is_told_once() -> None:
    ears = Ears()
    async with site() as one:
        one.pages["/a"] = feed((BITCOIN, NOW - HOUR))
        one.pages["/b"] = feed((SOLANA, NOW), (BITCOIN.upper(), NOW - HOUR))
        async with running(settings(one, "a", "b"), ears) as source:
            await until(lambda: all(source.told()[f"news.{name}"]["last_success"] for name in "ab"))

    assert sorted(ears.titles, key=str.upper)[1:] == [SOLANA]
    assert len(ears.heard) == 2


async def test_only_items_within_the_window_are_handed_on() -> None:
    ears = Ears()
    items = ((BITCOIN, NOW - HOUR), (ETHER, NOW - 48 * HOUR - 1), (SOLANA, NOW - 900 * HOUR))
    async with site() as one:
        one.pages["/coins"] = feed(*items)
        async with running(settings(one, "coins", window=48.0), ears) as source:
            await polled(source, "coins")

    assert ears.titles == [BITCOIN]


async def test_items_without_dates_count_from_when_they_are_known_to_be_new() -> None:
    ears = Ears()
    async with site() as one:
        one.pages["/coins"] = feed((BITCOIN, None))
        async with running(settings(one, "coins"), ears) as source:
            before = await polled(source, "coins")
            one.pages["/coins"] = feed((SOLANA, None), (BITCOIN, None))
            # Longer than any story is remembered: what the feed still lists is not new for that.
            turn(ears, 200 * 3600)
            await polled(source, "coins")
            one.pages["/coins"] = feed((SOLANA, None))
            turn(ears)
            after = await polled(source, "coins")

    (headline,) = ears.heard
    assert (headline.title, headline.dated, headline.time) == (SOLANA, False, NOW + 200 * HOUR)
    assert (before["state"], before["reason"]) == ("stale", "no item with a date")
    assert (after["state"], after["metrics"]["headlines"]["time"]) == ("ok", NOW + 200 * HOUR)


async def test_an_item_that_is_left_out_takes_no_story_from_the_others() -> None:
    ears = Ears()
    async with site() as one:
        one.pages |= {"/a": feed((BITCOIN, None)), "/b": page(b"", 304)}
        async with running(settings(one, "a", "b"), ears) as source:
            await polled(source, "a")
            one.pages["/b"] = page(rss((BITCOIN, NOW)).replace(b"coin.example", b"block.example"))
            await until(lambda: ears.heard)

    assert (ears.heard[0].source, ears.heard[0].dated) == ("b", True)


async def test_a_date_in_the_future_is_not_believed() -> None:
    ears = Ears()
    async with site() as one:
        one.pages["/coins"] = feed((BITCOIN, NOW + 24 * HOUR), (ETHER, NOW - 30 * HOUR))
        async with running(settings(one, "coins"), ears) as source:
            body = await polled(source, "coins")

    assert ears.titles == [ETHER]
    assert body["state"] == "stale"
    assert body["metrics"]["headlines"]["time"] == NOW - 30 * HOUR


async def test_a_restart_tells_nothing_twice_and_misses_nothing() -> None:
    first, second = Ears(), Ears()
    async with site() as one:
        one.pages["/coins"] = feed((BITCOIN, NOW - HOUR))
        async with running(settings(one, "coins"), first):
            await until(lambda: first.heard)
        one.pages["/coins"] = feed((SOLANA, NOW), (BITCOIN, NOW - HOUR))
        one.pages["/other"] = feed((BITCOIN + "!", NOW))
        async with running(settings(one, "coins", "other"), second, lambda: first.heard) as source:
            await until(
                lambda: all(source.told()[f"news.{name}"]["last_success"] for name in ("coins", "other"))
            )

    assert second.titles == [SOLANA]


async def test_a_restart_still_knows_the_story_in_the_words_of_others() -> None:
    told = Ears()
    first, other = "Bitcoin climbs above $60,000 as funds buy", "Bitcoin climbs above $60,000, funds buy more"
    async with site() as one:
        one.pages["/a"] = feed((first, NOW - 30 * HOUR))
        async with running(settings(one, "a"), told):
            await until(lambda: told.heard)
        one.pages["/b"] = page(rss((other, NOW - 29 * HOUR)).replace(b"coin.example", b"block.example"))
        again = Ears()
        async with running(settings(one, "a", "b"), again, lambda: told.heard) as source:
            await until(lambda: all(source.told()[f"news.{name}"]["last_success"] for name in "ab"))

    assert again.heard == []


async def test_a_wide_window_forgets_nothing_that_is_within_it() -> None:
    first, second = Ears(), Ears()
    async with site() as one:
        one.pages["/coins"] = feed((SOLANA, NOW), (BITCOIN, NOW - 150 * HOUR))
        async with running(settings(one, "coins", window=168.0), first):
            await until(lambda: first.heard)
        async with running(settings(one, "coins", window=168.0), second, lambda: first.heard) as source:
            await polled(source, "coins")

    assert first.titles == [BITCOIN, SOLANA]
    assert second.titles == []


async def test_an_unchanged_feed_is_not_sent_again_and_ages_by_its_items() -> None:
    ears = Ears()
    async with site() as one:
        one.pages["/coins"] = feed((BITCOIN, NOW - HOUR), etag='"7"')
        async with running(settings(one, "coins"), ears) as source:
            await polled(source, "coins")
            one.pages["/coins"] = page(b"", 304)
            turn(ears)
            fresh = await polled(source, "coins")
            turn(ears, 24 * 3600)
            await until(lambda: one.times("/coins") == 3)
            old = source.told()["news.coins"]

    assert [headers.get("if-none-match") for _, headers in one.asked] == [None, '"7"', '"7"']
    assert (fresh["state"], fresh["error"]) == ("ok", None)
    assert (old["state"], old["reason"]) == ("stale", "its newest item is 25 hours old")


async def test_what_is_sent_again_unasked_is_not_read_again(monkeypatch: pytest.MonkeyPatch) -> None:
    read = []

    def counted(body: bytes, now: int, kind: str) -> tuple[Entry, ...]:
        read.append(body)
        return entries(body, now, kind)

    monkeypatch.setattr(desk, "entries", counted)
    ears = Ears()
    async with site() as one:
        one.pages["/coins"] = feed((BITCOIN, NOW))
        async with running(settings(one, "coins"), ears) as source:
            for _ in range(2):
                await polled(source, "coins")
                turn(ears)
            body = await polled(source, "coins")

    assert one.times("/coins") == 3
    assert len(read) == 1
    assert (body["state"], ears.titles) == ("ok", [BITCOIN])


async def test_validators_of_an_answer_that_could_not_be_read_are_not_used() -> None:
    ears = Ears()
    async with site() as one:
        one.pages["/coins"] = page(b"<html><body>Just a moment...</body></html>", etag='"7"')
        async with running(settings(one, "coins"), ears):
            await until(lambda: one.times("/coins") == 3)

    assert all("if-none-match" not in headers for _, headers in one.asked)


async def test_a_page_built_now_with_old_items_is_stale() -> None:
    ears = Ears()
    async with site() as one:
        one.pages["/coins"] = page(rss((BITCOIN, NOW - 4000 * HOUR), built=NOW))
        async with running(settings(one, "coins"), ears) as source:
            body = await polled(source, "coins")

    assert (body["state"], body["reason"]) == ("stale", "its newest item is 4000 hours old")
    assert ears.heard == []


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        pytest.param(BOMB, "text/xml", id="billion laughs"),
        pytest.param(BOMB.decode().encode("utf-16"), "text/xml", id="billion laughs in UTF-16"),
        pytest.param(BOMB.decode().encode("utf-32-be"), "text/xml; charset=utf-32be", id="and in UTF-32"),
        pytest.param(ENTITY, "text/xml", id="an external entity"),
        pytest.param(b"<html><title>Attention Required</title></html>", "text/html", id="a web page"),
        pytest.param(b"<!doctype html><p>Just a moment...", "application/rss+xml", id="one that says feed"),
        pytest.param(b"<html/>", "application/rss+xml", id="one without a doctype"),
        pytest.param(b"", "text/xml", id="nothing"),
        pytest.param(b" \r\n\0", "text/xml", id="nearly nothing"),
        pytest.param(b'{"error": "no such feed"}', "application/json", id="JSON"),
        pytest.param(b"\x89PNG\r\n\x1a\n" + bytes(range(256)), "image/png", id="a picture"),
        pytest.param(b"http://127.0.0.1/feed", "text/plain", id="an address"),
        pytest.param(b"/etc/passwd", "text/plain", id="a path"),
    ],
)
async def test_what_is_no_feed_is_a_failure_and_never_no_news(body: bytes, kind: str) -> None:
    ears = Ears()
    async with site() as one:
        one.pages["/coins"] = page(gzip.compress(body), content_type=kind, content_encoding="gzip")
        async with running(settings(one, "coins"), ears) as source:
            began = time.monotonic()
            told = await polled(source, "coins")

    assert told["error"]["class"] == "Unreadable"
    assert (told["state"], told["last_success"]) == ("down", None)
    assert ears.heard == []
    assert time.monotonic() - began < 1


async def test_a_feed_without_items_is_well_and_stale() -> None:
    ears = Ears()
    async with site() as one:
        one.pages["/coins"] = feed()
        async with running(settings(one, "coins"), ears) as source:
            body = await polled(source, "coins")

    assert (body["state"], body["reason"], body["error"]) == ("stale", "no items", None)


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (rss(("Café owner buys Bitcoin", NOW)).decode().encode("latin-1"), "text/xml; charset=UTF-8"),
        (rss(("Café owner buys Bitcoin", NOW)), "text/xml; charset=iso-8859-1"),
        (rss(("Café owner buys Bitcoin", NOW)), "text/xml; charset=no-such-thing"),
        (rss(("Café owner buys Bitcoin", NOW)).decode().replace("UTF-8", "UTF-16").encode("utf-16"), ""),
        (rss(("Café owner buys Bitcoin", NOW), (ETHER, NOW))[:-60], "text/xml"),
        (rss(("Café owner buys Bitcoin", NOW), extra="<a> & <b>"), "text/html"),
    ],
)
async def test_damaged_feeds_and_wrong_encodings_are_survived(body: bytes, kind: str) -> None:
    ears = Ears()
    async with site() as one:
        one.pages["/coins"] = page(body, content_type=kind)
        async with running(settings(one, "coins"), ears) as source:
            await until(lambda: ears.heard, lambda: source.told())

    assert ears.titles[0].startswith("Caf")
    assert ears.heard[0].assets == ("BTC",)


@pytest.mark.parametrize(
    "hostile",
    [
        pytest.param(hanging(), id="a hang"),
        pytest.param(pouring(b"x", pause=0.01), id="a slow drip"),
        pytest.param(pouring(b"x" * 65_536), id="an endless body"),
        pytest.param(page(BOMB), id="a bomb"),
        pytest.param(page(b"", 500), id="500s"),
        pytest.param(page(b"", 403), id="a firewall"),
        pytest.param(redirect("https://169.254.169.254/latest/meta-data"), id="a way inside"),
        pytest.param(redirect("/hostile"), id="a redirect loop"),
        pytest.param(raw(b"\0" * 100), id="noise"),
    ],
)
async def test_one_hostile_feed_takes_nothing_from_the_others(hostile: Any) -> None:
    ears = Ears()
    async with site() as one:
        one.pages |= {"/hostile": hostile, "/good": feed((BITCOIN, NOW))}
        async with running(settings(one, "hostile", "good"), ears, deadline=0.2) as source:
            await until(lambda: ears.heard)
            for times in (2, 3):
                turn(ears)
                await one.asked_for("/good", times)
            await until(lambda: source.told()["news.hostile"]["error"])
            told = source.told()

    assert told["news.good"]["state"] == "ok"
    assert told["news.hostile"]["state"] == "down"
    assert told["news"]["state"] == "ok"
    assert told["news"]["reason"] == "of 2 feeds 1 down (hostile)"
    assert told["news"]["error"] == told["news.hostile"]["error"]


async def test_a_failing_feed_is_asked_less_and_less_and_is_well_again_at_once() -> None:
    ears = Ears()
    pace = Pace(floor=0.001, spread=0, again=0.05, most=30, jitter=0, look=0.001)
    async with site() as one:
        one.pages["/coins"] = feed((BITCOIN, NOW))
        async with running(settings(one, "coins"), ears, pace=pace) as source:
            await polled(source, "coins")
            one.pages["/coins"] = page(b"", 500)
            began = time.monotonic()
            states = []
            turn(ears)
            for times in (2, 3, 4):
                await one.asked_for("/coins", times)
                await until(lambda: source.told()["news.coins"]["breaker"] == "open")
                states.append(source.told()["news.coins"]["state"])
            took = time.monotonic() - began
            one.pages["/coins"] = feed((SOLANA, NOW))
            await until(lambda: len(ears.heard) == 2)
            told = source.told()["news.coins"]

    assert states == ["stale", "stale", "down"]
    assert took >= 0.05 + 0.1
    assert (told["state"], told["error"], told["breaker"], told["retry_at"]) == ("ok", None, "closed", None)


@pytest.mark.parametrize(("status", "word"), [(403, "403"), (451, "451"), (404, "404"), (410, "410")])
async def test_a_refusal_is_named_and_slows_the_feed_to_the_longest_wait(status: int, word: str) -> None:
    ears = Ears()
    async with site() as one:
        one.pages["/coins"] = page(b"", status)
        async with running(settings(one, "coins"), ears) as source:
            body = await polled(source, "coins")
            turn(ears, 600)
            await asyncio.sleep(0.1)

    assert one.times("/coins") == 1
    assert (body["error"]["class"], body["state"]) == ("Refused", "down")
    assert word in body["error"]["message"]
    assert 29_000 <= body["retry_at"] - body["error"]["at"] <= 30_100
    assert body["next"] == body["retry_at"]


async def test_a_feed_that_asks_to_wait_is_left_alone_for_that_long() -> None:
    ears = Ears()
    async with site() as one:
        one.pages["/coins"] = page(b"", 429, retry_after="120")
        async with running(settings(one, "coins"), ears) as source:
            body = await polled(source, "coins")
            turn(ears, 600)
            await asyncio.sleep(0.1)

    assert one.times("/coins") == 1
    assert body["error"]["class"] == "RateLimited"
    assert 119_000 <= body["retry_at"] - body["error"]["at"] <= 120_100


async def test_polls_are_due_in_stream_time_and_never_faster_than_the_wall_allows() -> None:
    ears = Ears()
    pace = Pace(floor=0.05, spread=0, jitter=0, look=0.005)
    async with site() as one:
        one.pages |= {"/slow": feed((BITCOIN, NOW)), "/quick": feed((SOLANA, NOW))}
        feeds = {
            "slow": {"url": one.url("/slow"), "every": 3600.0},
            "quick": {"url": one.url("/quick"), "every": 10.0},
        }
        async with running(settings(one, feeds=feeds), ears, pace=pace):
            await until(lambda: len(one.asked) == 2)
            began = time.monotonic()
            for _ in range(40):
                turn(ears, 10)
                await asyncio.sleep(0.01)
            took = time.monotonic() - began
            quick = one.times("/quick")

    assert one.times("/slow") == 1
    assert 3 <= quick <= 1 + took / 0.05 + 1


async def test_nothing_is_asked_before_the_exchange_has_told_the_time() -> None:
    ears = Ears(ready=False)
    async with site() as one:
        one.pages["/coins"] = feed((BITCOIN, NOW))
        async with running(settings(one, "coins"), ears) as source:
            await asyncio.sleep(0.05)
            assert one.asked == []
            assert source.told()["news.coins"]["reason"] == "not asked yet"
            ears.begin()
            await until(lambda: ears.heard)


async def test_the_loop_goes_on_while_a_feed_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    def slow(body: bytes, now: int, kind: str) -> tuple[Entry, ...]:
        time.sleep(0.3)
        return (Entry(BITCOIN, "", now),)

    monkeypatch.setattr(desk, "entries", slow)
    ears = Ears()
    longest, last = 0.0, (began := time.monotonic())
    async with site() as one:
        one.pages["/coins"] = feed()
        async with running(settings(one, "coins"), ears):
            while not ears.heard and time.monotonic() < began + 3:
                await asyncio.sleep(0.001)
                longest, last = max(longest, time.monotonic() - last), time.monotonic()

    assert ears.heard
    assert longest < 0.2


async def test_a_reader_that_breaks_is_told_and_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(body: bytes, now: int, kind: str) -> tuple[Entry, ...]:
        raise ZeroDivisionError("secret")

    monkeypatch.setattr(desk, "entries", broken)
    ears = Ears()
    async with site() as one:
        one.pages["/coins"] = feed((BITCOIN, NOW))
        async with running(settings(one, "coins"), ears) as source:
            body = await polled(source, "coins")
            await until(lambda: one.times("/coins") == 3)

    assert body["error"]["message"] == "it broke the reader: ZeroDivisionError"


async def test_a_journal_that_cannot_be_read_ends_the_source_by_that_name() -> None:
    def known() -> Iterable[Headline]:
        raise StorageError("the journal is gone")

    async with site() as one:
        source = NewsSource(settings(one, "coins"), known, pace=HASTY)
        with pytest.raises(StorageError, match="the journal is gone"):
            await source.run(Ears())


async def test_a_source_can_be_run_again_after_it_was_ended() -> None:
    ears = Ears()
    async with site() as one:
        one.pages["/coins"] = feed((BITCOIN, NOW))
        source = NewsSource(settings(one, "coins"), lambda: ears.heard, pace=HASTY)
        for times in (1, 2):
            task = asyncio.create_task(source.run(ears))
            await one.asked_for("/coins", times)
            await until(lambda: ears.heard)
            task.cancel()
            await asyncio.wait({task})

    assert ears.titles == [BITCOIN]
