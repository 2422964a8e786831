"""What people see of training: its state, its last attempt, and each model with the figures it was judged by.

Pure; ages are in seconds of stream time. Nothing in it is secret.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Final, Literal

from dataflows.training.diary import Attempt, Diary
from dataflows.training.schedule import next_due
from engine.models.manifest import Manifest
from engine.settings.blocks import Boosted

State = Literal["none", "collecting", "training", "trained", "failed"]
HOUR: Final = 3_600_000
COLLECTING: Final = "collecting"


@dataclass(frozen=True, slots=True)
class Doing:
    """The stage of a running training, and the share of it that is done."""

    stage: str
    share: float

    @property
    def state(self) -> State:
        return "collecting" if self.stage == COLLECTING else "training"


@dataclass(frozen=True, slots=True)
class View:
    """Everything a status is made of, as of `now` (stream time, ms; None before the exchange has told).

    `faults` say what is wrong outside a training: no exchange, no Redis, a shelf that cannot be read.
    """

    diary: Diary
    settings: Boosted
    now: int | None = None
    doing: Doing | None = None
    manifests: Mapping[str, Manifest] = field(default_factory=dict)
    faults: tuple[str, ...] = ()
    live: Mapping[str, Any] = field(default_factory=dict)

    @property
    def state(self) -> State:
        """What is going on, or else how the last attempt ended."""
        if self.doing is not None:
            return self.doing.state
        attempt = self.diary.attempt
        if attempt is not None and attempt.result != "running":
            return attempt.result
        return "trained" if self.manifests else "none"


def body(view: View, written_at: int) -> dict[str, Any]:
    """The whole status as it goes to Redis; `written_at` is wall ms."""
    return {
        "written_at": written_at,
        "stream_time": view.now,
        "state": view.state,
        "reason": reason(view),
        "progress": None if view.doing is None else asdict(view.doing),
        "last_attempt": None if view.diary.attempt is None else told(view.diary.attempt),
        "failures": view.diary.failures,
        "next_due": due(view),
        "faults": list(view.faults),
        "models": {name: model(manifest, view) for name, manifest in view.manifests.items()},
        "live": dict(view.live),
    }


def reason(view: View) -> str | None:
    """Why there is nothing, or nothing new; None where all is as it should be.

    >>> reason(View(Diary(), Boosted(), faults=("the exchange does not answer",)))
    'the exchange does not answer'
    """
    attempt = view.diary.attempt
    if view.state == "failed" and attempt is not None:
        return attempt.reason
    if view.state == "trained" and attempt is not None and not attempt.promoted:
        return f"not promoted: {attempt.reason}"
    if view.state == "none":
        return view.faults[0] if view.faults else "nothing has been trained yet"
    return None


def due(view: View) -> int | None:
    """When the next run is due, ms of stream time; a missed one is due now."""
    if view.doing is not None or view.now is None:
        return None
    return max(next_due(view.diary, every_ms(view.settings)), view.now)


def every_ms(settings: Boosted) -> int:
    """Ms of stream time between two runs."""
    return round(settings.retrain_hours * HOUR)


def told(attempt: Attempt) -> dict[str, Any]:
    """An attempt for people: its own fields but for when it ended."""
    return {name: value for name, value in asdict(attempt).items() if name != "ended"}


def model(manifest: Manifest, view: View) -> dict[str, Any]:
    """What one model's current version is, since when it speaks, and how it was judged."""
    metrics = manifest.metrics
    age = None if view.now is None else (view.now - manifest.data_until) / 1000
    return {
        "version": manifest.version,
        "interval": manifest.interval,
        "data_from": manifest.data_from,
        "data_until": manifest.data_until,
        "serves_from": manifest.serves_from,
        "speaks": view.now is not None and manifest.serves_from <= view.now,
        "age": age,
        "expires": expires(manifest, view.settings),
        "expired": view.now is not None and expires(manifest, view.settings) < view.now,
        "promoted": manifest.promoted,
        "reason": manifest.reason,
        "trials": manifest.trials,
        "segments": metrics.get("segments", {}),
        "gate": metrics.get("gate", {}),
        "parameters": dict(manifest.parameters),
    }


def expires(manifest: Manifest, settings: Boosted) -> int:
    """The last moment it may serve, ms UTC."""
    return manifest.data_until + round(settings.max_age_hours * HOUR)
