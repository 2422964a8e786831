"""One training as a process: niced, on one thread, ended by its id, its last words kept.

It outlives nobody: where the system can, it is ended with whoever started it.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any, Final

import orjson

from engine.errors import SourceError
from engine.settings.secrets import without_credentials

NICE: Final = 15
TURN: Final = 0.1
"""Seconds between two looks at the process."""

GRACE: Final = 2.0
"""Seconds it has to end by itself before it is killed."""

LONGEST_REASON: Final = 300
"""Characters of an error that are repeated."""

PREFIX: Final = "signal-engine: "
ONE_THREAD: Final[Mapping[str, str]] = dict.fromkeys(
    (
        "OMP_NUM_THREADS",
        "OPENBLAS_NUM_THREADS",
        "MKL_NUM_THREADS",
        "NUMEXPR_NUM_THREADS",
        "POLARS_MAX_THREADS",
    ),
    "1",
)
SECRET: Final = ("SIGNAL_ENGINE_REDIS__URL", "SIGNAL_ENGINE_API__KEYS")
"""What a training need not know."""

BECOME: Final = """
import os, sys
os.nice(max(0, int(sys.argv[1]) - os.nice(0)))
if sys.platform == "linux":
    import ctypes
    ctypes.CDLL(None).prctl(1, 9)
    if os.getppid() != int(sys.argv[2]):
        sys.exit("whoever started this has gone")
os.execvp(sys.argv[3], sys.argv[3:])
"""
"""Be nice, ask Linux for a SIGKILL when the starter dies, then become the command."""

Told = Callable[[str, float], None]
"""Hears the stage and the share of it that is done."""


@dataclass(frozen=True, slots=True)
class Order:
    """What to train: on the candles in `data` that closed by `until` (ms UTC), onto the shelf."""

    data: Path
    until: int
    interval: str
    shelf: Path
    profile: str = "full"


Command = Callable[[Order], Sequence[str]]


@dataclass(frozen=True, slots=True)
class Made:
    """What a training says it made."""

    version: str
    promoted: bool
    reason: str


class Stopped(Exception):
    """Told to end before it was done; no fault of anybody's."""


def train_command(order: Order) -> tuple[str, ...]:
    """How a training is started.

    >>> order = Order(Path("history"), 1_760_000_400_000, "1h", Path("shelf"), "demo")
    >>> " ".join(train_command(order)[2:9])
    'dataflows train --data history --until 2025-10-09T09:00:00+00:00 --interval'
    """
    wanted = {
        "--data": str(order.data),
        "--until": datetime.fromtimestamp(order.until / 1000, UTC).isoformat(),
        "--interval": order.interval,
        "--shelf": str(order.shelf),
        "--profile": order.profile,
        "--workers": "1",
    }
    named = (word for pair in wanted.items() for word in pair)
    return (sys.executable, "-m", "dataflows", "train", *named, "--json")


def be_nice() -> None:
    """Let everybody else on this machine go first."""
    os.nice(max(0, NICE - os.nice(0)))


def environ_of(given: Mapping[str, str]) -> dict[str, str]:
    """The environment of a training: one thread, and no secret that it does not need.

    >>> found = environ_of({"SIGNAL_ENGINE_API__KEYS": "alpha", "SIGNAL_ENGINE_API__HOST": "0.0.0.0"})
    >>> "SIGNAL_ENGINE_API__KEYS" in found, found["SIGNAL_ENGINE_API__HOST"], found["OMP_NUM_THREADS"]
    (False, '127.0.0.1', '1')
    """
    kept = {name: value for name, value in given.items() if name not in SECRET}
    # Without its keys the relay would have to be open, and the settings refuse that on any other address.
    return {**kept, "SIGNAL_ENGINE_API__HOST": "127.0.0.1", **ONE_THREAD}


def run(
    command: Sequence[str],
    stop: threading.Event,
    told: Told,
    *,
    timeout: float,
    environ: Mapping[str, str] | None = None,
) -> Made:
    """Run one training to its end; `timeout` is in wall seconds.

    Raises `SourceError` with the last line it said when it fails, and `Stopped` once `stop` is set.
    """
    with started(command, os.environ if environ is None else environ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        said, complained = Said(process.stdout, told), Said(process.stderr)
        deadline = time.monotonic() + timeout
        while process.poll() is None:
            if stop.wait(TURN):
                raise Stopped
            if time.monotonic() > deadline:
                raise SourceError(f"training took longer than {timeout:g} s and was ended")
        said.join()
        complained.join()
        if process.returncode:
            raise SourceError(fate(process.returncode, complained.last))
        return made(said.last)


@contextmanager
def started(command: Sequence[str], environ: Mapping[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    """A process that is gone afterwards, however the block ends."""
    become = (sys.executable, "-I", "-S", "-c", BECOME, str(NICE), str(os.getpid()))
    try:
        process = subprocess.Popen(
            (*become, *command),
            env=environ_of(environ),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,  # Ctrl-C reaches who started it, and that one ends it
        )
    except OSError as error:
        raise SourceError(f"training cannot be started: {error}") from error
    try:
        yield process
    finally:
        end(process)
        # Its session is its own: what it started and did not end is ended here.
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


def end(process: subprocess.Popen[bytes]) -> None:
    """Ask it to end, wait, then make it."""
    if process.poll() is not None:
        return
    process.terminate()
    try:
        process.wait(GRACE)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


class Said:
    """The last line of a pipe; lines that tell progress are told on as they come."""

    def __init__(self, pipe: IO[bytes], told: Told | None = None) -> None:
        self.last = ""
        self._pipe = pipe
        self._told = told
        self._thread = threading.Thread(target=self._read, name="said", daemon=True)
        self._thread.start()

    def join(self) -> None:
        """Wait until all that was said has been read, but not for whoever keeps the pipe open."""
        self._thread.join(GRACE)

    def _read(self) -> None:
        with self._pipe:
            for raw in self._pipe:
                if line := raw.decode(errors="replace").strip():
                    self._heed(line)

    def _heed(self, line: str) -> None:
        found = progress(line) if self._told else None
        if found is None:
            self.last = line
        elif self._told:
            self._told(*found)


def progress(line: str) -> tuple[str, float] | None:
    """The stage and its share of a line that tells progress; None for every other.

    >>> progress('{"stage": "folds", "progress": 0.25}'), progress('{"version": "a"}'), progress("hello")
    (('folds', 0.25), None, None)
    """
    found = document(line)
    share = found.get("progress")
    if not isinstance(share, int | float):
        return None
    return str(found.get("stage", "training")), min(max(float(share), 0.0), 1.0)


def made(line: str) -> Made:
    """What the last line of a training's output says. Raises `SourceError` when it is not its JSON."""
    found = document(line)
    version, promoted = found.get("version"), found.get("promoted")
    if not isinstance(version, str) or not isinstance(promoted, bool):
        raise SourceError(f"training ended without saying what it made: {shown(line) or 'it said nothing'}")
    return Made(version, promoted, shown(str(found.get("reason", ""))))


def document(line: str) -> Mapping[str, Any]:
    """The JSON object in a line; empty where there is none."""
    try:
        found = orjson.loads(line)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def fate(code: int, last: str) -> str:
    """How a training ended that failed: an error message of one line.

    >>> fate(4, "signal-engine: WIFUSDT has 120 candles"), fate(-9, "")
    ('WIFUSDT has 120 candles', 'training was killed by SIGKILL')
    """
    if code < 0:
        return f"training was killed by {signal.Signals(-code).name}"
    return shown(last.removeprefix(PREFIX)) or f"training ended with {code} and said nothing"


def shown(text: str) -> str:
    """One line that may be shown: no credentials, and not longer than people read."""
    line = without_credentials(" ".join(text.split()))
    return line if len(line) <= LONGEST_REASON else f"{line[:LONGEST_REASON]}.."
