"""The journal, over real files: what it keeps, what it refuses, and what a crash or a full disk leaves."""

from __future__ import annotations

import resource
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as examples
from hypothesis import strategies as st

from dataflows.connectors.journal import Journal, Journaled
from engine.errors import StorageError
from engine.records import (
    Activation,
    Candle,
    Correction,
    Headline,
    Listing,
    Live,
    Metric,
    Price,
    Tick,
    Universe,
)

UNIVERSE = Universe(
    300_000,
    (Listing("PEPEUSDT", "1000PEPEUSDT", "PEPE", "memes", 1000, 1e-8), Listing("A", "A", "A", "alts")),
)
FULL_CANDLE = Candle("BTCUSDT", "1m", 60_000, 0.1, 0.3, 1e-8, 0.1 + 0.2 - 1e-9, 1 / 3, 2 / 3, 7, 0.0, 1e300)

HEADLINE = Headline(
    id="0123456789abcdef",
    source="wire",
    time=240_000,
    title="Ether \u2019rises\u2019 7 %",
    url="https://example.org/1",
    assets=("ETH",),
    sentiment=0.4,
    weight=0.9,
    kind="social",
    dated=False,
    learned=300_600,
)


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    found = Journal(tmp_path)
    yield found
    found.close()


def minutes(count: int, *, first: int = 1, symbol: str = "BTCUSDT") -> list[Candle]:
    return [Candle.of(100.0 + n, time=60_000 * n, symbol=symbol) for n in range(first, first + count)]


def test_every_kind_of_record_comes_back_equal_and_numbered_from_one(journal: Journal) -> None:
    records: list[Journaled] = [
        UNIVERSE,
        FULL_CANDLE,
        Candle.of(10.0),
        Tick(300_000),
        Live(300_000),
        Correction("BTCUSDT", "1m", 60_000, FULL_CANDLE),
        Activation(300_000, "boosted", "20231115T0000Z-cf8a07fc", 3_900_000),
        Activation(300_000, "boosted", "20231115T0000Z-cf8a07fc", 3_900_000, expires=7_500_000),
        Metric("binance.funding", "PEPE", 300_000, 1 / 3, learned=300_500),
        Metric("alternative_me.fear_greed", "", 0, 47.0, learned=300_500),
        HEADLINE,
    ]

    assert journal.append(records[:2]) == [1, 2]
    assert journal.append(records[2:]) == list(range(3, 12))
    assert journal.read(0) == list(enumerate(records, start=1))


@examples(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    low=st.floats(min_value=5e-324, max_value=1e300),
    volume=st.floats(min_value=0, allow_infinity=False),
    trades=st.none() | st.integers(0, 2**53),
)
def test_floats_come_back_as_the_same_64_bits(
    journal: Journal, low: float, volume: float, trades: int | None
) -> None:
    candle = Candle(
        "X", "5m", 300_000, low, low * 3, low, low * 2, volume, volume / 3, trades, volume / 7, low
    )
    (seq,) = journal.append([candle])
    ((_, found),) = journal.read(seq - 1)

    assert repr(found) == repr(candle)


def test_read_pages_through_a_range(journal: Journal) -> None:
    journal.append(minutes(10))

    assert [seq for seq, _ in journal.read(3, upto=8, limit=4)] == [4, 5, 6, 7]
    assert [seq for seq, _ in journal.read(7, upto=8)] == [8]
    assert journal.read(10) == []


def test_an_empty_append_numbers_nothing(journal: Journal) -> None:
    assert journal.append([]) == []
    assert journal.head() == 0


def test_an_empty_journal_answers_every_question(journal: Journal) -> None:
    answers = (
        journal.newest("A", "1m"),
        journal.newest_all(),
        journal.newest_tick(),
        journal.last_universe(),
        journal.last_activations(),
        journal.candle("A", "1m", 60_000),
        journal.prune(10**15),
    )

    assert answers == (None, {}, None, None, {}, None, 0)


def test_newest_is_the_latest_close_and_not_the_last_append(journal: Journal) -> None:
    journal.append([*minutes(5), *minutes(2, symbol="ETHUSDT"), Tick(600_000), Tick(300_000)])
    journal.append([Candle.of(1.0, time=120_000), UNIVERSE, Universe(900_000, ())])

    assert journal.newest("BTCUSDT", "1m") == 300_000
    assert journal.newest_all() == {("BTCUSDT", "1m"): 300_000, ("ETHUSDT", "1m"): 120_000}
    assert journal.newest_tick() == 600_000
    assert journal.last_universe() == Universe(900_000, ())


def test_a_candle_is_known_with_its_last_correction(journal: Journal) -> None:
    mended = Candle.of(11.0)
    journal.append([Candle.of(10.0), Candle.of(5.0, time=120_000)])
    before = journal.candle("BTCUSDT", "1m", 60_000)
    journal.append([Correction("BTCUSDT", "1m", 60_000, mended)])

    assert before == Candle.of(10.0)
    assert journal.candle("BTCUSDT", "1m", 60_000) == mended
    assert journal.candle("BTCUSDT", "1m", 180_000) is None


def test_prune_forgets_what_is_old_and_keeps_every_answer(journal: Journal) -> None:
    journal.append(
        [UNIVERSE, Live(0), *minutes(5, symbol="DELISTED"), Correction("X", "1m", 60_000, Candle.of(1.0))]
    )
    journal.append([record for candle in minutes(20) for record in (candle, Tick(candle.time))])
    before = (journal.newest_all(), journal.newest_tick(), journal.last_universe(), journal.head())
    gone = journal.prune(10 * 60_000)
    left = [record for _, record in journal.read(0)]

    assert gone == 4 + 9 + 9
    assert (journal.newest_all(), journal.newest_tick(), journal.last_universe(), journal.head()) == before
    assert left[:3] == [UNIVERSE, Live(0), minutes(5, symbol="DELISTED")[-1]]
    assert {r.time for r in left if isinstance(r, Tick)} == {60_000 * n for n in range(10, 21)}
    assert journal.prune(10 * 60_000) == 0


def version(minute: int, model: str = "boosted") -> Activation:
    return Activation(60_000 * minute, model, f"{model}{minute}", 0)


def test_the_last_activation_of_each_model_is_the_one_journaled_last(journal: Journal) -> None:
    journal.append([version(1), version(9), version(2, "sizer")])
    rolled_back = Activation(540_000, "boosted", "boosted1", 0)
    journal.append([Tick(600_000), rolled_back])

    assert journal.last_activations() == {"boosted": rolled_back, "sizer": version(2, "sizer")}


def test_prune_keeps_of_each_model_what_serves_when_the_kept_records_begin(journal: Journal) -> None:
    activations = [version(1), version(2, "sizer"), version(4), version(6, "sizer"), version(8), version(15)]
    records: list[Journaled] = []
    for minute in range(1, 21):
        records += minutes(1, first=minute)
        records += [one for one in activations if one.time == 60_000 * minute]
        records.append(Tick(60_000 * minute))
    journal.append(records)
    before = journal.last_activations()
    journal.prune(10 * 60_000)
    left = [record for _, record in journal.read(0) if isinstance(record, Activation)]
    journal.prune(10**15, chunk=1, pause=0)
    at_last = [record for _, record in journal.read(0) if isinstance(record, Activation)]

    assert left == [version(6, "sizer"), version(8), version(15)]
    assert at_last == [version(6, "sizer"), version(15)]
    assert journal.last_activations() == before == {"sizer": version(6, "sizer"), "boosted": version(15)}


def test_prune_never_passes_the_number_recovery_needs(journal: Journal) -> None:
    journal.append(minutes(20))
    gone = journal.prune(10**15, keep_after=7)

    assert gone == 7
    assert [seq for seq, _ in journal.read(7)] == list(range(8, 21))


def test_numbers_go_on_after_everything_old_was_pruned(journal: Journal) -> None:
    journal.append([*minutes(5, first=6), *minutes(5)])
    gone = journal.prune(10**15, chunk=2)

    assert gone == 8
    assert journal.append([Tick(1)]) == [11]


def test_a_failed_append_leaves_nothing_and_the_next_one_works(journal: Journal) -> None:
    journal.append(minutes(1))
    connection = journal.database.connection
    (pages,) = connection.execute("PRAGMA page_count").fetchone()
    connection.execute(f"PRAGMA max_page_count = {pages + 3}")
    with pytest.raises(StorageError, match=r"journal\.db: cannot append: database or disk is full"):
        journal.append(minutes(5000, first=2))
    head = journal.head()
    connection.execute("PRAGMA max_page_count = 100000")

    assert head == 1
    assert journal.append(minutes(5000, first=2)) == list(range(2, 5002))


def test_a_file_that_may_not_grow_loses_nothing(journal: Journal, tmp_path: Path) -> None:
    journal.append(minutes(1))
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(
        resource.RLIMIT_FSIZE, ((tmp_path / "journal.db-wal").stat().st_size + 5000, before[1])
    )
    try:
        with pytest.raises(StorageError, match=r"journal\.db: cannot append: disk I/O error|full"):
            journal.append(minutes(5000, first=2))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    numbers = journal.append(minutes(3, first=2))

    assert numbers == [2, 3, 4]
    assert journal.read(0) == list(enumerate(minutes(4), start=1))


def test_an_unknown_record_is_refused_whole(journal: Journal) -> None:
    with pytest.raises(StorageError, match="the journal keeps no Price"):
        journal.append([Tick(1), Price("A", 1, 1.0)])  # type: ignore[list-item]

    assert journal.head() == 0


def test_a_second_writer_is_refused_and_named(journal: Journal, tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=r"journal\.db: cannot open: process \d+ is writing it"):
        Journal(tmp_path)
    journal.append([Tick(1)])
    journal.close()
    again = Journal(tmp_path)
    head = again.head()
    again.close()

    assert head == 1


def test_a_reader_sees_appends_beside_the_writer(journal: Journal, tmp_path: Path) -> None:
    reader = Journal(tmp_path, readonly=True)
    journal.append([Tick(1)])
    seen = reader.read(0)
    with pytest.raises(StorageError, match="readonly database"):
        reader.append([Tick(2)])
    reader.close()

    assert seen == [(1, Tick(1))]


def test_a_locked_database_is_an_error_and_not_a_wait_for_ever(tmp_path: Path) -> None:
    journal = Journal(tmp_path, patience=0.05)
    other = sqlite3.connect(tmp_path / "journal.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StorageError, match=r"journal\.db: cannot append: database is locked"):
        journal.append([Tick(1)])
    other.execute("ROLLBACK")
    other.close()
    numbers = journal.append([Tick(1)])
    journal.close()

    assert numbers == [1]


def test_a_file_that_is_no_database_is_named(tmp_path: Path) -> None:
    (tmp_path / "journal.db").write_bytes(b"not a database, whatever its name says " * 100)

    with pytest.raises(StorageError, match=r"journal\.db: cannot .*: file is not a database"):
        Journal(tmp_path)


def test_a_foreign_schema_is_refused_and_left_alone(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "journal.db") as other:
        other.execute("CREATE TABLE theirs (x)")
    other.close()
    before = (tmp_path / "journal.db").read_bytes()

    with pytest.raises(StorageError, match="its schema is None, this engine reads 'journal 1'"):
        Journal(tmp_path)
    assert (tmp_path / "journal.db").read_bytes() == before


def test_a_record_that_cannot_be_read_back_is_named(journal: Journal) -> None:
    journal.append([Tick(1), Candle.of(1.0)])
    journal.database.connection.execute("UPDATE journal SET body = x'5b315d' WHERE seq = 2")

    with pytest.raises(StorageError, match="cannot read record 2"):
        journal.read(0)


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    with pytest.raises(StorageError, match=r"file/journal\.db: cannot open"):
        Journal(tmp_path / "file")


def test_a_closed_journal_says_so(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "made" / "when" / "missing")
    journal.close()

    with pytest.raises(StorageError, match="has been closed"):
        journal.head()


def test_one_thread_appends_while_another_reads(journal: Journal) -> None:
    writing = threading.Thread(target=lambda: [journal.append(minutes(3)) for _ in range(100)])
    writing.start()
    seen: list[int] = []
    while len(seen) < 300:
        seen += [seq for seq, _ in journal.read(seen[-1] if seen else 0)]
    writing.join()

    assert seen == list(range(1, 301))


APPENDER = """
import sys
from dataflows.connectors.journal import Journal
from engine.records import Candle
journal = Journal(sys.argv[1])
seq = journal.head()
while True:
    seq = journal.append([Candle.of(1.0 + n, time=60_000 * (seq + n)) for n in range(1, 8)])[-1]
    print(seq, flush=True)
"""


@pytest.mark.parametrize("kills", [4])
def test_kill_9_loses_nothing_that_was_numbered_and_halves_nothing(tmp_path: Path, kills: int) -> None:
    for round_ in range(kills):
        with subprocess.Popen(
            [sys.executable, "-c", APPENDER, str(tmp_path)], stdout=subprocess.PIPE, text=True
        ) as child:
            assert child.stdout is not None
            said = [int(child.stdout.readline()) for _ in range(20 + 7 * round_)]
            child.send_signal(signal.SIGKILL)
            said += [int(line) for line in child.stdout if line.endswith("\n")]
        journal = Journal(tmp_path)
        rows = journal.read(0, limit=1_000_000)
        journal.close()

        assert child.returncode == -signal.SIGKILL
        assert rows[-1][0] >= said[-1]
        assert [seq for seq, _ in rows] == list(range(1, len(rows) + 1))
        assert len(rows) % 7 == 0


def test_headlines_are_found_again_in_the_order_they_were_learned(journal: Journal) -> None:
    later = replace(HEADLINE, id="fedcba9876543210", learned=400_000)
    journal.append([HEADLINE, Tick(300_000), Metric("a.b", "", 0, 1.0, learned=300_700), later])

    assert journal.headlines() == [HEADLINE, later]


def test_what_was_learned_long_ago_is_forgotten_whatever_it_spoke_of(journal: Journal) -> None:
    old = Metric("a.b", "BTC", 900_000, 1.0, learned=60_000)
    new = Metric("a.b", "BTC", 60_000, 2.0, learned=900_000)
    journal.append([old, replace(HEADLINE, learned=60_000), new, HEADLINE, Tick(900_000), Tick(1_200_000)])
    journal.prune(900_000)

    kept = [record for _, record in journal.read(0)]
    assert old not in kept
    assert new in kept
    assert journal.headlines() == [HEADLINE]


def test_pruning_a_week_of_metrics_ends(journal: Journal) -> None:
    """Time that grew with the square of their number would outlast the time this test is given."""
    old = [Metric("a.b", "BTC", number, 1.0, learned=number) for number in range(1, 60_001)]
    for begin in range(0, len(old), 10_000):
        journal.append(old[begin : begin + 10_000])
    journal.append([Tick(900_000), Metric("a.b", "BTC", 900_000, 1.0, learned=900_000), Tick(1_200_000)])

    assert journal.prune(900_000, chunk=20_000, pause=0) == 60_000
