"""The exchange as a program: what it refuses, how it starts, how it ends."""

from __future__ import annotations

import asyncio
import signal
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest

from dataflows.replay.history import History
from dataflows.replay.serve import open_source, serve
from dataflows.replay.simulate import Simulated
from engine.errors import EngineError
from tests.dataflows.replay.conftest import START, write_klines

PROGRAM = """
import sys
from dataflows.replay.serve import serve
serve(simulate=True, symbols=("BTCUSDT",), start="2025-06-01", speed=60, faults=["freeze:symbol=BTCUSDT"],
      ready=lambda exchange, companion: print(exchange.port, flush=True))
"""


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"simulate": True, "start": "tomorrow"}, "'tomorrow' is not a time"),
        ({"simulate": True, "start": 0, "speed": "fast"}, "speed must be a number above 0 or max"),
        ({"simulate": True, "start": 0, "speed": -1}, "speed must be a number"),
        ({"start": 0}, "either a data folder or --simulate"),
        ({"simulate": True, "data": "x", "start": 0}, "either a data folder or --simulate"),
        ({"simulate": True, "market": "margin", "start": 0}, "market must be spot or um"),
        ({"simulate": True, "start": 0, "faults": ["fire"]}, "fault 'fire' is unknown"),
        ({"data": "/nowhere", "start": 0}, "no klines in /nowhere/klines/spot"),
    ],
)
def test_what_makes_no_sense_is_refused_before_it_listens(given: dict[str, Any], message: str) -> None:
    with pytest.raises(EngineError, match=message):
        serve(**given)


def test_a_source_is_a_folder_or_a_simulation(tmp_path: Path) -> None:
    write_klines(tmp_path, "1h", "BTCUSDT", [(START, 1.0)])

    assert isinstance(open_source("spot", tmp_path), History)
    assert isinstance(open_source("um", None, simulate=True), Simulated)


async def test_it_serves_until_it_is_told_to_end() -> None:
    program = await asyncio.create_subprocess_exec(
        sys.executable, "-c", PROGRAM, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    assert program.stdout is not None
    port = int(await asyncio.wait_for(program.stdout.readline(), 30))
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:
        state = (await client.get("/_control/state")).json()
    program.send_signal(signal.SIGTERM)
    _, errors = await asyncio.wait_for(program.communicate(), 30)

    assert (state["phase"], state["faults"][0]["name"]) == ("running", "freeze")
    assert (program.returncode, errors) == (0, b"")


def test_without_hold_it_ends_with_its_history() -> None:
    seen: list[int] = []
    serve(
        simulate=True,
        symbols=("BTCUSDT",),
        start=START,
        end=START + 1000,
        speed=1e6,
        hold=False,
        ready=lambda exchange, companion: seen.append(exchange.port),
    )

    assert len(seen) == 1
