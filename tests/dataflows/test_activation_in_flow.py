"""Versions of a model that come, go and break under the running flow: what its signals say, to the byte."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any, Final

import orjson
import pytest
from bytewax.testing import run_main

from dataflows.connectors.background import Mailbox
from dataflows.connectors.ingest import STOP, Ingest
from dataflows.connectors.journal import Journal
from dataflows.connectors.record import Record
from dataflows.signals import build
from dataflows.world import World
from engine.models.boosted import Boosted
from engine.models.shelf import Shelf
from engine.records import Moment, Outcome, Prediction, Signal
from engine.settings import load
from engine.signal_json import canonical
from tests.dataflows.plays import (
    CLOSES,
    FIRST,
    FIVE,
    HOUR,
    LAST,
    MODEL,
    NONE,
    SECOND,
    START,
    SYMBOLS,
    WARM_UP,
    Versions,
    play,
    serving,
    story,
    trained,
)
from tests.dataflows.runs import BARE, Engine, until
from tests.dataflows.test_flow import Listener
from tests.dataflows.test_survival import consolidated

TWO_WORKERS: Final = (*BARE, "-w", "2")
EVERYWHERE: Final = (1, 3, 6, 9, 13, 18, 22, 26, 34)
"""Closes: around every one of those."""

Told = dict[tuple[str, int], dict[str, Any]]


@pytest.fixture(scope="module")
def versions(tmp_path_factory: pytest.TempPathFactory) -> Versions:
    return trained(tmp_path_factory.mktemp("trained"))


@pytest.fixture(scope="module")
def calm(versions: Versions, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """The story without a kill."""
    with story(tmp_path_factory.mktemp("calm"), versions) as made:
        yield made


def told(made: Engine) -> Told:
    """Every signal as its readers have it, by symbol and close; none was said twice."""
    record = Record(made.folder, readonly=True)
    rows = [row for row in record.rows(0, 100_000) if row.kind == "signal"]
    record.close()
    signals = {(row.symbol, row.time): orjson.loads(row.body) for row in rows}
    assert len(signals) == len(rows)
    assert "a replay says something else" not in made.log()
    return signals


def named(signals: Told, step: int = HOUR) -> dict[str, list[str | None]]:
    """The versions that each symbol's signals name, close by close."""
    return {
        symbol: [signals[key]["models"][MODEL]["version"] for key in sorted(signals) if key[0] == symbol]
        for symbol in SYMBOLS
    }


def at_every(step: int, first: int = 0) -> set[tuple[str, int]]:
    """Every symbol at every close from the `first` one on."""
    return {(symbol, START + at * step) for symbol in SYMBOLS for at in range(first, CLOSES + 1)}


def test_a_version_speaks_in_every_signal_from_its_activation_on(calm: Engine) -> None:
    signals = told(calm)

    assert signals.keys() == at_every(HOUR)
    for (_, time), signal in signals.items():
        if not NONE < (time - START) // HOUR <= LAST:
            continue
        said = signal["models"][MODEL]
        assert signal["p_up"] == said["p_up"]
        assert signal["p3"] == said["p3"]
        assert (said["fault"], said["made"], said["skill"]) == (None, time, True)
        assert len(said["contributions"]) == 6
        assert signal["layers"]["ml"]["weight"] > 0
        assert not {"uncalibrated", "layer ml silent"} & set(signal["degraded"])


@pytest.mark.parametrize(
    ("span", "fault"), [(range(NONE + 1), "no version"), (range(LAST + 1, CLOSES + 1), "expired: ")]
)
def test_without_a_version_or_with_one_too_old_signals_are_uncalibrated(
    calm: Engine, span: range, fault: str
) -> None:
    for (_, time), signal in told(calm).items():
        if (time - START) // HOUR in span:
            assert any(note.startswith(f"model {MODEL}: {fault}") for note in signal["degraded"])
            assert {"uncalibrated", "layer ml silent"} <= set(signal["degraded"])
            assert (signal["p_up"], signal["p3"]) == (None, None)
            assert signal["layers"]["ml"]["weight"] == 0
            assert 50 <= signal["confidence"] <= 56


def test_one_close_changes_the_version_of_all_symbols_and_a_rollback_likewise(
    calm: Engine, versions: Versions
) -> None:
    first, second = versions.first, versions.second
    spans = {None: NONE + 1, first: FIRST - NONE, second: SECOND - FIRST}
    wanted = [name for name, count in spans.items() for _ in range(count)] + [first] * (CLOSES - SECOND)

    assert named(told(calm)) == dict.fromkeys(SYMBOLS, wanted)


def test_a_damaged_version_is_named_once_and_never_serves(calm: Engine, versions: Versions) -> None:
    lines = [line for line in calm.log().splitlines() if versions.third in line]

    assert len(lines) == 1
    assert lines[0].endswith("; the last good version goes on serving")
    assert serving(calm.folder) == versions.first


class Plain:
    """Asks the version itself, one moment at a time and at once; nothing is between."""

    def __init__(self, shelf: Shelf) -> None:
        names = [version for version in shelf.versions() if version not in shelf.faults()]
        self.versions = {name: Boosted.load(shelf.folder / name, shelf.manifest(name)) for name in names}

    def submit(self, moment: Moment) -> Future[Prediction]:
        answer: Future[Prediction] = Future()
        answer.set_result(self.versions[moment.activations[MODEL].version].predict([moment])[0])
        return answer

    def foresee(self, moment: Moment) -> None: ...


def test_the_journal_and_the_shelf_alone_say_the_same(calm: Engine, tmp_path: Path) -> None:
    (tmp_path / "journal.db").write_bytes(consolidated(calm.folder))
    knobs = {name: value for name, value in calm.variables.items() if name.startswith("SIGNAL_ENGINE_")}
    listener, enough = Listener(), len(at_every(HOUR))

    async def nothing(journal: Journal, mailbox: Mailbox) -> None:
        """No exchange: what the journal holds is all there is."""

    def spoken() -> list[Signal]:
        return [one for one in [*listener.said] if isinstance(one, Signal)]

    def stop() -> None:
        try:
            until(lambda: len(spoken()) >= enough, "the signals of the journal")
        finally:
            STOP.set()

    world = World(Ingest(tmp_path, nothing), listener, lambda name: Plain(Shelf(calm.folder / "shelf", name)))
    waiting = threading.Thread(target=stop)
    waiting.start()
    try:
        run_main(build(world, load("config.yaml", knobs)))  # type: ignore[no-untyped-call]
    finally:
        waiting.join()
        STOP.clear()
    said = {
        ("signal" if isinstance(one, Signal) else "outcome", one.symbol, one.time): canonical(one)
        for one in listener.said
        if isinstance(one, Signal | Outcome)
    }

    assert said == calm.said()


@pytest.mark.parametrize(
    ("command", "kills"),
    [
        pytest.param(BARE, (FIRST,), id="one worker"),
        pytest.param(TWO_WORKERS, (FIRST,), id="two workers"),
        pytest.param(BARE, EVERYWHERE, id="one worker, everywhere", marks=pytest.mark.soak),
        pytest.param(TWO_WORKERS, EVERYWHERE, id="two workers, everywhere", marks=pytest.mark.soak),
    ],
)
def test_kills_around_a_change_of_version_change_no_byte(
    calm: Engine, versions: Versions, tmp_path: Path, command: Sequence[str], kills: Sequence[int]
) -> None:
    with story(tmp_path, versions, command, kills) as made:
        assert len(made.processes) == 1 + len(kills)
        assert made.said() == calm.said()


def test_between_the_closes_of_its_model_a_signal_repeats_it_with_its_age(
    versions: Versions, tmp_path: Path
) -> None:
    environ = {"SIGNAL_ENGINE_DECIDE__MINIMUM": str(WARM_UP)}
    knobs: dict[str, Any] = {
        "interval": "5m",
        "intervals": ("1m", "5m", "1h"),
        "warm_up": 1200,
        "catch_up": 60,
    }
    with play(tmp_path, versions, environ=environ, **knobs) as one:
        one.shelf.point(versions.first)
        one.begin()
        one.to(17)
        one.promote(versions.second)
        one.to(CLOSES)
        one.end()
        signals = told(one.made)

    assert signals.keys() == at_every(FIVE, first=1)
    assert named(signals) == dict.fromkeys(SYMBOLS, [versions.first] * 23 + [versions.second] * 13)
    for (symbol, time), signal in signals.items():
        said, due = signal["models"][MODEL], time - time % HOUR
        waits = time < START + HOUR
        assert said["fault"] == ("not on its grid yet" if waits else None)
        assert (signal["p_up"] is None) == ("uncalibrated" in signal["degraded"]) == waits
        if not waits:
            assert (said["made"], said["age"]) == (due, (time - due) // 1000)
            assert signal["p_up"] == signals[symbol, due]["p_up"]
