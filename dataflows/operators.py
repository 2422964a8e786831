"""Thin Bytewax shims around the engine's steps; nothing here decides anything.

A step's whole state is the step itself. It is pickled at the end of each epoch into our own recovery
folder (mode 0700) and read back from nowhere else.
"""

from __future__ import annotations

import pickle  # noqa: TID251 - Bytewax's recovery store holds pickles; ours are versioned and stay in its folder
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Protocol, TypeVar

from bytewax import operators as op
from bytewax.dataflow import operator
from bytewax.operators import KeyedStream, StatefulBatchLogic

from dataflows.connectors.inference import Asked
from engine.errors import StorageError
from engine.models.standing import Standing
from engine.records import LayerScore, Moment, Prediction, Row

In = TypeVar("In")
Out = TypeVar("Out")
StepIn = TypeVar("StepIn", contravariant=True)
StepOut = TypeVar("StepOut", covariant=True)

STATE_VERSION = 3
"""Raise it when a step's attributes change meaning: an older recovery folder is then refused by name."""

POLL: Final = timedelta(milliseconds=1)
"""How often pending answers are looked at: a worker cannot be woken."""


class Step(Protocol[StepIn, StepOut]):
    """What one key keeps: a pure object that takes records one by one."""

    def update(self, record: StepIn, /) -> Iterable[StepOut]: ...


class Kept(StatefulBatchLogic[In, Out, tuple[int, bytes]]):
    """One key's step inside Bytewax."""

    def __init__(self, step: Step[In, Out]) -> None:
        self.step = step

    def on_batch(self, values: list[In]) -> tuple[list[Out], bool]:
        update = self.step.update
        return [out for value in values for out in update(value)], StatefulBatchLogic.RETAIN

    def snapshot(self) -> tuple[int, bytes]:
        # Bytes at once: the step goes on changing before Bytewax writes the snapshot down.
        return STATE_VERSION, pickle.dumps(self.step, pickle.HIGHEST_PROTOCOL)


Resumed = tuple[int, bytes] | None


def kept(step_id: str, new: Callable[[], Step[In, Out]]) -> Callable[[Resumed], Kept[In, Out]]:
    """How Bytewax gets a key's step: a new one, or the one its recovery store holds."""

    def build(resumed: Resumed) -> Kept[In, Out]:
        return Kept(new() if resumed is None else unpacked(step_id, resumed))

    return build


def unpacked(step_id: str, resumed: tuple[int, bytes]) -> Any:
    """What a snapshot holds; raises `StorageError` for one of another engine."""
    version, state = resumed
    if version != STATE_VERSION:
        raise StorageError(
            f"recovery state of step {step_id!r} has version {version}, this engine reads "
            f"{STATE_VERSION}: remove the recovery folder and let the journal be replayed"
        )
    return pickle.loads(state)  # noqa: S301 - written by a `snapshot` here, in our own folder


class Predicting(StatefulBatchLogic[Moment, Prediction, tuple[int, bytes]]):
    """One symbol's moments on their way through a model, answered in the order they came.

    Moments that wait for their answer are the state: a resume asks again, and hears the same. With `most`,
    and at the end, the worker waits with them: for backtests, in which nothing else keeps them few.
    """

    def __init__(
        self,
        standing: Standing,
        inference: Asked,
        waiting: Iterable[Moment] = (),
        *,
        most: int | None = None,
    ) -> None:
        self.standing = standing
        self.inference = inference
        self.most = most
        self._waiting: deque[tuple[Moment, Future[Prediction] | None]] = deque()
        self._take(waiting)

    def on_batch(self, values: list[Moment]) -> tuple[list[Prediction], bool]:
        self._take(values)
        return self._answered(self.most), StatefulBatchLogic.RETAIN

    def on_notify(self) -> tuple[list[Prediction], bool]:
        return self._answered(self.most), StatefulBatchLogic.RETAIN

    def on_eof(self) -> tuple[list[Prediction], bool]:
        return self._answered(0), StatefulBatchLogic.RETAIN

    def notify_at(self) -> datetime | None:
        # Always a time to come: one that is past would be notified for ever. None does not take back the one
        # before, which then finds nothing to do.
        return datetime.now(UTC) + POLL if self._waiting else None

    def snapshot(self) -> tuple[int, bytes]:
        state = self.standing, [moment for moment, _ in self._waiting]
        return STATE_VERSION, pickle.dumps(state, pickle.HIGHEST_PROTOCOL)

    def _take(self, moments: Iterable[Moment]) -> None:
        for moment in moments:
            if self.standing.asks(moment):
                self._waiting.append((moment, self.inference.submit(moment)))
            else:
                self.inference.foresee(moment)
                self._waiting.append((moment, None))

    def _answered(self, most: int | None) -> list[Prediction]:
        """What can be said by now; waits for answers as long as more than `most` moments do, None = never."""
        out: list[Prediction] = []
        while self._waiting:
            moment, answer = self._waiting[0]
            if answer is not None and not answer.done() and (most is None or len(self._waiting) <= most):
                break
            self._waiting.popleft()
            out.append(self.standing.update(moment, None if answer is None else answer.result()))
        return out


def predicting(
    step_id: str, new: Callable[[], Standing], inference: Asked, most: int | None = None
) -> Callable[[Resumed], Predicting]:
    """How Bytewax gets a key's standing predictions, with the moments that were waiting."""

    def build(resumed: Resumed) -> Predicting:
        if resumed is None:
            return Predicting(new(), inference, most=most)
        standing, waiting = unpacked(step_id, resumed)
        return Predicting(standing, inference, waiting, most=most)

    return build


@operator
def advance(step_id: str, up: KeyedStream[In], new: Callable[[], Step[In, Out]]) -> KeyedStream[Out]:
    """Keep one `new()` per key and feed it every record of that key."""
    return op.stateful_batch("step", up, kept(step_id, new))


@operator
def score(
    step_id: str, up: KeyedStream[Moment], layer: Callable[[Moment], LayerScore]
) -> KeyedStream[LayerScore]:
    """Ask one layer about every moment."""
    return op.flat_map_batch("layer", up, lambda batch: [(key, layer(moment)) for key, moment in batch])


@operator
def predict(
    step_id: str,
    up: KeyedStream[Moment],
    new_standing: Callable[[], Standing],
    inference: Asked,
    most: int | None = None,
) -> KeyedStream[Prediction]:
    """One answer to every moment: the model's own at its closes, the one that stands in between."""
    return op.stateful_batch("model", up, predicting(step_id, new_standing, inference, most))


@operator
def only(step_id: str, up: KeyedStream[Any], kinds: tuple[type, ...]) -> KeyedStream[Any]:
    """The records of exactly these kinds."""
    return op.flat_map_batch("keep", up, lambda batch: [keyed for keyed in batch if type(keyed[1]) in kinds])


@operator
def without(step_id: str, up: KeyedStream[Any], kinds: tuple[type, ...]) -> KeyedStream[Any]:
    """All records but those of exactly these kinds."""
    return op.flat_map_batch(
        "drop", up, lambda batch: [keyed for keyed in batch if type(keyed[1]) not in kinds]
    )


@operator
def send(step_id: str, up: KeyedStream[In], keys: tuple[str, ...]) -> KeyedStream[In]:
    """Every record to each of these keys."""
    return op.flat_map_batch(
        "address", up, lambda batch: [(key, record) for _, record in batch for key in keys]
    )


@operator
def by_interval(step_id: str, up: KeyedStream[Row]) -> KeyedStream[Row]:
    """Every row to the market of its interval."""
    return op.flat_map_batch("address", up, lambda batch: [(crowd(row.interval), row) for _, row in batch])


@operator
def by_symbol(step_id: str, up: KeyedStream[Any]) -> KeyedStream[Any]:
    """Every record to the symbol it is of."""
    return op.flat_map_batch("address", up, lambda batch: [(record.symbol, record) for _, record in batch])


def crowd(interval: str = "") -> str:
    """The key of the market of an interval, "" for that of the decision.

    >>> crowd(), crowd("1h")
    ('market', 'market.1h')
    """
    return f"market.{interval}" if interval else "market"
