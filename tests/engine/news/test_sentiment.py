"""How a headline sounds to a trader, case by case and on headlines labelled before."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st
from vaderSentiment.vaderSentiment import SentimentIntensityAnalyzer

from engine.news.comparing import compared
from engine.news.lexicon import taught
from engine.news.sentiment import sentiment
from tests.benchmarks.sentiment import BAND, Score, scored
from tests.engine.news.labelled import labelled

GOOD = [
    "Bitcoin rises 5%",
    "Short squeeze lifts ether",
    "Solana fails to fall below $100",
    "Exchange denies hack rumours",
    "Fed announces rate cut",
    "Bitcoin outflows from exchanges grow",
    "Inflation cools again",
    "Liquidations ease",
    "SEC drops lawsuit against exchange",
    "BTC +7%",
    "Bitcoin shrugs off rate hike",
    "Bears fail to push ether lower",
    "Fund inflows of $640m versus $0.2bn a week ago",
]
BAD = [
    "Bitcoin slides 5%",
    "Not bullish on ether",
    "Solana fails to hold $100",
    "Exchange halts withdrawals",
    "Fed announces rate hike",
    "Bitcoin inflows to exchanges spike",
    "Inflation rises again",
    "Hackers drain bridge",
    "SEC sues exchange",
    "BTC -7%",
    "Ether gives back gains",
    "Bulls fail to defend $2,000",
    "Stablecoin loses its dollar peg",
    "Revenue of $4.9m compared to $5.2m",
]
PLAIN = [
    "Developers meet in Lisbon",
    "Exchange lists trading hours",
    "Is bitcoin bullish?",
    "How to avoid a crash: a guide",
]


@pytest.mark.parametrize("title", GOOD)
def test_good_news_sounds_good(title: str) -> None:
    assert sentiment(title) > BAND


@pytest.mark.parametrize("title", BAD)
def test_bad_news_sounds_bad(title: str) -> None:
    assert sentiment(title) < -BAND


@pytest.mark.parametrize("title", PLAIN)
def test_no_news_sounds_of_little(title: str) -> None:
    assert abs(sentiment(title)) < BAND


def test_stronger_words_sound_stronger() -> None:
    assert sentiment("Bitcoin plunges") < sentiment("Bitcoin slips") < 0
    assert sentiment("Bitcoin soars") > sentiment("Bitcoin rises") > 0


def test_the_name_of_an_asset_is_no_opinion() -> None:
    assert sentiment("Optimism token holders vote") == sentiment("OP token holders vote")
    assert sentiment("Traders' optimism returns") > BAND


def test_it_beats_plain_vader_on_the_labelled_headlines() -> None:
    plain = SentimentIntensityAnalyzer()
    rows = [(row.title, row.sentiment) for row in labelled()]
    ours = scored(sentiment, rows)
    theirs = scored(lambda title: float(plain.polarity_scores(title)["compound"]), rows)

    assert ours.accuracy >= 0.85 > theirs.accuracy + 0.2
    assert ours.wrong_sign <= 0.03


def test_vaders_own_lexicon_stays_as_it_was() -> None:
    before = dict(SentimentIntensityAnalyzer().lexicon)
    taught.cache_clear()
    taught()

    assert SentimentIntensityAnalyzer().lexicon == before
    assert taught().vader.lexicon != before


def test_numbers_are_compared_only_where_they_can_be() -> None:
    for told in (
        "5 mn compared to a year ago",
        "5 mn in 2025 , compared to 2024",
        "as compared to 5",
        "1.2.3 vs 5",
    ):
        assert list(compared(told.split())) == told.split()


def test_a_score_counts_misses_by_their_kind() -> None:
    rows = [("a", 1), ("b", -1), ("c", 0), ("d", 1)]
    tones = {"a": 0.9, "b": 0.9, "c": 0.0, "d": 0.0}

    assert scored(tones.__getitem__, rows) == Score(4, 0.5, 1 / 3)


@examples(max_examples=150, deadline=None)
@given(st.text(max_size=120))
def test_any_text_has_a_tone_between_the_bounds(text: str) -> None:
    assert -1 <= sentiment(text) <= 1
