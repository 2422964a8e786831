"""What is new of what was told, and how fast may be asked."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from dataflows.connectors.futures.pace import Pace
from dataflows.connectors.futures.sieve import MINUTE, Sieve
from engine.records import Metric

NOW = 1_790_000_000_000


def metric(time: int, value: float, name: str = "binance.open_interest", asset: str = "BTC") -> Metric:
    return Metric(name, asset, time, value)


def test_a_newer_time_or_another_value_is_news_and_a_repetition_is_none() -> None:
    sieve = Sieve()
    first = list(sieve.new([metric(1, 5.0), metric(2, 6.0)], NOW))
    again = list(sieve.new([metric(1, 5.0), metric(2, 6.5), metric(3, 7.0)], NOW))

    assert [one.value for one in first] == [5.0, 6.0]
    assert [one.value for one in again] == [6.5, 7.0]


def test_a_period_from_the_future_is_held_back_until_it_is_over() -> None:
    sieve = Sieve()

    assert list(sieve.new([metric(NOW + 1, 5.0)], NOW)) == []
    assert list(sieve.new([metric(NOW + 1, 5.0)], NOW + 1)) == [metric(NOW + 1, 5.0)]


def test_a_snapshot_from_the_future_is_of_now() -> None:
    told = list(Sieve().new([metric(NOW + 400, 5.0, "binance.basis")], NOW))

    assert [one.time for one in told] == [NOW]


def test_what_is_told_all_the_time_is_news_once_a_minute() -> None:
    sieve = Sieve()
    seconds = range(0, 5 * MINUTE, 1000)
    told = [
        one.time
        for at in seconds
        for one in sieve.new([metric(NOW + at, float(at), "binance.mark_price")], NOW + at)
    ]

    assert told == [NOW + minute * MINUTE for minute in range(5)]


def test_ages_are_of_the_newest_and_count_the_assets() -> None:
    sieve = Sieve()
    list(sieve.new([metric(NOW - 9000, 1.0), metric(NOW - 4000, 1.0, asset="ETH")], NOW))

    assert sieve.ages(NOW) == {"open_interest": {"age": 4.0, "time": NOW - 4000, "assets": 2}}


@given(st.lists(st.floats(0, 20), min_size=1, max_size=200), st.floats(0.1, 1))
def test_no_window_holds_more_than_the_share(pauses: list[float], share: float) -> None:
    now, taken, limit, window = 0.0, [], 100, 60.0
    pace = Pace(limit, share, window, wall=lambda: now)
    for pause in pauses:
        now += pause
        while pace.take_one():
            taken.append(now)

    for begun in taken:
        assert sum(begun <= one < begun + window for one in taken) <= limit * share + 1
