"""Recovery is always on: a run that was given no recovery folder gets ours and starts again with it.

There is one start path; a first start is a recovery from nothing.
"""

from __future__ import annotations

import fcntl
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from bytewax.recovery import init_db_dir

from dataflows.connectors.ingest import STOP
from engine.errors import StorageError
from engine.settings import Settings

PARTITIONS: Final = 4
"""Fixed for the life of a recovery folder: the most workers it can be resumed with."""

FOLDER_VARIABLE: Final = "BYTEWAX_RECOVERY_DIRECTORY"


def prepare(settings: Settings) -> None:
    """Make a run crash-proof and stoppable; may replace this process by the same command with recovery on."""
    if settings.storage.recovery and not is_given(sys.argv[1:], os.environ):
        folder = settings.storage.folder / "recovery"
        initialise(folder)
        os.execve(sys.executable, sys.orig_argv, {**os.environ, **variables(settings, folder)})
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: STOP.set())


def is_given(arguments: Sequence[str], environ: Mapping[str, str]) -> bool:
    """Whether the command line or the environment already names a recovery folder.

    >>> is_given(["dataflows.signals", "-r", "db"], {}), is_given(["dataflows.signals"], {})
    (True, False)
    """
    flags = ("-r", "--recovery-directory")
    return FOLDER_VARIABLE in environ or any(argument.startswith(flags) for argument in arguments)


def variables(settings: Settings, folder: Path) -> dict[str, str]:
    """What Bytewax reads its recovery settings from."""
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
            # The last partition is the mark: one interrupted half way is made anew, nothing was in it yet.
            if not (folder / f"part-{PARTITIONS - 1}.sqlite3").exists():
                init_db_dir(folder, PARTITIONS)  # type: ignore[no-untyped-call]
    except OSError as error:
        raise StorageError(f"{folder}: cannot make the recovery folder: {error}") from error


def is_primary(arguments: Sequence[str], environ: Mapping[str, str]) -> bool:
    """Whether this is process 0, the only one that reads feeds and writes the record.

    >>> is_primary(["dataflows.signals", "-i", "1", "-a", "h1:1;h2:1"], {}), is_primary([], {})
    (False, True)
    """
    given = environ.get("BYTEWAX_PROCESS_ID")
    if given is None and "BYTEWAX_POD_NAME" in environ:
        given = environ["BYTEWAX_POD_NAME"].rpartition("-")[2]
    for position, argument in enumerate(arguments):
        if argument in ("-i", "--process-id") and position + 1 < len(arguments):
            given = arguments[position + 1]
        elif argument.startswith("--process-id="):
            given = argument.partition("=")[2]
    return given is None or int(given) == 0
