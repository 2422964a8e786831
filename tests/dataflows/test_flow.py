"""The flow as a whole: any arrival, any number of workers, any interruption gives the same signals."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import timedelta
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from bytewax.errors import BytewaxRuntimeError
from bytewax.inputs import FixedPartitionedSource, StatefulSourcePartition
from bytewax.outputs import DynamicSink, StatelessSinkPartition
from bytewax.recovery import RecoveryConfig, init_db_dir
from bytewax.testing import cluster_main, run_main

from dataflows.connectors.inference import Inference
from dataflows.connectors.ingest import Position, Spread
from dataflows.connectors.journal import Journaled
from dataflows.signals import build
from dataflows.world import World
from engine.layers import LAYERS
from engine.records import (
    INTERVALS,
    Activation,
    Candle,
    Listing,
    Live,
    Outcome,
    Signal,
    Tick,
    Universe,
)
from engine.settings import Settings, load
from engine.signal_json import canonical
from tests.checks import market
from tests.engine.models.asking import Simple

FIVE = INTERVALS["5m"]
START = 1_709_596_800_000
LISTINGS = (
    Listing("BTCUSDT", "BTCUSDT", "BTC", "majors"),
    Listing("ETHUSDT", "ETHUSDT", "ETH", "majors"),
    Listing("DOGEUSDT", "DOGEUSDT", "DOGE", "memes"),
)
"""The universe of every test here."""

JOINED, REPLACED = 80, 120
"""Closes at which a version of the model is activated, and another one that serves three closes later."""


class Scripted(StatefulSourcePartition[tuple[str, Any], tuple[int, Position]]):
    """Hands on prepared records in small batches; its state is how many it handed on."""

    def __init__(
        self,
        records: Sequence[Journaled],
        resume: tuple[int, Position] | None,
        size: int,
        crash_at: int | None,
    ) -> None:
        self.taken, position = resume or (0, Position())
        self.spread = Spread(position)
        self.records = records
        self.size = size
        self.crash_at = crash_at

    def next_batch(self) -> Iterable[tuple[str, Any]]:
        if self.crash_at is not None and self.taken >= self.crash_at:
            raise RuntimeError("the power went out")
        batch = list(islice(self.records, self.taken, self.taken + self.size))
        if not batch:
            raise StopIteration
        self.taken += len(batch)
        return [keyed for record in batch for keyed in self.spread.address(self.taken, record)]

    def snapshot(self) -> tuple[int, Position]:
        return self.taken, self.spread.position


class Script(FixedPartitionedSource[tuple[str, Any], tuple[int, Position]]):
    def __init__(self, records: Sequence[Journaled], size: int = 50, crash_at: int | None = None) -> None:
        self.records = records
        self.size = size
        self.crash_at = crash_at

    def list_parts(self) -> list[str]:
        return ["ingest"]

    def build_part(self, step_id: str, for_part: str, resume_state: tuple[int, Position] | None) -> Scripted:
        return Scripted(self.records, resume_state, self.size, self.crash_at)


class Heard(StatelessSinkPartition[tuple[str, Any]]):
    def __init__(self, said: list[Any]) -> None:
        self.said = said

    def write_batch(self, items: list[tuple[str, Any]]) -> None:
        self.said += [item for _, item in items]


class Listener(DynamicSink[tuple[str, Any]]):
    def __init__(self) -> None:
        self.said: list[Any] = []

    def build(self, step_id: str, worker_index: int, worker_count: int) -> Heard:
        return Heard(self.said)


@pytest.fixture(scope="module", params=["1h", "5m"])
def settings(request: pytest.FixtureRequest) -> Settings:
    """Of a model on 1h, which has too few candles here and says so, and of one on 5m, which speaks."""
    return load(
        "config.yaml",
        {
            "SIGNAL_ENGINE_DECIDE__MINIMUM": "60",
            "SIGNAL_ENGINE_DECIDE__WARM_UP": "60",
            "SIGNAL_ENGINE_MODELS__BOOSTED__INTERVAL": request.param,
        },
    )


def coarser(candles: Sequence[Candle], interval: str) -> Iterator[Candle]:
    """The candles of a higher interval that whole groups of `candles` make."""
    length = INTERVALS[interval]
    size = length // INTERVALS[candles[0].interval]
    first = next(at for at, candle in enumerate(candles) if candle.open_time % length == 0)
    for at in range(first, len(candles) - size + 1, size):
        group = candles[at : at + size]
        yield Candle(
            group[0].symbol,
            interval,
            group[-1].time,
            group[0].open,
            max(candle.high for candle in group),
            min(candle.low for candle in group),
            group[-1].close,
            sum(candle.volume for candle in group),
        )


@pytest.fixture(scope="module")
def records() -> list[Journaled]:
    """150 closes of three symbols, in order; ETH misses one candle, DOGE's hour candle comes late once."""
    candles: list[Candle] = []
    for seed, listing in enumerate(LISTINGS):
        fives = [
            Candle(listing.symbol, "5m", START + at * FIVE, c.open, c.high, c.low, c.close, c.volume)
            for at, c in enumerate(market(150, seed), start=1)
        ]
        candles += fives
        candles += coarser(fives, "15m")
        candles += coarser(fives, "1h")
    candles = [c for c in candles if (c.symbol, c.interval, c.time) != ("ETHUSDT", "5m", START + 100 * FIVE)]
    candles.sort(key=lambda candle: (candle.time, INTERVALS[candle.interval], candle.symbol))
    made: list[Journaled] = [Universe(START, LISTINGS), Live(START + 70 * FIVE, "replay")]
    late = [c for c in candles if (c.symbol, c.interval, c.time) == ("DOGEUSDT", "1h", START + 108 * FIVE)]
    for at in range(1, 151):
        close = START + at * FIVE
        made += [candle for candle in candles if candle.time == close and candle not in late]
        made.append(Tick(close))
        if at == 108:
            made += late
        if at == JOINED:
            made.append(Activation(close, "boosted", "v1", serves_from=0))
        if at == REPLACED:
            made.append(Activation(close, "boosted", "v2", serves_from=close + 3 * FIVE))
    return made


def said_by(listener: Listener) -> dict[tuple[str, str], bytes]:
    """Canonical bytes by kind and id; the same thing said twice must be said in the same words."""
    said: dict[tuple[str, str], bytes] = {}
    for item in listener.said:
        key, words = (type(item).__name__, item.id), canonical(item)
        assert said.setdefault(key, words) == words
    return said


def asked(model: str) -> Inference:
    return Inference(model, Simple)


def run(settings: Settings, script: Script, **how: Any) -> Listener:
    listener = Listener()
    flow = build(World(script, listener, asked), settings)
    how.setdefault("epoch_interval", timedelta(seconds=10))
    if "workers" in how:
        how["worker_count_per_proc"] = how.pop("workers")
        cluster_main(flow, [], 0, **how)  # type: ignore[no-untyped-call]
    else:
        run_main(flow, **how)  # type: ignore[no-untyped-call]
    return listener


@pytest.fixture(scope="module")
def whole(settings: Settings, records: list[Journaled]) -> Listener:
    return run(settings, Script(records))


def test_every_close_of_a_warm_symbol_gives_exactly_one_signal(whole: Listener) -> None:
    closes = {(signal.symbol, signal.time) for signal in whole.said if isinstance(signal, Signal)}
    expected = {(listing.symbol, START + at * FIVE) for listing in LISTINGS for at in range(71, 151)} - {
        ("ETHUSDT", START + 100 * FIVE)
    }

    assert closes == expected
    assert sum(isinstance(said, Signal) for said in whole.said) == len(expected)


def test_every_layer_has_contributed_to_every_signal(whole: Listener) -> None:
    signals = [said for said in whole.said if isinstance(said, Signal)]

    assert all(set(signal.layers) == set(LAYERS) for signal in signals)
    assert all(signal.layers["technical"].coverage > 0.5 for signal in signals)
    assert all(signal.layers["correlation"].coverage > 0 for signal in signals[-30:])
    assert all(signal.sources["binance.spot:5m"] == signal.time for signal in signals)
    assert {signal.feed for signal in signals} == {"replay"}


def test_a_model_speaks_once_it_has_a_version_and_what_it_reads_and_says_what_it_waits_for(
    settings: Settings, whole: Listener
) -> None:
    interval = settings.models.boosted.interval
    for signal in (said for said in whole.said if isinstance(said, Signal)):
        told = signal.models["boosted"]

        assert told["fault"] == awaited(interval, signal.symbol, (signal.time - START) // FIVE)
        assert (told["fault"] is None) == (signal.p_up is not None) == ("uncalibrated" not in signal.degraded)
        assert signal.layers["ml"].coverage == float(told["fault"] is None)


def awaited(interval: str, symbol: str, at: int) -> str | None:
    """What a model of this interval waits for at a close, None where it speaks."""
    if at <= JOINED:
        return "no version"
    if interval == "5m":
        return f"market frame has {at} of 96 closes" if at < 96 else None
    if at < 84:
        return "not on its grid yet"
    if symbol == "DOGEUSDT" and 108 <= at < 120:
        return "1h candle 2024-03-05T09:00Z not here yet"
    return f"1h has {at // 12} of 60 candles"


def test_versions_take_over_when_they_may_serve(settings: Settings, whole: Listener) -> None:
    spoken = {
        (said.time - START) // FIVE: said.models["boosted"]["version"]
        for said in whole.said
        if isinstance(said, Signal) and said.p_up is not None
    }
    speaks = settings.models.boosted.interval == "5m"

    assert spoken == {at: "v1" if at < REPLACED + 3 else "v2" for at in range(96, 151) if speaks}


def test_the_model_takes_sides_and_its_sets_are_judged(settings: Settings, whole: Listener) -> None:
    if settings.models.boosted.interval == "1h":
        pytest.skip("this model never speaks here")
    signals = [said for said in whole.said if isinstance(said, Signal) and said.p_up is not None]
    last = [said for said in signals if said.time == START + 150 * FIVE]

    assert {signal.direction for signal in signals} == {"LONG", "SHORT", "NEUTRAL"}
    assert all(len(signal.layers["ml"].reasons) > 1 for signal in signals if signal.layers["ml"].score > 5)
    assert {signal.symbol: signal.models["boosted"]["covered"] for signal in last} == {
        "BTCUSDT": 150 - 96 - 12 + 1,
        "ETHUSDT": 150 - 96 - 12,  # one candle of it never came
        "DOGEUSDT": 150 - 96 - 12 + 1,
    }


def test_what_came_late_or_not_at_all_is_named_and_delays_nobody(whole: Listener) -> None:
    signals = {(said.symbol, said.time): said for said in whole.said if isinstance(said, Signal)}
    late = signals["DOGEUSDT", START + 108 * FIVE].degraded
    after_gap = signals["ETHUSDT", START + 101 * FIVE].degraded

    assert "1h candle 2024-03-05T09:00Z not here yet" in late
    assert "1 5m candles missing before 2024-03-05T08:25Z" in after_gap


def test_signals_meet_their_outcome_twelve_closes_later(whole: Listener) -> None:
    signals = {said.id: said for said in whole.said if isinstance(said, Signal)}
    outcomes = [said for said in whole.said if isinstance(said, Outcome)]
    due = {name for name, signal in signals.items() if signal.horizon_end <= START + 150 * FIVE}

    assert {outcome.id for outcome in outcomes} == due
    assert [o for o in outcomes if o.hit is None] == [
        o for o in outcomes if (o.symbol, o.time) == ("ETHUSDT", START + 88 * FIVE)
    ]
    for outcome in outcomes:
        signal = signals[outcome.id]
        assert (outcome.entry, outcome.direction) == (signal.entry, signal.direction)


def begun(signal: Signal) -> dict[str, Any]:
    """What a signal tells of its model, without how its sets have held."""
    since = ("set", "coverage", "covered")
    return {name: value for name, value in signal.models["boosted"].items() if name not in since}


def standing(signal: Signal) -> bool:
    """Whether its model had been asked, or could have been."""
    return "model boosted: not on its grid yet" not in signal.degraded


@pytest.mark.parametrize("size", [1, 7, 10_000])
def test_any_batch_size_gives_the_same_bytes(
    settings: Settings, records: list[Journaled], whole: Listener, size: int
) -> None:
    assert said_by(run(settings, Script(records, size))) == said_by(whole)


@pytest.mark.parametrize("workers", [2, 4])
def test_any_number_of_workers_gives_the_same_bytes(
    settings: Settings, records: list[Journaled], whole: Listener, workers: int
) -> None:
    assert said_by(run(settings, Script(records, 20), workers=workers)) == said_by(whole)


@pytest.mark.parametrize("share", [0.01, 0.3, 0.6, 0.95])
def test_a_crash_and_a_resume_give_the_same_bytes(
    settings: Settings, records: list[Journaled], whole: Listener, share: float, tmp_path: Path
) -> None:
    init_db_dir(tmp_path, 1)  # type: ignore[no-untyped-call]
    recovery = {"epoch_interval": timedelta(0), "recovery_config": RecoveryConfig(tmp_path)}  # type: ignore[no-untyped-call]
    first = Listener()
    script = Script(records, 10, crash_at=round(share * len(records)))
    flow = build(World(script, first, asked), settings)
    with pytest.raises(BytewaxRuntimeError):
        run_main(flow, **recovery)  # type: ignore[no-untyped-call]
    second = run(settings, Script(records, 10), **recovery)
    second.said = first.said + second.said

    assert said_by(second) == said_by(whole)


def test_the_live_mark_decides_who_speaks_and_not_what_is_said(
    settings: Settings, records: list[Journaled], whole: Listener
) -> None:
    """But for what began with the first signal: what stands of a model, and how its sets have held."""
    later = [Live(START + 120 * FIVE, "replay") if isinstance(r, Live) else r for r in records]

    def said(listener: Listener) -> dict[str, bytes]:
        signals = [one for one in listener.said if isinstance(one, Signal)]
        return {
            one.id: canonical(replace(one, models={"boosted": begun(one)}))
            for one in signals
            if standing(one)
        }

    some, every = said(run(settings, Script(later))), said(whole)
    assert 50 < len(some) < len(every)
    assert some.items() <= every.items()
