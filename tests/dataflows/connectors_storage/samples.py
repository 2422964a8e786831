"""Signals and outcomes for the storage tests, and a wait that ends when something is so."""

from __future__ import annotations

import time
from collections.abc import Callable

from engine.records import LayerVote, Outcome, Reason, Signal

SYMBOLS = ("BTCUSDT", "ETHUSDT", "SOLUSDT")


def signal(number: int, *, score: float = 12.5) -> Signal:
    """The signal of one of three symbols; `number` gives its id, symbol and time."""
    at = 300_000 * (number + 1)
    vote = LayerVote(score, 37, 1.0, 0.75, (Reason("trend", score, "EMA 9 above EMA 21"),))
    return Signal(
        id=f"id{number}",
        symbol=SYMBOLS[number % 3],
        interval="5m",
        time=at,
        horizon_end=at + 3_600_000,
        valid_until=at + 300_000,
        direction="LONG",
        confidence=100 / 3,
        score=score,
        p_up=None,
        p3=None,
        position_size=0.1,
        entry=0.1 + 0.2,
        stop_loss=0.25,
        take_profit=None,
        risk_reward=None,
        layers={"technical": vote},
        degraded=("uncalibrated",),
        sources={"binance": at},
        feed="simulated",
    )


def outcome(number: int) -> Outcome:
    """What became of `signal(number)`."""
    at = 300_000 * (number + 1)
    return Outcome(
        f"id{number}", SYMBOLS[number % 3], at, "LONG", 100 / 3, at + 3_600_000, 0.3, 0.31, 1 / 30, True
    )


def until(condition: Callable[[], object], what: str, seconds: float = 20.0) -> None:
    """Wait for a condition; say what did not come."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"{what} did not come within {seconds} s"
        time.sleep(0.005)
