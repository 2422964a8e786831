"""The asyncio thread of a process, and the mailboxes through which it hands records to a Bytewax worker.

The loop never waits for a worker nor a worker for the loop: both sides of a mailbox return at once.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Coroutine, Hashable, Iterable
from concurrent.futures import Future
from typing import Any, TypeVar

T = TypeVar("T")


class Background:
    """One asyncio loop in a daemon thread; `close` cancels what runs there and joins the thread.

    >>> async def answer() -> int:
    ...     return 42
    >>> background = Background()
    >>> background.spawn(answer()).result(timeout=5)
    42
    >>> background.close()
    """

    def __init__(self, name: str = "background") -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def spawn(self, coro: Coroutine[Any, Any, T]) -> Future[T]:
        """Run a coroutine on the loop; its error is the future's, and nobody else will report it."""
        if self._loop.is_closed():
            coro.close()
            raise RuntimeError("this background thread was closed")
        return asyncio.run_coroutine_threadsafe(coro, self._loop)

    def close(self, timeout: float = 10.0) -> None:
        """Cancel every task, let each clean up, stop; safe to call twice. `timeout` is in seconds."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(timeout)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_forever()
            self._cancel_all()
        finally:
            self._loop.close()

    def _cancel_all(self) -> None:
        while tasks := asyncio.all_tasks(self._loop):
            for task in tasks:
                task.cancel()
            self._loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
        self._loop.run_until_complete(self._loop.shutdown_asyncgens())
        self._loop.run_until_complete(self._loop.shutdown_default_executor())


class Mailbox:
    """Records on their way to a worker, from any thread to any thread.

    Numbered records (`put`) all arrive, in order; of a conflated record (`put_latest`) only the newest per
    key does, with None in the place of its number.

    >>> box = Mailbox()
    >>> box.put([(7, "candle"), (8, "tick")])
    >>> box.put_latest("price", 100.0)
    >>> box.put_latest("price", 101.0)
    >>> box.drain(10)
    [(7, 'candle'), (8, 'tick'), (None, 101.0)]
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._numbered: deque[tuple[int, Any]] = deque()
        self._latest: dict[Hashable, Any] = {}

    def __len__(self) -> int:
        """Numbered records still waiting: whoever fills the box looks here before reading more."""
        return len(self._numbered)

    def put(self, records: Iterable[tuple[int, Any]]) -> None:
        """Add (number, record) pairs; none is ever dropped."""
        with self._lock:
            self._numbered.extend(records)

    def put_latest(self, key: Hashable, record: Any) -> None:
        """Replace the record waiting under `key`, if any."""
        with self._lock:
            self._latest[key] = record

    def drain(self, n: int) -> list[tuple[int | None, Any]]:
        """Take up to `n` numbered records, then every conflated one (as many as there are keys)."""
        if not self._numbered and not self._latest:
            return []
        with self._lock:
            out: list[tuple[int | None, Any]] = [
                self._numbered.popleft() for _ in range(min(n, len(self._numbered)))
            ]
            latest, self._latest = self._latest, {}
        out.extend((None, record) for record in latest.values())
        return out
