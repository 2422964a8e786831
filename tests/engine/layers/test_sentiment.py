"""The sentiment layer: moods by kind and scope, few headlines count little, metrics beside them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.layers import Sentiment
from engine.layers.sentiment import COMPONENTS, LONGEST
from engine.records import LayerScore, Mood
from engine.settings.readers import Reader
from tests.engine.layers.neutral import NOON, hearing, total

GOOD = Mood("news", "asset", 0.4, 3.0, 7, NOON - 12 * 60_000, "Solana ETF approved", "coindesk")
GALAXY = {
    "lunarcrush.galaxy": Reader(layer="sentiment", component="social", centre=50, scale=10, half_life=6)
}

sentiment = Sentiment({})


def said(*moods: Mood) -> LayerScore:
    return sentiment(hearing({}, moods=moods))


def mood(**changed: Any) -> Mood:
    return replace(GOOD, **changed)


def test_without_headlines_and_metrics_it_has_nothing_to_say() -> None:
    score = said()

    assert (score.score, score.coverage, score.reasons) == (0.0, 0.0, ())


@pytest.mark.parametrize(
    ("kind", "scope", "component"),
    [
        ("news", "asset", "news"),
        ("news", "market", "market_news"),
        ("social", "asset", "social"),
        ("social", "market", "social"),
    ],
)
def test_each_mood_has_its_component(kind: str, scope: str, component: str) -> None:
    score = said(mood(kind=kind, scope=scope, newest=NOON))

    [reason] = score.reasons
    assert reason.component == component
    assert 0 < reason.points <= COMPONENTS[component].share
    assert score.coverage == COMPONENTS[component].share / 100


def test_a_reason_tells_how_many_what_and_who() -> None:
    [reason] = said(GOOD).reasons

    assert reason.text == (
        "7 headlines, mean +0.40, the newest 12 min old, "
        'above all "Solana ETF approved" (coindesk): good news'
    )


def test_bad_news_have_the_points_of_good_ones_turned_around() -> None:
    up, down = said(GOOD), said(mood(sentiment=-0.4))

    assert down.score == -up.score < 0
    assert down.reasons[0].text.endswith(": bad news")


def test_one_headline_counts_less_than_many() -> None:
    scores = [said(mood(weight=weight)).score for weight in (0.0, 0.1, 0.7, 3.0, 20.0)]

    assert scores == sorted(scores)
    assert scores[0] == 0.0
    assert scores[1] < 0.1 * scores[-1]


def test_old_news_fade_and_then_are_silent() -> None:
    new, old, gone = (said(mood(newest=NOON - hours * 3_600_000)) for hours in (0, 6, 27))

    assert old.score == pytest.approx(new.score / 2, abs=1e-4)
    assert old.coverage == new.coverage / 2
    assert (gone.score, gone.coverage) == (0.0, 0.0)


def test_a_mood_of_no_headlines_covers_nothing() -> None:
    assert said(mood(count=0, weight=0.0, sentiment=0.0, title="", source="")).coverage == 0.0


def test_a_mood_and_a_metric_of_one_component_are_weighed_by_freshness() -> None:
    social = mood(kind="social", newest=NOON)
    layer = Sentiment(GALAXY)
    alone = layer(hearing({}, moods=(social,))).score
    metric = layer(hearing({"lunarcrush.galaxy": 40.0})).score
    both = layer(hearing({"lunarcrush.galaxy": 40.0}, moods=(social,)))

    assert both.score == pytest.approx((alone + metric) / 2, abs=1e-4)
    assert "lunarcrush.galaxy 40, 0 min old; social 7 headlines" in both.reasons[0].text


def test_a_long_title_is_cut() -> None:
    [reason] = said(mood(title="x" * 5000)).reasons

    assert len(reason.text) < LONGEST + 120
    assert "xxx..." in reason.text


moods = st.builds(
    Mood,
    kind=st.sampled_from(["news", "social"]),
    scope=st.sampled_from(["asset", "market"]),
    sentiment=st.floats(-1, 1),
    weight=st.floats(0, 1e6),
    count=st.integers(0, 10_000),
    newest=st.integers(0, 2 * NOON),
    title=st.text(),
    source=st.text(),
)


@given(st.lists(moods, max_size=4), st.floats(-1e6, 1e6))
def test_a_score_is_the_sum_of_its_reasons_whatever_was_written(
    given_moods: list[Mood], galaxy: float
) -> None:
    score = Sentiment(GALAXY)(hearing({"lunarcrush.galaxy": galaxy}, moods=tuple(given_moods)))

    assert score.score == total(score)
    assert all(abs(reason.points) <= COMPONENTS[reason.component].share for reason in score.reasons)
    assert 0.0 <= score.coverage <= 1.0
