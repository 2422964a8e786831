"""CryptoQuant: flows of exchanges and miners, newest first as they come, a refused path for itself."""

from __future__ import annotations

from typing import Any

import pytest

from dataflows.replay.companion import cryptoquant as companion
from dataflows.replay.companion.numbers import Numbers
from engine.errors import NotServed, RateLimited, Refused
from engine.providers.base import DAY, HOUR
from engine.providers.cryptoquant import CryptoQuant
from engine.providers.fields import instant
from tests.providers import (
    ASSETS,
    NOW,
    check_companion_shapes,
    check_fixtures,
    check_provider,
    check_recording,
    recorded,
    recordings,
    sent,
)

UNUSED = {"discovery_endpoints_my": "a path outside the plan says so when it is asked"}


def test_it_is_a_provider() -> None:
    check_provider(CryptoQuant(), companion.answer)


def test_the_companion_answers_in_the_recorded_shape() -> None:
    check_companion_shapes(CryptoQuant(), companion.answer)


@pytest.mark.parametrize("recording", recordings("cryptoquant"), ids=lambda one: one.what)
def test_every_recording_is_read_or_recognised(recording: Any) -> None:
    check_recording(CryptoQuant(), recording)


def test_every_fixture_is_read_or_recognised_and_has_our_shape() -> None:
    check_fixtures(CryptoQuant(), UNUSED)


@pytest.mark.parametrize(
    ("what", "span"), [("btc_exchange_netflow", DAY), ("btc_exchange_netflow_hour", HOUR)]
)
def test_rows_that_come_newest_first_are_told_oldest_first_and_at_their_end(what: str, span: int) -> None:
    recording = recorded("cryptoquant", what)
    rows = recording.body["result"]["data"]
    metrics = check_recording(CryptoQuant(), recording)

    assert [one.value for one in metrics] == [row["netflow_total"] for row in reversed(rows)]
    begins = [instant(row.get("date") or row["datetime"]) for row in reversed(rows)]
    assert [one.time - span for one in metrics] == begins


def test_miners_and_exchanges_are_told_apart() -> None:
    names = {
        what: {one.name for one in check_recording(CryptoQuant(), recorded("cryptoquant", what))}
        for what in ("btc_miner_reserve", "btc_exchange_reserve")
    }

    assert names == {
        "btc_miner_reserve": {"cryptoquant.miner_reserve"},
        "btc_exchange_reserve": {"cryptoquant.exchange_reserve", "cryptoquant.exchange_reserve_usd"},
    }


def test_the_stablecoin_ratio_is_of_the_market_and_leverage_of_its_coin() -> None:
    ratio = check_recording(CryptoQuant(), recorded("cryptoquant", "btc_ssr"))
    leverage = check_recording(CryptoQuant(), recorded("cryptoquant", "btc_estimated_leverage_ratio"))

    assert {one.asset for one in ratio} == {""}
    assert {one.asset for one in leverage} == {"BTC"}


def test_every_flow_names_whose_wallets_and_every_token_its_name() -> None:
    for request in CryptoQuant().requests(ASSETS, NOW):
        owner = {"exchange-flows": "exchange", "miner-flows": "miner"}.get(request.metric.partition("/")[0])

        assert owner is None or request.params[owner] == f"all_{owner}"
        assert ("token" in request.params) == request.path.startswith("/erc20/")


@pytest.mark.parametrize(
    ("what", "kind"),
    [("error_401", Refused), ("error_403", NotServed), ("error_429", RateLimited)],
)
def test_an_error_is_of_its_kind(what: str, kind: type[Exception]) -> None:
    recording = recorded("cryptoquant", what)
    fault = CryptoQuant().fault(recording.status, recording.headers, recording.body)

    assert type(fault) is kind


def test_a_refusal_that_does_not_speak_of_the_plan_is_of_the_token() -> None:
    body = {"status": {"code": 403, "message": "forbidden"}}

    assert type(CryptoQuant().fault(403, {}, body)) is Refused


def test_a_bad_status_in_a_good_answer_is_that_error() -> None:
    recording = recorded("cryptoquant", "error_in_200")

    with pytest.raises(RateLimited):
        CryptoQuant().parse(recording.request, recording.body)


def test_the_wait_and_what_is_left_are_those_of_its_headers() -> None:
    recording = recorded("cryptoquant", "error_429")
    fault = CryptoQuant().fault(recording.status, recording.headers, recording.body)

    assert isinstance(fault, RateLimited)
    assert fault.retry_after == 19.0
    assert CryptoQuant().remaining(recorded("cryptoquant", "btc_ssr").headers) == 48.0


def test_the_companion_wants_to_know_whose_wallets() -> None:
    request = next(iter(CryptoQuant().requests(("BTC",), NOW)))
    asked = sent(CryptoQuant(), request)
    query = {name: value for name, value in asked.query.items() if name != "exchange"}
    told = companion.answer(type(asked)(asked.method, asked.path, query, asked.headers), NOW, Numbers())

    assert told.status == 400
