"""Nansen: credits that last the month, tokens known by their contract, rotation between chains."""

from __future__ import annotations

from dataclasses import replace
from math import isclose
from typing import Any

import orjson
import pytest

from dataflows.replay.companion import nansen as companion
from dataflows.replay.companion.numbers import Numbers
from engine.errors import NotServed, RateLimited, Refused
from engine.providers.nansen import FLOW, Nansen
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
    spending,
)

CONFIRMED = {"ETH", "SOL", "PEPE", "BONK", "WIF"}


def test_it_is_a_provider() -> None:
    check_provider(Nansen(), companion.answer)


def test_the_companion_answers_in_the_recorded_shape() -> None:
    check_companion_shapes(Nansen(), companion.answer)


@pytest.mark.parametrize("recording", recordings("nansen"), ids=lambda one: one.what)
def test_every_recording_is_read_or_recognised(recording: Any) -> None:
    check_recording(Nansen(), recording)


def test_every_fixture_is_read_or_recognised_and_has_our_shape() -> None:
    check_fixtures(Nansen())


def test_a_month_of_credits_is_not_spent_whatever_the_assets() -> None:
    assert spending(Nansen(), ASSETS, 31 * 86_400.0) == 4 * 31 * (5 + len(CONFIRMED))
    assert spending(Nansen(), ASSETS, 31 * 86_400.0) < 2000


def test_polling_more_often_does_not_spend_more() -> None:
    month = 31 * 86_400.0
    spent = [one.cost * month / (one.every or 1.0) for one in Nansen().requests(ASSETS, NOW)]

    assert sum(spent) == spending(Nansen(), ASSETS, month)


def test_only_contracts_that_are_confirmed_are_paid_for() -> None:
    asked = {request.asset for request in Nansen().requests(ASSETS, NOW)}

    assert asked == {"", *CONFIRMED}
    assert list(Nansen().requests(("BTC", "DOT", "NEAR", "DOGE"), NOW)) == []


def test_nobody_asks_for_labels() -> None:
    assert Nansen().metrics["wallet_labels"].gone
    assert not any("label" in request.path for request in Nansen().requests(ASSETS, NOW))


def test_a_token_is_known_by_its_contract_and_not_by_what_it_calls_itself() -> None:
    recording = recorded("nansen", "smart_money_netflow")
    rows = recording.body["data"]
    fake = {**rows[0], "token_address": "0x00000000000000000000000000000000000000aa"}
    told = {(one.name, one.asset): one.value for one in Nansen().parse(recording.request, {"data": [fake]})}
    real = {one.asset for one in check_recording(Nansen(), recording) if "smart_money" in one.name}

    assert not any("smart_money" in name for name, _ in told)
    assert real == {"PEPE", "WIF"}


def test_smart_money_is_told_as_a_share_of_what_the_token_is_worth() -> None:
    recording = recorded("nansen", "smart_money_netflow")
    told = {(one.name, one.asset): one.value for one in check_recording(Nansen(), recording)}
    row = recording.body["data"][0]

    assert told["nansen.smart_money_flow", "PEPE"] == row["net_flow_24h_usd"] / row["market_cap_usd"]
    assert told["nansen.smart_money_flow_7d", "PEPE"] == row["net_flow_7d_usd"] / row["market_cap_usd"]


def test_bridge_flows_are_shares_of_all_that_moved() -> None:
    for request, body in exchange(Nansen(), companion.answer)[:1]:
        told = {(one.name, one.asset): one.value for one in Nansen().parse(request, body)}
        flows = [row["net_flow_24h_usd"] for row in body["data"]]
        solana = [row["net_flow_24h_usd"] for row in body["data"] if row["chain"] == "solana"]
        shares = [value for (name, _), value in told.items() if name == "nansen.bridge_flow"]

        assert isclose(told["nansen.bridge_flow", "SOL"], sum(solana) / sum(map(abs, flows)), rel_tol=1e-9)
        assert isclose(sum(shares), sum(flows) / sum(map(abs, flows)), rel_tol=1e-9)
        assert sum(map(abs, shares)) <= 1.0


@pytest.mark.parametrize(("exchanges", "sign"), [(-5e6, 1), (5e7, -1)])
def test_coins_that_leave_exchanges_are_good_and_coins_that_come_are_bad(exchanges: float, sign: int) -> None:
    recording = recorded("nansen", "tgm_flow_intelligence")
    row = {**recording.body["data"][0], "exchange_net_flow_usd": exchanges}
    told = {one.name: one.value for one in Nansen().parse(recording.request, {"data": [row]})}

    assert told["nansen.token_exchange_flow"] == exchanges
    assert 0 < sign * told["nansen.token_god_mode"] <= 1


def test_new_wallets_are_on_nobodys_side() -> None:
    recording = recorded("nansen", "tgm_flow_intelligence")
    row = recording.body["data"][0]
    modes = [
        one.value
        for flow in (0.0, 9e9)
        for one in Nansen().parse(recording.request, {"data": [{**row, "fresh_wallets_net_flow_usd": flow}]})
        if one.name == "nansen.token_god_mode"
    ]

    assert len(modes) == 2
    assert modes[0] == modes[1]


def test_all_is_told_at_the_time_of_the_asking() -> None:
    recording = recorded("nansen", "smart_money_netflow")
    later = replace(recording.request, at=recording.request.at + 7)

    assert {one.time for one in check_recording(Nansen(), recording)} == {recording.request.at}
    assert {one.time for one in Nansen().parse(later, recording.body)} == {recording.request.at + 7}


def test_a_day_without_smart_money_is_no_error() -> None:
    request = next(iter(Nansen().requests(("ETH",), NOW)))

    assert request.path == FLOW
    assert list(Nansen().parse(request, {"data": []})) == []


@pytest.mark.parametrize(
    ("what", "kind"),
    [
        ("error_402_credits", Refused),
        ("error_403_credits", Refused),
        ("error_422_missing_field", NotServed),
        ("error_429", RateLimited),
    ],
)
def test_an_error_is_of_its_kind(what: str, kind: type[Exception]) -> None:
    recording = recorded("nansen", what)
    fault = Nansen().fault(recording.status, recording.headers, recording.body)

    assert type(fault) is kind
    assert ("credits are spent" in str(fault)) == what.endswith("credits")


@pytest.mark.parametrize(
    "body",
    [b"", b"[]", b'{"chain": "ethereum", "token_address": "0x00", "timeframe": "1d"}', b'{"chain": "sui"}'],
)
def test_the_companion_bills_no_question_that_lacks_something(body: bytes) -> None:
    request = list(Nansen().requests(("PEPE",), NOW))[-1]
    heard = replace(sent(Nansen(), request), body=body)
    told = companion.answer(heard, NOW, Numbers())

    assert told.status == 422
    assert type(Nansen().fault(told.status, {}, orjson.loads(told.body))) is NotServed


def test_what_is_left_is_in_credits() -> None:
    assert Nansen().remaining(recorded("nansen", "tgm_flow_intelligence").headers) == 1375.0
