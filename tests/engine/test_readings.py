"""Metrics as they were learned: nothing before its time, nothing that depends on who asked before."""

from __future__ import annotations

import pickle
from collections.abc import Iterable, Sequence
from math import isnan, nan
from statistics import fmean, pstdev

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.readings import CLOSED, HOUR, MOST_ADDENDS, MOST_WAITING, POINTS, Readings, freshness
from engine.records import Metric, Reading
from engine.settings.readers import Read, Reader

DAY = 24 * HOUR
NOON = 1_710_000_000_000 // DAY * DAY
KINDS: tuple[Read, ...] = ("level", "change", "difference", "sum", "deviation")


def reader(read: Read = "level", over: float = 24, half_life: float = 24) -> Reader:
    return Reader(layer="onchain", component="flows", read=read, over=over, half_life=half_life)


def metric(time: int, value: float, learned: int | None = None, name: str = "a.b") -> Metric:
    return Metric(name, "BTC", time, value, time + 1 if learned is None else learned)


def heard(numbers: Iterable[Metric], time: int, how: Reader, asked: Sequence[int] = ()) -> Reading | None:
    """What is said at `time` of these numbers; `asked` are closes in between at which somebody asked."""
    readings = Readings({"a.b": how})
    closes = sorted(asked)
    for one in numbers:
        while closes and closes[0] <= one.learned:
            readings.at(closes.pop(0))
        readings.update(one)
    return readings.at(time).get("a.b")


def value(numbers: Iterable[Metric], time: int, how: Reader) -> float:
    said = heard(numbers, time, how)
    assert said is not None
    return said.value


def test_a_number_counts_from_the_first_close_after_it_was_learned() -> None:
    late = metric(NOON, 7.0, learned=NOON + HOUR)

    assert heard([late], NOON + HOUR, reader()) is None
    assert heard([late], NOON + HOUR + 1, reader()) == Reading("a.b", NOON, NOON + HOUR, 7.0)


def test_a_number_does_not_count_before_what_it_speaks_of_is_over() -> None:
    early = metric(NOON + HOUR, 7.0, learned=NOON)

    assert heard([early], NOON + HOUR - 1, reader()) is None
    assert heard([early], NOON + HOUR, reader()) is not None


def test_what_lies_in_a_far_future_blocks_nothing_that_comes_after() -> None:
    wrong = metric(1000 * NOON, 666.0, learned=NOON)

    assert value([wrong, metric(NOON + HOUR, 7.0)], NOON + DAY, reader()) == 7.0


def test_what_no_layer_reads_is_not_kept() -> None:
    readings = Readings({"a.b": Reader(stored="shown to people only")})
    readings.update(metric(NOON, 1.0))
    readings.update(metric(NOON, 1.0, name="c.d"))

    assert readings.at(NOON + HOUR) == {}


def test_readings_come_in_the_order_of_names() -> None:
    names = ["c.x", "a.z", "b.y", "a.a"]
    readings = Readings(dict.fromkeys(names, reader()))
    for name in names:
        readings.update(metric(NOON, 1.0, name=name))

    assert list(readings.at(NOON + HOUR)) == sorted(names)


def test_an_older_number_that_comes_late_changes_neither_level_nor_its_times() -> None:
    numbers = [metric(NOON, 2.0), metric(NOON - DAY, 1.0, learned=NOON + HOUR)]

    assert heard(numbers, NOON + DAY, reader()) == Reading("a.b", NOON, NOON + 1, 2.0)


@pytest.mark.parametrize(
    ("read", "expected"), [("level", 5.0), ("change", 4.0), ("difference", 4.0), ("sum", 5.0)]
)
def test_a_revised_number_takes_the_place_of_the_one_before(read: Read, expected: float) -> None:
    numbers = [metric(NOON - DAY, 1.0), metric(NOON, 3.0), metric(NOON, 5.0, learned=NOON + HOUR)]
    said = heard(numbers, NOON + DAY - 1, reader(read))

    assert said == Reading("a.b", NOON, NOON + HOUR, expected)


def test_a_number_that_was_compared_with_and_is_revised_changes_what_is_said() -> None:
    numbers = [metric(NOON - DAY, 1.0), metric(NOON, 3.0), metric(NOON - DAY, 2.0, learned=NOON + HOUR)]

    assert value(numbers, NOON + DAY, reader("change")) == 0.5


def test_a_change_is_told_against_the_number_nearest_to_the_span() -> None:
    """Snapshots jitter: a day and seven seconds ago, or a day less seven, is a day ago."""
    for apart in (DAY - 7000, DAY, DAY + 7000):
        numbers = [metric(NOON - 2 * apart, 1.0), metric(NOON - apart, 2.0), metric(NOON, 3.0)]

        assert value(numbers, NOON + HOUR, reader("difference")) == 1.0


@pytest.mark.parametrize("apart", [DAY // 2, DAY - DAY // 16 - 60_000, DAY * 3 // 2 + 60_000, 5 * DAY])
def test_a_change_over_another_span_is_not_known(apart: int) -> None:
    assert isnan(value([metric(NOON - apart, 1.0), metric(NOON, 3.0)], NOON + HOUR, reader("change")))


@pytest.mark.parametrize("before", [0.0, -1.0])
def test_there_is_no_relative_change_from_nothing_or_less(before: float) -> None:
    numbers = [metric(NOON - DAY, before), metric(NOON, 3.0)]

    assert isnan(value(numbers, NOON + HOUR, reader("change")))
    assert value(numbers, NOON + HOUR, reader("difference")) == 3.0 - before


def test_a_sum_is_of_the_last_hours_before_the_close_however_old_its_newest_number() -> None:
    numbers = [metric(NOON - minutes * 60_000, float(minutes)) for minutes in (90, 50, 10)]
    sums = [
        value(numbers, NOON + minutes * 60_000, reader("sum", over=1)) for minutes in (1, 9, 10, 49, 50, 300)
    ]

    assert sums == [60.0, 60.0, 10.0, 10.0, 0.0, 0.0]


def test_a_deviation_is_measured_by_the_numbers_before_within_the_span() -> None:
    old = metric(NOON - 30 * HOUR, 1e6)
    numbers = [
        old,
        *(metric(NOON - hours * HOUR, float(hours % 3)) for hours in range(20, 0, -2)),
        metric(NOON, 4.0),
    ]
    usual = [float(hours % 3) for hours in range(20, 0, -2)]

    said = value(numbers, NOON + HOUR, reader("deviation"))

    assert said == pytest.approx((4.0 - fmean(usual)) / pstdev(usual))


@pytest.mark.parametrize(
    "values", [[1.0] * 7, [1.0] * 20, [0.1 + 1e-17 * n for n in range(20)], [1e200, -1e200] * 9]
)
def test_a_deviation_from_too_little_from_nothing_or_from_absurdity_is_not_known(values: list[float]) -> None:
    numbers = [metric(NOON + n * HOUR, one) for n, one in enumerate(values)]

    assert isnan(value(numbers, NOON + DAY, reader("deviation")))


@pytest.mark.parametrize("read", KINDS)
@pytest.mark.parametrize(("half_life", "hours"), [(2.0, 20), (0.5, 12)])
def test_what_nobody_tells_any_more_is_forgotten_after_ten_half_lives_or_two_spans(
    read: Read, half_life: float, hours: int
) -> None:
    how = reader(read, over=6, half_life=half_life)

    assert heard([metric(NOON, 1.0)], NOON + hours * HOUR, how) is not None
    assert heard([metric(NOON, 1.0)], NOON + hours * HOUR + 1, how) is None


@pytest.mark.parametrize("read", ["change", "difference", "deviation"])
def test_numbers_that_come_by_the_second_are_thinned(read: Read) -> None:
    readings = Readings({"a.b": reader(read)})
    sizes = []
    for n in range(3 * 86_400 // 20):
        readings.update(metric(NOON + n * 20_000, 100.0 + n % 7))
        if n % 100 == 99:
            readings.at(NOON + n * 20_000 + 2)
            sizes.append(len(readings._pasts["a.b"].times))

    assert max(sizes) <= POINTS + 3
    assert min(sizes[-50:]) >= POINTS


def test_a_thinned_change_is_told_over_the_right_span_to_a_part_of_it() -> None:
    """A line of slope 1 an hour: its change over a day is 24, read through what was kept."""
    numbers = [metric(NOON + n * 60_000, n / 60) for n in range(3 * 1440)]
    said = [
        value(numbers[:end], numbers[end - 1].learned + 1, reader("difference"))
        for end in range(2000, 4320, 111)
    ]

    assert all(24 - 24 / POINTS <= one <= 24 + 24 / POINTS for one in said)


def test_a_flood_of_addends_is_added_up_and_loses_nothing_but_the_edge() -> None:
    numbers = [metric(NOON + n * 5000, 1.0) for n in range(2000)]
    readings = Readings({"a.b": reader("sum", over=1)})
    part = 2 * HOUR / MOST_ADDENDS
    for n, one in enumerate(numbers):
        readings.update(one)
        said = readings.at(one.learned + 1)["a.b"].value

        assert abs(said - min(n + 1, 720)) <= part / 5000 + 1
    assert len(readings._pasts["a.b"].times) <= MOST_ADDENDS


# Numbers further apart than a part of the span, so that all of them are kept and a second formula is short.
STEP = DAY // 24
sparse = st.lists(st.tuples(st.integers(0, 60), st.floats(0.5, 50.0)), min_size=1, max_size=40)


def told(series: list[tuple[int, float]]) -> list[Metric]:
    return [
        metric(NOON + place * STEP, number, learned=NOON + 61 * STEP + n)
        for n, (place, number) in enumerate(series)
    ]


def expected(series: list[tuple[int, float]], time: int, read: Read) -> float:
    """What a reading must be, from all numbers at once."""
    known = {NOON + place * STEP: number for place, number in series}
    newest = max(known)
    before = [at for at in known if DAY * 15 / 16 <= newest - at <= DAY * 3 / 2]
    nearest = min(before, key=lambda at: (abs(newest - DAY - at), at), default=None)
    usual = [known[at] for at in known if newest - DAY < at < newest]
    match read:
        case "level":
            return known[newest]
        case "sum":
            return sum(number for at, number in known.items() if time - DAY < at <= time)
        case "deviation":
            return (
                (known[newest] - fmean(usual)) / pstdev(usual)
                if len(usual) > 7 and pstdev(usual) > 1e-6
                else nan
            )
    if nearest is None:
        return nan
    return known[newest] / known[nearest] - 1 if read == "change" else known[newest] - known[nearest]


@given(sparse, st.sampled_from(KINDS), st.integers(0, 30))
@settings(max_examples=150, deadline=None)
def test_what_is_said_follows_from_all_numbers_at_once(
    series: list[tuple[int, float]], read: Read, later: int
) -> None:
    time = NOON + 62 * STEP + later * HOUR

    assert value(told(series), time, reader(read)) == pytest.approx(
        expected(series, time, read), rel=1e-6, abs=1e-9, nan_ok=True
    )


dense = st.lists(
    st.tuples(st.integers(0, 3 * DAY // 60_000), st.floats(0.5, 50.0)),
    min_size=1,
    max_size=60,
    unique_by=lambda one: one[0],
)


@given(dense, st.sampled_from(KINDS), st.randoms(use_true_random=False))
@settings(max_examples=150, deadline=None)
def test_the_order_of_what_is_learned_at_one_time_does_not_matter(
    series: list[tuple[int, float]], read: Read, chance: object
) -> None:
    """But for two numbers of one time: there the later one is the revision."""
    numbers = [metric(NOON + minute * 60_000, number, learned=NOON + 4 * DAY) for minute, number in series]
    mixed = list(numbers)
    chance.shuffle(mixed)  # type: ignore[attr-defined]
    one, other = (heard(each, NOON + 4 * DAY + 1, reader(read)) for each in (numbers, mixed))

    assert repr(one) == repr(other)


@given(dense, st.sampled_from(KINDS), st.lists(st.integers(0, 80), max_size=12))
@settings(max_examples=150, deadline=None)
def test_who_asked_before_changes_nothing(
    series: list[tuple[int, float]], read: Read, asked: list[int]
) -> None:
    numbers = [metric(NOON + minute * 60_000, number) for minute, number in sorted(series)]
    closes = [NOON + hours * HOUR for hours in asked]
    how = reader(read, over=6, half_life=1)
    plain, curious = (heard(numbers, NOON + 4 * DAY, how, each) for each in ((), closes))

    assert repr(plain) == repr(curious)


@given(dense, st.sampled_from(KINDS), st.integers(0, 75))
@settings(max_examples=150, deadline=None)
def test_what_comes_later_changes_nothing_that_was_said(
    series: list[tuple[int, float]], read: Read, hours: int
) -> None:
    """Prefix invariance, over the order in which numbers were learned."""
    numbers = [metric(NOON + minute * 60_000, number) for minute, number in sorted(series)]
    time = NOON + hours * HOUR
    past = [one for one in numbers if one.learned < time]

    assert repr(heard(past, time, reader(read))) == repr(heard(numbers, time, reader(read)))


@pytest.mark.parametrize("read", KINDS)
def test_a_start_two_spans_ago_says_what_a_longer_past_says(read: Read) -> None:
    """Start invariance, from the first number of a part on; a sum that was added up knows its edge less."""
    part = DAY // POINTS + 1
    numbers = [metric(NOON + n * 600_000, 50.0 + 7 * (n * n % 11)) for n in range(1440)]
    for time in range(NOON + 5 * DAY, NOON + 9 * DAY, 11 * HOUR):
        start = (time - 2 * DAY) // part * part
        recent = [one for one in numbers if one.time >= start]

        assert repr(heard(recent, time, reader(read))) == repr(heard(numbers, time, reader(read)))


def test_it_goes_on_after_pickling_as_if_nothing_had_happened() -> None:
    plain = moved = Readings({f"a.{read}": reader(read, over=6) for read in KINDS})
    for n in range(300):
        moved = pickle.loads(pickle.dumps(moved))
        for read in KINDS:
            one = metric(NOON + n * 600_000, 50.0 + n % 11, name=f"a.{read}")
            plain.update(one)
            if moved is not plain:
                moved.update(one)
        if n % 7 == 0:
            time = NOON + n * 600_000 + 3

            assert repr(moved.at(time)) == repr(plain.at(time))


def test_nothing_is_taken_in_early_while_a_close_before_it_may_still_come() -> None:
    """More metrics in a minute than may wait: some are lost, none is known too soon."""
    readings = Readings({"a.b": reader()})
    for n in range(2 * MOST_WAITING):
        readings.update(metric(NOON + n, float(n)))

    assert readings.at(NOON) == {}
    assert readings.at(NOON + MOST_WAITING * 3 // 2)["a.b"].value == MOST_WAITING * 3 // 2 - 2


def test_without_closes_what_cannot_be_too_early_any_more_is_taken_in() -> None:
    """A symbol that does not trade for long, and then does, knows its sums."""
    readings = Readings({"a.b": reader("sum", over=168)})
    step, count = 60_000, 2 * MOST_WAITING
    for n in range(count):
        readings.update(metric(NOON + n * step, 1.0))
    said = readings.at(NOON + count * step)["a.b"]

    assert count * step > CLOSED
    assert said.value == count


def test_a_million_metrics_leave_no_more_behind_than_the_first_thousands() -> None:
    readings = Readings({f"{read}.m": reader(read, over=24) for read in KINDS})
    names, sizes = [f"{read}.m" for read in KINDS], []
    update = readings.update
    for n in range(1_000_000):
        time = NOON + n * 4000
        update(Metric(names[n % 5], "BTC", time, float(n % 13), time + 1))
        if n % 250 == 249:
            readings.at(time + 2)
        if n % 200_000 == 199_999:
            sizes.append(len(pickle.dumps(readings, pickle.HIGHEST_PROTOCOL)))

    assert max(sizes) <= sizes[0] * 1.2
    assert max(sizes) < 16_000


def test_freshness_halves_with_every_half_life_and_the_future_is_no_younger_than_now() -> None:
    one = Reading("a.b", NOON, NOON, 1.0)
    ages = [freshness(one, reader(half_life=6), NOON + hours * HOUR) for hours in (-5, 0, 6, 12, 600_000)]

    assert ages == [1.0, 1.0, 0.5, 0.25, 0.0]
