from __future__ import annotations

import asyncio
import pickle
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from dataflows.connectors.background import Mailbox
from dataflows.connectors.ingest import STOP, Ingest, IngestPartition, Position, Spread
from dataflows.connectors.journal import Journal, Journaled
from engine.errors import StorageError
from engine.memory import MOST_ACTIVATIONS
from engine.records import (
    Activation,
    Candle,
    Headline,
    Listing,
    Live,
    Membership,
    Metric,
    Price,
    Tick,
    Universe,
)

BTC = Listing("BTCUSDT", "BTCUSDT", "BTC", "majors")
ETH = Listing("ETHUSDT", "ETHUSDT", "ETH", "majors")
MINUTE = 60_000


@pytest.fixture(autouse=True)
def running() -> Iterator[None]:
    STOP.clear()
    yield
    STOP.clear()


def script(batches: list[list[Journaled]]) -> Callable[[Journal, Mailbox], Any]:
    """A feed that journals some batches, shows a price, and then waits for ever."""

    async def feed(journal: Journal, mailbox: Mailbox) -> None:
        for records in batches:
            mailbox.put(list(zip(journal.append(records), records, strict=True)))
        mailbox.put_latest("BTCUSDT", Price("BTCUSDT", 1, 100.0))
        await asyncio.Event().wait()

    return feed


def drain(partition: IngestPartition, wanted: int) -> list[tuple[str, Any]]:
    out: list[tuple[str, Any]] = []
    deadline = time.monotonic() + 10
    while len(out) < wanted and time.monotonic() < deadline:
        out += partition.next_batch()
    return out


START: list[Journaled] = [Universe(0, (ETH, BTC)), Live(MINUTE), Candle.of(1.0), Tick(MINUTE)]
ADDRESSED = [
    ("market", START[0]),
    ("BTCUSDT", Membership("BTCUSDT", 0, BTC)),
    ("ETHUSDT", Membership("ETHUSDT", 0, ETH)),
    ("BTCUSDT", Live(MINUTE)),
    ("ETHUSDT", Live(MINUTE)),
    ("BTCUSDT", START[2]),
    ("BTCUSDT", Tick(MINUTE)),
    ("ETHUSDT", Tick(MINUTE)),
]


def test_live_and_replay_hand_on_the_same_records_in_the_same_order(tmp_path: Path) -> None:
    live = Ingest(tmp_path, script([START[:2], START[2:]])).build_part("ingest", "ingest", None)
    seen = drain(live, 9)
    live.close()
    replay = Ingest(tmp_path, script([])).build_part("ingest", "ingest", None)
    again = drain(replay, 9)
    replay.close()

    shown = ("shown", Price("BTCUSDT", 1, 100.0))
    assert [keyed for keyed in seen if keyed != shown] == ADDRESSED
    assert [keyed for keyed in again if keyed != shown] == ADDRESSED
    assert shown in seen


def test_a_resumed_partition_goes_on_behind_its_snapshot(tmp_path: Path) -> None:
    first = Ingest(tmp_path, script([START])).build_part("ingest", "ingest", None)
    drain(first, 9)
    first.close()
    state = Position(3, Live(MINUTE), (), ("BTCUSDT", "ETHUSDT"))
    later: list[Journaled] = [Tick(2 * MINUTE)]
    second = Ingest(tmp_path, script([later])).build_part("ingest", "ingest", state)
    out = [record for _, record in drain(second, 5) if isinstance(record, Tick)]
    position = second.snapshot()
    second.close()

    assert out == [Tick(MINUTE)] * 2 + [Tick(2 * MINUTE)] * 2
    assert position == Position(5, Live(MINUTE), (), ("BTCUSDT", "ETHUSDT"))


def test_a_new_symbol_hears_from_when_on_signals_are_made_and_a_leaving_one_hears_the_last_ticks() -> None:
    spread = Spread(Position(4, Live(MINUTE), (), ("BTCUSDT",)))
    out = spread.address(5, Universe(MINUTE, (ETH,)))

    assert out == [
        ("market", Universe(MINUTE, (ETH,))),
        ("BTCUSDT", Membership("BTCUSDT", MINUTE, None)),
        ("ETHUSDT", Live(MINUTE)),
        ("ETHUSDT", Membership("ETHUSDT", MINUTE, ETH)),
    ]
    assert [key for key, _ in spread.address(6, Tick(MINUTE))] == ["BTCUSDT", "ETHUSDT"]

    spread.address(7, Universe(2 * MINUTE, (ETH,)))
    assert [key for key, _ in spread.address(8, Tick(3 * MINUTE))] == ["ETHUSDT"]


def activation(minute: int, model: str = "boosted") -> Activation:
    return Activation(minute * MINUTE, model, f"v{minute}", minute * MINUTE)


def test_an_activation_is_told_to_everybody_who_may_still_have_a_moment() -> None:
    spread = Spread(Position(4, Live(MINUTE), ("BTCUSDT",), ("ETHUSDT",)))

    assert spread.address(5, activation(1)) == [("BTCUSDT", activation(1)), ("ETHUSDT", activation(1))]
    assert spread.position == Position(5, Live(MINUTE), ("BTCUSDT",), ("ETHUSDT",), (activation(1),))


def test_a_new_symbol_hears_live_then_what_serves_and_an_old_one_hears_nothing_again() -> None:
    spread = Spread(Position(4, Live(MINUTE), (), ("BTCUSDT",)))
    for number, one in enumerate((activation(1), activation(2, "sizer"), activation(3)), start=5):
        spread.address(number, one)
    spread = Spread(pickle.loads(pickle.dumps(spread.position)))

    assert spread.address(8, Universe(4 * MINUTE, (BTC, ETH))) == [
        ("market", Universe(4 * MINUTE, (BTC, ETH))),
        ("BTCUSDT", Membership("BTCUSDT", 4 * MINUTE, BTC)),
        ("ETHUSDT", Live(MINUTE)),
        ("ETHUSDT", activation(2, "sizer")),
        ("ETHUSDT", activation(1)),
        ("ETHUSDT", activation(3)),
        ("ETHUSDT", Membership("ETHUSDT", 4 * MINUTE, ETH)),
    ]


def test_what_stands_of_each_model_is_bounded_and_that_of_another_stays() -> None:
    spread = Spread(Position(symbols=("BTCUSDT",)))
    spread.address(1, activation(1, "sizer"))
    for number in range(2, 100):
        spread.address(number, activation(number))
    standing = spread.position.activations

    assert standing[0] == activation(1, "sizer")
    assert standing[1:] == tuple(activation(number) for number in range(100 - MOST_ACTIVATIONS, 100))


def test_a_position_written_before_there_were_activations_has_none() -> None:
    old = Position(3, Live(MINUTE), (), ("BTCUSDT",))
    del old.__dict__["activations"]

    assert Spread(pickle.loads(pickle.dumps(old))).position == Position(3, Live(MINUTE), (), ("BTCUSDT",))


def test_stop_ends_the_partition(tmp_path: Path) -> None:
    partition = Ingest(tmp_path, script([])).build_part("ingest", "ingest", None)
    STOP.set()
    with pytest.raises(StopIteration):
        partition.next_batch()

    partition.close()


def test_a_feed_that_dies_takes_the_flow_with_it(tmp_path: Path) -> None:
    async def feed(journal: Journal, mailbox: Mailbox) -> None:
        raise ZeroDivisionError("a bug")

    partition = Ingest(tmp_path, feed).build_part("ingest", "ingest", None)
    with pytest.raises(ZeroDivisionError, match="a bug"):
        drain(partition, 1)

    partition.close()


def test_only_process_zero_lists_the_partition(tmp_path: Path) -> None:
    assert Ingest(tmp_path, script([])).list_parts() == ["ingest"]
    assert Ingest(tmp_path, script([]), primary=False).list_parts() == []


def test_a_journal_that_does_not_reach_the_snapshot_is_refused(tmp_path: Path) -> None:
    source = Ingest(tmp_path, script([]))
    with pytest.raises(StorageError, match="snapshot stands at record 9, the journal goes on at 1"):
        source.build_part("ingest", "ingest", Position(seq=9))


def test_a_number_of_one_asset_reaches_its_symbol_and_that_of_the_market_everyone() -> None:
    spread = Spread(Position(symbols=("BTCUSDT", "ETHUSDT")))
    own, whole = Metric("a.nupl", "ETH", 0, 0.4), Metric("b.fear_greed", "", 0, 47.0)
    story = Headline("0" * 16, "wire", 0, "Ether rises", "", ("ETH",), 0.4, 0.9)

    assert spread.address(1, own) == [("ETHUSDT", own)]
    assert spread.address(2, whole) == [("BTCUSDT", whole), ("ETHUSDT", whole)]
    assert spread.address(3, story) == [("BTCUSDT", story), ("ETHUSDT", story)]
    assert spread.address(4, Metric("a.nupl", "SOL", 0, 0.4)) == []


def test_a_symbol_that_joins_later_hears_the_newest_numbers_of_the_market() -> None:
    spread = Spread()
    spread.address(1, Universe(0, (BTC,)))
    old, new = Metric("b.fear_greed", "", 0, 47.0), Metric("b.fear_greed", "", MINUTE, 48.0)
    other = Metric("b.dominance", "", 0, 0.5)
    for seq, record in enumerate((old, other, new, Metric("a.nupl", "BTC", 0, 0.4)), start=2):
        spread.address(seq, record)
    resumed = Spread(pickle.loads(pickle.dumps(spread.position)))
    heard = [record for key, record in resumed.address(9, Universe(MINUTE, (BTC, ETH))) if key == "ETHUSDT"]

    assert heard == [new, other, Membership("ETHUSDT", MINUTE, ETH)]
