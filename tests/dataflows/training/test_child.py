"""One training as a process: what it says is heard, what it dies of is told, and nothing of it stays."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest

from dataflows.training.child import Made, Stopped, run, shown, train_command
from dataflows.training.child import Order as TrainOrder
from engine.errors import SourceError
from tests.dataflows.runs import ROOT, until

DONE = """print('{"version": "v1", "promoted": true, "reason": "the first", "seconds": 1, "metrics": {}}')"""


def train(script: str, *, timeout: float = 30.0, environ: dict[str, str] | None = None) -> Made:
    given = dict(os.environ) if environ is None else environ
    return run(
        (sys.executable, "-c", script), threading.Event(), lambda *_: None, timeout=timeout, environ=given
    )


def test_what_it_made_is_its_last_line() -> None:
    assert train(f"print('a table for people'); {DONE}") == Made("v1", True, "the first")


def test_progress_is_told_as_it_comes() -> None:
    told: list[tuple[str, float]] = []
    lines = """print('{"stage": "folds", "progress": 0.5}', flush=True)\nprint('{"progress": 7}')"""
    command = (sys.executable, "-c", f"{lines}\n{DONE}")
    run(command, threading.Event(), lambda stage, share: told.append((stage, share)), timeout=30)

    assert told == [("folds", 0.5), ("training", 1.0)]


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        (
            "import sys; sys.exit('a warning\\nsignal-engine: WIFUSDT has 120 candles')",
            "WIFUSDT has 120 candles",
        ),
        ("raise SystemExit(4)", "training ended with 4 and said nothing"),
        ("import os; os.kill(os.getpid(), 9)", "training was killed by SIGKILL"),
        ("print('hello')", "training ended without saying what it made: hello"),
        ("pass", "training ended without saying what it made: it said nothing"),
        (
            """print('{"version": 3, "promoted": true}')""",
            """training ended without saying what it made: {"version": 3, "promoted": true}""",
        ),
    ],
)
def test_a_failure_is_told_in_its_last_words(script: str, reason: str) -> None:
    with pytest.raises(SourceError) as raised:
        train(script)

    assert str(raised.value) == reason


def test_a_program_that_is_not_there_is_told() -> None:
    with pytest.raises(SourceError, match="No such file"):
        run(("/no/such/program",), threading.Event(), lambda *_: None, timeout=5)


def test_no_secret_reaches_it_or_comes_back() -> None:
    secrets = {
        "SIGNAL_ENGINE_API__KEYS": "alpha",
        "SIGNAL_ENGINE_REDIS__URL": "redis://:hush@h",
        "SIGNAL_ENGINE_API__HOST": "0.0.0.0",
        "PATH": os.environ["PATH"],
    }
    script = "import os, sys; sys.exit(' '.join(k + '=' + v for k, v in os.environ.items() if 'SIG' in k))"
    with pytest.raises(SourceError) as raised:
        train(script, environ=secrets)

    assert str(raised.value) == "SIGNAL_ENGINE_API__HOST=127.0.0.1"
    assert shown("at redis://:hush@h/0") == "at redis://***@h/0"


def test_it_is_niced_and_has_one_thread() -> None:
    script = f"import os, sys; sys.exit(f'{{os.nice(0)}} {{os.environ[\"OMP_NUM_THREADS\"]}}')"  # noqa: F541
    with pytest.raises(SourceError, match=r"^15 1$"):
        train(script)


def test_one_that_takes_too_long_is_ended(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"longer than 1 s"):
        train(stubborn(tmp_path), timeout=1.0)

    assert gone(int((tmp_path / "pid").read_text()))


def test_one_is_ended_when_told_to_stop_however_stubborn(tmp_path: Path) -> None:
    stop = threading.Event()
    threading.Timer(1.0, stop.set).start()
    with pytest.raises(Stopped):
        run((sys.executable, "-c", stubborn(tmp_path)), stop, lambda *_: None, timeout=60)

    assert gone(int((tmp_path / "pid").read_text()))


def test_what_it_started_is_ended_with_it(tmp_path: Path) -> None:
    script = f"import subprocess, sys, time; subprocess.Popen([sys.executable, '-c', {stubborn(tmp_path)!r}])"
    with pytest.raises(SourceError, match=r"longer than 2 s"):
        train(f"{script}; time.sleep(60)", timeout=2.0)

    assert gone(int((tmp_path / "pid").read_text()))


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends a child with its starter")
def test_none_outlives_its_starter_however_that_dies(tmp_path: Path) -> None:
    code = (
        "import sys, threading; from dataflows.training.child import run;"
        f"run((sys.executable, '-c', {stubborn(tmp_path)!r}), threading.Event(), print, timeout=60)"
    )
    starter = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT)
    until((tmp_path / "pid").exists, "the child", 20)
    until(lambda: (tmp_path / "pid").read_text(), "its pid", 5)
    starter.send_signal(signal.SIGKILL)
    starter.wait()

    until(lambda: gone(int((tmp_path / "pid").read_text())), "the end of the child", 5)


def test_the_command_is_that_of_the_engine(tmp_path: Path) -> None:
    command = train_command(TrainOrder(tmp_path, 1_760_000_400_000, "1h", tmp_path / "shelf"))

    assert command[:4] == (sys.executable, "-m", "dataflows", "train")
    assert command[-3:] == ("--workers", "1", "--json")
    assert command[command.index("--until") + 1] == "2025-10-09T09:00:00+00:00"


def stubborn(folder: Path) -> str:
    """A program that does not end when it is asked to."""
    return (
        "import os, pathlib, signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN);"
        f"pathlib.Path({str(folder / 'pid')!r}).write_text(str(os.getpid())); time.sleep(60)"
    )


def gone(pid: int) -> bool:
    deadline = time.monotonic() + 1
    while time.monotonic() < deadline:
        if not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
            return True
        time.sleep(0.02)
    return False
