"""Faults as people write them, and when they strike."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from dataflows.replay.faults import Fault, parse_faults
from dataflows.replay.serve import read_faults
from dataflows.replay.switches import Faults
from engine.errors import SettingsError

T = 1_709_683_200_000  # 2024-03-06T00:00Z


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"name": "lat"}, "did you mean 'late'"),
        ({"name": "late", "bye": 3}, "fault key 'bye' is unknown"),
        ({"name": "late", "by": "x"}, "by cannot be 'x'"),
        ({"name": "missing"}, "needs at"),
        ({"name": "rename", "symbol": "MATICUSDT"}, "needs to"),
        ({"name": "drop", "at": "yesterday"}, "is not a time"),
    ],
)
def test_a_fault_that_makes_no_sense_is_refused_with_its_reason(given: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        Fault.of(given)


def test_faults_are_written_on_the_command_line_or_in_a_file(tmp_path: Path) -> None:
    file = tmp_path / "faults.json"
    file.write_text(json.dumps([{"name": "freeze", "symbol": "ETHUSDT", "seconds": 2}]))

    drop, late, freeze = read_faults(["drop@2024-03-06T00:00", "late:symbol=BTCUSDT,by=45", str(file)])

    assert (drop.name, drop.at) == ("drop", T)
    assert (late.symbol, late.by) == ("BTCUSDT", 45.0)
    assert (freeze.symbol, freeze.seconds) == ("ETHUSDT", 2)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"nowhere\.json cannot be read"):
        read_faults([str(tmp_path / "nowhere.json")])


def test_a_wrong_number_on_the_command_line_is_named() -> None:
    with pytest.raises(SettingsError, match="'by' wants a number"):
        parse_faults(["late:by=soon"])


def test_a_close_fault_with_a_time_hits_that_close_of_every_match() -> None:
    faults = Faults([Fault("missing_close", symbol="BTCUSDT", at=T)])

    assert faults.closes("BTCUSDT", "1m", T, 0.0)
    assert faults.closes("BTCUSDT", "5m", T, 0.0)
    assert not faults.closes("BTCUSDT", "1m", T + 60_000, 0.0)
    assert not faults.closes("ETHUSDT", "1m", T, 0.0)


def test_a_close_fault_without_a_time_strikes_once() -> None:
    faults = Faults([Fault("late")])

    assert faults.closes("BTCUSDT", "1m", T, 0.0)
    assert not faults.closes("BTCUSDT", "1m", T + 60_000, 0.0)


def test_seconds_are_wall_time_from_the_first_look() -> None:
    faults = Faults([Fault("silence", seconds=5)])

    assert [faults.any("silence", T, wall) for wall in (100.0, 104.9, 105.0, 99.0)] == [
        True,
        True,
        False,
        False,
    ]


def test_one_time_faults_wait_for_their_time_and_are_spent() -> None:
    faults = Faults([Fault("drop", at=T)])

    assert [len(faults.shots(now)) for now in (T - 1, T, T + 1)] == [0, 1, 0]
