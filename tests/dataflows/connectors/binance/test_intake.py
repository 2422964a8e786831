"""Stream time: the largest event heard, what the exchange says in a silence, and nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dataflows.connectors.background import Mailbox
from dataflows.connectors.binance.closes import Closes
from dataflows.connectors.binance.intake import Intake
from dataflows.connectors.binance.outbox import Outbox
from dataflows.connectors.binance.ticks import Ticks
from dataflows.connectors.clock import StreamClock
from engine.records import INTERVALS, Listing
from tests.dataflows.connectors.binance.exchange import MINUTE, START, Exchange

STEP = INTERVALS["5m"]
BTC = "BTCUSDT"


class Nowhere:
    """A journal that is never asked."""

    def append(self, records: Sequence[Any]) -> list[int]:
        raise AssertionError(records)


class Bench:
    """An intake whose wall time a test moves, on an exchange clock of some rate."""

    def __init__(self, rate: float) -> None:
        self.wall = 1_000.0
        self.clock = StreamClock(wall=lambda: self.wall)
        mailbox = Mailbox()
        self.intake = Intake(
            Closes(),
            Ticks(STEP, 5_000),
            self.clock,
            Outbox(Nowhere(), mailbox),
            mailbox,
            wall=lambda: self.wall,
        )
        for second in range(4):
            self.wall = 1_000.0 + second
            self.clock.sample(self.wall, self.wall, START + round(second * rate * 1_000))
        self.intake.now = self.clock.sampled_ms
        self.intake.ticks.start(START + STEP)
        self.intake.read([Listing(BTC, BTC, "BTC", "majors")])

    def pass_by(self, seconds: int, tell: float | None = None) -> None:
        """Let time pass with a turn every half second; `tell` the exchange's rate by samples, if any."""
        for _ in range(2 * seconds):
            self.wall += 0.5
            if tell is not None:
                now = self.clock.sampled_ms + round(tell * 500)
                self.clock.sample(self.wall, self.wall, now)
            self.intake.turn()


def test_a_replay_that_stands_still_gets_no_ticks_for_closes_that_have_not_come() -> None:
    bench = Bench(rate=60)
    before = bench.intake.now
    bench.pass_by(60)

    assert bench.clock.rate == 60.0
    assert bench.intake.now == before
    assert bench.intake.ticks.next == START + STEP


def test_in_a_silence_the_exchange_is_asked_and_believed() -> None:
    bench = Bench(rate=1)
    bench.pass_by(9, tell=1.0)
    assert bench.intake.now == START + 3_000
    bench.pass_by(300, tell=1.0)

    assert bench.intake.now == bench.clock.sampled_ms
    assert bench.intake.ticks.next == START + 2 * STEP


def test_when_the_exchange_is_lost_altogether_real_time_goes_on() -> None:
    bench = Bench(rate=1)
    bench.pass_by(400)

    assert bench.intake.now == START + 403_000
    assert bench.intake.ticks.next == START + 2 * STEP


def test_a_machine_that_slept_does_not_take_its_sleep_for_a_silence() -> None:
    bench = Bench(rate=1)
    bench.pass_by(1)
    bench.wall += 3_600
    bench.intake.turn()

    assert not bench.intake.quiet
    assert bench.intake.ticks.next == START + STEP


def test_stream_time_is_the_largest_event_heard() -> None:
    bench, exchange = Bench(rate=1), Exchange(BTC)
    for seconds in (20, 50, 30):
        frame = exchange.frame(BTC, "1m", START + MINUTE, START + seconds * 1_000, closed=False)
        assert bench.intake.hear(frame) == "read"

    assert bench.intake.now == START + 50_000
    assert bench.intake.seen[BTC, "1m"] == START + 30_000


def test_an_event_ahead_of_the_clock_is_doubted_first_and_refused_then() -> None:
    bench, exchange = Bench(rate=1), Exchange(BTC)
    frame = exchange.frame(BTC, "1m", START + 60 * MINUTE, START + 60 * MINUTE, closed=True)

    assert bench.intake.hear(frame) == "doubted"
    assert bench.intake.refused.count == 0
    assert bench.intake.hear(frame, confirmed=True) == "read"
    assert bench.intake.refused.count == 1
    bench.clock.sample(bench.wall, bench.wall, START + 60 * MINUTE)
    assert bench.intake.hear(frame) == "read"
    assert bench.intake.now == START + 60 * MINUTE
