"""Feeds as they come: three formats, damaged in every way, and pages that are no feeds."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from engine.errors import Unreadable
from engine.news.feeds import AHEAD, LONGEST, MOST, Entry, entries
from tests.checks import market_data

NOW = 1_790_000_000_000
"""2026-09-21 14:13:20 UTC."""

FIXTURES = Path(
    os.environ.get("PROVIDER_FIXTURES", Path(__file__).parents[4] / "shared" / "providers" / "fixtures")
)


def rss(*items: str, encoding: str = "utf-8", declared: str | None = None) -> bytes:
    told = "".join(f"<item>{item}</item>" for item in items)
    head = f'<?xml version="1.0" encoding="{declared or encoding}"?>'
    return f'{head}<rss version="2.0"><channel><title>Wire</title>{told}</channel></rss>'.encode(encoding)


def item(title: str, date: str = "") -> str:
    return f"<title>{title}</title>" + (f"<pubDate>{date}</pubDate>" if date else "")


def titles(body: bytes, content_type: str = "") -> list[str]:
    return [entry.title for entry in entries(body, NOW, content_type)]


def dated(date: str) -> int | None:
    return entries(rss(item("Told", date)), NOW)[0].published


def test_rss_gives_title_link_date_and_summary() -> None:
    body = rss(
        "<title>Ether slips</title><link>https://wire.test/a?id=1</link>"
        "<pubDate>Mon, 21 Sep 2026 14:00:00 +0200</pubDate><description>&lt;p&gt;2 %&lt;/p&gt;</description>"
    )

    assert entries(body, NOW) == (Entry("Ether slips", "https://wire.test/a?id=1", 1789992000000, "2 %"),)


def test_atom_and_rdf_are_read_as_well() -> None:
    atom = b"""<feed xmlns="http://www.w3.org/2005/Atom"><entry><title>Atom told</title>
        <link href="https://wire.test/atom"/><updated>2026-09-21T12:00:00Z</updated></entry></feed>"""
    rdf = b"""<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#" xmlns="http://purl.org/rss/1.0/"
        xmlns:dc="http://purl.org/dc/elements/1.1/"><item rdf:about="https://wire.test/rdf">
        <title>RDF told</title><link>https://wire.test/rdf</link><dc:date>2026-09-21T12:00:00Z</dc:date></item></rdf:RDF>"""

    assert entries(atom, NOW) == (Entry("Atom told", "https://wire.test/atom", 1789992000000),)
    assert entries(rdf, NOW) == (Entry("RDF told", "https://wire.test/rdf", 1789992000000),)


def test_a_feed_without_items_is_a_feed() -> None:
    assert entries(rss(), NOW) == ()


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b" \n",
        b"\0\0\0",
        b"<html><head><title>Just a moment...</title></head></html>",
        b"<!doctype html><title>Sign in</title>",
        b'{"error": "no such feed"}',
        b"/etc/hostname",
        b"http://wire.test/feed",
        b"<![CDATA[" * 40_000,
    ],
)
def test_what_is_no_feed_is_unreadable(body: bytes) -> None:
    with pytest.raises(Unreadable):
        entries(body, NOW)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "utf-32"])
@pytest.mark.parametrize(
    "dtd", ['<!DOCTYPE rss [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]>', "<!doctype rss>", '<!ENTITY x "y">']
)
def test_a_dtd_is_refused_before_anything_is_parsed(
    dtd: str, encoding: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def parse(*_: object, **__: object) -> None:
        pytest.fail("it reached the parser")

    monkeypatch.setattr("engine.news.feeds.feedparser.parse", parse)
    body = f"{dtd}<rss version='2.0'><channel><item><title>&b;</title></item></channel></rss>".encode(
        encoding
    )

    with pytest.raises(Unreadable, match="DTD"):
        entries(body, NOW)


def test_a_tag_with_thousands_of_attributes_is_refused_before_anything_is_parsed() -> None:
    crowd = b" ".join(b'a%d=">"' % number for number in range(60_000))

    with pytest.raises(Unreadable, match="a tag with hundreds of attributes"):
        entries(b"<rss version='2.0'><channel " + crowd + b"/></rss>", 0)


def test_an_encoding_that_hides_a_dtd_is_refused() -> None:
    with pytest.raises(Unreadable, match="encoding"):
        entries(b'<?xml version="1.0" encoding="UTF-7"?>+ADwAIQ-DOCTYPE x+AD4-<rss/>', NOW)


def test_a_truncated_feed_gives_the_items_before_the_cut() -> None:
    body = rss(*(item(f"Story {n}") for n in range(10)))

    assert titles(body[: body.index(b"Story 7")]) == [f"Story {n}" for n in range(7)]


@pytest.mark.parametrize("bad", ["Profit & loss", "Up <5%", "AT&T; &bogus;"])
def test_markup_that_is_not_well_formed_costs_no_item(bad: str) -> None:
    told = titles(rss(item("First"), item(bad), item("Last")))

    assert len(told) == 3
    assert told[0] == "First"
    assert told[2] == "Last"


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (rss(item("Café opens"), encoding="latin-1", declared="utf-8"), ""),
        (rss(item("Café opens"), encoding="latin-1"), ""),
        (rss(item("Café opens"), encoding="utf-16"), ""),
        (rss(item("Café opens"), declared="no-such-encoding"), ""),
        (rss(item("Café opens")), "application/rss+xml; charset=no-such-encoding"),
        (rss(item("Café opens")).replace(b"utf-8", b"utf\xff8"), ""),
    ],
)
def test_wrong_and_unknown_encodings_are_survived(body: bytes, content_type: str) -> None:
    assert titles(body, content_type) == ["Café opens"]


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("<![CDATA[Bulls &amp; bears]]>", "Bulls & bears"),
        ("<![CDATA[Bitcoin&#8217;s <b>best</b> day]]>", "Bitcoin’s best day"),
        ("Bulls &amp;amp; bears", "Bulls & bears"),
        ("BTC &lt; $60K &gt; $50K", "BTC < $60K > $50K"),
        ("  Told\n\tin   lines ", "Told in lines"),
        ("Up\u200b 5%\u202e", "Up 5%"),
    ],
)
def test_titles_are_plain_text(written: str, read: str) -> None:
    assert titles(rss(item(written))) == [read]


def test_a_title_is_cut_and_an_item_without_one_takes_its_text() -> None:
    long, none = entries(rss(item("word " * 200), "<description>Only text</description>"), NOW)

    assert len(long.title) <= LONGEST
    assert long.title.endswith("…")
    assert none.title == "Only text"


def test_of_a_long_feed_the_first_entries_are_read() -> None:
    told = titles(rss(*(item(f"Story {n}") for n in range(MOST + 50))))

    assert told == [f"Story {n}" for n in range(MOST)]


@pytest.mark.parametrize(
    "link", ["javascript:alert(1)", "file:///etc/passwd", "/only/a/path", "https://x/" + "a" * 3000]
)
def test_a_link_that_no_browser_should_follow_is_dropped(link: str) -> None:
    assert entries(rss(f"<title>Told</title><link>{link}</link>"), NOW)[0].link == ""


@pytest.mark.parametrize(
    "date",
    [
        "",
        "yesterday",
        "Thu, 99 Foo 99999999999 99:99:99 +9999",
        "0000-00-00T00:00:00Z",
        "0001-01-01T00:00:00Z",
        "Mon, 21 Sep 2099 14:00:00 GMT",
    ],
)
def test_a_date_that_cannot_be_is_none(date: str) -> None:
    assert dated(date) is None


def test_a_feed_whose_clock_is_a_little_ahead_is_believed() -> None:
    assert dated("Mon, 21 Sep 2026 14:23:20 GMT") == NOW + AHEAD
    assert dated("Mon, 21 Sep 2026 14:23:21 GMT") is None


@examples(max_examples=60, deadline=None)
@given(st.data())
def test_hostile_bytes_give_entries_or_unreadable(data: st.DataObject) -> None:
    body = bytearray(rss(item("One", "Mon, 21 Sep 2026 14:00:00 GMT"), item("<![CDATA[Two &amp;]]>")))
    bits = st.sampled_from(
        [
            b"<![CDATA[",
            b"]]>",
            b"<!",
            b"&#xFFFFFFFF;",
            b"<gml:pos>1</gml:pos>",
            b"<item",
            b"</channel>",
            b"\xff\xfe",
        ]
    )
    for _ in range(data.draw(st.integers(1, 8))):
        at = data.draw(st.integers(0, len(body)))
        body[at : at + data.draw(st.integers(0, 20))] = data.draw(st.one_of(bits, st.binary(max_size=8)))
    with suppress(Unreadable):
        told = entries(bytes(body), NOW)

        assert all(entry.title and (entry.published or 0) <= NOW + AHEAD for entry in told)


@pytest.mark.market
def test_real_feeds_are_read_whole() -> None:
    coindesk = entries(market_data("rss", "coindesk_2023-03-13_full.xml").read_bytes(), NOW)
    cointelegraph = entries(market_data("rss", "cointelegraph_2026-08-15_trimmed.xml").read_bytes(), NOW)

    assert (len(coindesk), len(cointelegraph)) == (50, 2)
    assert all(entry.link and entry.published for entry in coindesk + cointelegraph)


def test_recorded_feeds_are_read_and_the_interstitial_is_refused() -> None:
    folder = FIXTURES / "rss"
    if not folder.is_dir():
        pytest.skip(f"provider fixtures are not here: {folder} (set PROVIDER_FIXTURES)")
    told = {path.name: entries(path.read_bytes(), NOW) for path in sorted(folder.glob("*.xml"))}

    assert min(map(len, told.values())) >= 1
    assert told["sample_rss2_wordpress.xml"][0].title == "Bitcoin rallies as ETF inflows & adoption surge"
    with pytest.raises(Unreadable):
        entries((folder / "sample_cloudflare_403.html").read_bytes(), NOW)
