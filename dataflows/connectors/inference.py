"""The thread in which a model is asked: many moments at once, away from the workers.

Nobody who asks ever waits or fails here: what cannot be answered is a prediction that says why.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Final, NamedTuple, Protocol

from engine.errors import EngineError, StorageError
from engine.models import MODELS, Model
from engine.models.shelf import Shelf
from engine.models.view import check
from engine.records import Moment, Prediction

log = logging.getLogger(__name__)

LINGER: Final = 0.002
"""Seconds that the first moment waits at most for others of the same close."""

QUIET: Final = 0.25
"""The share of that after which, if nobody came, nobody will: a worker hands on a close at once."""

MOST: Final = 512
"""Moments in one batch."""

KEPT: Final = 4
"""Versions held open; one more, and the one that was asked longest ago is closed."""

RETRY: Final = 60.0
"""Seconds until a version that could not be opened is tried again."""

Opened = Callable[[str], Model]
"""Opens a version by its name; raises what says why it cannot be used."""


class Asked(Protocol):
    """Whoever answers moments, some time later."""

    def submit(self, moment: Moment) -> Future[Prediction]: ...

    def foresee(self, moment: Moment) -> None: ...


class Question(NamedTuple):
    """A moment and where its answer goes; None = only have that version open."""

    version: str
    moment: Moment
    answer: Future[Prediction] | None


class Inference:
    """One model, asked in a daemon thread of its own, which ends with the process.

    Every moment of a batch is answered by the version that its activation names; moments of one version are
    asked together. Where a batch fails each of its moments is asked alone.

    Parameters
    ----------
    model
        Its name, as activations have it.
    opened
        Opens a version; called in the thread.
    explain
        Whether predictions carry their contributions.
    linger
        Seconds that the first moment of a batch waits for others at most, as long as they keep coming.
    kept
        Versions held open at once.
    """

    def __init__(
        self,
        model: str,
        opened: Opened,
        *,
        explain: bool = True,
        linger: float = LINGER,
        kept: int = KEPT,
    ) -> None:
        self.model = model
        self.explain = explain
        self._linger = linger
        self._versions = Versions(model, opened, kept)
        self._queue: SimpleQueue[Question] = SimpleQueue()
        self._foreseen: set[str] = set()
        self._thread = threading.Thread(target=self._serve, name=f"inference {model}", daemon=True)
        self._thread.start()

    def submit(self, moment: Moment) -> Future[Prediction]:
        """Ask about a moment that an activation serves; the future never holds an error."""
        answer: Future[Prediction] = Future()
        self._queue.put(Question(moment.activations[self.model].version, moment, answer))
        return answer

    def foresee(self, moment: Moment) -> None:
        """A later moment of this one's version may be asked about: have it open by then."""
        activation = moment.activations.get(self.model)
        if activation is not None and activation.version not in self._foreseen:
            self._foreseen.add(activation.version)
            self._queue.put(Question(activation.version, moment, None))

    def _serve(self) -> None:
        while True:
            by_version: dict[str, list[Question]] = defaultdict(list)
            for question in self._arrived():
                by_version[question.version].append(question)
            for version, questions in by_version.items():
                found = self._versions.get(version)
                asked = [question for question in questions if question.answer]
                said = self._said(found, version, [question.moment for question in asked])
                for question, prediction in zip(asked, said, strict=True):
                    if question.answer:
                        question.answer.set_result(prediction)

    def _arrived(self) -> list[Question]:
        """What came within `linger` of the first one, without a pause."""
        arrived = [self._queue.get()]
        until = time.monotonic() + self._linger
        with suppress(Empty):
            while len(arrived) < MOST:
                left = max(until - time.monotonic(), 0.0)
                arrived.append(self._queue.get(timeout=min(left, QUIET * self._linger)))
        return arrived

    def _said(self, found: Model | str, version: str, moments: Sequence[Moment]) -> list[Prediction]:
        """One prediction a moment; a batch that fails is asked one by one."""
        if isinstance(found, str) or not moments:
            return [unusable(self.model, version, moment, str(found)) for moment in moments]
        try:
            return self._asked(found, moments)
        except Exception as error:  # noqa: BLE001 - whatever a model does, the flow goes on and says it
            if len(moments) > 1:
                return [self._said(found, version, [moment])[0] for moment in moments]
            reason = reason_of(error)
            self._versions.tell(version, reason)
            return [unusable(self.model, version, moments[0], reason)]

    def _asked(self, found: Model, moments: Sequence[Moment]) -> list[Prediction]:
        """The model's answers; raises where they are not what was asked for."""
        said = found.predict(moments, explain=self.explain)
        wanted = [(moment.symbol, moment.time, self.model) for moment in moments]
        if [(one.symbol, one.time, one.model) for one in said] != wanted:
            raise ValueError(f"{len(moments)} moments were asked about, and others were answered")
        for one in said:
            check(one)
        return said


def unusable(model: str, version: str, moment: Moment, reason: str) -> Prediction:
    """The answer to a moment whose version gave none."""
    fault = f"version {version} cannot be used: {reason}"
    return Prediction(moment.symbol, moment.time, model, moment.time, version, fault=fault)


class Versions:
    """The open versions of one model; what cannot be opened is told once and tried again after a while."""

    def __init__(self, model: str, opened: Opened, kept: int = KEPT) -> None:
        self.model = model
        self.kept = kept
        self._opened = opened
        self._open: dict[str, Model] = {}  # the one asked last behind the others
        self._failed: dict[str, tuple[float, str]] = {}
        self._told: set[tuple[str, str]] = set()

    def get(self, version: str) -> Model | str:
        """The version, opened, or why it cannot be."""
        if version in self._open:
            self._open[version] = self._open.pop(version)
            return self._open[version]
        until, reason = self._failed.get(version, (0.0, ""))
        if time.monotonic() < until:
            return reason
        try:
            self._open[version] = self._opened(version)
        except Exception as error:  # noqa: BLE001 - a damaged file can raise anything, and nobody else is asked
            reason = reason_of(error).removeprefix(f"{self.model} {version}: ")
            self._failed[version] = (time.monotonic() + RETRY, reason)
            self.tell(version, reason)
            return reason
        self._failed.pop(version, None)
        while len(self._open) > self.kept:
            del self._open[next(iter(self._open))]
        return self._open[version]

    def tell(self, version: str, reason: str) -> None:
        """Log why a version cannot be used, once."""
        if (version, reason) not in self._told:
            self._told.add((version, reason))
            log.error("model %s: version %s cannot be used: %s", self.model, version, reason)


def reason_of(error: Exception) -> str:
    """An error in one line; one that is not ours by its kind too."""
    text = (str(error).splitlines() or [""])[0]
    return text if isinstance(error, EngineError) else f"{type(error).__name__}: {text}".removesuffix(": ")


def from_shelf(folder: Path, model: str) -> Opened:
    """How versions of a model are opened: every byte on the shelf verified first."""
    shelf = Shelf(folder, model)

    def opened(version: str) -> Model:
        if model not in MODELS:
            raise StorageError(f"no model {model!r} is known here, only {', '.join(MODELS) or 'none'}")
        kind = MODELS[model]
        try:
            return kind.load(shelf.opened(version, kind.schema), shelf.manifest(version))
        except StorageError as error:
            # A signal repeats this: where the shelf lies is nobody's business.
            raise StorageError(str(error).replace(str(shelf.folder), "the shelf")) from error

    return opened


class Shelved:
    """How models are asked in this process: one thread for each folder, model and wish to be explained.

    Parameters
    ----------
    folder
        The shelf that holds their versions.
    explain
        Whether predictions carry their contributions.
    """

    _threads: Final[dict[tuple[Path, str, bool], Inference]] = {}
    _lock: Final = threading.Lock()

    def __init__(self, folder: Path, *, explain: bool = True) -> None:
        self.folder = folder
        self.explain = explain

    def __call__(self, model: str) -> Inference:
        """The thread that answers for a model; the same one for everybody."""
        key = (self.folder.resolve(), model, self.explain)
        with self._lock:
            if key not in self._threads:
                opened = from_shelf(self.folder, model)
                self._threads[key] = Inference(model, opened, explain=self.explain)
            return self._threads[key]


class Unshelved:
    """Answers for a model where there is no shelf: that there is none."""

    def __init__(self, model: str) -> None:
        self.model = model

    def submit(self, moment: Moment) -> Future[Prediction]:
        """An answer that is there at once."""
        version = moment.activations[self.model].version
        answer: Future[Prediction] = Future()
        answer.set_result(unusable(self.model, version, moment, "there is no shelf"))
        return answer

    def foresee(self, moment: Moment) -> None:
        """Nothing to open."""
