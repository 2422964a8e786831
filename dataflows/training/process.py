"""The training process: it looks every second whether a run is due, collects, trains in a child, and tells.

Nothing that happens to it or in it stops a signal; whatever fails is said, remembered and tried again.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC
from typing import Any, Final, Protocol

from apscheduler.schedulers.background import BackgroundScheduler

from dataflows.connectors.database import claim
from dataflows.training import diary as memory
from dataflows.training.child import Command, Made, Order, Stopped, run, train_command
from dataflows.training.diary import Attempt, Diary
from dataflows.training.exchange import Exchange
from dataflows.training.line import Line, locator
from dataflows.training.schedule import begun, failed, is_due, recovered, trained
from dataflows.training.status import COLLECTING, Doing, View, body, every_ms
from engine.errors import EngineError, SourceError, StorageError
from engine.models.manifest import Manifest
from engine.models.shelf import Shelf
from engine.records import INTERVALS
from engine.settings import Settings

log = logging.getLogger(__name__)

LOOK: Final = 1.0
BEAT: Final = 2.0
"""Wall seconds between two looks, and between two statuses."""

TIMEOUT: Final = 3600.0
"""Wall seconds a training may take."""


JUDGE: Final = 10.0
"""Wall seconds between two looks at what became of the models' predictions."""

LINES: Final = 5_000
"""Of the record in one such look: the first one after a start has much to read."""


class Judge(Protocol):
    """Who knows what the models' predictions were worth afterwards."""

    def look(self, most: int | None = None) -> Mapping[str, Any]:
        """How the models stand, after at most `most` more lines."""
        ...

    def requests(self) -> Sequence[str]:
        """Why the last look asks for a training."""
        ...


class Training:
    """One engine's training: its diary, its exchange, its line to Redis and the shelf it fills.

    `command` makes the child's command line, `timeout` is in wall seconds, `judge` says how the models do and
    may ask for a run. Raises `StorageError` for a folder that another training uses.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        command: Command = train_command,
        profile: str = "full",
        timeout: float = TIMEOUT,
        judge: Judge | None = None,
    ) -> None:
        self.settings = settings
        self.profile = profile
        self.folder = settings.storage.folder
        self.doing: Doing | None = None
        self.faults: dict[str, str] = {}
        self._lock = claim(self.folder / "training")
        self._command = command
        self._timeout = timeout
        self._judge = judge
        self._judged: Mapping[str, Any] = {}
        self._stop = threading.Event()
        self._noting = threading.Lock()
        self._shelf = Shelf(settings.shelf, "boosted")
        self._line = Line(locator(settings), settings.redis.prefix)
        self._every = every_ms(settings.models.boosted)
        self.diary = self._remembered()
        self.exchange = Exchange(settings)

    def run(self, stop: threading.Event) -> None:
        """Work until told to stop; a child that runs is ended then."""
        self._stop = stop
        logging.getLogger("apscheduler").setLevel(logging.ERROR)  # it warns of every look that is still busy
        scheduler = BackgroundScheduler(
            timezone=UTC,
            job_defaults={"max_instances": 1, "coalesce": True, "misfire_grace_time": None},
        )
        scheduler.add_job(self.look, "interval", seconds=LOOK, id="look")
        scheduler.add_job(self.beat, "interval", seconds=BEAT, id="beat")
        scheduler.add_job(self.judge, "interval", seconds=JUDGE, id="judge")
        scheduler.start()
        try:
            stop.wait()
        finally:
            scheduler.shutdown(wait=True)
            self.close()

    def close(self) -> None:
        """Let go of everything; the folder may be used by another training."""
        self.exchange.close()
        self._line.close()
        os.close(self._lock)

    def look(self) -> None:
        """Train if it is time to; whatever is in the way is a fault that people see."""
        try:
            now = self.exchange.now()
        except SourceError as error:
            self._note("exchange", str(error))
            return
        self._note("exchange", "")
        asked = self._asked()
        if not is_due(self.diary, now, self._every, asked=asked is not None) or self._stop.is_set():
            return
        try:
            self._attempt(now, asked)
        except StorageError as error:
            self._note("diary", str(error))
        else:
            self._note("diary", "")

    def beat(self) -> None:
        """Say how it is, to whoever reads Redis."""
        told = body(self.view(), round(time.time() * 1000))
        try:
            self._line.show(told)
        except SourceError as error:
            self._note("redis", str(error))
        else:
            self._note("redis", "")

    def judge(self) -> None:
        """See how the models do, and ask for a training where they do worse than they did."""
        if self._judge is None:
            return
        try:
            self._judged = self._judge.look(LINES)
        except StorageError as error:
            self._note("record", str(error))
            return
        self._note("record", "")
        for reason in self._judge.requests():
            log.info("asking for a training: %s", reason)
            try:
                self._line.ask(reason)
            except SourceError as error:
                self._note("redis", str(error))

    def view(self) -> View:
        """Everything there is to say, as of now."""
        manifests = self._manifests()
        clock = self.exchange.clock
        return View(
            self.diary,
            self.settings.models.boosted,
            clock.now_ms() if clock.ready else None,
            self.doing,
            manifests,
            tuple(fault for _, fault in sorted(self.faults.items())),
            self._judged,
        )

    def _remembered(self) -> Diary:
        """The diary as a start finds it; one that cannot be read begins anew, and that is said."""
        try:
            return recovered(memory.load(self.folder))
        except StorageError as error:
            log.warning("%s; it begins anew", error)
            return Diary()

    def _manifests(self) -> dict[str, Manifest]:
        """The current version of each model that has one."""
        try:
            current = self._shelf.current()
            found = {} if current is None else {self._shelf.model: self._shelf.manifest(current)}
        except StorageError as error:
            self._note("shelf", str(error))
            return {}
        self._note("shelf", "")
        return found

    def _note(self, where: str, fault: str) -> None:
        """Remember what is wrong somewhere, "" for nothing; each change goes to the log once."""
        with self._noting:
            if fault == self.faults.get(where, ""):
                return
            others = {name: held for name, held in self.faults.items() if name != where}
            self.faults = {**others, where: fault} if fault else others
        log.warning("%s", fault) if fault else log.info("%s: well again", where)

    def _asked(self) -> str | None:
        """The newest request that was not heeded; without Redis nobody can ask."""
        try:
            return self._line.asked(self.diary.handled)
        except SourceError as error:
            self._note("redis", str(error))
            return None

    def _attempt(self, now: int, asked: str | None) -> None:
        """One run, remembered before it begins and when it ends. Raises `StorageError` where it cannot be."""
        before = self.diary
        self._write(begun(before, now, asked))
        began = time.monotonic()
        try:
            made = self._train(now)
        except Stopped:
            self._write(before)
        except (EngineError, OSError) as error:
            self._end(began, failed, reason=str(error))
        except BaseException as error:
            self._end(began, failed, reason=f"unforeseen {type(error).__name__}: see the log of training")
            raise
        else:
            self._end(began, trained, reason=made.reason, version=made.version, promoted=made.promoted)
            self.tidy()
        finally:
            self.doing = None

    def _end(self, began: float, how: Callable[[Diary, Attempt], Diary], **told: Any) -> None:
        seconds = round(time.monotonic() - began, 1)
        begun_attempt = self.diary.attempt or Attempt(0, 0)
        done = replace(begun_attempt, ended=self.exchange.clock.now_ms(), seconds=seconds, **told)
        log.info("%s after %.1f s: %s", how.__name__, seconds, done.reason)
        self._write(how(self.diary, done))

    def tidy(self) -> None:
        """Let the oldest versions go; the newest two that were promoted stay, to be rolled back to."""
        try:
            shelved = self._shelf.listed()
            promoted = [one.version for one in shelved if one.manifest is not None and one.manifest.promoted]
            self._shelf.prune(self.settings.models.keep, in_use=promoted[-2:])
        except StorageError as error:
            self._note("shelf", str(error))

    def _write(self, diary: Diary) -> None:
        """Remember on disk first: what is not there was not begun."""
        memory.save(self.folder, diary)
        self.diary = diary

    def _train(self, now: int) -> Made:
        """Collect what there is until `now`, ms of stream time, then train on it."""
        step = INTERVALS[self.settings.decide.interval]
        until = (now - round(self.settings.gather.grace * 1000)) // step * step
        data = self.folder / "history"
        self._tell(COLLECTING, 0.0)
        self.exchange.collect(
            until, data, self.profile, self._stop, lambda share: self._tell(COLLECTING, share)
        )
        self._tell("training", 0.0)
        interval, shelf = self.settings.models.boosted.interval, self.settings.shelf
        command = self._command(Order(data, until, interval, shelf, self.profile))
        return run(command, self._stop, self._tell, timeout=self._timeout)

    def _tell(self, stage: str, share: float) -> None:
        """What the status says of a run, whenever it is written next."""
        if self.doing is None or self.doing.stage != stage:
            log.info("%s", stage)
        self.doing = Doing(stage, share)
