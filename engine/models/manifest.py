"""What one version of a model says of itself: the facts of its training and the sha256 of its files.

A manifest that cannot be true is refused where it is made, and a changed one no longer fits its name.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from hashlib import sha256
from math import isfinite
from typing import Any, Final, Self

from engine.errors import StorageError
from engine.records import INTERVALS, Frozen

SHA256: Final = re.compile(r"[0-9a-f]{64}")

LATEST: Final = 253_402_300_800_000
"""The year 10000 in ms: a name has four digits for the year."""

SHOWN: Final = 80
"""Characters of a wrong value that an error message repeats."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts(Frozen):
    """What is known of a training before its files are.

    Times are ms UTC: `data_from` and `data_until` are closes of the first and the last labelled row, and
    nothing that closed after `until` was read. `horizon` and `embargo` are candles of `interval`. `schema` is
    the hash of the features, `trials` how many fits were compared, `revision` that of the code, `reason` why
    it was `promoted` or not. The mappings hold JSON values with finite numbers. No fact may depend on when or
    how fast it was measured, where the same training is to give the same version.
    Raises `StorageError` for facts that cannot be true.
    """

    model: str
    interval: str
    horizon: int
    embargo: int
    data_from: int
    data_until: int
    until: int
    schema: str
    metrics: Mapping[str, Any]
    parameters: Mapping[str, Any]
    libraries: Mapping[str, str]
    seed: int
    revision: str
    trials: int
    promoted: bool
    reason: str

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if not suits(value, field.type):
                raise StorageError(f"the manifest's {field.name} was {shown(value)}: it must be {field.type}")
            # A copy of our own: what the caller changes afterwards is not what was promised.
            object.__setattr__(self, field.name, plain(value, field.name))
        if fault := self._fault():
            raise StorageError(f"the manifest's {fault}")

    def _fault(self) -> str:
        """What cannot be true of the times, "" for nothing."""
        if self.interval not in INTERVALS:
            return f"interval {shown(self.interval)} is not one of {', '.join(INTERVALS)}"
        step = INTERVALS[self.interval]
        for name, least in (("horizon", 1), ("embargo", 0), ("trials", 0), ("data_from", 1)):
            if getattr(self, name) < least:
                return f"{name} was {getattr(self, name)}: at least {least} is possible"
        if self.data_until < self.data_from or self.data_until % step:
            return (
                f"data_until {self.data_until} is no {self.interval} close since data_from {self.data_from}"
            )
        if not self.data_until + self.horizon * step <= self.until < LATEST:
            return f"until {self.until} is before the last label was known, or after the year 9999"
        return ""

    @classmethod
    def of(cls, data_until: int = 1_700_006_400_000, **changes: Any) -> Facts:
        """Facts of an hourly training that nobody did, for examples and tests."""
        known: dict[str, Any] = {
            "model": "boosted",
            "interval": "1h",
            "horizon": 12,
            "embargo": 1,
            "data_from": data_until - 100 * INTERVALS["1h"],
            "data_until": data_until,
            "until": data_until + 12 * INTERVALS["1h"],
            "schema": "0123456789abcdef",
            "metrics": {},
            "parameters": {},
            "libraries": {},
            "seed": 7,
            "revision": "",
            "trials": 1,
            "promoted": True,
            "reason": "the first",
        }
        return Facts(**{**known, **changes})

    @property
    def serves_from(self) -> int:
        """The first moment it may serve, ms UTC: nothing it was fitted on reaches there.

        >>> from engine.models.manifest import Facts
        >>> (Facts.of().serves_from - Facts.of().data_until) // 3_600_000
        13
        """
        return self.data_until + (self.horizon + self.embargo) * INTERVALS[self.interval]


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest(Facts):
    """One version on the shelf: the facts, its name, and the sha256 in hex of each of its files."""

    version: str
    files: Mapping[str, str]

    def __post_init__(self) -> None:
        Facts.__post_init__(self)  # a slotted dataclass is a new class, of which super() knows nothing
        for name, promised in self.files.items():
            if not SHA256.fullmatch(promised):
                raise StorageError(
                    f"the manifest's files.{shown(name)} was {shown(promised)}: no sha256 in hex"
                )

    @classmethod
    def made(cls, facts: Facts, files: Mapping[str, str]) -> Self:
        """The manifest of a training that wrote these files."""
        return cls(**facts_of(facts), version=named(facts, files), files=files)

    @classmethod
    def read(cls, text: bytes) -> Self:
        """From `text()`; raises `StorageError` naming every key that is missing or unknown."""
        try:
            found = json.loads(text, object_pairs_hook=once)
            if not isinstance(found, dict):
                raise StorageError(f"the manifest is {shown(found)} instead of a JSON object")
            known = {field.name for field in fields(cls)}
            if found.keys() != known:
                missing = ", ".join(sorted(known - found.keys())) or "nothing"
                unknown = shown(", ".join(sorted(found.keys() - known)) or "nothing")
                raise StorageError(f"the manifest lacks {missing}; unknown in it: {unknown}")
            return cls(**found)
        except (ValueError, RecursionError) as error:
            raise StorageError(f"the manifest is not readable JSON: {error}") from error

    def text(self) -> bytes:
        """As JSON for people and machines, keys sorted."""
        told = {field.name: getattr(self, field.name) for field in fields(self)}
        return json.dumps(told, sort_keys=True, indent=2, allow_nan=False).encode() + b"\n"


def named(facts: Facts, files: Mapping[str, str]) -> str:
    """The name of a version: its `data_until` to the minute, and 8 hex digits over all that it is.

    >>> from engine.models.manifest import Facts, named
    >>> named(Facts.of(), {"model.json": "00" * 32})
    '20231115T0000Z-e32d9017'
    """
    told = {"facts": facts_of(facts), "files": dict(files)}
    digest = sha256(json.dumps(told, sort_keys=True, separators=(",", ":"), allow_nan=False).encode())
    until = datetime.fromtimestamp(facts.data_until // 1000, UTC)
    return f"{until:%Y%m%dT%H%MZ}-{digest.hexdigest()[:8]}"


def facts_of(facts: Facts) -> dict[str, Any]:
    """The facts by name, whatever a manifest adds to them left out."""
    return {field.name: getattr(facts, field.name) for field in fields(Facts)}


def suits(value: Any, kind: object) -> bool:
    """Whether a value is of the kind that its field's annotation says.

    >>> suits(7, "int"), suits(True, "int"), suits({"xgboost": 3}, "Mapping[str, str]")
    (True, False, False)
    """
    if kind in ("str", "int", "bool"):
        return kind == type(value).__name__  # exactly: True is no number of candles
    texts = kind == "Mapping[str, str]"
    return isinstance(value, Mapping) and (not texts or all(type(one) is str for one in value.values()))


def plain(value: Any, where: str) -> Any:
    """`value` as JSON gives it back; raises `StorageError` where it holds anything JSON has no word for.

    >>> plain({"auc": (0.5, 1)}, "metrics")
    {'auc': [0.5, 1]}
    >>> plain({"auc": [float("nan")]}, "metrics")
    Traceback (most recent call last):
    engine.errors.StorageError: the manifest's metrics.auc[0] was nan: it must be JSON with finite numbers
    """
    if value is None or type(value) in (bool, int, str):
        return value
    if isinstance(value, float) and isfinite(value):
        return float(value)  # also a numpy float64, which is one
    if isinstance(value, list | tuple):
        return [plain(inner, f"{where}[{place}]") for place, inner in enumerate(value)]
    if isinstance(value, Mapping) and all(type(name) is str for name in value):
        return {name: plain(inner, f"{where}.{name}") for name, inner in value.items()}
    raise StorageError(f"the manifest's {where} was {shown(value)}: it must be JSON with finite numbers")


def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object whose keys stand there once each."""
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError(f"a key stands there twice, among {shown(', '.join(name for name, _ in pairs))}")
    return found


def shown(value: Any) -> str:
    """A wrong value, short enough for one line."""
    text = value if isinstance(value, str) and value.isprintable() and value else repr(value)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}.."
