"""The record, over real files: once, in order, chained, and never half."""

from __future__ import annotations

import logging
import signal as signals
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from math import nan
from pathlib import Path
from types import MappingProxyType

import orjson
import pytest

from dataflows.connectors.record import Record, RecordSink
from engine.errors import StorageError
from engine.ledger import GENESIS
from engine.records import Outcome, Signal
from engine.settings import load
from engine.signal_json import canonical, publish_bytes
from tests.dataflows.connectors_storage.samples import outcome, signal

CONFIG = Path(__file__).parents[3] / "config.yaml"


@pytest.fixture
def record(tmp_path: Path) -> Iterator[Record]:
    found = Record(tmp_path, now=lambda: 1_000)
    yield found
    found.close()


def test_items_are_numbered_and_kept_as_they_will_be_published(record: Record) -> None:
    numbers = record.commit([signal(0), outcome(0), signal(1)])
    rows = record.rows(0)

    assert numbers == [1, 2, 3]
    assert [(row.seq, row.kind, row.id) for row in rows] == [
        (1, "signal", "id0"),
        (2, "outcome", "id0"),
        (3, "signal", "id1"),
    ]
    assert rows[0].body == publish_bytes(signal(0), 1, 1_000)
    assert (rows[1].symbol, rows[1].time) == ("BTCUSDT", 300_000)
    assert record.head() == 3


def test_what_is_there_already_keeps_its_number_and_its_bytes(record: Record) -> None:
    record.commit([signal(0), signal(1)])
    before = record.rows(0)
    record.now = lambda: 2_000
    numbers = record.commit([signal(1), signal(2), signal(0), signal(2)])

    assert numbers == [2, 3, 1, 3]
    assert record.rows(0)[:2] == before
    assert record.conflicts == 0


def test_a_replay_that_says_something_else_is_named_and_not_believed(
    record: Record, caplog: pytest.LogCaptureFixture
) -> None:
    record.commit([signal(0), signal(1)])
    kept = record.rows(0)
    with caplog.at_level(logging.ERROR):
        numbers = record.commit([signal(1, score=13.0), outcome(1)])

    assert numbers == [2, 3]
    assert record.rows(0)[:2] == kept
    assert record.conflicts == 1
    assert "signal id1 (ETHUSDT at 600000)" in caplog.text
    assert kept[1].hash in caplog.text


def test_the_canonical_bytes_of_a_line_are_those_of_the_item(record: Record) -> None:
    items: list[Signal | Outcome] = [
        signal(0),
        outcome(0),
        replace(outcome(1), close=None, move=None, hit=None),
    ]
    record.commit(items)

    assert [canonical(orjson.loads(row.body)) for row in record.rows(0)] == [
        canonical(item) for item in items
    ]


def test_the_chain_goes_on_over_a_restart_and_is_whole(tmp_path: Path) -> None:
    for first in (0, 3, 6):
        record = Record(tmp_path)
        record.commit([signal(n) for n in range(first, first + 3)])
        record.close()
    record = Record(tmp_path, readonly=True)
    verdict, rows, id_ = record.verify(), record.rows(0), record.id
    record.close()

    assert (verdict.rows, verdict.hash, verdict.fault) == (9, rows[-1].hash, None)
    assert rows[0].prev == GENESIS
    assert len(id_) == 16


def test_the_chain_does_not_depend_on_when_or_in_which_batches_it_was_written(tmp_path: Path) -> None:
    one, many = Record(tmp_path / "1", now=lambda: 1), Record(tmp_path / "2", now=lambda: 2)
    one.commit([signal(n) for n in range(5)])
    for n in range(5):
        many.commit([signal(n)])
    hashes = one.verify().hash, many.verify().hash
    one.close()
    many.close()

    assert hashes[0] == hashes[1]


def test_an_empty_record_is_whole(record: Record) -> None:
    verdict = record.verify()

    assert (verdict.rows, verdict.hash, verdict.fault) == (0, GENESIS, None)
    assert record.commit([]) == []
    assert record.head() == 0


@pytest.mark.parametrize(
    ("damage", "line", "fault"),
    [
        (
            "UPDATE record SET body = CAST(replace(body, '12.5', '99.5') AS BLOB) WHERE seq = 4",
            4,
            "its hash was",
        ),
        ("UPDATE record SET hash = prev WHERE seq = 4", 4, "its hash was"),
        ("DELETE FROM record WHERE seq = 4", 5, "line 4 is missing"),
        ("UPDATE record SET prev = hash WHERE seq = 4", 4, "it follows"),
        ("UPDATE record SET body = x'7b' WHERE seq = 4", 4, "cannot be read"),
        ("UPDATE record SET symbol = 'XRPUSDT' WHERE seq = 4", 4, "its columns of"),
        ("UPDATE record SET id = 'other' WHERE seq = 4", 4, "its columns of"),
    ],
)
def test_verify_names_the_first_line_that_was_touched(
    record: Record, damage: str, line: int, fault: str
) -> None:
    record.commit([signal(n) for n in range(9)])
    record.database.connection.execute(damage)
    verdict = record.verify()

    assert verdict.rows == 3
    assert verdict.fault is not None
    assert f"record.db: line {line}: " in verdict.fault
    assert fault in verdict.fault


def test_an_item_that_cannot_be_published_takes_its_whole_batch_with_it(record: Record) -> None:
    with pytest.raises(ValueError, match="score was nan"):
        record.commit([signal(0), replace(signal(1), score=nan)])

    assert record.head() == 0
    assert record.commit([signal(1)]) == [1]


def test_a_full_disk_loses_nothing(record: Record) -> None:
    record.commit([signal(0)])
    connection = record.database.connection
    (pages,) = connection.execute("PRAGMA page_count").fetchone()
    connection.execute(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(StorageError, match=r"record\.db: cannot commit: database or disk is full"):
        record.commit([signal(n) for n in range(100)])
    head = record.head()
    connection.execute("PRAGMA max_page_count = 100000")

    assert head == 1
    assert record.commit([signal(n) for n in range(100)]) == list(range(1, 101))
    assert record.verify().rows == 100


def test_a_reader_needs_no_lock_and_cannot_write(record: Record, tmp_path: Path) -> None:
    record.commit([signal(0)])
    reader = Record(tmp_path, readonly=True)
    record.commit([signal(1)])
    heads = reader.head()
    with pytest.raises(StorageError, match="readonly"):
        reader.commit([signal(2)])
    reader.close()

    assert heads == 2


def test_a_second_writer_and_a_missing_record_are_named(record: Record, tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="is writing it"):
        Record(tmp_path)
    with pytest.raises(StorageError, match=r"nowhere/record\.db: cannot .*unable to open"):
        Record(tmp_path / "nowhere", readonly=True)


def test_following_and_behind_find_their_places(record: Record) -> None:
    record.commit([signal(0), outcome(0), signal(1), outcome(1), signal(2)])

    assert (record.following("outcome", 0), record.following("outcome", 2)) == (2, 4)
    assert record.following("outcome", 4) is None
    assert [record.behind("signal", count) for count in (1, 2, 3, 9)] == [3, 1, 0, 0]


def test_the_watermark_survives_and_starts_at_nothing(tmp_path: Path) -> None:
    record = Record(tmp_path)
    before = record.published
    record.mark_published(7)
    record.close()
    record = Record(tmp_path)
    after = record.published
    record.close()

    assert (before, after) == (0, 7)


def test_two_records_have_two_ids(tmp_path: Path) -> None:
    one, two = Record(tmp_path / "1"), Record(tmp_path / "2")
    ids = one.id, two.id
    one.close()
    two.close()

    assert ids[0] != ids[1]


COMMITTER = """
import sys
from dataflows.connectors.record import Record
from tests.dataflows.connectors_storage.samples import outcome, signal
record = Record(sys.argv[1])
while True:
    at = record.head()
    said = record.commit([signal(at), outcome(at), signal(at + 1), outcome(at + 1), signal(at + 2)])
    print(said[-1], flush=True)
"""


def test_kill_9_leaves_whole_commits_and_a_whole_chain(tmp_path: Path) -> None:
    for round_ in range(4):
        with subprocess.Popen(
            [sys.executable, "-c", COMMITTER, str(tmp_path)], stdout=subprocess.PIPE, text=True
        ) as child:
            assert child.stdout is not None
            said = [int(child.stdout.readline()) for _ in range(10 + 5 * round_)]
            child.send_signal(signals.SIGKILL)
            said += [int(line) for line in child.stdout if line.endswith("\n")]
        record = Record(tmp_path)
        verdict = record.verify()
        record.close()

        assert verdict.fault is None
        assert verdict.rows >= said[-1]
        assert verdict.rows % 5 == 0


def test_only_the_primary_process_has_the_partition(tmp_path: Path) -> None:
    settings = load(CONFIG, MappingProxyType({}))

    assert RecordSink(settings).list_parts() == ["record"]
    assert RecordSink(settings, primary=False).list_parts() == []
    assert {RecordSink(settings).part_fn(key) for key in ("BTCUSDT", "shown", "")} == {0}
