import pytest

from dataflows.replay.answers import Request as Asked
from dataflows.replay.companion import artemis as companion
from dataflows.replay.companion.numbers import Numbers
from engine.errors import NotServed, Refused
from engine.providers.artemis import SYMBOLS, Artemis
from engine.providers.base import DAY
from engine.providers.fields import instant
from tests.providers import (
    KEY,
    NOW,
    Recording,
    check_fixtures,
    check_provider,
    check_recording,
    check_same_shape,
    exchange,
    fixture,
    recorded,
    recordings,
)

UNUSED = {
    "asset_symbols": "symbols are a table of ours",
    "metrics_sentinel": "tells of prices and of a missing series: no number of ours",
}
SUNDAY = instant("2026-09-20")


def said(what: str) -> dict[tuple[str, str], list[float]]:
    one = recorded("artemis", what)
    found: dict[tuple[str, str], list[float]] = {}
    for metric in Artemis().parse(one.request, one.body):
        found.setdefault((metric.name.removeprefix("artemis."), metric.asset), []).append(metric.value)
    return found


def test_it_keeps_the_provider_contract() -> None:
    check_provider(Artemis(), companion.answer, behind=8 * DAY)


@pytest.mark.parametrize(
    "recording",
    [one for one in recordings("artemis") if one.what not in UNUSED],
    ids=lambda one: one.what,
)
def test_recordings_are_read(recording: Recording) -> None:
    check_recording(Artemis(), recording)


def test_fixtures_are_read_and_recorded_in_their_shape() -> None:
    check_fixtures(Artemis(), UNUSED)


def test_a_missing_series_beside_others_is_no_error() -> None:
    ours = recorded("artemis", "metrics_sentinel")

    assert Artemis().parse(ours.request, ours.body) == []
    check_same_shape(ours, fixture("artemis", "metrics_sentinel"))


def test_sentences_only_are_an_answer_that_is_not_served() -> None:
    told = recorded("artemis", "error_in_200")

    with pytest.raises(NotServed, match=r"artemis daily: Metric not found\."):
        Artemis().parse(told.request, told.body)


def test_a_day_is_told_at_its_end_whatever_the_order_and_the_case_of_keys() -> None:
    one = recorded("artemis", "daily")
    found = Artemis().parse(one.request, one.body)

    assert SUNDAY is not None
    assert {metric.time for metric in found} == {SUNDAY, SUNDAY + DAY}
    assert said("daily")["active_users", "SOL"] == [1_900_000.0, 2_000_000.0]
    assert said("daily")["active_users", "AVAX"] == [500_000.0]
    assert ("transactions", "AVAX") not in said("daily")
    assert said("daily")["transactions", "SOL"] == [61_000_000.0]


def test_a_share_is_of_days_that_every_chain_has() -> None:
    found = said("daily")

    # Of the 19th only one chain told its fees: its share of all is not known.
    assert found["fee_share", "SOL"] == [pytest.approx(0.75)]
    assert found["fee_share", "AVAX"] == [pytest.approx(0.25)]
    assert found["user_share", "AVAX"] == [pytest.approx(0.2)]


def test_a_week_is_told_when_it_is_over() -> None:
    one = recorded("artemis", "weekly")
    newest = Artemis().parse(one.request, one.body)[-1]

    assert (newest.value, newest.time) == (640.0, instant("2026-09-21"))


def test_the_key_travels_in_the_query_and_a_wrong_one_is_refused() -> None:
    told = recorded("artemis", "error_401")
    fault = Artemis().fault(told.status, told.headers, told.body)

    assert Artemis().query(KEY) == {"APIKey": KEY}
    assert isinstance(fault, Refused)
    assert str(fault) == "artemis: 401 Invalid API key"


def test_nothing_is_asked_about_tokens_without_a_chain() -> None:
    assert list(Artemis().requests(["PEPE", "LINK"], NOW)) == []
    assert all(request.path.endswith("/") for request in Artemis().requests(SYMBOLS, NOW))


def test_the_companion_has_no_day_that_is_not_over_and_says_what_it_lacks() -> None:
    daily, weekly = exchange(Artemis(), companion.answer)
    chains = daily[1]["data"]["symbols"]
    query = {"symbols": "btc,nochain", "startDate": "2026-09-01", "endDate": "2026-09-21", "APIKey": "any"}
    told = companion.answer(Asked("GET", "/data/api/HATS,TVL/", query, {}), NOW, Numbers(1)).body

    assert chains["btc"]["dex_volumes"] == "Metric not available for asset."
    assert max(row["date"] for row in chains["sol"]["dau"]) == "2026-09-20"
    assert len(weekly[1]["data"]["symbols"]["sol"]["weekly_commits_core_ecosystem"]) == 6
    assert b'"hats":"Metric not found."' in told
