"""Processes that belong together: started in order, watched, ended in reverse order by their ids.

A process that dies is started again with a growing pause; none outlives the one that started it.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from engine.errors import EngineError, SourceError, StorageError

GRACE: Final = 8.0
"""Seconds all processes together have to end by themselves before they are killed."""

LEAST_GRACE: Final = 0.5
"""Seconds that one of them has even where the others took too long."""

LONGEST_PAUSE: Final = 60.0
STEADY: Final = 120.0
"""Seconds after which a process counts as healthy again and its next restart is quick."""

LARGEST_LOG: Final = 20_000_000
"""Bytes after which a log begins anew; the one before is kept beside it."""

LAST_WORDS: Final = 4_000
"""Bytes at the end of a log in which the reason of an end is looked for."""

LEASHED: Final = (
    "import ctypes, os, sys; ctypes.CDLL(None).prctl(1, 15); os.execvp(sys.argv[1], sys.argv[1:])"
)
"""Ask Linux for a SIGTERM when the starter dies, however it dies, then become the command."""

Command = Callable[[], Sequence[str]]


@dataclass
class Member:
    """One process: what starts it, where its output goes, how often it had to be started again.

    `command` is asked at every start: what a process is told may depend on what has happened since.
    """

    name: str
    command: Command
    environ: Mapping[str, str]
    log: Path
    process: subprocess.Popen[bytes] | None = None
    started: float = 0.0
    failures: int = 0
    due: float = 0.0
    spoken: int = 0

    def start(self) -> None:
        """Raises `StorageError` where no log can be written, `SourceError` where there is no such program."""
        try:
            self.log.parent.mkdir(parents=True, exist_ok=True)
            output = self.log.open("ab")
        except OSError as error:
            raise StorageError(f"{self.log}: cannot be written: {error}") from error
        with output:
            self.spoken = output.tell()
            try:
                # A session of its own: Ctrl-C reaches us alone, and we end the others in order.
                self.process = subprocess.Popen(
                    leashed(self.command()),
                    env={**os.environ, **self.environ},
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )
            except OSError as error:
                raise SourceError(f"{self.name} cannot be started: {error}") from error
        self.started = time.monotonic()

    def stop(self, grace: float = GRACE) -> None:
        """Ask it to end, wait `grace` seconds, then make it."""
        if self.process is None or self.process.poll() is not None:
            return
        self.process.terminate()
        try:
            self.process.wait(grace)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def trim(self) -> None:
        """Begin the log anew when it is long; the process goes on writing at its end."""
        if self.log.exists() and self.log.stat().st_size > LARGEST_LOG:
            with suppress(OSError):  # where there is no room for it, the one before is lost
                shutil.copyfile(self.log, self.log.with_suffix(".log.1"))
            os.truncate(self.log, 0)
            self.spoken = 0

    def fate(self) -> str:
        """How the process ended, and the last line it said: an error message of one line."""
        code = self.process.returncode if self.process is not None else None
        if code is not None and code < 0:
            return f"was killed by {signal.Signals(-code).name}"
        return f"ended with {code}: {self.last_words()}"

    def last_words(self) -> str:
        """The last line it has said since its start."""
        if not self.log.exists():
            return "it said nothing"
        with self.log.open("rb") as said:
            said.seek(max(self.spoken, self.log.stat().st_size - LAST_WORDS))
            lines = said.read().decode(errors="replace").strip().splitlines()
        return lines[-1].strip() if lines else "it said nothing"


def leashed(command: Sequence[str]) -> Sequence[str]:
    """The same command, ended by the system with its starter where the system can do that."""
    if sys.platform != "linux":
        return command
    return (sys.executable, "-I", "-S", "-c", LEASHED, *command)


def rest(member: Member) -> str:
    """Let a member wait for its next start: each time longer, until it has run steadily; say how long."""
    now = time.monotonic()
    member.failures = 1 if now - member.started > STEADY else member.failures + 1
    pause = min(LONGEST_PAUSE, 2.0 ** min(member.failures - 1, 10))
    member.process, member.due = None, now + pause
    return f"next start in {pause:.0f} s"


class Crew:
    """The processes of one run."""

    def __init__(self, logs: Path) -> None:
        self.logs = logs
        self.members: list[Member] = []

    def start(self, name: str, command: Command | Sequence[str], environ: Mapping[str, str]) -> Member:
        """Start one more process; its output goes to `<logs>/<name>.log`."""
        asked = command if callable(command) else lambda: command
        member = Member(name, asked, environ, self.logs / f"{name}.log")
        member.start()
        self.members.append(member)
        return member

    def watch(self) -> list[str]:
        """Start again what died and is due; answer one line for each thing that happened."""
        return [told for member in self.members if (told := self._look_after(member)) is not None]

    def _look_after(self, member: Member) -> str | None:
        member.trim()
        if member.process is not None:
            return None if member.process.poll() is None else f"{member.name} {member.fate()}; {rest(member)}"
        if time.monotonic() < member.due:
            return None
        try:
            member.start()
        except EngineError as error:
            return f"{error}; {rest(member)}"
        return f"{member.name} started again"

    def require(self, member: Member) -> None:
        """Raise `SourceError` with the last line it said when a process has ended."""
        if member.process is None or member.process.poll() is not None:
            raise SourceError(f"{member.name} did not start, it {member.fate()}")

    def stop(self) -> None:
        """End all of them, the last started first."""
        deadline = time.monotonic() + GRACE
        for member in reversed(self.members):
            member.stop(max(LEAST_GRACE, deadline - time.monotonic()))
