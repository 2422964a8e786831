"""What the models' numbers were worth, read from real records with planted signals and outcomes."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dataflows.connectors.record import Record
from dataflows.training.live import Live
from engine.errors import StorageError
from engine.records import Direction, Outcome, Signal

ROOT = Path(__file__).parents[3]
HOUR = 3_600_000
HORIZON = 12
SEGMENTS = {"BTCUSDT": "majors", "ETHUSDT": "majors", "DOGEUSDT": "memes"}
THRESHOLDS = {"majors": 0.005, "memes": 0.015}


def body(p_up: float | None = 0.6, **told: Any) -> dict[str, Any]:
    """A model's part of a signal, as it is published."""
    facts = {"version": "v1", "age": 0, "p_up": p_up, "novelty": 0.5, "set": ["neutral", "up"], "skill": True}
    return {**facts, **told}


def signal(hour: int, symbol: str = "BTCUSDT", direction: Direction = "LONG", **boosted: Any) -> Signal:
    """The signal of one symbol at one hour, with what `boosted` said in it."""
    return Signal(
        id=f"{symbol}{hour}", symbol=symbol, interval="1h", time=HOUR * hour,
        horizon_end=HOUR * (hour + HORIZON), valid_until=HOUR * (hour + 1), direction=direction,
        confidence=60.0, score=10.0, p_up=None, p3=None, position_size=0.1, entry=100.0, stop_loss=None,
        take_profit=None, risk_reward=None, layers={}, degraded=(), sources={}, feed="live",
        models={"boosted": body(**boosted)},
    )  # fmt: skip


def outcome(said: Signal, move: float | None) -> Outcome:
    """What became of it, as the ledger judges."""
    close = None if move is None else said.entry * (1 + move)
    hit = None if move is None else {"LONG": move > 0, "SHORT": move < 0, "NEUTRAL": abs(move) < 0.005}
    return Outcome(
        said.id, said.symbol, said.time, said.direction, said.confidence, said.horizon_end, said.entry,
        close, move, None if hit is None else hit[said.direction],
    )  # fmt: skip


@pytest.fixture
def record(tmp_path: Path) -> Iterator[Record]:
    found = Record(tmp_path, synchronous="NORMAL", now=lambda: 1_000)
    yield found
    found.close()


def live(folder: Path, **knobs: Any) -> Live:
    return Live(folder, SEGMENTS, THRESHOLDS, **knobs)


def test_figures_worked_by_hand(record: Record, tmp_path: Path) -> None:
    said = [
        signal(1, p_up=0.7),
        signal(1, "ETHUSDT", "SHORT", p_up=0.4, set=["down"]),
        signal(2, "BTCUSDT", "NEUTRAL", p_up=0.5, set=["neutral"], novelty=1.5),
        signal(2, "DOGEUSDT", p_up=0.8, set=["up"]),
    ]
    moves = [0.01, 0.002, 0.005, 0.0151]
    record.commit(said)
    record.commit([outcome(each, move) for each, move in zip(said, moves, strict=True)])
    told = live(tmp_path).look()
    majors, memes = (told["live"]["boosted"][name]["total"] for name in ("majors", "memes"))

    assert told["read"] == {
        "through": 8, "head": 8, "waiting": 0, "judged": 4, "unjudged": 0, "lapsed": 0, "no_segment": 0,
    }  # fmt: skip
    assert majors["n"] == 3
    assert majors["brier"] == pytest.approx((0.09 + 0.36 + 0.25) / 3)
    assert majors["base_rate"] == 1.0
    assert (majors["directional"], majors["stated"], majors["hit_rate"]) == (2, pytest.approx(0.6), 0.5)
    # neutral, up holds up; down misses neutral; neutral holds a move of just the threshold
    assert majors["coverage"] == pytest.approx(2 / 3)
    assert majors["novel"] == pytest.approx(1 / 3)
    assert memes["brier"] == pytest.approx(0.04)
    assert memes["coverage"] == 1.0
    assert told["live"]["boosted"]["majors"]["versions"]["v1"]["total"] == majors
    assert told["drift"]["boosted"]["majors"]["closes"] == 2
    assert told["drift"]["boosted"]["majors"]["mean"] == pytest.approx(((0.09 + 0.36) / 2 + 0.25) / 2)


def test_only_predictions_of_their_own_close_are_judged(record: Record, tmp_path: Path) -> None:
    said = [
        signal(1),
        signal(2, age=3600),
        signal(3, p_up=None, fault="too old"),
        replace(signal(4), models={}),
        replace(signal(5), models={"boosted": body(age=3600), "transformer": body()}),
    ]
    record.commit(said)
    record.commit([outcome(each, 0.01) for each in said])
    told = live(tmp_path).look()["live"]

    assert told["boosted"]["majors"]["total"]["n"] == 1
    assert told["transformer"]["majors"]["total"]["n"] == 1


def test_what_was_not_seen_is_not_counted_and_told(record: Record, tmp_path: Path) -> None:
    said = [signal(1), signal(2), signal(3), signal(1, "PEPEUSDT")]
    record.commit(said)
    record.commit([outcome(said[0], None), outcome(said[1], 0.01), outcome(said[3], 0.01)])
    told = live(tmp_path).look()
    counts = {name: told["read"][name] for name in ("waiting", "judged", "unjudged", "no_segment")}

    assert counts == {"waiting": 1, "judged": 1, "unjudged": 1, "no_segment": 1}
    assert told["live"]["boosted"]["majors"]["total"]["n"] == 1


def test_a_signal_whose_outcome_never_came_is_let_go(record: Record, tmp_path: Path) -> None:
    record.commit([signal(1), signal(2), signal(13)])
    told = live(tmp_path).look()

    assert (told["read"]["waiting"], told["read"]["lapsed"]) == (2, 1)


def test_every_model_and_version_has_its_own_figures(record: Record, tmp_path: Path) -> None:
    first = signal(1, p_up=0.6)
    first = replace(first, models={**first.models, "transformer": body(0.9, version="t1")})
    said = [first, signal(2, p_up=0.8, version="v2")]
    record.commit([*said, *(outcome(each, 0.01) for each in said)])
    told = live(tmp_path).look()["live"]
    boosted = told["boosted"]["majors"]

    assert boosted["version"] == "v2"
    assert boosted["total"]["brier"] == pytest.approx(0.1)
    assert boosted["versions"]["v1"]["total"]["brier"] == pytest.approx(0.16)
    assert boosted["versions"]["v2"]["total"]["brier"] == pytest.approx(0.04)
    assert told["transformer"]["majors"]["total"]["brier"] == pytest.approx(0.01)


def test_the_newest_versions_are_kept_apart_and_all_are_in_the_total(record: Record, tmp_path: Path) -> None:
    said = [signal(hour, version=f"v{hour}") for hour in range(1, 13)]
    record.commit([*said, *(outcome(each, 0.01) for each in said)])
    told = live(tmp_path).look()["live"]["boosted"]["majors"]

    assert list(told["versions"]) == [f"v{hour}" for hour in range(5, 13)]
    assert told["total"]["n"] == 12


def test_recent_figures_are_of_the_newest_window(record: Record, tmp_path: Path) -> None:
    said = [signal(hour) for hour in range(1, 13)]
    record.commit([*said, *(outcome(each, 0.01 if each.time > 8 * HOUR else -0.01) for each in said)])
    told = live(tmp_path, window=4).look()["live"]["boosted"]["majors"]

    assert (told["recent"]["n"], told["recent"]["base_rate"]) == (4, 1.0)
    assert (told["total"]["n"], told["total"]["base_rate"]) == (12, pytest.approx(1 / 3))


def test_without_a_record_there_is_nothing_to_say(tmp_path: Path) -> None:
    empty = live(tmp_path / "nothing")
    told = empty.look()

    assert (told["live"], told["drift"], empty.requests()) == ({}, {}, [])
    assert not (tmp_path / "nothing").exists()


def test_a_record_that_is_no_record_is_named(tmp_path: Path) -> None:
    (tmp_path / "record.db").write_bytes(b"not a database at all, but long enough" * 50)

    with pytest.raises(StorageError, match=r"record\.db"):
        live(tmp_path).look()


def test_another_record_in_its_place_is_read_from_its_beginning(tmp_path: Path) -> None:
    reader = live(tmp_path)
    for count in (3, 1):
        for leftover in tmp_path.glob("record.db*"):
            leftover.unlink()
        record = Record(tmp_path, synchronous="NORMAL")
        said = [signal(hour) for hour in range(1, 1 + count)]
        record.commit([*said, *(outcome(each, 0.01) for each in said)])
        record.close()

        assert reader.look()["live"]["boosted"]["majors"]["total"]["n"] == count


def history(
    hours: int, broken_from: int, seed: int = 1, versions: Sequence[str] = ("v1",)
) -> Iterator[Signal | Outcome]:
    """A record's lines: at each hour the outcomes that are due, then the signals; sure and right, then sure
    and wrong; each version serves an equal part.
    """
    rng = np.random.default_rng(seed)
    waiting: list[tuple[Signal, float]] = []
    for hour in range(1, hours + 1):
        while waiting and waiting[0][0].horizon_end <= HOUR * hour:
            said, move = waiting.pop(0)
            yield outcome(said, move)
        version = versions[(hour - 1) * len(versions) // hours]
        for symbol in SEGMENTS:
            up = bool(rng.random() < 0.5)
            p_up = 0.8 if up == (hour < broken_from) else 0.2
            said = signal(hour, symbol, p_up=p_up, version=version)
            waiting.append((said, 0.01 if up else -0.01))
            yield said


def written(folder: Path, lines: Iterable[Signal | Outcome]) -> Path:
    record = Record(folder, synchronous="NORMAL", now=lambda: 1_000)
    record.commit(list(lines))
    record.close()
    return folder


def test_a_model_that_turns_wrong_asks_for_a_retraining_once(tmp_path: Path) -> None:
    lines = list(history(hours=500, broken_from=350))
    record = Record(tmp_path, synchronous="NORMAL")
    reader = live(tmp_path)
    asked = []
    for first in range(0, len(lines), 200):
        record.commit(lines[first : first + 200])
        reader.look()
        asked.append(reader.requests())
    record.close()
    found = [reason for reasons in asked for reason in reasons]

    assert sorted(reason.split(":")[0] for reason in found) == ["boosted majors", "boosted memes"]
    assert "rose from 0.0400 to" in found[0]
    assert found[0].endswith("version v1")
    assert asked[-1] == []
    told = reader.look()["drift"]["boosted"]["majors"]
    assert told["asked"] == ["v1"]
    assert 350 * HOUR <= told["adwin"]["alarms"][0]["time"] <= 400 * HOUR


def test_a_restart_says_the_same_and_asks_no_more_for_a_version_that_serves_no_more(tmp_path: Path) -> None:
    folder = written(tmp_path, history(hours=600, broken_from=200, versions=("v1", "v2")))
    reader = live(folder)
    told = reader.look()

    assert told["drift"]["boosted"]["majors"]["asked"] == ["v1"]
    assert reader.requests() == []
    assert live(folder).look() == told


def test_nothing_is_asked_while_older_lines_are_to_be_read(tmp_path: Path) -> None:
    folder = written(tmp_path, history(hours=400, broken_from=200))
    reader = live(folder)
    asked = []
    while (told := reader.look(most=100))["read"]["through"] < told["read"]["head"]:
        asked += reader.requests()

    assert told["drift"]["boosted"]["majors"]["asked"] == ["v1"]
    assert asked == []
    assert len(reader.requests()) == 2


def test_a_look_at_nothing_new_costs_nothing_and_asks_nothing(tmp_path: Path) -> None:
    folder = written(tmp_path, history(hours=400, broken_from=200))
    reader = live(folder)
    told = reader.look()

    assert len(reader.requests()) == 2
    assert reader.look() is told
    assert reader.requests() == []


@pytest.fixture(scope="module")
def long_record(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Lines of symbols that run some closes apart, some outcomes unknown, some symbols gone."""
    lines = list(history(hours=450, broken_from=250, versions=("v1", "v2", "v3")))
    rng = np.random.default_rng(4)
    kept = [
        line
        for line in lines
        if not (line.symbol == "DOGEUSDT" and line.time > 300 * HOUR) and rng.random() > 0.02
    ]
    ahead = {"BTCUSDT": 0, "ETHUSDT": 3 * HOUR, "DOGEUSDT": HOUR}
    kept.sort(key=lambda line: due(line) + ahead[line.symbol])
    return written(tmp_path_factory.mktemp("long"), kept)


def due(line: Signal | Outcome) -> float:
    return line.time + 0.5 if isinstance(line, Signal) else line.resolved_at


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(portions=st.lists(st.integers(1, 400), min_size=1, max_size=12))
def test_the_same_record_says_the_same_in_whatever_portions_it_is_read(
    long_record: Path, portions: list[int]
) -> None:
    reader = live(long_record)
    for most in portions:
        reader.look(most)
    told = reader.look()

    assert told == live(long_record).look()
    assert told["drift"]["boosted"]["majors"]["adwin"]["count"] >= 1
    assert told["drift"]["boosted"]["majors"]["late"] == 0


def test_a_block_is_json_with_finite_numbers(long_record: Path) -> None:
    told = live(long_record).look()

    assert json.loads(json.dumps(told, allow_nan=False)) == told


def test_the_record_is_read_beside_its_writer_and_not_touched(record: Record, tmp_path: Path) -> None:
    reader = live(tmp_path)
    said = [signal(hour) for hour in range(1, 4)]
    record.commit(said)
    assert reader.look()["read"]["waiting"] == 3
    before = record.rows(0)
    record.commit([outcome(each, 0.01) for each in said])
    told = reader.look()

    assert told["read"]["waiting"] == 0
    assert told["read"]["through"] == 6
    assert record.rows(0)[:3] == before
    assert record.verify().fault is None


READ_IT = """
import json, resource, sys, time
from dataflows.training.live import Live
reader = Live(sys.argv[1], json.loads(sys.argv[2]), json.loads(sys.argv[3]))
reader.look(5_000)
before, began = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
told = reader.look()
seconds = time.process_time() - began
grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
judged = told["live"]["boosted"]["majors"]["total"]["n"]
print(json.dumps([told["read"]["through"], judged, seconds, grown]))
"""
"""A process of its own: the peak of this one's memory was reached long before."""


def test_a_hundred_thousand_lines_are_read_in_seconds_and_bounded_memory(tmp_path: Path) -> None:
    record = Record(tmp_path, synchronous="NORMAL")
    lines = history(hours=16_700, broken_from=20_000)
    count = 0
    while batch := list(islice(lines, 5_000)):
        count += len(batch)
        record.commit(batch)
    record.close()
    assert count > 100_000
    done = subprocess.run(
        [sys.executable, "-c", READ_IT, tmp_path, json.dumps(SEGMENTS), json.dumps(THRESHOLDS)],
        cwd=ROOT, capture_output=True, text=True, timeout=100, check=True,
    )  # fmt: skip
    through, judged, seconds, megabytes = json.loads(done.stdout)

    assert (through, judged) == (count, 2 * (16_700 - HORIZON))
    assert seconds < 15
    assert megabytes < 30, (tmp_path / "record.db").stat().st_size / 1e6
