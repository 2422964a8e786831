import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataflows.replay.companion import token_terminal as companion
from engine.providers.base import DAY
from engine.providers.token_terminal import LEAST, TokenTerminal
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

UNUSED = {
    "projects": "ids are a table of the plug",
    "project_metrics": "metrics are asked for of all projects at once, not of one",
}


def test_it_keeps_the_provider_contract() -> None:
    check_provider(TokenTerminal(), companion.answer)


@pytest.mark.parametrize("recording", recordings("token_terminal"), ids=lambda one: one.what)
def test_recordings_are_read(recording: Recording) -> None:
    check_recording(TokenTerminal(), recording)


def test_fixtures_are_read_and_recorded_in_their_shape() -> None:
    # The fixtures tell of projects that are no asset of ours.
    check_fixtures(TokenTerminal({"LINK": "aave", "ETH": "ethereum"}), UNUSED)


def test_a_row_speaks_of_the_day_that_ends() -> None:
    one = recorded("token_terminal", "metric_by_projects")

    metrics = TokenTerminal().parse(one.request, one.body)

    assert metrics[0] == Metric("token_terminal.revenue", "ETH", 1_789_776_000_000 + DAY, 512_034.75)
    assert [metric.asset for metric in metrics] == ["ETH", "ARB", "ETH"]


def test_null_and_projects_nobody_follows_say_nothing() -> None:
    one = recorded("token_terminal", "null_and_stranger")

    metrics = TokenTerminal().parse(one.request, one.body)

    assert [(metric.asset, metric.value) for metric in metrics] == [("SOL", 3_120_450.0)]


def test_a_request_asks_for_all_projects_and_nothing_is_asked_without_any() -> None:
    plug = TokenTerminal()
    asked = list(plug.requests(["PEPE", "ETH", "SOL"], NOW))

    assert {request.params["project_ids"] for request in asked} == {"ethereum,solana"}
    assert list(plug.requests(["PEPE"], NOW)) == []


def month(asset: str, earnings: list[float], cap: float) -> list[Metric]:
    """A market capitalisation and the earnings of the days up to it."""
    days = [
        Metric("token_terminal.earnings", asset, (100 - back) * DAY, value)
        for back, value in enumerate(earnings)
    ]
    return [*days, Metric("token_terminal.market_cap", asset, 100 * DAY, cap)]


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=45), st.floats(1.0, 1e12))
def test_the_ratio_is_the_capitalisation_over_a_year_at_the_pace_of_30_days(
    earnings: list[float], cap: float
) -> None:
    found = TokenTerminal().derive(month("ETH", earnings, cap))

    recent = earnings[:30]
    year = 365 * sum(recent) / len(recent)
    if len(recent) < LEAST or year <= 1e-3:
        assert not found or year > 0
    else:
        assert [(one.name, one.asset, one.time) for one in found] == [
            ("token_terminal.pe_ratio", "ETH", 100 * DAY)
        ]
        assert found[0].value * year == pytest.approx(cap, rel=1e-6)


def test_a_loss_and_too_few_days_have_no_ratio() -> None:
    plug = TokenTerminal()

    assert plug.derive(month("ETH", [-1.0] * 30, 1e9)) == []
    assert plug.derive(month("ETH", [1.0] * (LEAST - 1), 1e9)) == []
    assert len(plug.derive(month("ETH", [1.0] * LEAST, 1e9))) == 1


def test_what_was_earned_over_a_month_ago_does_not_count() -> None:
    recent, before = [1.0] * 30, [1000.0] * 10

    assert [one.value for one in TokenTerminal().derive(month("ETH", recent + before, 730.0))] == [2.0]


def test_earnings_of_one_asset_do_not_value_another() -> None:
    mixed = [*month("ETH", [2.0] * 30, 730.0)[:-1], *month("ARB", [1.0] * 30, 730.0)]

    assert [(one.asset, one.value) for one in TokenTerminal().derive(mixed)] == [("ARB", 2.0)]


def test_every_project_has_a_ratio_from_one_round() -> None:
    plug = TokenTerminal()
    heard = [metric for asked, body in exchange(plug, companion.answer) for metric in plug.parse(asked, body)]

    assert {metric.asset for metric in plug.derive(heard)} == set(plug.projects)
