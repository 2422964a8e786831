import pytest

from dataflows.replay.companion import alternative_me as companion
from engine.errors import RateLimited, SourceError
from engine.providers.alternative_me import AlternativeMe
from engine.providers.base import DAY
from engine.records import Metric
from tests.providers import (
    NOW,
    Recording,
    check_fixtures,
    check_provider,
    check_recording,
    exchange,
    recorded,
    recordings,
)

NAME = "alternative_me"


def test_it_keeps_the_provider_contract() -> None:
    check_provider(AlternativeMe(), companion.answer, behind=DAY)


@pytest.mark.parametrize("recording", recordings(NAME), ids=lambda one: one.what)
def test_recordings_are_read(recording: Recording) -> None:
    check_recording(AlternativeMe(), recording)


def test_fixtures_are_read_and_recorded_in_their_shape() -> None:
    check_fixtures(AlternativeMe())


def test_a_day_speaks_of_its_stamp_and_comes_oldest_first() -> None:
    fng = recorded(NAME, "fng")

    assert AlternativeMe().parse(fng.request, fng.body) == [
        Metric("alternative_me.fear_greed", "", 1_789_862_400_000, 64.0),
        Metric("alternative_me.fear_greed", "", 1_789_948_800_000, 71.0),
    ]


def test_a_null_and_a_number_off_the_scale_are_left_out() -> None:
    nulls = recorded(NAME, "nulls")

    assert [metric.value for metric in AlternativeMe().parse(nulls.request, nulls.body)] == [58.0]


def test_it_asks_for_a_history_and_gets_as_many_days() -> None:
    plug = AlternativeMe(days=9)
    [(request, body)] = exchange(plug, companion.answer)
    times = [metric.time for metric in plug.parse(request, body)]

    assert times == [(NOW // DAY - back) * DAY for back in reversed(range(9))]


def test_its_errors_are_told_in_its_words() -> None:
    plug = AlternativeMe()
    told = recorded(NAME, "error_in_200")

    with pytest.raises(SourceError, match="The index is not available"):
        plug.parse(told.request, told.body)
    assert isinstance(plug.fault(429, {}, None), RateLimited)
    assert "502 Bad Gateway" in str(plug.fault(502, {}, recorded(NAME, "error_html").body))
