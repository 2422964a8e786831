"""One SQLite file of ours: one writing process, a connection per thread, every fault named.

Nothing is ever half written: a change is a transaction, or it did not happen.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, Literal

from engine.errors import StorageError

Synchronous = Literal["FULL", "NORMAL"]
META: Final = "CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID"


class Database:
    """A WAL database whose tables are `schema` and whose meta row `schema` says `version`.

    `synchronous` FULL survives a power cut, NORMAL only the death of the process. `patience` is how many
    seconds to wait for another connection's lock. A writer holds `<path>.lock` for as long as it lives.
    Raises `StorageError` naming the file, what was tried and SQLite's own words.
    """

    def __init__(
        self,
        path: Path,
        schema: str,
        version: str,
        *,
        synchronous: Synchronous = "FULL",
        readonly: bool = False,
        patience: float = 5.0,
    ) -> None:
        self.path = path
        self.readonly = readonly
        self._synchronous = synchronous
        self._patience = patience
        self._closed = False
        self._writing = threading.Lock()  # SQLite's own wait for a lock sleeps longer than the lock is held
        self._local = threading.local()
        self._connections: list[sqlite3.Connection] = []
        self._lock = None if readonly else claim(path)
        try:
            with self.guard("open"):
                self._prepare(schema, version)
        except BaseException:
            self.close()
            raise

    def _prepare(self, schema: str, version: str) -> None:
        tables = {name for (name,) in self.rows("SELECT name FROM sqlite_master WHERE type = 'table'")}
        if not tables and not self.readonly:
            # Kept in the file from here on, for every connection to come.
            self.connection.execute("PRAGMA journal_mode = WAL")
            with self.transaction("create") as connection:
                for statement in (META, *filter(str.strip, schema.split(";"))):
                    connection.execute(statement)
                connection.execute("INSERT INTO meta VALUES ('schema', ?)", (version,))
            return
        found = self.meta("schema") if "meta" in tables else None
        if found != version:
            raise StorageError(
                f"{self.path}: cannot open: its schema is {found!r}, this engine reads {version!r};"
                " move the file away or point storage.folder elsewhere"
            )

    @property
    def connection(self) -> sqlite3.Connection:
        """This thread's own connection."""
        found: sqlite3.Connection | None = getattr(self._local, "connection", None)
        if self._closed:
            raise StorageError(f"{self.path}: cannot use it: it has been closed")
        if found is None:
            found = self._local.connection = self._connect()
            self._connections.append(found)
        return found

    def _connect(self) -> sqlite3.Connection:
        mode = "ro" if self.readonly else "rwc"
        connection = sqlite3.connect(
            f"{self.path.absolute().as_uri()}?mode={mode}",
            uri=True,
            isolation_level=None,
            timeout=self._patience,
            check_same_thread=False,  # close() ends every thread's connection
        )
        if not self.readonly:
            connection.execute(f"PRAGMA synchronous = {self._synchronous}")
        return connection

    def rows(self, query: str, *values: Any) -> list[Any]:
        """Every row a query answers."""
        with self.guard("read"):
            return self.connection.execute(query, values).fetchall()

    def value(self, query: str, *values: Any) -> Any:
        """The first column of the first row a query answers, None without one."""
        found = self.rows(query, *values)
        return found[0][0] if found else None

    def meta(self, key: str) -> str | None:
        """What the meta table says of `key`."""
        found: str | None = self.value("SELECT value FROM meta WHERE key = ?", key)
        return found

    @contextmanager
    def transaction(self, what: str) -> Iterator[sqlite3.Connection]:
        """All that happens inside, or nothing; `what` is the verb an error message uses."""
        with self._writing, self.guard(what):
            connection = self.connection
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
                connection.execute("COMMIT")
            except BaseException:
                # SQLite has already rolled back on a full disk or an I/O error.
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise

    @contextmanager
    def guard(self, what: str) -> Iterator[None]:
        """Turn SQLite's errors into ours."""
        try:
            yield
        except sqlite3.Error as error:
            raise StorageError(f"{self.path}: cannot {what}: {error}") from error

    def checkpoint_elsewhere(self) -> None:
        """Keep this thread's commits from moving the log into the file, as long as another thread does.

        Past 20,000 pages of 4 kB they do it all the same.
        """
        with self.guard("open"):
            self.connection.execute("PRAGMA wal_autocheckpoint = 20000")

    def relax(self) -> None:
        """Let this thread's commits wait for no disk: a power cut may undo the last ones, nothing else."""
        self.checkpoint_elsewhere()
        with self.guard("open"):
            # Not OFF: a checkpoint on this thread must reach the disk before the log is used again.
            self.connection.execute("PRAGMA synchronous = NORMAL")

    def checkpoint(self) -> None:
        """Move what has been committed into the file; commits go on meanwhile."""
        self.rows("PRAGMA wal_checkpoint(PASSIVE)")

    def close(self) -> None:
        """Close every thread's connection and let another process write."""
        with self._writing:
            self._closed = True
            while self._connections:
                self._connections.pop().close()
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None


def claim(path: Path) -> int:
    """Make the folder of `path` and hold `<path>.lock`; the kernel frees it however this process ends."""
    name = path.with_name(path.name + ".lock")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = os.open(name, os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise StorageError(f"{path}: cannot open: {error}") from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        owner = os.pread(lock, 20, 0).decode(errors="replace").strip() or "unknown"
        os.close(lock)
        raise StorageError(f"{path}: cannot open: process {owner} is writing it") from error
    os.ftruncate(lock, 0)
    os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)
    return lock
