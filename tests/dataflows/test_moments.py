"""Moments on Bytewax: any number of workers and any batches give the same frames and the same versions."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from math import isnan, log
from typing import Any

import pytest
from bytewax import operators as op
from bytewax.dataflow import Dataflow
from bytewax.testing import cluster_main, run_main

from dataflows import operators as step
from dataflows.connectors.journal import Journaled
from engine.features import Intervals
from engine.market import Market
from engine.memory import Memory, Moments
from engine.records import INTERVALS, Activation, Candle, Live, Moment, Row, Tick, Universe
from tests.checks import market
from tests.dataflows.test_flow import FIVE, LISTINGS, START, Listener, Script, coarser

HOUR = INTERVALS["1h"]
CLOSES = 48
MODELS = {"boosted": "1h", "transformer": "5m"}
LATE, LOST = ("DOGEUSDT", "1h", START + 36 * FIVE), ("ETHUSDT", "5m", START + 24 * FIVE)


def keys(row: Row | Universe) -> list[str]:
    """A row to the market of its interval, a universe to both."""
    if isinstance(row, Universe):
        return ["market", "market.1h"]
    return [f"market.{row.interval}" if row.interval else "market"]


def flow(script: Script, listener: Listener) -> Dataflow:
    """The part of the engine between the journal and the models."""
    made = Dataflow("moments")
    arrived = op.input("ingest", made, script)
    universe = step.only("universe", arrived, (Universe,))
    features = step.advance("features", step.without("told", arrived, (Universe,)), Intervals)
    known = step.advance("assemble", features, lambda: Memory("5m", ("5m", "1h"), minimum=12, models=MODELS))
    drafts = step.without("drafts", known, (Row,))
    crowd = op.merge("crowd", universe, step.only("row", known, (Row,)))
    sent = op.flat_map("send", crowd, lambda keyed: [(key, keyed[1]) for key in keys(keyed[1])])
    frames = step.by_symbol("back", step.advance("market", sent, lambda: Market(window=8)))
    moments = step.advance("moments", op.merge("meet", drafts, frames), lambda: Moments("5m", MODELS))
    op.output("record", step.only("moment", moments, (Moment,)), listener)
    return made


@pytest.fixture(scope="module")
def records() -> list[Journaled]:
    """Three symbols, one of which joins later; a candle is lost, another late; three versions."""
    candles: list[Candle] = []
    for seed, listing in enumerate(LISTINGS):
        fives = [
            Candle(listing.symbol, "5m", START + at * FIVE, c.open, c.high, c.low, c.close, c.volume)
            for at, c in enumerate(market(CLOSES, seed), start=1)
        ]
        candles += [*fives, *coarser(fives, "1h")]
    made: list[Journaled] = [Universe(START, LISTINGS[:2]), Live(START + 13 * FIVE, "replay")]
    made.append(Activation(START + 13 * FIVE, "boosted", "v1", START))
    for at in range(1, CLOSES + 1):
        close = START + at * FIVE
        due = [one for one in candles if one.time == close]
        made += [one for one in due if (one.symbol, one.interval, close) not in (LATE, LOST)]
        made.append(Tick(close))
        made += [one for one in due if (one.symbol, one.interval, close) == LATE]
        if at == 20:
            made.append(Activation(close, "boosted", "v2", START + 36 * FIVE))
            made.append(Activation(close, "transformer", "t1", START))
        if at == 30:
            made.append(Universe(close, LISTINGS))
        if at == 40:
            made.append(Activation(close, "boosted", "v1", START))
    return made


def moments(records: Sequence[Journaled], size: int = 50, workers: int = 0) -> dict[tuple[str, int], Moment]:
    listener = Listener()
    made = flow(Script(records, size), listener)
    if workers:
        how: dict[str, Any] = {"epoch_interval": timedelta(0), "worker_count_per_proc": workers}
        cluster_main(made, [], 0, **how)  # type: ignore[no-untyped-call]
    else:
        run_main(made)  # type: ignore[no-untyped-call]
    found = {(one.symbol, one.time): one for one in listener.said}
    assert len(found) == len(listener.said)
    return found


@pytest.fixture(scope="module")
def whole(records: list[Journaled]) -> dict[tuple[str, int], Moment]:
    return moments(records)


def test_every_moment_has_the_frames_of_the_intervals_that_close_with_it(
    whole: dict[tuple[str, int], Moment],
) -> None:
    expected = {(one.symbol, START + at * FIVE) for one in LISTINGS[:2] for at in range(14, CLOSES + 1)}
    expected |= {(LISTINGS[2].symbol, START + at * FIVE) for at in range(31, CLOSES + 1)}

    assert set(whole) == expected - {(LOST[0], LOST[2])}
    for (_, time), moment in whole.items():
        assert list(moment.frames) == (["1h", "5m"] if time % HOUR == 0 else ["5m"])
        assert moment.frames["5m"] is moment.market
    hour = [whole[one.symbol, LATE[2]].frames["1h"] for one in LISTINGS]
    assert [(one.interval, one.time, one.present, one.expected, one.filled) for one in hour] == [
        ("1h", LATE[2], 2, 3, 3)
    ] * 3
    assert whole["ETHUSDT", START + 36 * FIVE].frames["1h"].own_return == hour[1].own_return


def test_every_symbol_changes_its_version_at_the_same_close(whole: dict[tuple[str, int], Moment]) -> None:
    versions = [(14, "v1", None), (21, "v1", "t1"), (36, "v2", "t1"), (41, "v1", "t1")]
    for (_, time), moment in whole.items():
        at = (time - START) // FIVE
        _, boosted, transformer = next(one for one in reversed(versions) if one[0] <= at)
        assert moment.activations["boosted"].version == boosted
        assert getattr(moment.activations.get("transformer"), "version", None) == transformer


@pytest.mark.parametrize(("size", "workers"), [(1, 0), (7, 0), (10_000, 0), (20, 1), (20, 2), (20, 4)])
def test_any_batches_and_any_number_of_workers_give_the_same_moments(
    records: list[Journaled], whole: dict[tuple[str, int], Moment], size: int, workers: int
) -> None:
    again = moments(records, size, workers)

    assert {key: repr(moment) for key, moment in again.items()} == {
        key: repr(moment) for key, moment in whole.items()
    }


def test_an_hours_frame_is_of_the_hours_candles(
    records: list[Journaled], whole: dict[tuple[str, int], Moment]
) -> None:
    hourly = [one for one in records if isinstance(one, Candle) and one.interval == "1h"]
    closes = {(one.symbol, one.time): one.close for one in hourly}
    frames = [moment.frames["1h"] for (_, time), moment in whole.items() if time % HOUR == 0]

    assert len(frames) == 3 + 2 + 2  # ETH misses the close at which its first hour would be told
    for frame in frames:
        symbol, time = frame.symbol, frame.time
        if (symbol, time) == (LATE[0], LATE[2]):
            assert isnan(frame.own_return)
        else:
            assert frame.own_return == log(closes[symbol, time] / closes[symbol, time - HOUR])
        assert frame.btc_return == log(closes["BTCUSDT", time] / closes["BTCUSDT", time - HOUR])
