"""kill -9 at the worst moments: the next run goes on where it was and ends with the same bytes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest

from dataflows.replay.faults import Fault
from tests.dataflows.backfill.rig import NOVEMBER, NOW, Rig, rig
from tests.dataflows.runs import ROOT, until

SYMBOLS = ("BTCUSDT", "ETHUSDT")
MODULE = ("-m", "tests.dataflows.backfill.killed")


@pytest.fixture(scope="module")
def calm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    """A folder that nobody disturbed, and the exchange it came from."""
    with rig(tmp_path_factory.mktemp("calm"), symbols=SYMBOLS) as made:
        made.run(*SYMBOLS)
        yield made


def configured(made: Rig, folder: Path) -> Path:
    """A configuration that knows this exchange and does not wait long."""
    where = {"rest": made.exchange.url, "stream": "ws://127.0.0.1:1", "weight_per_minute": 100_000}
    binance = {"spot": where, "um": where, "backoff": {"first": 0.01, "most": 0.02}}
    folder.mkdir(parents=True, exist_ok=True)
    config = folder / "config.yaml"
    config.write_text(json.dumps({"binance": binance}))
    return config


def start(made: Rig, folder: Path, when: str = "never", count: int = 0) -> subprocess.Popen[bytes]:
    """The command as a process of its own."""
    arguments = (
        *("--data", str(folder), "--symbols", ",".join(SYMBOLS), "--json"),
        *("--from", str(NOVEMBER), "--to", str(NOW), "--archive", made.exchange.url),
        *("--config", str(configured(made, folder.parent))),
    )
    return subprocess.Popen(
        [sys.executable, *MODULE, when, str(count), "--", *arguments],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )


def finish(process: subprocess.Popen[bytes]) -> int:
    _, errors = process.communicate(timeout=60)
    assert b"Traceback" not in errors, errors.decode()
    return process.returncode


def contents(folder: Path) -> dict[str, bytes]:
    """Every Parquet of a folder, by its path; pieces on their way are among them."""
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*.parquet")}


def finished(folder: Path) -> list[Path]:
    return list((folder / ".backfill").rglob("*.parquet"))


def months(folder: Path) -> set[str]:
    """The archive's names of the months that are put aside whole."""
    found = set()
    for part in finished(folder):
        begins = pl.read_parquet(part)["open_time"]
        stamp = pl.from_epoch(begins, "ms").dt.strftime("%Y-%m")
        found.add(f"{part.parent.name}-1h-{stamp[0]}.zip")
    return found


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("count", [1, 5, 9, 12])
def test_killed_at_any_replacement_the_next_run_ends_with_the_same_bytes(
    calm: Rig, tmp_path: Path, when: str, count: int
) -> None:
    folder = tmp_path / "history"
    assert finish(start(calm, folder, when, count)) == -signal.SIGKILL
    whole = [file for file in folder.rglob("klines/spot/1h/*.parquet") if ".backfill" not in file.parts]
    for file in whole:
        assert file.read_bytes() == contents(calm.folder)[str(file.relative_to(folder))]
    kept, before = months(folder), calm.asked

    assert finish(start(calm, folder)) == 0
    asked = {path.rsplit("/", 1)[-1] for path in calm.asked - before}
    assert contents(folder) == contents(calm.folder)
    assert not kept & asked


def test_killed_in_the_middle_of_downloads_it_asks_only_for_what_it_has_not(
    calm: Rig, tmp_path: Path
) -> None:
    folder = tmp_path / "history"
    calm.exchange.add(Fault("slow", path="/data/", by=0.1))
    process = start(calm, folder)
    until(lambda: len(finished(folder)) >= 4, "four months")
    process.kill()
    process.communicate()
    calm.exchange.faults.clear()
    kept, before = months(folder), calm.asked
    assert 4 <= len(kept) < 10

    assert finish(start(calm, folder)) == 0
    asked = {path.rsplit("/", 1)[-1] for path in calm.asked - before}
    assert contents(folder) == contents(calm.folder)
    assert not kept & asked
    assert asked


def test_killed_again_and_again_it_gets_there(calm: Rig, tmp_path: Path) -> None:
    folder = tmp_path / "history"
    for _ in range(8):
        code = finish(start(calm, folder, "after", 4))
        if code == 0:
            break

    assert code == 0
    assert contents(folder) == contents(calm.folder)


def test_interrupted_by_ctrl_c_it_goes_on_too(calm: Rig, tmp_path: Path) -> None:
    folder = tmp_path / "history"
    calm.exchange.add(Fault("slow", path="/data/", by=0.1))
    process = start(calm, folder)
    until(lambda: finished(folder), "a month")
    process.send_signal(signal.SIGINT)
    started = time.monotonic()
    process.communicate(timeout=30)
    calm.exchange.faults.clear()

    assert process.returncode != 0
    assert time.monotonic() - started < 5
    assert finish(start(calm, folder)) == 0
    assert contents(folder) == contents(calm.folder)
