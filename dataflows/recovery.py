"""Recovery is always on: a run that was given no recovery folder gets ours and starts again with it.

There is one start path; a first start is a recovery from nothing.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import sys
from argparse import ArgumentParser
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from bytewax.recovery import init_db_dir

from dataflows.connectors.ingest import STOP
from engine.errors import StorageError
from engine.settings import Settings

PARTITIONS: Final = 4
"""Fixed for the life of a recovery folder: the most workers it can be resumed with."""

ROOM: Final = 1_000_000
"""Bytes that empty partitions surely fit into."""

FOLDER_VARIABLE: Final = "BYTEWAX_RECOVERY_DIRECTORY"
OPTIONS: Final = (
    ("-r", "--recovery-directory"),
    ("-s", "--snapshot-interval"),
    ("-b", "--backup-interval"),
    ("-w", "--workers-per-process"),
    ("-i", "--process-id"),
    ("-a", "--addresses"),
)
"""Everything `bytewax.run` takes, each with a value."""


def prepare(settings: Settings) -> None:
    """Make a run crash-proof and stoppable; may replace this process by the same command with recovery on."""
    if not is_given(sys.argv[1:], os.environ) and (given := variables(settings)):
        os.execve(sys.executable, sys.orig_argv, {**given, **os.environ})
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: STOP.set())


def is_given(arguments: Sequence[str], environ: Mapping[str, str]) -> bool:
    """Whether the command line or the environment already names a recovery folder.

    >>> is_given(["dataflows.signals", "-rdb"], {}), is_given(["dataflows.signals", "-w2"], {})
    (True, False)
    """
    return FOLDER_VARIABLE in environ or option(arguments, "recovery_directory") is not None


def variables(settings: Settings) -> dict[str, str]:
    """What Bytewax reads its recovery settings from, with our folder ready; nothing when it is switched off.

    Raises `StorageError` when the folder cannot be written.
    """
    if not settings.storage.recovery:
        return {}
    folder = settings.storage.folder / "recovery"
    initialise(folder)
    return {
        FOLDER_VARIABLE: str(folder),
        "BYTEWAX_SNAPSHOT_INTERVAL": str(settings.storage.snapshot_every),
        "BYTEWAX_RECOVERY_BACKUP_INTERVAL": "0",
    }


def initialise(folder: Path) -> None:
    """Create the recovery partitions once, whichever process of a cluster comes first.

    Raises `StorageError` when the folder cannot be written.
    """
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with (folder / ".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not part(folder, PARTITIONS - 1).exists():
                create(folder)
    except OSError as error:
        raise StorageError(f"{folder}: cannot make the recovery folder: {error}") from error


def create(folder: Path) -> None:
    """Make the partitions aside and move them in, the last one last: with it they are all there and whole."""
    draft = folder / "draft"
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(mode=0o700)
    # Bytewax panics on a full disk: room is tried for first.
    (draft / "room").write_bytes(bytes(ROOM))
    (draft / "room").unlink()
    init_db_dir(draft, PARTITIONS)  # type: ignore[no-untyped-call]
    for number in range(PARTITIONS):
        part(draft, number).replace(part(folder, number))
    shutil.rmtree(draft)


def part(folder: Path, number: int) -> Path:
    return folder / f"part-{number}.sqlite3"


def is_primary(arguments: Sequence[str], environ: Mapping[str, str]) -> bool:
    """Whether this is process 0, the only one that reads feeds and writes the record.

    >>> is_primary(["dataflows.signals", "-i", "1", "-a", "h1:1;h2:1"], {}), is_primary([], {})
    (False, True)
    """
    given = option(arguments, "process_id") or environ.get("BYTEWAX_PROCESS_ID")
    if given is None and "BYTEWAX_STATEFULSET_NAME" in environ:
        given = environ.get("BYTEWAX_POD_NAME", "0").rpartition("-")[2]
    return given is None or int(given) == 0


def option(arguments: Sequence[str], name: str) -> str | None:
    """What the command line of `bytewax.run` gives for one option, however it is written."""
    parser = ArgumentParser(add_help=False, exit_on_error=False)
    for names in OPTIONS:
        parser.add_argument(*names)
    found: str | None = getattr(parser.parse_known_args(list(arguments))[0], name)
    return found
