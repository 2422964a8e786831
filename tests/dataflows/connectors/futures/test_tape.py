"""Buckets of forced orders: no data is not zero, and an order that comes twice counts once."""

from __future__ import annotations

import pytest

from dataflows.connectors.futures.frames import Forced, Mark
from dataflows.connectors.futures.tape import BUCKET, Tape
from engine.records import Metric

T = 1_790_000_100_000 // BUCKET * BUCKET
"""The beginning of a bucket."""


def told(metrics: list[Metric]) -> dict[tuple[str, str, int], float]:
    return {(one.name.partition(".")[2], one.asset, (one.time - T) // BUCKET): one.value for one in metrics}


def alive(tape: Tape, asset: str, *buckets: int) -> None:
    """Heard in these buckets, and when each was over."""
    for bucket in buckets:
        for at in (T + bucket * BUCKET + 1_000, T + (bucket + 1) * BUCKET):
            tape.mark(Mark(asset, at, 100.0, 100.0))


def order(at: int, usd: float = 50.0, *, long: bool = True, asset: str = "BTC") -> Forced:
    return Forced(asset, T + at, long, usd, 100.0)


def test_longs_and_shorts_are_summed_by_bucket_of_event_time() -> None:
    tape = Tape(grace=0)
    tape.opened(T)
    alive(tape, "BTC", 0, 1)
    for one in (order(0), order(BUCKET - 1, 7.0), order(BUCKET, 9.0), order(5, 3.0, long=False)):
        tape.order(one)

    assert told(tape.due(T + 2 * BUCKET)) == {
        ("liquidated_long_usd", "BTC", 1): 57.0,
        ("liquidated_short_usd", "BTC", 1): 3.0,
        ("liquidations", "BTC", 1): 3.0,
        ("liquidated_long_usd", "BTC", 2): 9.0,
        ("liquidated_short_usd", "BTC", 2): 0.0,
        ("liquidations", "BTC", 2): 1.0,
    }


def test_a_quiet_bucket_is_zero_while_the_contract_is_heard_and_nothing_where_it_is_not() -> None:
    tape = Tape(grace=0)
    tape.opened(T)
    alive(tape, "BTC", 0)
    tape.order(order(10, asset="GHOST"))
    found = told(tape.due(T + BUCKET))

    assert {asset for _, asset, _ in found} == {"BTC"}
    assert set(found.values()) == {0.0}


def test_a_bucket_that_had_begun_before_the_connection_is_not_told() -> None:
    tape = Tape(grace=0)
    tape.opened(T + 1)
    alive(tape, "BTC", 0, 1)

    assert {bucket for _, _, bucket in told(tape.due(T + 2 * BUCKET))} == {2}


def test_a_break_takes_the_bucket_under_way_and_leaves_what_was_over() -> None:
    tape = Tape(grace=5_000)
    tape.opened(T)
    alive(tape, "BTC", 0, 1)
    tape.order(order(10))
    tape.order(order(BUCKET + 10))
    tape.opened(T + 2 * BUCKET - 10)
    tape.broken()
    tape.opened(T + 2 * BUCKET)
    alive(tape, "BTC", 1, 2)
    found = told(tape.due(T + 3 * BUCKET + 5_000))

    assert {bucket for _, _, bucket in found} == {1, 3}
    assert found["liquidations", "BTC", 1] == 1.0


def test_a_connection_that_fell_silent_before_the_end_of_a_bucket_does_not_tell_it() -> None:
    tape = Tape(grace=0)
    tape.opened(T)
    tape.order(order(10))
    tape.mark(Mark("BTC", T + BUCKET - 1, 100.0, 100.0))

    assert tape.due(T + BUCKET) == []


def test_while_disconnected_nothing_counts() -> None:
    tape = Tape(grace=0)
    alive(tape, "BTC", 0, 1)

    assert tape.due(T + 3 * BUCKET) == []


def test_over_two_sockets_an_order_counts_once() -> None:
    tape = Tape(grace=0)
    tape.opened(T)
    alive(tape, "BTC", 0)
    for one in (order(10), order(10), order(1010)):
        tape.order(one)

    assert told(tape.due(T + BUCKET))["liquidations", "BTC", 1] == 2.0


def test_orders_may_come_late_by_the_grace_and_never_into_what_was_told() -> None:
    tape = Tape(grace=5_000)
    tape.opened(T)
    alive(tape, "BTC", 0)
    early = tape.due(T + BUCKET + 4_999)
    slow = tape.due(T + BUCKET + 5_000, late=1_000)
    tape.order(order(BUCKET - 1))
    found = told(tape.due(T + BUCKET + 6_000, late=1_000))
    tape.order(order(BUCKET - 2))

    assert (early, slow) == ([], [])
    assert found["liquidations", "BTC", 1] == 1.0
    assert tape.due(T + 9 * BUCKET) == []


@pytest.mark.parametrize("ahead", [10**6, 10**9])
def test_what_is_far_ahead_of_time_does_not_pile_up(ahead: int) -> None:
    tape = Tape(grace=0)
    tape.opened(T)
    for at in range(1000):
        tape.order(order((ahead + at) * BUCKET))

    assert len(tape.due(T + (ahead + 1000) * BUCKET)) <= 8 * 3
