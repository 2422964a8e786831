"""Coin Metrics: one call with or without a key, what the free tier lacks derived where it can be."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from dataflows.replay.answers import Answer
from dataflows.replay.companion import coinmetrics as companion
from dataflows.replay.companion.numbers import Numbers
from engine.errors import NotServed, RateLimited, Refused
from engine.providers.base import DAY, Request
from engine.providers.coinmetrics import CoinMetrics
from engine.records import Metric
from tests.providers import (
    ASSETS,
    KEY,
    NOW,
    check_fixtures,
    check_provider,
    check_recording,
    recorded,
    recordings,
    sent,
)

FREE = {
    *("hashrate", "realized_cap", "mvrv", "market_cap", "exchange_inflow", "exchange_outflow"),
    *("exchange_supply", "active_addresses", "exchange_flow_balance"),
}
"""What the community tier has of bitcoin, with what is derived of it."""


def told(answer: Answer) -> list[Metric]:
    return list(CoinMetrics().parse(Request("/"), orjson.loads(answer.body)))


def asked(key: str | None, **changes: str) -> Answer:
    request = next(iter(CoinMetrics().requests(ASSETS, NOW)))
    changed = Request(request.path, {**request.params, **changes})
    return companion.answer(sent(CoinMetrics(), changed, key), NOW, Numbers(1))


def test_it_is_a_provider() -> None:
    check_provider(CoinMetrics(), companion.answer)


@pytest.mark.parametrize("recording", recordings("coinmetrics"), ids=lambda one: one.what)
def test_every_recording_is_read_or_recognised(recording: Any) -> None:
    check_recording(CoinMetrics(), recording)


def test_every_fixture_is_read_or_recognised_and_has_our_shape() -> None:
    check_fixtures(CoinMetrics())


def test_the_same_request_without_a_key_tells_what_is_free() -> None:
    free = {one.name.partition(".")[2] for one in told(asked(None)) if one.asset == "BTC"}
    paid = {one.name.partition(".")[2] for one in told(asked(KEY)) if one.asset == "BTC"}

    assert free == FREE
    assert paid == set(CoinMetrics.metrics)


def test_realized_cap_is_derived_where_it_is_not_served_and_is_the_same() -> None:
    caps = [
        {(one.asset, one.time): one.value for one in told(asked(key)) if one.name.endswith("realized_cap")}
        for key in (None, KEY)
    ]

    assert caps[0].keys() == caps[1].keys()
    assert caps[0] == pytest.approx(caps[1], rel=1e-9)


def test_realized_cap_that_is_served_is_taken_as_it_is() -> None:
    metrics = check_recording(CoinMetrics(), recorded("coinmetrics", "asset_metrics_pro"))

    assert [one.value for one in metrics if one.name.endswith("realized_cap")] == [371220841130.25]


def test_what_a_ratio_lacks_leaves_it_out() -> None:
    whole = {
        "CapMrktCurUSD": "8",
        "CapMVRVCur": "0",
        "RevAllTimeUSD": "0",
        "FlowInExUSD": "0",
        "FlowOutExUSD": "0",
    }
    row = {
        "asset": "btc",
        "time": "2026-01-01T00:00:00.000000000Z",
        **whole,
        "SplyUTXOProf": "3",
        "SplyCur": None,
    }
    names = [one.name for one in CoinMetrics().parse(Request("/"), {"data": [row]})]

    assert names == [
        f"coinmetrics.{name}"
        for name in ("thermocap", "mvrv", "market_cap", "exchange_inflow", "exchange_outflow")
    ]


def test_what_miners_earned_measures_bitcoin_alone() -> None:
    of = {one.asset for one in told(asked(KEY)) if one.name == "coinmetrics.thermocap_multiple"}

    assert of == {"BTC"}
    assert {one.asset for one in told(asked(KEY)) if one.name == "coinmetrics.thermocap"} > of


def test_more_coming_than_going_is_a_positive_balance() -> None:
    row = {"asset": "eth", "time": "2026-01-01T00:00:00.000000000Z", "FlowInExUSD": "3", "FlowOutExUSD": "1"}
    metrics = CoinMetrics().parse(Request("/"), {"data": [row]})

    assert {one.name: one.value for one in metrics}["coinmetrics.exchange_flow_balance"] == 0.5


def test_a_day_with_nine_decimals_is_told_at_its_end() -> None:
    metrics = check_recording(CoinMetrics(), recorded("coinmetrics", "asset_metrics"))

    assert sorted({one.time for one in metrics}) == [1_773_187_200_000 + DAY, 1_773_273_600_000 + DAY]
    assert {one.name for one in metrics} >= {"coinmetrics.realized_cap", "coinmetrics.hashrate"}


def test_one_asset_that_is_not_served_does_not_cost_the_others() -> None:
    lenient = asked(None, assets="btc,zzz")
    strict = asked(None, assets="btc,zzz", ignore_unsupported_errors="false")

    assert {one.asset for one in told(lenient)} == {"BTC"}
    assert strict.status == 400
    assert asked(None, ignore_forbidden_errors="false").status == 403


@pytest.mark.parametrize(
    ("what", "kind"),
    [("error_400_asset", NotServed), ("error_401", Refused), ("error_403_metric", Refused)],
)
def test_an_error_is_of_its_kind(what: str, kind: type[Exception]) -> None:
    recording = recorded("coinmetrics", what)
    fault = CoinMetrics().fault(recording.status, recording.headers, recording.body)

    assert type(fault) is kind


def test_the_wait_and_what_is_left_are_those_of_its_headers() -> None:
    fault = CoinMetrics().fault(429, {"x-ratelimit-reset": "6"}, {"error": {"type": "too_many_requests"}})

    assert isinstance(fault, RateLimited)
    assert fault.retry_after == 6.0
    assert CoinMetrics().remaining({"x-ratelimit-remaining": "5999"}) == 5999.0
