"""Binance's futures statistics: contracts become coins, times become whole, errors are told by name."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any, Final

import pytest

from dataflows.replay.answers import Answer
from engine.errors import NotServed, RateLimited, Refused, SourceError, Unreadable
from engine.providers.base import HOUR, Request
from engine.providers.binance import INTEREST, PREMIUM, STATISTICS, Binance, coin_of, contract_of
from engine.records import Metric
from engine.symbols import instant
from tests.checks import market_data
from tests.providers import (
    NOW,
    Case,
    check_described,
    check_faults,
    check_hostile,
    check_no_page,
    check_pure,
    check_recording,
    check_remaining,
    check_same_shape,
    check_unmoved,
    fixture_folder,
    recorded,
    recordings,
)

BINANCE: Final = Binance()
STREAMED: Final = frozenset(
    {
        "liquidated_long_usd",
        "liquidated_short_usd",
        "liquidations",
        "liquidation_level_above",
        "liquidation_level_below",
    }
)
"""What is promised and does not come by REST."""

UNASKED: Final = frozenset(
    {"fut_basis", "fut_exchangeInfo", "fut_fundingInfo", "fut_klines", "fut_openInterest", "fut_ticker_24hr"}
)
"""Fixtures of answers to questions that are not asked here."""


def values(what: str) -> dict[tuple[str, str, int], float]:
    """The numbers of a recording by name, asset and time."""
    told = recorded("binance", what)
    found = BINANCE.parse(told.request, told.body)
    return {(metric.name.partition(".")[2], metric.asset, metric.time): metric.value for metric in found}


@pytest.fixture(scope="module")
def case() -> Case:
    good = [one for one in recordings("binance") if not one.wrong]
    exchanged = tuple((one.request, one.body) for one in good)
    return Case(BINANCE, lambda request, now, numbers: Answer.of([]), 0, False, exchanged)


def test_every_recording_is_read_or_is_the_error_it_is() -> None:
    found: set[str] = set()
    for recording in recordings("binance"):
        found |= {metric.name.partition(".")[2] for metric in check_recording(BINANCE, recording)}

    assert found == set(BINANCE.metrics) - STREAMED


@pytest.mark.parametrize(
    "check", [check_pure, check_unmoved, check_no_page, check_faults, check_remaining, check_hostile]
)
def test_it_keeps_what_every_provider_must(case: Case, check: Any) -> None:
    check_described(BINANCE)
    check(case)


def test_a_contract_of_a_thousand_is_told_per_coin() -> None:
    mark = values("premiumIndex_all")
    interest = values("fut_openInterestHist")
    at = recorded("binance", "premiumIndex_all").body[0]["time"]
    end = recorded("binance", "fut_openInterestHist").body[-1]["timestamp"]

    assert mark["mark_price", "PEPE", at] == pytest.approx(9.12e-6)
    assert mark["basis", "PEPE", at] == pytest.approx(0.00912 / 0.00914286 - 1)
    assert mark["funding_current", "PEPE", at] == -0.00031
    assert interest["open_interest", "PEPE", end] == pytest.approx(8_130_001_450_000)
    assert interest["open_interest_usd", "PEPE", end] == pytest.approx(74_145_613.224)


def test_of_all_contracts_only_perpetuals_against_usdt_under_their_name_of_today_are_read() -> None:
    found = values("premiumIndex_all")

    assert {asset for _, asset, _ in found} == {"BTC", "PEPE", "POL", "WIF"}
    assert [value for (name, asset, _), value in found.items() if (name, asset) == ("mark_price", "POL")] == [
        0.2134
    ]
    assert not [name for name, asset, _ in found if (name, asset) == ("basis", "WIF")]


def test_a_settled_rate_is_also_told_for_eight_hours_whatever_its_interval() -> None:
    eight, four = values("fut_fundingRate"), values("fundingRate_four_hours")

    assert eight["funding", "BTC", 1_789_977_600_000] == -0.0000124
    assert eight["funding_8h", "BTC", 1_789_977_600_000] == pytest.approx(-0.0000124)
    assert four["funding", "BONK", 1_789_992_000_000] == 0.00021
    assert four["funding_8h", "BONK", 1_789_992_000_000] == pytest.approx(0.00042)
    assert four["funding_8h", "BONK", 1_789_977_600_000] == pytest.approx(0.0001)


def test_one_settled_rate_alone_does_not_tell_its_interval() -> None:
    told = recorded("binance", "fut_fundingRate")

    assert [metric.name for metric in BINANCE.parse(told.request, told.body[:1])] == [
        "binance.funding",
        "binance.market_funding",
    ]


def test_a_contract_is_asked_for_by_its_name_at_the_time() -> None:
    before, hole, after = (
        instant(f"2024-09-{day}T00:00+00:00") for day in ("09", "12", "14")
    )  # MATIC, nothing, POL
    asked = [list(BINANCE.requests(["POL"], at)) for at in (before, hole, after)]

    assert [one[1].params["symbol"] for one in (asked[0], asked[2])] == ["MATICUSDT", "POLUSDT"]
    assert [request.path for request in asked[1]] == [PREMIUM]
    assert coin_of("MATICUSDT", before) == ("POL", 1)
    assert coin_of("MATICUSDT", after) is None
    assert contract_of("", after) is None


def test_all_assets_share_one_question_about_the_premium() -> None:
    asked = list(BINANCE.requests(["BTC", "ETH", "BTC"], NOW))

    assert [request.path for request in asked].count(PREMIUM) == 1
    assert len(asked) == 1 + 2 * len(STATISTICS) + 2
    assert sum(request.cost for request in asked) == 12


@pytest.mark.parametrize(
    ("what", "kind", "words"),
    [
        ("fut_error_451_restricted", Refused, "does not serve this location"),
        ("error_403_firewall", Refused, "firewall refused"),
        ("error_418_banned", RateLimited, "banned"),
        ("error_429", RateLimited, "429"),
        ("error_invalid_symbol", NotServed, "no such contract"),
    ],
)
def test_an_error_says_what_it_means(what: str, kind: type[SourceError], words: str) -> None:
    told = recorded("binance", what)
    fault = BINANCE.fault(told.status, told.headers, told.body)

    assert type(fault) is kind
    assert words in str(fault)
    assert "<html>" not in str(fault)
    if isinstance(fault, RateLimited):
        assert (fault.retry_after, fault.banned) == ((300, True) if told.status == 418 else (23, False))


def test_rows_of_another_shape_are_unreadable_not_nothing() -> None:
    request = replace(recorded("binance", "fut_openInterestHist").request)

    with pytest.raises(Unreadable, match="no row has timestamp, sumOpenInterest"):
        list(BINANCE.parse(request, [{"time": 1, "oi": "2"}]))
    assert list(BINANCE.parse(request, [])) == []


def test_what_is_left_of_the_weight_is_told_by_the_headers() -> None:
    assert BINANCE.remaining({"x-mbx-used-weight-1m": "2310"}) == 90
    assert BINANCE.remaining({"x-mbx-used-weight-1m": "2500"}) == 0


def test_the_fixtures_are_read_and_have_the_shape_of_our_recordings() -> None:
    folder = fixture_folder("binance")
    for path in sorted(folder.glob("fut_*.json")):
        told = json.loads(path.read_text())
        if path.stem in UNASKED or "response" not in told:
            continue
        if path.stem == "fut_forceOrders_signed_only":
            fault = BINANCE.fault(told["response"]["status"], {}, told["response"]["body"])
            assert isinstance(fault, Refused)
            continue
        ours = recorded("binance", path.stem)
        theirs = replace(
            ours,
            status=told["response"]["status"],
            headers=told["response"]["headers"],
            body=told["response"]["body"],
            request=replace(ours.request, params={"symbol": "BTCUSDT"}, asset="BTC"),
        )
        check_same_shape(ours, theirs)
        check_recording(BINANCE, theirs)


@pytest.mark.market
def test_real_answers_are_read() -> None:
    folder = market_data("raw", "binance_rest")
    bodies = {
        path.name.split("_")[0]: json.loads(path.read_text())
        for path in sorted(folder.glob("fapi-v1-*.json"))
    }
    premium = read(Request(PREMIUM), bodies["fapi-v1-premiumIndex"])
    funding = read(
        Request("/fapi/v1/fundingRate", asset="BTC"), bodies["fapi-v1-fundingRate-BTCUSDT-limit20"]
    )
    bases = [metric.value for metric in premium if metric.name == "binance.basis"]
    rates = [metric for metric in funding if metric.name == "binance.funding"]

    assert {metric.asset for metric in premium} >= {"BTC", "ETH", "POL", "PEPE", "BONK", "WIF"}
    assert "MATIC" not in {metric.asset for metric in premium}
    assert max(map(abs, bases)) < 0.2
    assert len(rates) == 20
    assert {metric.time % (8 * HOUR) for metric in rates} == {0}
    eight = {metric.time: metric.value for metric in funding if metric.name == "binance.funding_8h"}
    assert eight == {metric.time: metric.value for metric in rates}


def read(request: Request, body: Any) -> list[Metric]:
    return list(BINANCE.parse(request, body))


def test_open_interest_is_asked_for_page_by_page() -> None:
    page = BINANCE.statistic(INTEREST, "BTC", NOW, limit=9000, until=NOW - HOUR)

    assert page is not None
    assert (page.params["limit"], page.params["endTime"]) == ("500", str(NOW - HOUR))
