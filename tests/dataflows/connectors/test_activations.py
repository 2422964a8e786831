"""From the shelf's pointer into the journal: at a close, once, and never what cannot be used."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from dataflows.connectors import activations
from dataflows.connectors.activations import Activations, Served, recorded
from dataflows.connectors.background import Mailbox
from dataflows.connectors.binance.outbox import Outbox
from dataflows.connectors.journal import Journal
from engine.errors import StorageError
from engine.models.manifest import Facts, Manifest
from engine.models.shelf import Shelf
from engine.records import INTERVALS, NEVER, Activation, Candle, Live, Tick
from tests.dataflows.connectors.binance.exchange import MINUTE, START, Exchange, running
from tests.dataflows.connectors.binance.rig import STEP, Rig, rig, settings

BTC, ETH = "BTCUSDT", "ETHUSDT"
HOUR = INTERVALS["1h"]
AGE = 168 * HOUR
SCHEMA = Facts.of().schema


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    return Shelf(tmp_path / "shelf", "boosted")


@pytest.fixture
def served(shelf: Shelf) -> Served:
    return Served(shelf, SCHEMA, AGE)


def put(shelf: Shelf, hours: int, *, point: bool = True, **facts: Any) -> Manifest:
    """A version whose data ends so many hours before `START`; its file holds no model."""
    made = Facts.of(START // HOUR * HOUR - hours * HOUR, **facts)
    manifest = shelf.add(write, made)
    if point:
        shelf.point(manifest.version)
    return manifest


def write(folder: Path) -> None:
    (folder / "model.json").write_text("{}")


def serving(manifest: Manifest, time: int, age: int = AGE) -> Activation:
    return Activation(time, "boosted", manifest.version, manifest.serves_from, manifest.data_until + age)


def said(records: list[Any]) -> list[Activation]:
    return [record for record in records if isinstance(record, Activation)]


def check_behind(records: list[Any], one: Activation) -> None:
    """Every decision close after an Activation comes behind it."""
    before = records[: records.index(one)]
    closes = [r.time for r in before if isinstance(r, Candle | Tick) and r.time % STEP == 0]
    assert max(closes, default=0) <= one.time


async def test_a_start_activates_what_is_current_right_behind_live(
    tmp_path: Path, shelf: Shelf, served: Served
) -> None:
    manifest = put(shelf, 20)
    async with (
        running(BTC, ETH) as exchange,
        rig(exchange, tmp_path, settings(exchange, BTC, ETH), [served]) as one,
    ):
        await one.serving()
        await one.ticked(START - STEP)

    live, activation, *history = one.records[1:]
    assert isinstance(live, Live)
    assert activation == serving(manifest, live.time)
    assert said(history) == []


async def test_without_a_current_version_nothing_is_activated(
    tmp_path: Path, shelf: Shelf, served: Served
) -> None:
    put(shelf, 20, point=False)
    async with (
        running(BTC) as exchange,
        rig(exchange, tmp_path, settings(exchange, BTC), [served]) as one,
    ):
        await one.serving()
        await one.no_fault()

    assert said(one.records) == []


async def test_a_new_version_starts_behind_the_newest_close_and_before_the_next(
    tmp_path: Path, shelf: Shelf, served: Served
) -> None:
    first = put(shelf, 20)
    async with (
        running(BTC, ETH) as exchange,
        rig(exchange, tmp_path, settings(exchange, BTC, ETH), [served]) as one,
    ):
        await one.serving()
        await exchange.advance(7 * MINUTE)
        await one.has((BTC, "1m", START + 7 * MINUTE), (ETH, "1m", START + 7 * MINUTE))
        second = put(shelf, 14)
        await one.until(lambda: len(said(one.records)) == 2, "the second version")
        shelf.point(first.version)
        await one.until(lambda: len(said(one.records)) == 3, "the first version again")
        await exchange.advance(11 * MINUTE)
        await one.has((BTC, "5m", START + 2 * STEP), (ETH, "5m", START + 2 * STEP))

    assert said(one.records)[1:] == [serving(second, START + STEP), serving(first, START + STEP)]
    for activation in said(one.records)[1:]:
        check_behind(one.records, activation)


async def test_a_close_that_was_stamped_early_is_not_served_by_a_version_that_came_behind_it(
    tmp_path: Path, shelf: Shelf, served: Served
) -> None:
    async with (
        running(BTC, ETH) as exchange,
        rig(exchange, tmp_path, settings(exchange, BTC, ETH), [served]) as one,
    ):
        await one.serving()
        await exchange.advance(4 * MINUTE)
        await exchange.close(BTC, "5m", START + STEP, after=-1)
        await one.has((BTC, "5m", START + STEP))
        put(shelf, 14)
        await one.until(lambda: said(one.records), "the version")

    [activation] = said(one.records)
    assert activation.time == START + STEP
    check_behind(one.records, activation)


async def run_once(exchange: Exchange, folder: Path, served: Served, ms: int) -> Rig:
    async with rig(exchange, folder, settings(exchange, BTC), [served]) as one:
        await one.serving()
        await exchange.advance(ms)
        await one.has((BTC, "5m", START + ms // STEP * STEP))
    return one


async def test_a_restart_repeats_nothing_and_says_what_has_changed_meanwhile(
    tmp_path: Path, shelf: Shelf, served: Served
) -> None:
    first = put(shelf, 20)
    async with running(BTC) as exchange:
        before = await run_once(exchange, tmp_path, served, 6 * MINUTE)
        unchanged = await run_once(exchange, tmp_path, served, 11 * MINUTE)
        second = put(shelf, 14)
        changed = await run_once(exchange, tmp_path, served, 16 * MINUTE)
        older = Served(shelf, SCHEMA, AGE // 2)
        other_age = await run_once(exchange, tmp_path, older, 21 * MINUTE)

    live = [next(r for r in run.records if isinstance(r, Live)) for run in (before, changed, other_age)]
    assert said(before.records) == [serving(first, live[0].time)]
    assert said(unchanged.records) == []
    assert said(changed.records) == [serving(second, START + 2 * STEP)]
    assert said(other_age.records) == [serving(second, START + 3 * STEP, AGE // 2)]
    check_behind([*before.records, *unchanged.records, *changed.records], said(changed.records)[0])


async def test_a_quick_restart_serves_no_close_that_was_there_already(
    tmp_path: Path, shelf: Shelf, served: Served
) -> None:
    async with running(BTC) as exchange:
        before = await run_once(exchange, tmp_path, served, 5 * MINUTE)
        put(shelf, 14)
        after = await run_once(exchange, tmp_path, served, 10 * MINUTE)

    [activation] = said(after.records)
    [live] = [record for record in after.records if isinstance(record, Live)]
    assert live.time < activation.time == START + STEP
    check_behind([*before.records, *after.records], activation)


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    made = Journal(tmp_path)
    yield made
    made.close()


@asynccontextmanager
async def watching(
    served: Served, journal: Journal, last: dict[str, Activation] | None = None
) -> AsyncIterator[Activations]:
    """What watches the shelf of `served`, over a journal at the close of 1000."""
    outbox = Outbox(journal, Mailbox())
    made = Activations([served], outbox, lambda: 1000, every=0.005)
    outbox.add(await made.begin(last or {}, 500))
    tasks = [asyncio.create_task(one) for one in (made.run(), outbox.run())]
    try:
        yield made
    finally:
        for task in tasks:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task


async def until(condition: Callable[[], Any]) -> None:
    async with asyncio.timeout(8):
        while not condition():
            await asyncio.sleep(0.005)


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]


def damage_pointer(shelf: Shelf, version: str) -> None:
    (shelf.folder / "current").write_text("nonsense")


def damage_file(shelf: Shelf, version: str) -> None:
    (shelf.folder / version / "model.json").write_text("[]")
    (shelf.folder / "current").write_text(version)


def damage_manifest(shelf: Shelf, version: str) -> None:
    (shelf.folder / version / "manifest.json").write_text("{")
    (shelf.folder / "current").write_text(version)


def point_nowhere(shelf: Shelf, version: str) -> None:
    (shelf.folder / "current").write_text("20200101T0000Z-00000000")


@pytest.mark.parametrize(
    ("damage", "why"),
    [
        (damage_pointer, "model boosted: current is damaged: 'nonsense' names no version"),
        (damage_file, "model boosted {version}: model.json is damaged"),
        (damage_manifest, "model boosted {version}: the manifest is not readable JSON"),
        (point_nowhere, "model boosted 20200101T0000Z-00000000: there is no such version"),
    ],
)
async def test_what_cannot_be_used_is_named_once_and_the_last_good_version_stays(
    shelf: Shelf,
    served: Served,
    journal: Journal,
    caplog: pytest.LogCaptureFixture,
    damage: Callable[[Shelf, str], None],
    why: str,
) -> None:
    good, bad = put(shelf, 20), put(shelf, 14, point=False)
    async with watching(served, journal) as made:
        damage(shelf, bad.version)
        await until(lambda: made.faults)
        [fault] = made.faults
        await asyncio.sleep(0.1)
        stands, told = journal.last_activations(), warnings(caplog)
        shelf.point(good.version)
        await until(lambda: not made.faults)

    assert fault.startswith(why.format(version=bad.version))
    assert told == [f"{fault}; the last good version goes on serving"]
    assert stands == journal.last_activations() == {"boosted": serving(good, 500)}


async def test_a_start_on_a_damaged_version_goes_on_with_the_newest_good_one(
    shelf: Shelf, served: Served, journal: Journal
) -> None:
    old, good, bad = put(shelf, 30), put(shelf, 20), put(shelf, 14)
    put(shelf, 13, point=False, promoted=False)
    damage_file(shelf, bad.version)
    async with watching(served, journal, {"boosted": serving(bad, 100)}) as made:
        await until(journal.last_activations)
        stands, faults = journal.last_activations(), made.faults
        damage_file(shelf, good.version)
        shelf.point(old.version)
        await until(lambda: journal.last_activations() != stands)

    assert stands == {"boosted": serving(good, 500)}
    assert faults == [
        f"model boosted {bad.version}: model.json is damaged: " + faults[0].partition("damaged: ")[2]
    ]
    assert journal.last_activations() == {"boosted": serving(old, 1000)}


async def test_a_version_of_other_features_is_refused(shelf: Shelf, served: Served, journal: Journal) -> None:
    foreign = put(shelf, 14, schema="fedcba9876543210")
    async with watching(served, journal) as made:
        await until(lambda: made.faults)
        good = put(shelf, 13)
        await until(journal.last_activations)
        faults = made.faults

    assert foreign.version in served.shelf.versions()
    assert journal.last_activations() == {"boosted": serving(good, 1000)}
    assert faults == []


async def test_a_version_that_is_mended_serves(
    shelf: Shelf, served: Served, journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(activations, "AGAIN", 0.05)
    version = put(shelf, 14)
    damage_file(shelf, version.version)
    async with watching(served, journal) as made:
        await until(lambda: made.faults)
        (shelf.folder / version.version / "model.json").write_text("{}")
        await until(journal.last_activations)
        await until(lambda: not made.faults)

    assert journal.last_activations() == {"boosted": serving(version, 1000)}


async def test_a_pointer_that_is_gone_changes_nothing(shelf: Shelf, served: Served, journal: Journal) -> None:
    put(shelf, 14)
    async with watching(served, journal) as made:
        (shelf.folder / "current").unlink()
        await asyncio.sleep(0.1)
        faults = made.faults

    assert faults == []
    assert journal.head() == 1


async def test_a_fault_is_shown_among_those_of_the_streams(
    tmp_path: Path, shelf: Shelf, served: Served
) -> None:
    put(shelf, 14)
    damage_pointer(shelf, "")
    async with (
        running(BTC) as exchange,
        rig(exchange, tmp_path, settings(exchange, BTC), [served]) as one,
    ):
        await one.serving()
        await one.fault("model boosted: current is damaged")
        (shelf.folder / "current").unlink()
        await one.no_fault()

    assert said(one.records) == []


def test_a_recording_is_served_by_every_promoted_version_from_the_moment_it_might_have_been(
    shelf: Shelf,
) -> None:
    old, new = put(shelf, 40), put(shelf, 20, point=False)
    put(shelf, 30, point=False, promoted=False, reason="worse")
    late = put(shelf, 25, point=False, embargo=24)
    forever, for_a_week = recorded(shelf, None), recorded(shelf, AGE)

    assert [one.version for one in forever] == [old.version, new.version, late.version]
    assert [one.time for one in forever] == [one.serves_from - 1 for one in forever]
    assert {one.expires for one in forever} == {NEVER}
    assert for_a_week == [serving(one, one.serves_from - 1) for one in (old, new, late)]


def test_a_recording_serves_what_the_shelf_would_serve(shelf: Shelf) -> None:
    for hours, facts in ((40, {}), (20, {}), (20, {"seed": 8}), (25, {"embargo": 24}), (19, {"embargo": 0})):
        put(shelf, hours, point=False, **facts)
    told = recorded(shelf, None)
    for time in range(START - 30 * HOUR, START + 30 * HOUR, HOUR):
        expected = shelf.serving(time)
        found = [one for one in told if one.serves(time)][-1:]
        assert [one.version for one in found] == ([expected.version] if expected else [])


def test_a_version_that_cannot_be_opened_stops_a_backtest_by_name(shelf: Shelf) -> None:
    put(shelf, 40)
    damage_file(shelf, put(shelf, 20).version)

    with pytest.raises(StorageError, match=r"boosted .*: model\.json is damaged"):
        recorded(shelf, None)


def test_an_empty_shelf_serves_nothing(shelf: Shelf) -> None:
    assert recorded(shelf, None) == []
