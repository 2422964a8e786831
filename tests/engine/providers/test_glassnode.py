"""Glassnode: every series of the specification, days by their end, one bad asset or tier for itself."""

from __future__ import annotations

from math import isclose
from typing import Any

import pytest

from dataflows.replay.companion import glassnode as companion
from dataflows.replay.companion.numbers import Numbers
from engine.errors import NotServed, RateLimited, Refused, Unreadable
from engine.providers.base import DAY, Request
from engine.providers.glassnode import BANDS, HELD, Glassnode
from tests.providers import (
    ASSETS,
    NOW,
    check_companion_shapes,
    check_fixtures,
    check_provider,
    check_recording,
    exchange,
    recorded,
    recordings,
    sent,
)

UNUSED = {
    "metadata_assets": "which assets a series has is written in the plug",
    "metadata_metric": "which assets a series has is written in the plug",
    "metric_bulk": "an asset is asked for by itself",
    "metric_points": "prices are the exchange's",
}


def test_it_is_a_provider() -> None:
    check_provider(Glassnode(), companion.answer)


def test_the_companion_answers_in_the_recorded_shape() -> None:
    check_companion_shapes(Glassnode(), companion.answer)


@pytest.mark.parametrize("recording", recordings("glassnode"), ids=lambda one: one.what)
def test_every_recording_is_read_or_recognised(recording: Any) -> None:
    check_recording(Glassnode(), recording)


def test_every_fixture_is_read_or_recognised_and_has_our_shape() -> None:
    check_fixtures(Glassnode(), UNUSED)


def test_a_day_is_told_at_its_end() -> None:
    metrics = check_recording(Glassnode(), recorded("glassnode", "nupl"))

    assert [metric.time % DAY for metric in metrics] == [0, 0, 0]
    assert metrics[0].time == 1_758_326_400_000 + DAY
    assert [metric.value for metric in metrics] == [0.5312, 0.5288, 0.5341]


def test_waves_are_a_metric_a_band_and_a_band_that_is_missing_is_left_out() -> None:
    recording = recorded("glassnode", "hodl_waves")
    whole = check_recording(Glassnode(), recording)
    row = recording.body[0]
    young = [{"t": row["t"], "o": {band: share for band, share in row["o"].items() if band != "more_10y"}}]
    part = list(Glassnode().parse(recording.request, young))

    assert [metric.name for metric in whole] == [f"glassnode.hodl_waves_{band}" for band in BANDS]
    assert isclose(sum(metric.value for metric in whole), 1.0, abs_tol=1e-3)
    assert [metric.name for metric in part] == [metric.name for metric in whole][:-1]


def test_coins_without_a_chain_that_it_reads_are_not_asked_about() -> None:
    asked = {request.asset for request in Glassnode().requests(ASSETS, NOW)}

    assert asked == set(HELD)
    assert list(Glassnode().requests(("WIF", "SOL", "DOT"), NOW)) == []


def test_an_asset_that_is_not_bitcoin_costs_two_credits() -> None:
    costs = {(request.asset == "BTC", request.cost) for request in Glassnode().requests(ASSETS, NOW)}

    assert costs == {(True, 1.0), (False, 2.0)}


def test_flows_are_asked_in_dollars_and_the_stock_in_coins() -> None:
    currencies = {
        request.metric: request.params.get("c")
        for request in Glassnode().requests(ASSETS, NOW)
        if request.metric.startswith("exchange")
    }

    assert currencies == {
        "exchange_balance": None,
        "exchange_netflow": "usd",
        "exchange_inflow": "usd",
        "exchange_outflow": "usd",
    }


def test_net_is_in_minus_out_in_the_simulated_world() -> None:
    told = {
        (metric.name.rpartition("_")[2], metric.asset, metric.time): metric.value
        for request, body in exchange(Glassnode(), companion.answer)
        if request.metric.endswith("flow")
        for metric in Glassnode().parse(request, body)
    }
    nets = {mark[1:]: value for mark, value in told.items() if mark[0] == "netflow"}

    assert nets
    for mark, net in nets.items():
        assert isclose(net, told["inflow", *mark] - told["outflow", *mark], rel_tol=1e-6, abs_tol=1e-3)


@pytest.mark.parametrize(
    ("what", "kind"),
    [
        ("error_400_unsupported_asset", NotServed),
        ("error_401", Refused),
        ("error_403_tier", NotServed),
        ("error_429", RateLimited),
    ],
)
def test_an_error_is_of_its_kind(what: str, kind: type[Exception]) -> None:
    recording = recorded("glassnode", what)
    fault = Glassnode().fault(recording.status, recording.headers, recording.body)

    assert type(fault) is kind


def test_the_wait_is_that_of_its_own_header() -> None:
    recording = recorded("glassnode", "error_429")
    fault = Glassnode().fault(recording.status, recording.headers, recording.body)

    assert isinstance(fault, RateLimited)
    assert fault.retry_after == 31.0
    assert Glassnode().remaining(recorded("glassnode", "nupl").headers) == 571.0


def test_an_error_in_a_good_answer_is_shown_in_its_words() -> None:
    with pytest.raises(Unreadable, match="glassnode nupl: dict instead of rows: come back tomorrow"):
        Glassnode().parse(Request("/", metric="nupl", asset="BTC"), {"error": "come back tomorrow"})


def test_the_companion_refuses_an_asset_as_the_real_one_does() -> None:
    request = next(iter(Glassnode().requests(("BTC",), NOW)))
    asked = sent(Glassnode(), Request(request.path, {**request.params, "a": "WIF"}))
    told = companion.answer(asked, NOW, Numbers())

    assert (told.status, told.body) == (400, b"unsupported asset")
