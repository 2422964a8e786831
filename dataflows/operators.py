"""Thin Bytewax shims around the engine's steps; nothing here decides anything.

A step's whole state is the step itself. It is pickled at the end of each epoch into our own recovery
folder (mode 0700) and read back from nowhere else.
"""

from __future__ import annotations

import pickle  # noqa: TID251 - Bytewax's recovery store holds pickles; ours are versioned and stay in its folder
from collections.abc import Callable, Iterable
from typing import Any, Protocol, TypeVar

from bytewax import operators as op
from bytewax.dataflow import operator
from bytewax.operators import KeyedStream, StatefulBatchLogic

from engine.errors import StorageError
from engine.records import LayerScore, Moment

In = TypeVar("In")
Out = TypeVar("Out")
StepIn = TypeVar("StepIn", contravariant=True)
StepOut = TypeVar("StepOut", covariant=True)

STATE_VERSION = 1
"""Raise it when a step's attributes change meaning: an older recovery folder is then refused by name."""


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
        if resumed is None:
            return Kept(new())
        version, state = resumed
        if version != STATE_VERSION:
            raise StorageError(
                f"recovery state of step {step_id!r} has version {version}, this engine reads "
                f"{STATE_VERSION}: remove the recovery folder and let the journal be replayed"
            )
        return Kept(pickle.loads(state))  # noqa: S301 - written by `snapshot` above, in our own folder

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
def send(step_id: str, up: KeyedStream[In], key: str) -> KeyedStream[In]:
    """Every record to one key."""
    return op.flat_map_batch("address", up, lambda batch: [(key, record) for _, record in batch])


@operator
def by_symbol(step_id: str, up: KeyedStream[Any]) -> KeyedStream[Any]:
    """Every record to the symbol it is of."""
    return op.flat_map_batch("address", up, lambda batch: [(record.symbol, record) for _, record in batch])
