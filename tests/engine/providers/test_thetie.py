import pytest

from dataflows.replay.companion import thetie as companion
from engine.errors import Refused, Unreadable
from engine.providers.base import HOUR
from engine.providers.fields import instant
from engine.providers.thetie import TheTie
from engine.records import Metric
from tests.providers import (
    NOW,
    Recording,
    check_fixtures,
    check_provider,
    check_recording,
    recorded,
    recordings,
)


def said(what: str) -> list[Metric]:
    one = recorded("thetie", what)
    return TheTie().parse(one.request, one.body)


def test_it_keeps_the_provider_contract() -> None:
    check_provider(TheTie(), companion.answer, behind=HOUR)


@pytest.mark.parametrize("recording", recordings("thetie"), ids=lambda one: one.what)
def test_recordings_are_read(recording: Recording) -> None:
    check_recording(TheTie(), recording)


def test_fixtures_are_read_and_recorded_in_their_shape() -> None:
    check_fixtures(TheTie())


def test_scores_of_one_to_five_become_minus_one_to_one() -> None:
    at = instant("2026-09-21 13:05:10")

    # (4.5 - 3) / 2 = 0.75 and (2.5 - 3) / 2 = -0.25
    assert at is not None
    assert said("news_sentiment") == [
        Metric("thetie.news_disagreement", "", at, 0.5),
        Metric("thetie.news_sentiment", "", at, 0.25),
    ]


def test_a_bare_list_is_taken_and_rows_of_yesterday_or_off_the_scale_are_not() -> None:
    assert [metric.value for metric in said("news_sentiment_list")] == [0.5, -0.5]


def test_an_article_that_is_told_twice_counts_once() -> None:
    assert {metric.name: metric.value for metric in said("trending_news")} == {
        "thetie.trending_news": 2.0,
        "thetie.trending_tweets": 60.0,
    }


def test_rows_without_any_time_are_unreadable() -> None:
    news = recorded("thetie", "news_sentiment").request

    with pytest.raises(Unreadable, match="thetie news: 1 rows, and no timestamp can be read"):
        TheTie().parse(news, [{"sentiment_score": 3}])
    assert TheTie().parse(news, {"data": []}) == []


def test_what_it_has_no_address_for_is_said_to_be_gone() -> None:
    gone = {name for name, promise in TheTie().metrics.items() if promise.gone}

    assert gone == {"social_score", "entities"}


def test_trending_lies_on_another_host_and_paths_may_be_others() -> None:
    asked = list(TheTie(news="/v2/news").requests([], NOW))

    assert [(request.host, request.path) for request in asked] == [
        ("", "/v2/news"),
        ("trending", "/trending_news/historical"),
    ]


def test_a_key_that_is_not_theirs_is_refused() -> None:
    told = recorded("thetie", "error_401")

    assert isinstance(TheTie().fault(told.status, told.headers, told.body), Refused)
