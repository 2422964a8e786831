"""Run the flow and kill -9 it at a chosen place: `python -m tests.crash STAGE COUNT PROOF -- arguments`.

The place is found by wrapping one method of the running process; the engine itself knows nothing of it.
What was true at that instant is written to the file PROOF just before the kill.
"""

from __future__ import annotations

import os
import runpy
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import orjson

from dataflows import operators
from dataflows.connectors.journal import Journal
from dataflows.connectors.record import Record
from engine.market import Market
from engine.records import Candle

HISTORY = 100
"""More candles than this in one append are history; the stream brings them a few at a time."""

STAGES = ("warm_up", "journal_to_flow", "commit_to_publish", "frame_waits", "snapshot")


def die(proof: Path, **facts: Any) -> NoReturn:
    """Write down what is true now, and end as no handler can prevent."""
    proof.write_bytes(orjson.dumps({"pid": os.getpid(), **facts}))
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError("SIGKILL came back")


def wrap(owner: type, name: str, after: Callable[..., None]) -> None:
    """Call `after(self, answer, *arguments)` behind every call of a method."""
    original = getattr(owner, name)

    def wrapped(self: Any, *arguments: Any, **options: Any) -> Any:
        answer = original(self, *arguments, **options)
        after(self, answer, *arguments)
        return answer

    setattr(owner, name, wrapped)


def arm(stage: str, count: int, proof: Path) -> None:
    """Make the `count`-th passing of `stage` the last thing this process does."""
    seen = 0

    def passing() -> bool:
        nonlocal seen
        seen += 1
        return seen == count

    def journaled(journal: Journal, numbers: list[int], records: list[Any]) -> None:
        candles = [record.time for record in records if isinstance(record, Candle)]
        if candles and (len(candles) > HISTORY) == (stage == "warm_up") and passing():
            die(proof, stage=stage, journal=numbers[-1], candles=len(candles), newest_candle=max(candles))

    def committed(record: Record, numbers: list[int], items: list[Any]) -> None:
        if numbers and passing():
            die(proof, stage=stage, record=record.head(), published=record.published)

    def framed(market: Market, frames: list[Any], record: Any) -> None:
        waiting = len(market._times)
        if waiting and passing():
            die(proof, stage=stage, frames_waiting=waiting, time=market._times[0])

    def kept(step: operators.Kept[Any, Any], state: tuple[int, bytes]) -> None:
        if passing():
            die(proof, stage=stage, step=type(step.step).__name__, bytes=len(state[1]))

    places: dict[str, tuple[type, str, Callable[..., None]]] = {
        "warm_up": (Journal, "append", journaled),
        "journal_to_flow": (Journal, "append", journaled),
        "commit_to_publish": (Record, "commit", committed),
        "frame_waits": (Market, "update", framed),
        "snapshot": (operators.Kept, "snapshot", kept),
    }
    wrap(*places[stage])


if __name__ == "__main__":
    stage, count, proof, _, *arguments = sys.argv[1:]
    arm(stage, int(count), Path(proof))
    sys.argv = ["bytewax.run", *arguments]
    runpy.run_module("bytewax.run", run_name="__main__", alter_sys=True)
