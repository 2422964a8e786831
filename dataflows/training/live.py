"""What the models' published numbers were worth afterwards: read from the record, never written anywhere.

The same lines give the same figures and alarms, in whatever portions they are read; a restart reads again.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple
from zlib import crc32

import numpy as np
import orjson

from dataflows.connectors.record import Record, Row
from engine.research.drift import Alarm, Closes, Watch
from engine.research.judged import Judged, Tally
from engine.signal_json import iso

CHUNK: Final = 1_000
"""Lines of the record in memory at once."""

VERSIONS: Final = 8
"""Newest versions of a model whose figures are kept apart; all versions together are kept for ever."""

JUST_MADE: Final = b'"age":0'
"""In the body of every signal that has a prediction of its own close; others need not be parsed."""

SEED: Final = 17


class Said(NamedTuple):
    """What one model published in one signal."""

    model: str
    version: str
    p_up: float
    members: tuple[str, ...] | None
    novelty: float | None


class Held(NamedTuple):
    """A signal that waits for its outcome; `stated` is None for NEUTRAL, times are ms UTC."""

    time: int
    until: int
    segment: str
    stated: float | None
    said: tuple[Said, ...]


class Standing:
    """One model in one segment: its figures by version and over all, and the watch over its score."""

    def __init__(self, name: str, window: int) -> None:
        self.window = window
        self.version = ""
        self.whole = Tally(window)
        self.versions: dict[str, Tally] = {}
        self.closes = Closes()
        self.watch = Watch(seed=crc32(name.encode()))

    def expect(self, held: Held, version: str) -> None:
        """A signal that carries this model was said."""
        self.version = version
        self.closes.expect(held.time, held.until)

    def judge(self, said: Said, judged: Judged) -> Iterator[Alarm]:
        """Count one; answer the alarms that ask for a retraining."""
        if said.version not in self.versions and len(self.versions) == VERSIONS:
            del self.versions[next(iter(self.versions))]
        for tally in (self.whole, self.versions.setdefault(said.version, Tally(self.window))):
            tally.add(judged)
        yield from self._watch(judged.time, (judged.p_up - judged.up) ** 2)

    def drop(self, time: int) -> Iterator[Alarm]:
        """One that was expected will not be judged."""
        yield from self._watch(time, None)

    def _watch(self, time: int, score: float | None) -> Iterator[Alarm]:
        for close, mean in self.closes.settle(time, score):
            alarm = self.watch.update(close, mean, self.version)
            if alarm is not None:
                yield alarm

    def live(self) -> dict[str, Any]:
        """Its figures, for people."""
        return {
            "version": self.version or None,
            **told(self.whole),
            "versions": {version: told(tally) for version, tally in self.versions.items()},
        }

    def drift(self) -> dict[str, Any]:
        """Its watch, for people; `late` were judged too late to be fed to it."""
        return {**self.watch.told(), "late": self.closes.late}


def told(tally: Tally) -> dict[str, Any]:
    """Drawn anew from one seed each time: the same rows have the same intervals."""
    return {
        "recent": tally.recent(np.random.default_rng(SEED)),
        "total": tally.total(np.random.default_rng(SEED)),
    }


class Live:
    """Reads the record in `folder` and judges what each model said in each segment.

    Only predictions made at the signal's own close count (age 0): one a model's close. Kept are the open
    signals (as many a symbol as a horizon has candles), `window` judged ones of each figure, sums by day.

    Parameters
    ----------
    segments
        Segment by symbol; what is said of other symbols is not judged, and its number told.
    thresholds
        By segment, the move (a fraction) beyond which a symbol counts as having gone somewhere.
    window
        Judged predictions in the figures called recent.
    """

    def __init__(
        self,
        folder: Path | str,
        segments: Mapping[str, str],
        thresholds: Mapping[str, float],
        *,
        window: int = 2000,
    ) -> None:
        self.folder = Path(folder)
        self.segments = dict(segments)
        self.thresholds = dict(thresholds)
        self.window = window
        self._begin("")

    def _begin(self, record: str) -> None:
        self._record = record
        self._after = self._head = 0
        self._open: dict[str, dict[str, Held]] = {}
        self._standings: dict[tuple[str, str], Standing] = {}
        self._counts = {"judged": 0, "unjudged": 0, "lapsed": 0, "no_segment": 0}
        self._alarms: list[tuple[str, str, Alarm]] = []
        self._reasons: list[str] = []
        self._block: dict[str, Any] | None = None

    def look(self, most: int | None = None) -> Mapping[str, Any]:
        """Read what is new, at most `most` lines of it, and say how the models stand, as JSON.

        `read`: how far the record was read, and what was not counted: `waiting` for its horizon, `unjudged`
        as candles were missing, `lapsed` as no outcome came, `no_segment`. `live` and `drift`: by model and
        segment. A record that is another one than before is read from its beginning; none is no error.
        Raises `StorageError` for one that cannot be read.
        """
        self._reasons = []
        moved = self._read(most) if (self.folder / "record.db").exists() else False
        if moved or self._block is None:
            self._block = self._told()
        return self._block

    def requests(self) -> list[str]:
        """Why the last look asks for a retraining: a score got worse under the version that serves now.

        Nothing is asked while older lines are still to be read. After a restart the same may be asked again.
        """
        return list(self._reasons)

    def _read(self, most: int | None) -> bool:
        record = Record(self.folder, readonly=True)
        try:
            if record.id != self._record:
                self._begin(record.id)
            before, self._head = self._after, record.head()
            last = self._head if most is None else min(self._head, before + most)
            while self._after < last:
                self._take(record.rows(self._after, min(CHUNK, last - self._after)))
        finally:
            record.close()
        if self._after >= self._head:
            self._ask()
        return self._after > before

    def _take(self, rows: list[Row]) -> None:
        for row in rows:
            if row.kind == "signal":
                if JUST_MADE in row.body:
                    self._signal(orjson.loads(row.body))
            elif row.id in self._open.get(row.symbol, ()):
                self._outcome(orjson.loads(row.body))
            self._after = row.seq

    def _signal(self, body: Mapping[str, Any]) -> None:
        said = tuple(voices(body["models"]))
        if not said:
            return
        symbol, time = body["symbol"], body["time"]
        segment = self.segments.get(symbol)
        if segment is None:
            self._counts["no_segment"] += 1
            return
        self._lapse(symbol, time)
        stated = None if body["direction"] == "NEUTRAL" else body["confidence"] / 100
        held = Held(time, body["horizon_end"], segment, stated, said)
        self._open.setdefault(symbol, {})[body["id"]] = held
        for each in said:
            self._standing(each.model, segment).expect(held, each.version)

    def _standing(self, model: str, segment: str) -> Standing:
        found = self._standings.get((model, segment))
        if found is None:
            found = self._standings[model, segment] = Standing(f"{model} {segment}", self.window)
        return found

    def _lapse(self, symbol: str, time: int) -> None:
        """A symbol's outcomes come before its next signals: what is due and not judged never will be."""
        waiting = self._open.get(symbol, {})
        for id in [id for id, held in waiting.items() if held.until <= time]:
            self._counts["lapsed"] += 1
            self._drop(waiting.pop(id))

    def _outcome(self, body: Mapping[str, Any]) -> None:
        held = self._open[body["symbol"]].pop(body["id"])
        move = body["move"]
        if move is None:
            self._counts["unjudged"] += 1
            self._drop(held)
            return
        self._counts["judged"] += 1
        came = class_of(move, self.thresholds[held.segment])
        hit = None if held.stated is None else body["hit"]
        for said in held.said:
            covered = None if said.members is None else came in said.members
            novel = None if said.novelty is None else said.novelty > 1
            judged = Judged(held.time, said.p_up, move > 0, held.stated, hit, covered, novel)
            alarms = self._standing(said.model, held.segment).judge(said, judged)
            self._alarms += [(said.model, held.segment, alarm) for alarm in alarms]

    def _drop(self, held: Held) -> None:
        for said in held.said:
            alarms = self._standing(said.model, held.segment).drop(held.time)
            self._alarms += [(said.model, held.segment, alarm) for alarm in alarms]

    def _ask(self) -> None:
        """Only of versions that still serve: what was said of others has been answered by these."""
        self._reasons = [
            reason(model, segment, alarm)
            for model, segment, alarm in self._alarms
            if self._standings[model, segment].version == alarm.version
        ]
        self._alarms = []

    def _told(self) -> dict[str, Any]:
        waiting = sum(map(len, self._open.values()))
        live: dict[str, dict[str, Any]] = {}
        drift: dict[str, dict[str, Any]] = {}
        for (model, segment), standing in sorted(self._standings.items()):
            live.setdefault(model, {})[segment] = standing.live()
            drift.setdefault(model, {})[segment] = standing.drift()
        read = {"through": self._after, "head": self._head, "waiting": waiting, **self._counts}
        return {"read": read, "live": live, "drift": drift}


def voices(models: Mapping[str, Any]) -> Iterator[Said]:
    """What the models of a signal predicted at its own close."""
    for model, body in models.items():
        if body.get("age") == 0 and body.get("p_up") is not None:
            members = body.get("set")
            yield Said(
                model,
                str(body["version"]),
                body["p_up"],
                None if members is None else tuple(members),
                body.get("novelty"),
            )


def class_of(move: float, threshold: float) -> str:
    """The class a move belongs to; it counts when strictly beyond the threshold.

    >>> class_of(0.006, 0.005), class_of(0.005, 0.005), class_of(-0.02, 0.005)
    ('up', 'neutral', 'down')
    """
    return "up" if move > threshold else "down" if move < -threshold else "neutral"


def reason(model: str, segment: str, alarm: Alarm) -> str:
    """Why a retraining is asked for, for people."""
    return (
        f"{model} {segment}: the mean Brier score rose from {alarm.before:.4f} to {alarm.after:.4f}"
        f" by {iso(alarm.time)}, version {alarm.version}"
    )
