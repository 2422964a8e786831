"""From an entry to the record that travels."""

from __future__ import annotations

from engine.news.feeds import Entry
from engine.news.headlines import headline

AT = 1_790_000_000_000


def test_a_dated_entry_keeps_its_time_and_says_what_it_is_about() -> None:
    entry = Entry("Solana tumbles as ether holds", "https://wire.test/1", AT - 5000, "No more")
    told = headline(entry, "wire", 0.7, "news", "ab" * 8, AT)

    assert (told.time, told.learned, told.dated) == (AT - 5000, AT, True)
    assert (told.assets, told.weight, told.kind, told.source) == (("SOL", "ETH"), 0.7, "news", "wire")
    assert (told.id, told.title, told.url) == ("ab" * 8, entry.title, entry.link)
    assert told.sentiment < 0


def test_an_entry_without_a_date_is_of_the_time_it_was_read() -> None:
    told = headline(Entry("Ether slips", ""), "forum", 0.2, "social", "0" * 16, AT)

    assert (told.time, told.dated, told.kind) == (AT, False, "social")


def test_a_date_a_little_ahead_is_now() -> None:
    told = headline(Entry("Ether slips", "", AT + 60_000), "wire", 1.0, "news", "0" * 16, AT)

    assert (told.time, told.dated) == (AT, True)
