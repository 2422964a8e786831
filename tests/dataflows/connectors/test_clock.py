"""Exchange time at any speed, from samples that are never exact."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataflows.connectors.clock import StreamClock

START = 1_700_000_000_000


class World:
    """An exchange whose clock runs at `rate`, seen through round trips."""

    def __init__(self, rate: float, start: int = START) -> None:
        self.rate = rate
        self.start = start
        self.wall = 100.0
        self.clock = StreamClock(wall=lambda: self.wall, unix=lambda: 1_800_000_000 + self.wall)

    def server(self, wall: float) -> int:
        return int(self.start + (wall - 100.0) * self.rate * 1000)

    def ask(self, there: float, back: float) -> None:
        sent = self.wall
        self.wall += there + back
        self.clock.sample(sent, self.wall, self.server(sent + there))


@given(
    rate=st.sampled_from([1.0, 10.0, 60.0, 600.0]),
    trips=st.lists(st.tuples(st.floats(0, 0.02), st.floats(0, 0.02)), min_size=6, max_size=12),
)
def test_the_clock_stays_within_what_the_round_trips_can_tell(
    rate: float, trips: list[tuple[float, float]]
) -> None:
    world = World(rate)
    for there, back in trips:
        world.wall += 5
        world.ask(there, back)
    world.wall += 5

    error = abs(world.clock.now_ms() - world.server(world.wall))
    assert world.clock.rate == pytest.approx(rate, rel=0.01)
    assert error <= rate * 1000 * 0.05 + 1


def test_the_real_exchange_runs_at_exactly_one() -> None:
    world = World(1.0)
    for there in (0.05, 0.2, 0.01, 0.12):
        world.wall += 0.15
        world.ask(there, 0.05)

    assert world.clock.rate == 1.0


def test_time_never_goes_back_when_a_sample_corrects_it() -> None:
    world = World(1.0)
    world.ask(0.4, 0.0)
    shown = []
    for _ in range(50):
        world.wall += 0.01
        shown.append(world.clock.now_ms())
        world.ask(0.0, 0.0)

    assert shown == sorted(shown)


def test_another_speed_is_believed_at_the_second_sample() -> None:
    world = World(1.0)
    for _ in range(6):
        world.wall += 10
        world.ask(0.01, 0.01)
    world.start, world.rate = world.server(world.wall) - int((world.wall - 100) * 60_000), 60.0
    for _ in range(2):
        world.wall += 10
        world.ask(0.01, 0.01)

    assert world.clock.rate == pytest.approx(60.0, rel=0.01)


def test_before_the_first_sample_it_is_this_machines_time() -> None:
    clock = StreamClock(wall=lambda: 5.0, unix=lambda: 1_700_000_000.0)

    assert not clock.ready
    assert clock.now_ms() == 1_700_000_000_000
    assert clock.offset_ms == 0


def test_drift_of_this_machine_is_measured() -> None:
    clock = StreamClock(wall=lambda: 5.0, unix=lambda: 1_700_000_000.0)
    clock.sample(4.9, 5.1, 1_700_000_300_000)

    assert clock.offset_ms == 300_000


def test_what_was_shown_before_the_first_sample_does_not_bind_a_replay_of_the_past() -> None:
    world = World(1.0)
    before = world.clock.now_ms()
    world.ask(0.0, 0.0)

    assert before > START
    assert world.clock.now_ms() == START
