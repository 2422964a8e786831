"""How fast a source is asked, and when not at all, by a clock that a test moves."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataflows.connectors.http.breaker import DAY, HOUR, Breaker
from dataflows.connectors.http.cache import Cache
from dataflows.connectors.http.limits import Pace


@given(
    per_minute=st.integers(2, 60),
    asks=st.lists(st.tuples(st.floats(0, 20), st.integers(1, 5)), min_size=1, max_size=60),
)
def test_no_minute_ever_holds_more_than_the_limit(per_minute: int, asks: list[tuple[float, int]]) -> None:
    now = [0.0]
    pace = Pace(per_minute, wall=lambda: now[0])
    taken: list[tuple[float, int]] = []
    for idle, cost in asks:
        now[0] += idle
        # A rounding of the clock may leave a sliver to wait for.
        while wait := pace.wait(cost):
            now[0] += max(wait, 1e-6)
        pace.take(cost)
        taken.append((now[0], cost))

    for begin, _ in taken:
        for span, most in ((60, per_minute), (6, max(2, -(-per_minute // 10)))):
            within = [cost for at, cost in taken if begin <= at < begin + span - 1e-3]
            assert sum(within) <= max(most, within[0]) or len(within) == 1


def test_what_costs_more_than_a_minute_allows_waits_for_an_empty_one() -> None:
    now = [0.0]
    pace = Pace(10, wall=lambda: now[0])
    pace.take(1)

    assert pace.wait(50) == 60
    now[0] = 60.0
    assert (pace.wait(50), pace.left) == (0, 10)


def test_pauses_double_up_to_an_hour_and_end_with_an_answer() -> None:
    now = [0.0]
    breaker = Breaker(after=3, first=30, wall=lambda: now[0])
    for _ in range(2):
        breaker.failed()
    assert (breaker.state, breaker.wait) == ("closed", 0)
    pauses = []
    for _ in range(9):
        breaker.failed()
        pauses.append(breaker.wait)
        now[0] += breaker.wait
        assert breaker.state == "half-open"

    assert pauses == [30, 60, 120, 240, 480, 960, 1920, HOUR, HOUR]
    breaker.succeeded()
    breaker.failed()
    assert breaker.state == "closed"


def test_failures_that_are_not_in_a_row_open_nothing() -> None:
    breaker = Breaker(after=2)
    for _ in range(5):
        breaker.failed()
        breaker.succeeded()

    assert breaker.state == "closed"


def test_a_refusal_opens_at_once_for_hours() -> None:
    now = [0.0]
    breaker = Breaker(wall=lambda: now[0])
    breaker.refused()

    assert (breaker.state, breaker.wait) == ("open", 6 * HOUR)


def test_a_source_that_asks_to_wait_again_and_again_is_left_alone_longer() -> None:
    now = [0.0]
    breaker = Breaker(wall=lambda: now[0])
    waits = []
    for _ in range(3):
        breaker.limited(17.0)
        waits.append(breaker.wait)
        now[0] += breaker.wait

    assert (waits, breaker.state) == ([17, 34, 68], "closed")


@pytest.mark.parametrize("asked", [1e12, float("inf")])
def test_nobody_is_kept_waiting_for_more_than_a_day(asked: float) -> None:
    breaker = Breaker(wall=lambda: 0.0)
    breaker.limited(asked)

    assert breaker.wait == DAY


def test_the_cache_is_bounded_and_an_answer_from_another_stream_is_not_fresh() -> None:
    cache: Cache[int] = Cache(most=2)
    for key in range(3):
        cache.keep(key, key, at=1_000)

    assert len(cache) == 2
    assert cache.last(0) is None
    assert cache.fresh(2, now=999, ttl=5_000) is None
    assert cache.fresh(2, now=1_000, ttl=5_000) is not None
