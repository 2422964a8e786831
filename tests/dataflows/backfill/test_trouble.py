"""An archive and an exchange that fail in every way they are known to: asked again, refused, told."""

from __future__ import annotations

import hashlib
import socket
import time
from collections.abc import Callable
from dataclasses import replace

import pytest

from dataflows.backfill.archive import AT_ONCE, GIVEN_UP
from dataflows.replay.answers import Answer, Request
from dataflows.replay.archive import packed
from dataflows.replay.faults import Fault
from tests.dataflows.backfill.rig import HOUR, NOVEMBER, NOW, Rig, Spoil, only

JANUARY = "BTCUSDT-1h-2025-01.zip"
FOLDER = "/data/spot/monthly/klines/BTCUSDT/1h/"
PAGE = Answer(200, b"<html><body>Please log in</body></html>", kind="text/html")

Change = Callable[[Answer], Answer]


def body(change: Callable[[bytes], bytes]) -> Change:
    return lambda answer: replace(answer, body=change(answer.body))


DAMAGES: dict[str, tuple[str, Answer | Change]] = {
    "a bit is wrong": (JANUARY, body(lambda it: it[:900] + bytes([it[900] ^ 1]) + it[901:])),
    "cut in the middle": (JANUARY, body(lambda it: it[: len(it) // 2])),
    "empty": (JANUARY, body(lambda it: b"")),
    "a page instead of a zip": (JANUARY, PAGE),
    "another checksum": (f"{JANUARY}.CHECKSUM", body(lambda it: b"0" * 64 + it[64:])),
    "another file's checksum": (f"{JANUARY}.CHECKSUM", body(lambda it: it.replace(b"2025", b"2024"))),
    "a page instead of a checksum": (f"{JANUARY}.CHECKSUM", PAGE),
    "a server error": (JANUARY, Answer(503, b"")),
}


def spoiling(rig: Rig, path: str, spoilt: Answer | Change, times: int = 1 << 30) -> None:
    """Spoil the first `times` answers to exactly this file."""
    left = times

    def spoil(request: Request, answer: Answer) -> Answer:
        nonlocal left
        if not request.path.endswith("/" + path) or left <= 0:
            return answer
        left -= 1
        return spoilt if isinstance(spoilt, Answer) else spoilt(answer)

    rig.exchange.spoil = spoil


@pytest.fixture
def whole(spot: Rig) -> list[list[object]]:
    return spot.answered("BTCUSDT", NOVEMBER, NOW // HOUR * HOUR)


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_month_is_asked_again_refused_told_and_its_days_are_read(
    spot: Rig, whole: list[list[object]], damage: str
) -> None:
    path, spoilt = DAMAGES[damage]
    spoiling(spot, path, spoilt)
    report = spot.run()

    assert len(report.refused) == 1
    assert JANUARY in report.refused[0]
    assert spot.asked[FOLDER + path] == 4
    assert [list(row) for row in spot.rows().iter_rows()] == whole
    assert report.failed == []


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_month_damaged_once_is_whole_the_second_time(
    spot: Rig, whole: list[list[object]], damage: str
) -> None:
    path, spoilt = DAMAGES[damage]
    spoiling(spot, path, spoilt, times=1)
    report = spot.run()

    assert (report.refused, report.failed) == ([], [])
    assert spot.asked[FOLDER + path] == 2
    assert [list(row) for row in spot.rows().iter_rows()] == whole


def test_a_zip_of_something_else_is_refused_though_its_checksum_is_right(spot: Rig) -> None:
    spot.exchange.spoil = replaced(packed("BTCUSDT-1h-2025-01.csv", "open,high,low\n1,2,3\n"))
    report = spot.run()

    assert "columns open_time" in report.refused[0]
    assert spot.rows().height == (NOW // HOUR * HOUR - NOVEMBER) // HOUR


def replaced(zipped: bytes) -> Spoil:
    """January is this zip, and its checksum says so."""

    def spoil(request: Request, answer: Answer) -> Answer:
        if JANUARY not in request.path:
            return answer
        return checksum_of(zipped) if request.path.endswith(".CHECKSUM") else replace(answer, body=zipped)

    return spoil


def checksum_of(zipped: bytes) -> Answer:
    return Answer(200, f"{hashlib.sha256(zipped).hexdigest()}  {JANUARY}\n".encode())


def test_rows_of_another_month_in_a_file_are_left_out(spot: Rig) -> None:
    line = f"{NOVEMBER}000,1,1,1,1,1,{NOVEMBER + HOUR - 1}999,1,1,1,1,0\n"
    spot.exchange.spoil = replaced(packed("x.csv", line))
    report = spot.run(begin=NOVEMBER + 61 * 24 * HOUR)

    assert report.corrupt == 1
    assert spot.rows()["open_time"][0] == NOVEMBER + 61 * 24 * HOUR


def test_an_archive_that_asks_to_wait_is_given_the_time(spot: Rig, whole: list[list[object]]) -> None:
    spot.exchange.add(Fault("status", path="/data/", status=429, retry_after=1, times=1))
    started = time.monotonic()
    report = spot.run()

    assert time.monotonic() - started >= 1
    assert (report.refused, report.failed) == ([], [])
    assert [list(row) for row in spot.rows().iter_rows()] == whole


def test_rest_that_asks_to_wait_is_given_the_time(spot: Rig, whole: list[list[object]]) -> None:
    spot.exchange.add(Fault("status", path="/api/v3/klines", status=429, retry_after=1, times=1))
    report = spot.run()

    assert report.failed == []
    assert [list(row) for row in spot.rows().iter_rows()] == whole
    assert spot.exchange.gate.meter.bans == 0


def test_an_archive_that_bans_us_is_not_asked_against_its_word(spot: Rig, whole: list[list[object]]) -> None:
    spot.exchange.add(Fault("status", path="/data/", status=418, retry_after=86_400))
    report = spot.run()

    assert all(count == 1 for path, count in spot.asked.items() if path.startswith("/data/"))
    assert report.failed == []
    assert [list(row) for row in spot.rows().iter_rows()] == whole


def test_without_any_archive_everything_comes_from_rest(spot: Rig, whole: list[list[object]]) -> None:
    spot.exchange.add(Fault("status", path="/data/", status=404))
    report = spot.run()

    assert (report.zips, report.refused, report.failed) == (0, [], [])
    assert [list(row) for row in spot.rows().iter_rows()] == whole


def test_without_rest_whole_days_come_from_the_archive_and_the_rest_is_still_missing(spot: Rig) -> None:
    spot.exchange.add(Fault("status", path="/api/", status=451))
    report = spot.run()
    last = spot.rows()["open_time"][-1]

    assert last + HOUR == NOW // (24 * HOUR) * (24 * HOUR) - 24 * HOUR
    assert "only whole days" in report.failed[0]
    assert "451" in report.failed[1]
    assert "2025-03-09T00:00" in report.failed[1]

    spot.exchange.faults.clear()
    assert spot.run().failed == []
    assert spot.rows()["open_time"][-1] == NOW // HOUR * HOUR - HOUR


def test_a_portal_that_answers_everything_with_a_page_leaves_no_file(spot: Rig) -> None:
    spot.exchange.spoil = only("/", PAGE)
    report = spot.run(begin=NOW - 20 * 24 * HOUR)

    assert report.failed
    assert report.refused
    assert not spot.file().exists()


def test_an_archive_nobody_listens_at_is_told_and_rest_gives_what_it_has(spot: Rig) -> None:
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))
        report = spot.run(
            begin=NOVEMBER + 100 * 24 * HOUR, archive=f"http://127.0.0.1:{deaf.getsockname()[1]}"
        )

    assert "ConnectError" in report.refused[0]
    assert any("not asked any more" in line for line in report.refused)
    assert len(report.refused) <= GIVEN_UP + AT_ONCE
    assert report.failed == []
    assert spot.rows().height == (NOW // HOUR * HOUR - NOVEMBER) // HOUR - 2400
