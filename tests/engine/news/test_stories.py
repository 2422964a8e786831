"""Which entries tell one story: over feeds, polls and wordings; bounded, pure and picklable."""

from __future__ import annotations

import pickle
import re
from collections import Counter

import polars as pl
import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from engine.news.feeds import Entry
from engine.news.gist import alike, gist_of
from engine.news.stories import HOUR, Stories, Story, page, site
from tests.checks import market_data


def told(stories: Stories, title: str, link: str = "", at: int = 0) -> Story:
    return stories.place(Entry(title, link), at)


SAME = [
    ("Bitcoin tops $70,000 as ETF inflows return", "BTC climbs above $70K as inflows into ETFs return"),
    ("Hackers drain $11M from lending protocol Agave", "Lending protocol Agave exploited for $11 million"),
    ("SEC approves Valkyrie’s Bitcoin futures ETF", "Valkyrie's bitcoin futures ETF approved by SEC"),
    ("Solana network halts for five hours", "Solana network stops for five hours, developers say"),
]
OTHER = [
    ("Bitcoin slides 6% in an hour of heavy selling", "Bitcoin slides 8% in an hour of heavy selling"),
    ("Bitcoin rises in an hour of heavy trading", "Bitcoin falls in an hour of heavy trading"),
    ("Bitcoin rallies on hopes of rate cut in June", "Solana rallies on hopes of rate cut in June"),
    ("Court says lender must repay its clients", "Court says lender must not repay its clients"),
    ("Exchange adds new tokens for traders in Japan", "Regulator fines bank over loans in Brazil"),
]


@pytest.mark.parametrize(("first", "second"), SAME)
def test_the_same_story_in_other_words_is_not_new(first: str, second: str) -> None:
    stories = Stories()
    known = told(stories, first, "https://a.test/1")

    assert told(stories, second, "https://b.test/2", at=HOUR) == Story(known.id, new=False)


@pytest.mark.parametrize(("first", "second"), OTHER)
def test_other_numbers_assets_or_directions_are_another_story(first: str, second: str) -> None:
    stories = Stories()
    told(stories, first, "https://a.test/1")

    assert told(stories, second, "https://b.test/2").new


def test_one_site_repeats_its_words_without_repeating_itself() -> None:
    stories = Stories()
    told(stories, "Bitcoin and Ethereum inch higher, altcoins rally hard", "https://a.test/1")

    assert told(stories, "Bitcoin and Ethereum inch higher, altcoins struggle", "https://a.test/2").new
    assert not told(stories, "Bitcoin and Ethereum inch higher, altcoins rally hard!", "https://a.test/3").new


def test_a_link_is_the_same_story_whatever_its_title_has_become() -> None:
    stories = Stories()
    known = told(stories, "Lender pauses withdrawals", "https://www.a.test/story/?utm_source=rss#top")

    assert told(stories, "Court opens case against founder", "http://A.test/story") == Story(
        known.id, new=False
    )


def test_an_id_is_sixteen_hex_digits_and_names_the_first_link() -> None:
    one, two = (told(Stories(), "Ether slips", "https://a.test/x", at=at) for at in (0, 5))

    assert re.fullmatch("[0-9a-f]{16}", one.id)
    assert one == two


def test_a_wording_is_new_again_after_a_day_and_a_link_after_three_unseen() -> None:
    stories = Stories()
    title = "Ether options expire in quiet trading"
    first = told(stories, title, "https://a.test/1")

    assert told(stories, title, "https://b.test/1", at=25 * HOUR).new
    assert told(stories, title, "https://a.test/1", at=26 * HOUR).id == first.id
    assert told(stories, title, "https://a.test/1", at=97 * HOUR).id == first.id
    assert told(stories, title, "https://a.test/1", at=170 * HOUR).new


def test_entries_without_a_link_are_told_apart_by_their_titles() -> None:
    stories = Stories()

    assert told(stories, "Wire down").new
    assert not told(stories, "Wire down").new
    assert told(stories, "Wire up again").new


def test_memory_is_bounded() -> None:
    stories = Stories(most=50)
    for n in range(300):
        told(stories, f"Token alpha{n} beta{n} gamma{n} listed", f"https://a.test/{n}", at=n)

    assert len(stories) == 50
    assert not told(stories, "Other words entirely", "https://a.test/299", at=300).new
    assert told(stories, "More words of mine", "https://a.test/3", at=300).new
    assert len(pickle.dumps(stories)) < 100_000


def test_what_is_forgotten_leaves_nothing_behind() -> None:
    stories = Stories()
    for n in range(40):
        told(stories, f"Token alpha{n} beta{n} gamma{n} listed", f"https://a.test/{n}", at=n)
    told(stories, "Something else", at=200 * HOUR)

    assert len(stories) == 1
    assert len(pickle.dumps(stories)) < 2 * len(pickle.dumps(Stories())) + 500


WORDS = ["Bitcoin", "Solana", "rises", "falls", "hack", "not", "5%", "$70K", "fund", "opens", "bank"]
ENTRIES = st.lists(
    st.tuples(
        st.lists(st.sampled_from(WORDS), min_size=1),
        st.integers(0, 6),
        st.integers(0, 30 * HOUR),
    ),
    max_size=20,
)


@examples(max_examples=60, deadline=None)
@given(ENTRIES)
def test_pickling_between_entries_changes_no_answer(rows: list[tuple[list[str], int, int]]) -> None:
    straight, carried, at = Stories(most=8), Stories(most=8), 0
    for title, link, step in rows:
        at += step
        entry = Entry(" ".join(title), f"https://{link % 2}.test/{link}" if link else "")
        carried = pickle.loads(pickle.dumps(carried))

        assert straight.place(entry, at) == carried.place(entry, at)
        assert len(straight) <= 8


@given(st.text(max_size=60), st.text(max_size=60))
def test_likeness_has_no_direction_and_is_whole_for_itself(left: str, right: str) -> None:
    one, two = gist_of(left), gist_of(right)

    assert alike(one, two) == alike(two, one)
    assert alike(one, one) == 1


@given(st.text(max_size=80))
def test_any_link_is_a_page_or_none(link: str) -> None:
    assert page(page(link)) == ""
    assert page("https://" + page(link)) in (page(link), "")


@pytest.mark.market
def test_on_real_headlines_few_stories_are_told_twice_and_mostly_by_another_site() -> None:
    rows = pl.read_parquet(market_data("news", "cryptonews_machine_labels.parquet")).sort("date")
    stories, first, pairs = Stories(), {}, Counter[bool]()
    for date, title, url in rows.select("date", "title", "url").head(3000).iter_rows():
        entry = Entry(title, url)
        story = stories.place(entry, int(date.timestamp() * 1000))
        if story.new:
            first[story.id] = entry
        elif page(url) != page(first[story.id].link):
            pairs[site(page(url)) == site(page(first[story.id].link))] += 1

    assert 20 <= sum(pairs.values()) <= 150
    assert pairs[False] > 5 * pairs[True]
