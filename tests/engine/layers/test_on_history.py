"""The on-chain layer on real numbers: as of the close, with what there was and without the rest."""

from __future__ import annotations

from functools import cache

import pytest

from engine.layers import Onchain, absences
from engine.records import Moment
from engine.symbols import instant
from tests.benchmarks.layers_on_history import DAY, READERS, history, moment

pytestmark = pytest.mark.market

CRASH = instant("2024-08-05T12:00+00:00")
TOP = instant("2024-03-14T00:00+00:00")

onchain = Onchain(READERS)
everything = cache(history)


def known(symbol: str, time: int, ahead: int = 0) -> Moment:
    asset = symbol.removesuffix("USDT")
    near = [one for one in everything(asset) if time - 30 * DAY < one.learned < time + ahead]
    return moment(symbol, time, near)


def test_nothing_that_was_learned_later_changes_what_is_said() -> None:
    assert known("BTCUSDT", CRASH, ahead=2 * DAY) == known("BTCUSDT", CRASH)


def test_a_settlement_at_the_close_is_known_after_it() -> None:
    before, after = known("BTCUSDT", TOP), known("BTCUSDT", TOP + DAY // 24)

    assert TOP - before.readings["binance.funding"].time == DAY // 3
    assert after.readings["binance.funding"].time == TOP


def test_at_the_top_longs_paid_and_in_the_crash_money_left() -> None:
    top, crash = (
        {one.component: one for one in onchain(known("BTCUSDT", at)).reasons} for at in (TOP, CRASH)
    )

    assert top["funding"].points < -5
    assert top["capital"].points > 2
    assert 0 < crash["funding"].points < 5
    assert crash["capital"].points < -2
    assert "binance.funding 0.0454 %, 8 h old: longs pay more than usual" in top["funding"].text


def test_what_there_is_no_history_of_is_absent_and_not_covered() -> None:
    there = known("PEPEUSDT", CRASH)
    score = onchain(there)

    assert {reason.component for reason in score.reasons} == {"capital", "mood"}
    assert score.coverage < 0.16
    assert absences(there, {"onchain": score}, READERS) == (
        "onchain without funding, open_interest, crowding, liquidations, flows, valuation, network",
    )


def test_open_interest_is_heard_where_it_is_there() -> None:
    flush = instant("2023-08-18T00:00+00:00")
    [reason] = [one for one in onchain(known("BTCUSDT", flush)).reasons if one.component == "open_interest"]

    assert "closed into a fall" in reason.text
    assert reason.points > 0
