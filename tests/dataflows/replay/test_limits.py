"""Limits on wall time: windows, denials, bans."""

from __future__ import annotations

from dataflows.replay.limits import Limits, Meter, Pool, Rate


def test_weight_is_counted_in_fixed_minutes_of_wall_time() -> None:
    meter = Meter(Limits(weight=10))

    assert meter.charge("weight", 10, 119.0) is None
    denied = meter.charge("weight", 1, 119.5)
    assert denied is not None
    assert (denied.status, denied.retry_after) == (429, 1)
    assert meter.charge("weight", 1, 120.0) is None
    assert meter.used(120.0) == 1


def test_ignoring_a_429_becomes_a_ban_that_outlives_the_minute_and_doubles() -> None:
    meter = Meter(Limits(weight=1, patience=2, ban=100.0))
    meter.charge("weight", 1, 0.0)
    statuses = [denied.status for _ in range(4) if (denied := meter.charge("weight", 1, 1.0))]

    assert statuses == [429, 429, 418, 418]
    still = meter.charge("weight", 1, 70.0)
    assert still is not None
    assert (still.status, still.retry_after) == (418, 31)
    assert meter.charge("weight", 1, 121.0) is None
    again = [denied for _ in range(3) if (denied := meter.charge("weight", 1, 122.0))]
    assert (again[-1].status, again[-1].retry_after) == (418, 200)


def test_pools_do_not_share_their_budget() -> None:
    meter = Meter(Limits(weight=1, statistics=5))
    meter.charge("weight", 1, 0.0)

    assert meter.charge("statistics", 5, 0.0) is None
    assert meter.charge("statistics", 1, 0.0) is not None


def test_too_many_raw_requests_are_denied_whatever_they_weigh() -> None:
    meter = Meter(Limits(raw_requests=2))
    answers = [meter.charge("weight", 0, 10.0) for _ in range(3)]

    assert [answer is None for answer in answers] == [True, True, False]


def test_a_rate_slides() -> None:
    rate = Rate(2, 1.0)

    assert [rate.allows(t) for t in (0.0, 0.9, 0.95, 1.0, 1.8, 1.95)] == [
        True,
        True,
        False,
        True,
        False,
        True,
    ]


def test_a_new_window_starts_on_its_multiple() -> None:
    pool = Pool(5, 60)
    pool.spend(5, 59.9)

    assert pool.spent(60.0) == 0
    assert pool.ends_in(60.0) == 60
