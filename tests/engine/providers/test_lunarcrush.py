import pytest

from dataflows.replay.companion import lunarcrush as companion
from engine.errors import RateLimited
from engine.providers.base import DAY, HOUR, Request
from engine.providers.lunarcrush import LunarCrush
from tests.providers import (
    ASSETS,
    NOW,
    Recording,
    check_fixtures,
    check_provider,
    check_recording,
    recorded,
    recordings,
)

UNUSED = {
    "coin": "the list tells the same of all coins",
    "topic": "the list tells the same of all coins",
    "topic_news": "news are read from the feeds",
    "system_changes": "a list of redefinitions holds no number",
}


def said(what: str) -> dict[tuple[str, str], list[float]]:
    """The values of one recording by name and asset, oldest first."""
    one = recorded("lunarcrush", what)
    found: dict[tuple[str, str], list[float]] = {}
    for metric in LunarCrush().parse(one.request, one.body):
        name = metric.name.removeprefix("lunarcrush.")
        found.setdefault((name, metric.asset), []).append(metric.value)
    return found


def test_it_keeps_the_provider_contract() -> None:
    check_provider(LunarCrush(), companion.answer, behind=2 * HOUR)


@pytest.mark.parametrize("recording", recordings("lunarcrush"), ids=lambda one: one.what)
def test_recordings_are_read(recording: Recording) -> None:
    check_recording(LunarCrush(), recording)


def test_fixtures_are_read_and_recorded_in_their_shape() -> None:
    check_fixtures(LunarCrush(), UNUSED)


def test_of_namesakes_the_best_ranked_is_meant() -> None:
    told = said("coins_list_v2")

    assert told["galaxy_score", "SOL"] == [55.5]
    assert told["sentiment", "SOL"] == [pytest.approx(0.77)]


def test_a_coin_without_a_rank_is_nobody() -> None:
    row = {"symbol": "WIF", "galaxy_score": 60, "market_cap_rank": None}
    ranked = {**row, "galaxy_score": 40, "market_cap_rank": 310}
    asked = Request("/coins/list/v2", metric="list", at=NOW)

    metrics = LunarCrush().parse(asked, {"data": [ranked, row]})

    assert [(one.asset, one.value, one.time) for one in metrics] == [("WIF", 40.0, NOW)]
    assert LunarCrush().parse(asked, {"data": [row]}) == []


def test_shares_are_fractions_and_scores_stay_as_they_are() -> None:
    told = said("coins_list_v2")

    assert told["sentiment", "BTC"] == [pytest.approx(0.81)]
    assert told["social_dominance", "BTC"] == [pytest.approx(0.2275)]
    assert told["galaxy_score", "BTC"] == [62.5]
    assert told["alt_rank", "BTC"] == [141.0]


def test_the_list_is_of_the_time_it_was_made() -> None:
    one = recorded("lunarcrush", "coins_list_v2")

    assert {metric.time for metric in LunarCrush().parse(one.request, one.body)} == {1_789_996_800_000}


def test_spam_is_told_of_the_hour_that_ends_with_its_share_of_what_was_posted() -> None:
    one = recorded("lunarcrush", "coin_time_series")
    times = {metric.time for metric in LunarCrush().parse(one.request, one.body)}

    assert said("coin_time_series") == {("spam", "ETH"): [120, 90], ("spam_share", "ETH"): [0.25, 0.2]}
    assert times == {1_789_993_200_000, 1_789_996_800_000}


def test_leading_creators_are_summed() -> None:
    assert said("topic_creators") == {
        ("influencer_interactions", "BTC"): [1_000_500.0],
        ("influencer_followers", "BTC"): [2_500_000.0],
    }


def test_all_coins_cost_one_request_and_the_rest_is_rarer() -> None:
    asked = list(LunarCrush().requests(ASSETS, NOW))

    assert [request.path for request in asked if request.every is None] == ["/coins/list/v2"]
    # A list each quarter of an hour beside the rest: a tenth of the 2000 calls of a day.
    rest = sum(DAY / 1000 / request.every for request in asked if request.every)
    assert 96 + rest <= 200


def test_a_day_that_is_used_up_waits_longer_than_a_minute_that_is() -> None:
    waits = []
    for what in ("error_429", "error_429_day"):
        one = recorded("lunarcrush", what)
        fault = LunarCrush().fault(one.status, one.headers, one.body)
        assert isinstance(fault, RateLimited)
        waits.append(fault.retry_after)

    assert waits == [45.0, 3600.0]


def test_what_is_left_of_the_day_is_read_from_the_headers() -> None:
    assert LunarCrush().remaining(recorded("lunarcrush", "coins_list_v2").headers) == 1876.0
