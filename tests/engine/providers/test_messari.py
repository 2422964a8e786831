import pytest

from dataflows.replay.companion import messari as companion
from engine.errors import SourceError, Unreadable
from engine.providers.base import DAY, HOUR, Request
from engine.providers.messari import NETWORKS, VESTING, Messari
from engine.records import Metric
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
    "asset_timeseries": "prices come from the exchange; the shape is that of network_finances",
    "token_unlocks_assets": "who is vesting is a table of the plug",
}


def said(what: str) -> dict[tuple[str, str], list[float]]:
    """The values of one recording by name and asset, oldest first."""
    one = recorded("messari", what)
    found: dict[tuple[str, str], list[float]] = {}
    for metric in Messari().parse(one.request, one.body):
        found.setdefault((metric.name.removeprefix("messari."), metric.asset), []).append(metric.value)
    return found


def test_it_keeps_the_provider_contract() -> None:
    # The order of a series' column names tells what its columns are.
    check_provider(Messari(), companion.answer, ordered=True)


@pytest.mark.parametrize("recording", recordings("messari"), ids=lambda one: one.what)
def test_recordings_are_read(recording: Recording) -> None:
    check_recording(Messari(), recording)


def test_fixtures_are_read_and_recorded_in_their_shape() -> None:
    check_fixtures(Messari(), UNUSED)


def test_unlocks_of_the_next_seven_days_are_summed_and_others_are_not() -> None:
    told = said("token_unlocks_events")

    assert told["unlock_7d", "AVAX"] == [pytest.approx(0.0031)]
    assert told["unlock_usd_7d", "AVAX"] == [pytest.approx(40.5e6)]


def test_no_unlock_is_a_number_too() -> None:
    assert said("no_unlocks") == {("unlock_7d", "AVAX"): [0.0], ("unlock_usd_7d", "AVAX"): [0.0]}


def test_open_events_of_some_importance_are_counted_and_none_is_a_number_too() -> None:
    told = said("intel_events")

    assert told["governance_events", "ARB"] == [2.0]
    assert told["governance_events", "OP"] == [1.0]
    assert {asset for _, asset in told} == set(ASSETS)
    assert sum(count for (count,) in told.values()) == 3.0


def test_an_hour_of_talk_is_told_at_its_end_in_fractions_of_the_asset_with_the_slug() -> None:
    one = recorded("messari", "signal_time_series")
    metrics = Messari().parse(one.request, one.body)

    assert metrics[0] == Metric("messari.mindshare", "AVAX", 1_789_988_400_000 + HOUR, 0.015)
    assert said("signal_time_series") == {
        ("mindshare", "AVAX"): [pytest.approx(0.015), pytest.approx(0.0125)],
        ("posts", "AVAX"): [64, 88],
        ("sentiment", "AVAX"): [-0.12, 0.41],
    }


def test_finances_are_read_by_the_names_of_their_columns() -> None:
    one = recorded("messari", "network_finances")
    columns = one.body["metadata"]["pointSchemas"]
    turned = {
        "data": {
            "points": [row[::-1] for row in one.body["data"]["points"]],
            "metadata": {"pointSchemas": columns[::-1]},
        }
    }
    metrics = Messari().parse(one.request, one.body)

    assert metrics == [
        Metric("messari.protocol_fees", "SOL", 1_789_776_000_000 + DAY, 812_000.5),
        Metric("messari.protocol_revenue", "SOL", 1_789_776_000_000 + DAY, 401_000.0),
        Metric("messari.protocol_fees", "SOL", 1_789_862_400_000 + DAY, 790_500.0),
    ]
    assert Messari().parse(one.request, turned) == metrics


def test_a_series_without_the_columns_names_those_it_has() -> None:
    one = recorded("messari", "network_finances")
    columns = [{"slug": "time", "is_timestamp": True}, {"slug": "activeAddresses24Hour"}]
    body = {"data": {"points": [[1, 2]]}, "metadata": {"pointSchemas": columns}}

    with pytest.raises(Unreadable, match=r"messari revenue: no revenue24HourUsd .* among time, activeAddr"):
        Messari().parse(one.request, body)


def test_a_profile_is_of_the_time_of_its_price_where_that_is_told() -> None:
    one = recorded("messari", "assets_details")
    row = one.body["data"][0]
    priced = {**row, "marketData": {**row["marketData"], "priceAt": "2026-09-21T13:15:00Z"}}

    found = Messari().parse(one.request, {"error": None, "data": [priced]})

    assert {metric.time for metric in Messari().parse(one.request, one.body)} == {one.request.at}
    assert {metric.time for metric in found} == {one.request.at - 5 * 60_000}
    assert said("assets_details")["rank", "BTC"] == [1.0]


def test_an_error_in_a_200_is_raised_with_its_words() -> None:
    one = recorded("messari", "error_in_200")

    with pytest.raises(SourceError, match="messari profile: internal timeout"):
        Messari().parse(one.request, one.body)


def test_an_error_that_is_an_object_is_raised_with_its_words() -> None:
    one = recorded("messari", "error_object_in_200")

    with pytest.raises(SourceError, match="messari profile: no such assets"):
        Messari().parse(one.request, one.body)


def test_only_networks_are_asked_for_revenue_and_only_what_vests_for_unlocks() -> None:
    asked: dict[str, list[Request]] = {}
    for request in Messari().requests(ASSETS, NOW):
        asked.setdefault(request.metric, []).append(request)

    assert {request.asset for request in asked["revenue"]} == NETWORKS
    assert {request.asset for request in asked["unlocks"]} == VESTING
    assert [len(asked[name]) for name in ("signal", "events", "profile")] == [1, 1, 1]
