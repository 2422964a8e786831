from datetime import UTC, datetime, timedelta, timezone
from math import inf, isfinite, nan

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.errors import Unreadable
from engine.providers.fields import LAST, day, in_order, instant, number, rows, stamp, unix, within, words
from tests.hostile import ANY_JSON, JUNK

ANYTHING = ANY_JSON | st.sampled_from(JUNK)
MS = st.integers(0, LAST)


@given(ANYTHING)
def test_whatever_comes_is_a_finite_number_or_none(value: object) -> None:
    found = number(value)

    assert found is None or (type(found) is float and isfinite(found))


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_number_is_the_same_sent_as_text(value: float) -> None:
    assert number(value) == number(repr(value)) == value


@pytest.mark.parametrize(
    "value", [None, True, False, "", "n/a", "nan", "-inf", "1e999", 10**400, nan, inf, [], {}]
)
def test_what_is_no_number_is_none(value: object) -> None:
    assert number(value) is None


@given(ANYTHING)
def test_whatever_comes_is_a_time_that_can_be_stored_or_none(value: object) -> None:
    for found in (unix(value), unix(value, 1), instant(value)):
        assert found is None or (type(found) is int and 0 <= found <= LAST)


@given(MS, st.integers(-14, 14))
def test_an_iso_time_is_its_ms_in_any_zone(at: int, hours: int) -> None:
    zone = timezone(timedelta(hours=hours))
    try:
        local = (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=at)).astimezone(zone)
    except OverflowError:
        return

    assert instant(local.isoformat()) == at


@given(MS)
def test_a_stamp_and_a_day_are_read_back_as_their_beginning(at: int) -> None:
    assert instant(stamp(at)) == at // 1000 * 1000
    assert instant(day(at)) == at // 86_400_000 * 86_400_000


@given(st.integers(0, LAST // 1000))
def test_seconds_and_milliseconds_name_the_same_time(seconds: int) -> None:
    assert unix(seconds) == unix(str(seconds)) == unix(1000 * seconds, 1) == 1000 * seconds


@given(ANYTHING)
def test_rows_are_objects_or_the_answer_is_unreadable(body: object) -> None:
    if isinstance(within(body, "data"), list):
        assert all(isinstance(row, dict) for row in rows("x", body, "data"))
    else:
        with pytest.raises(Unreadable, match=r"^x: data is "):
            rows("x", body, "data")


@given(ANYTHING)
def test_words_are_one_line(body: object) -> None:
    assert "\n" not in words(body, "error", "message")


def test_a_page_is_told_without_its_tags() -> None:
    assert words("<html>\n<title>502</title> Bad <b>Gateway</b>", "error") == "502 Bad Gateway"


FOUND = st.tuples(
    st.sampled_from(["a", "b"]), st.sampled_from(["BTC", "ETH"]), st.integers(-2, 5), st.floats()
)


@given(st.lists(FOUND))
def test_metrics_are_ordered_finite_and_one_for_one_time(found: list[tuple[str, str, int, float]]) -> None:
    metrics = in_order("x", found)

    wanted: dict[tuple[str, str, int], float] = {}
    for name, asset, time, value in found:
        if time > 0 and isfinite(value):
            wanted[f"x.{name}", asset, time] = value
    assert {(one.name, one.asset, one.time): one.value for one in metrics} == wanted
    assert len(metrics) == len(wanted)
    assert [one.time for one in metrics] == sorted(one.time for one in metrics)
    assert all(one.learned == 0 for one in metrics)
