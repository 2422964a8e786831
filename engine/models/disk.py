"""Files as the shelf needs them: plain, on the disk once they are there, and one writer at a time.

Nothing else in the engine opens a file, its settings aside.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from engine.errors import StorageError


def digest(path: Path) -> str:
    """The sha256 of a file, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def taken(path: Path, where: str) -> bytes:
    """What a plain file holds; what only looks like one (a link, a pipe) is a `StorageError`."""
    if os.path.lexists(path) and (path.is_symlink() or not path.is_file()):
        raise StorageError(f"{where}: {path.name} is not a plain file")
    return path.read_bytes()


def put(path: Path, content: bytes) -> None:
    """Write a new file that survives a power cut."""
    with path.open("xb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def settle(path: Path) -> None:
    """Have the disk keep a file, or the names in a folder."""
    number = os.open(path, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)


@contextmanager
def told(where: str, what: str) -> Iterator[None]:
    """Turn the system's errors into ours."""
    try:
        yield
    except OSError as error:
        raise StorageError(f"{where}: cannot be {what}: {error}") from error


@contextmanager
def alone(lock: Path) -> Iterator[None]:
    """Hold a lock file, which the kernel frees however this process ends; wait for whoever holds it."""
    number = os.open(lock, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(number, fcntl.LOCK_EX)
        yield
    finally:
        os.close(number)
