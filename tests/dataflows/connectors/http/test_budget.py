"""A metered source is never asked more than its budget allows, whoever is killed and whatever the clock."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dataflows.connectors.http.budget import Budget
from engine.errors import StorageError

NOON = datetime(2026, 11, 30, 12, tzinfo=UTC).timestamp()
DAY = 86_400.0


def test_days_and_months_turn_in_utc(tmp_path: Path) -> None:
    now = [NOON]
    budget = Budget(tmp_path / "x.json", per_day=2, per_month=3, unix=lambda: now[0])

    assert [budget.take(1) for _ in range(3)] == [0, 0, DAY / 2]
    assert (budget.left_in_day, budget.left_in_month) == (0, 1)
    now[0] += DAY / 2
    assert (budget.left_in_day, budget.left_in_month) == (2, 3)
    assert [budget.take(1) for _ in range(3)] == [0, 0, DAY]


def test_what_was_spent_is_on_disk_before_anybody_is_asked(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "x.json"
    Budget(path, per_month=2, unix=lambda: NOON).take(2)
    again = Budget(path, per_month=2, unix=lambda: NOON)
    again.load()

    assert again.left_in_month == 0
    assert again.take(1) == DAY / 2


def test_a_clock_that_is_set_back_refunds_nothing(tmp_path: Path) -> None:
    now = [NOON]
    budget = Budget(tmp_path / "x.json", per_day=1, unix=lambda: now[0])
    budget.take(1)
    now[0] -= 3 * DAY

    assert budget.take(1) > 0


def test_what_does_not_fit_is_not_counted_and_less_still_fits(tmp_path: Path) -> None:
    budget = Budget(tmp_path / "x.json", per_day=10, unix=lambda: NOON)

    assert [budget.take(7) > 0, budget.take(7) > 0, budget.take(3) > 0] == [False, True, False]


def test_a_month_is_not_spent_in_its_first_days(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", lambda number: None)
    first = datetime(2026, 11, 1, tzinfo=UTC).timestamp()
    now = [first]
    budget = Budget(tmp_path / "x.json", per_month=1000, unix=lambda: now[0])
    by_day = []
    for day in range(30):
        now[0] = first + day * DAY
        by_day.append(10 * sum(budget.take(10) == 0 for _ in range(30 if day == 0 else 5)))

    assert by_day[0] == 250
    assert all(30 <= spent <= 40 for spent in by_day[1:22])
    assert sum(by_day) <= 1000
    # The wait that is told is the one that is needed.
    now[0] = first
    fresh = Budget(tmp_path / "y.json", per_month=1000, unix=lambda: now[0])
    fresh.take(250)
    now[0] += fresh.take(1) + 1
    assert fresh.take(1) == 0


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"day": 1}', b'{"day": "", "in_day": "x"}'])
def test_a_damaged_account_spends_nothing_and_says_so(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.json").write_bytes(content)

    with pytest.raises(StorageError, match="nothing is asked"):
        Budget(tmp_path / "x.json", per_day=1).take(1)


def test_an_account_that_cannot_be_kept_allows_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    with pytest.raises(StorageError, match="cannot be written"):
        Budget(tmp_path / "file" / "x.json", per_day=1).take(1)


def test_many_that_spend_at_once_never_exceed_it_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "fsync", lambda number: time.sleep(0.001))

    def spend(number: int) -> int:
        budget = Budget(tmp_path / "x.json", per_day=40, unix=lambda: NOON)
        return sum(budget.take(1) == 0 for _ in range(20))

    with ThreadPoolExecutor(4) as threads:
        assert sum(threads.map(spend, range(4))) == 40


def test_spenders_that_are_killed_never_exceed_it_together(tmp_path: Path) -> None:
    path, budget, counted = tmp_path / "x.json", 30, 0
    arguments = [sys.executable, "-m", "tests.dataflows.connectors.http.spender"]
    arguments += [str(path), str(budget), str(NOON)]
    both = [subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    for process in both:
        assert process.stdout is not None
        counted += sum(bool(process.stdout.readline()) for _ in range(5))
        process.kill()
        counted += len(process.stdout.read().split())
        process.stdout.close()
        process.wait()
    left = Budget(path, per_month=budget, unix=lambda: NOON)
    while left.take(1) == 0:
        counted += 1

    # A kill between the count and the question costs one question.
    assert budget - 2 <= counted <= budget
    assert left.left_in_month == 0
    assert {"x.json", "x.lock"} <= set(os.listdir(tmp_path)) <= {"x.json", "x.lock", "x.draft"}


@settings(max_examples=12, deadline=None)
@given(st.lists(st.tuples(st.floats(0, 2 * DAY), st.integers(1, 4)), max_size=8))
def test_no_day_and_no_month_ever_exceeds_its_budget(asks: list[tuple[float, int]]) -> None:
    # Each take waits for the disk: a few of them tell enough.
    now, days, months = [NOON], dict[str, int](), dict[str, int]()
    with TemporaryDirectory() as folder:
        for idle, cost in asks:
            now[0] += idle
            # A new object each time: nothing is remembered but on disk.
            if Budget(Path(folder) / "x.json", per_day=5, per_month=9, unix=lambda: now[0]).take(cost) == 0:
                at = datetime.fromtimestamp(now[0], UTC)
                days[at.strftime("%F")] = days.get(at.strftime("%F"), 0) + cost
                months[at.strftime("%Y-%m")] = months.get(at.strftime("%Y-%m"), 0) + cost

    assert all(spent <= 5 for spent in days.values())
    assert all(spent <= 9 for spent in months.values())
