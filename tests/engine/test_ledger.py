from __future__ import annotations

import pickle
from dataclasses import replace
from hashlib import sha256
from itertools import accumulate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.errors import CorruptRecord
from engine.ledger import GENESIS, Ledger, chain, hit
from engine.records import Candle, Direction, Outcome
from tests.engine.builders import NOON, STEP, signal

prices = st.floats(1e-8, 1e8, allow_nan=False)


def candle(close: float, time: int, *, symbol: str = "BTCUSDT", interval: str = "5m") -> Candle:
    return Candle.of(close, time=time, symbol=symbol, interval=interval)


def judged(direction: Direction, entry: float, close: float, threshold: float = 0.005) -> Outcome:
    ledger = Ledger("5m", horizon=1)
    ledger.open(signal(direction, entry=entry, horizon=1), threshold)
    (outcome,) = ledger.resolve(candle(close, NOON + STEP))
    return outcome


@pytest.mark.parametrize(
    ("direction", "close", "expected"),
    [
        ("LONG", 100.01, True),
        ("LONG", 100.0, False),
        ("LONG", 99.99, False),
        ("SHORT", 99.99, True),
        ("SHORT", 100.0, False),
        ("SHORT", 100.01, False),
        ("NEUTRAL", 100.49, True),
        ("NEUTRAL", 99.51, True),
        ("NEUTRAL", 100.5, False),
        ("NEUTRAL", 99.5, False),
        ("NEUTRAL", 103.0, False),
    ],
)
def test_the_close_at_the_horizon_decides_and_a_tie_is_a_miss(
    direction: Direction, close: float, expected: bool
) -> None:
    outcome = judged(direction, 100.0, close)

    assert outcome.hit is expected
    assert outcome.close == close
    assert outcome.move == pytest.approx(close / 100 - 1)


def test_an_outcome_repeats_what_the_signal_said() -> None:
    said = signal("SHORT", entry=100.0, horizon=1)
    outcome = judged("SHORT", 100.0, 90.0)

    assert (outcome.id, outcome.symbol, outcome.time) == (said.id, said.symbol, said.time)
    assert (outcome.direction, outcome.confidence, outcome.entry) == ("SHORT", said.confidence, 100.0)
    assert outcome.resolved_at == said.horizon_end


def test_only_the_candle_at_the_horizon_is_looked_at() -> None:
    ledger = Ledger("5m", horizon=3)
    ledger.open(signal(horizon=3), 0.005)

    assert ledger.resolve(candle(500.0, NOON + STEP)) == []
    assert ledger.resolve(candle(500.0, NOON + 2 * STEP)) == []
    assert [told.hit for told in ledger.resolve(candle(99.0, NOON + 3 * STEP))] == [False]


def test_a_horizon_without_its_candle_is_told_as_unknown_by_the_next_one() -> None:
    ledger = Ledger("5m", horizon=2)
    for place in range(2):
        ledger.open(signal(time=NOON + place * STEP, horizon=2), 0.005)

    later = NOON + 3 * STEP
    lost, seen = ledger.resolve(candle(101.0, later))

    assert (lost.hit, lost.close, lost.move, lost.resolved_at) == (None, None, None, later)
    assert (seen.hit, seen.close, seen.resolved_at) == (True, 101.0, later)


def test_a_hole_of_days_resolves_everything_as_unknown_once() -> None:
    ledger = Ledger("5m", horizon=12)
    for place in range(12):
        ledger.open(signal(time=NOON + place * STEP), 0.005)

    told = ledger.resolve(candle(50.0, NOON + 864 * STEP))

    assert [outcome.hit for outcome in told] == [None] * 12
    assert [outcome.time for outcome in told] == [NOON + place * STEP for place in range(12)]
    assert len(ledger) == 0


def test_the_same_candle_twice_resolves_once() -> None:
    ledger = Ledger("5m", horizon=1)
    ledger.open(signal(horizon=1), 0.005)
    closing = candle(101.0, NOON + STEP)

    assert len(ledger.resolve(closing)) == 1
    assert ledger.resolve(closing) == []


def test_the_same_signal_twice_is_held_once_and_as_first_said() -> None:
    ledger = Ledger("5m", horizon=1)
    first = signal("LONG", horizon=1)
    ledger.open(first, 0.005)
    ledger.open(replace(first, direction="SHORT"), 0.005)

    (outcome,) = ledger.resolve(candle(101.0, NOON + STEP))

    assert outcome.direction == "LONG"


def test_an_older_candle_resolves_nothing_that_is_still_open() -> None:
    ledger = Ledger("5m", horizon=2)
    ledger.open(signal(horizon=2), 0.005)

    assert ledger.resolve(candle(101.0, NOON - STEP)) == []
    assert len(ledger) == 1


@given(
    closes=st.lists(st.none() | st.floats(90, 110), min_size=1, max_size=60),
    silent=st.sets(st.integers(0, 59)),
    horizon=st.integers(1, 13),
    restart=st.integers(0, 59),
)
def test_every_signal_is_judged_once_by_its_own_close_whatever_is_missing(
    closes: list[float | None], silent: set[int], horizon: int, restart: int
) -> None:
    ledger = Ledger("5m", horizon)
    told: list[Outcome] = []
    made: set[int] = set()
    for place, close in enumerate(closes):
        if place == restart:
            ledger = pickle.loads(pickle.dumps(ledger))
        if close is None:
            continue
        told += ledger.resolve(candle(close, NOON + place * STEP))
        if place not in silent:
            made.add(place)
            ledger.open(signal(entry=close, time=NOON + place * STEP, horizon=horizon), 0.005)
    last = max((place for place, close in enumerate(closes) if close is not None), default=-1)

    assert [outcome.time for outcome in told] == sorted(
        NOON + place * STEP for place in made if place + horizon <= last
    )
    for outcome in told:
        due = closes[(outcome.time - NOON) // STEP + horizon]
        assert outcome.close == due
        assert outcome.hit == (None if due is None else due > outcome.entry)
    assert len(ledger) <= horizon


def test_a_full_ledger_pickles_below_2_kb_and_goes_on_as_if_nothing_was() -> None:
    ledger = Ledger("5m", horizon=12)
    for place in range(12):
        held = signal(entry=64_123.45, time=NOON + place * STEP)
        ledger.open(replace(held, id=chain(GENESIS, bytes([place]))[:24]), 0.005)
    frozen = pickle.dumps(ledger)
    closing = candle(64_200.0, NOON + 12 * STEP)

    assert len(frozen) < 2000
    assert pickle.loads(frozen).resolve(closing) == ledger.resolve(closing)


@pytest.mark.parametrize(("symbol", "interval"), [("ETHUSDT", "5m"), ("BTCUSDT", "15m")])
def test_a_candle_of_another_market_is_refused(symbol: str, interval: str) -> None:
    ledger = Ledger("5m")
    ledger.open(signal(), 0.005)

    with pytest.raises(CorruptRecord, match=f"BTCUSDT 5m ledger .* was given {symbol} {interval}"):
        ledger.resolve(candle(100.0, NOON + 3 * STEP, symbol=symbol, interval=interval))


def test_signals_that_pile_up_unjudged_are_refused() -> None:
    ledger = Ledger("5m", horizon=2)
    for place in range(2):
        ledger.open(signal(time=NOON + place * STEP, horizon=2), 0.005)

    with pytest.raises(CorruptRecord, match="2 signals wait"):
        ledger.open(signal(time=NOON + 2 * STEP, horizon=2), 0.005)


@given(entry=prices, close=prices)
def test_long_and_short_never_hit_together(entry: float, close: float) -> None:
    sides = [hit("LONG", entry, close, 0.005), hit("SHORT", entry, close, 0.005)]

    assert sum(sides) == (entry != close)


def test_a_link_is_sha256_of_the_link_before_it_and_the_body() -> None:
    assert GENESIS == "0" * 64
    assert chain("ab" * 32, b'{"id":"x"}') == sha256(b"ab" * 32 + b'{"id":"x"}').hexdigest()


@given(bodies=st.lists(st.binary(min_size=1), min_size=2, max_size=8, unique=True), at=st.integers(0, 7))
def test_changing_one_line_changes_every_link_after_it(bodies: list[bytes], at: int) -> None:
    at %= len(bodies)
    forged = [*bodies[:at], bodies[at] + b"!", *bodies[at + 1 :]]
    before = list(accumulate(bodies, chain, initial=GENESIS))
    after = list(accumulate(forged, chain, initial=GENESIS))

    assert [old == new for old, new in zip(before, after, strict=True)] == [
        place <= at for place in range(len(before))
    ]
