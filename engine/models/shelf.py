"""The shelf: `<folder>/<model>/<version>/` is one version of a model, `<folder>/<model>/current` names one.

A version is there whole or not at all, and never changes.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from engine.errors import StorageError
from engine.models.disk import alone, put, settle, taken, told
from engine.models.manifest import Facts, Manifest, shown
from engine.models.version import NAME, Write, described, fill, sound

POINTER: Final = "current"
LOCK: Final = ".lock"
MODEL: Final = re.compile(r"[a-z][a-z0-9_]*")

DRAFT: Final = ".new-"
GONE: Final = ".gone-"
"""How the names begin of what is not there yet, and of what is there no longer."""


@dataclass(frozen=True, slots=True)
class Shelved:
    """One version as people look at it; `manifest` is None where it cannot be read, `fault` says why."""

    version: str
    manifest: Manifest | None
    current: bool
    fault: str


class Shelf:
    """The versions of one model below `folder`.

    Any number of processes may read while others add, point and prune: writers wait for each other at a file
    lock, which the kernel frees however they end. What they left behind is swept away by the next one.
    Whatever cannot be read, written or trusted is a `StorageError` that names the version and what was found.
    Where a `schema` is given, versions of other features count as ones that cannot be opened.
    """

    def __init__(self, folder: Path, model: str) -> None:
        if not MODEL.fullmatch(model):
            raise StorageError(f"{shown(model)} is not the name of a model: small letters, digits and _ only")
        self.model = model
        self.folder = folder / model

    def add(self, write: Write, facts: Facts) -> Manifest:
        """Put on the shelf what `write` writes into the empty folder it is given.

        `write` runs while every other writer waits: it saves what is fitted, it does not fit. An `OSError` or
        `ValueError` of it (XGBoost's errors are such) becomes a `StorageError`, and nothing is to be seen.
        What is there already stays as it is; a damaged version is replaced by the same one.
        """
        if facts.model != self.model:
            raise StorageError(f"a version of {shown(facts.model)} cannot be added to those of {self.model}")
        with told(self.model, "written"):
            self.folder.mkdir(parents=True, exist_ok=True)
            settle(self.folder.parent)
        with self._writing():
            draft = self.folder / f"{DRAFT}version"
            draft.mkdir()
            try:
                manifest = fill(draft, write, facts)
                self._place(draft, manifest.version)
            finally:
                shutil.rmtree(draft, ignore_errors=True)
        return manifest

    def _place(self, draft: Path, version: str) -> None:
        """Make a draft visible, in one step."""
        target = self.folder / version
        if os.path.lexists(target):
            if not self._fault(version):
                return
            os.replace(target, self.folder / f"{GONE}{version}")
        os.replace(draft, target)
        settle(self.folder)
        self._sweep()

    def versions(self) -> tuple[str, ...]:
        """The names of all versions, readable or not, the oldest `data_until` first."""
        with told(self.model, "read"):
            found = os.listdir(self.folder) if os.path.lexists(self.folder) else []
        return tuple(sorted(name for name in found if NAME.fullmatch(name)))

    def manifest(self, version: str) -> Manifest:
        """What a version says of itself, found to fit its name; its files are not looked at."""
        return described(self._home(version), self.model)

    def opened(self, version: str, schema: str) -> Path:
        """The folder of a version, every byte checked, if it was trained on features of this `schema`."""
        self._sound(version, schema)
        return self._home(version)

    def _sound(self, version: str, schema: str | None) -> Manifest:
        return sound(self._home(version), self.model, schema)

    def _home(self, version: str) -> Path:
        """A version's folder, which no name can lead out of."""
        if not NAME.fullmatch(version):
            raise StorageError(f"{self.model}: {shown(version)} is not the name of a version")
        return self.folder / version

    def _fault(self, version: str, schema: str | None = None) -> str:
        """Why a version cannot be opened, "" if it can."""
        try:
            self._sound(version, schema)
        except StorageError as error:
            return str(error).removeprefix(f"{self.model} {version}: ")
        return ""

    def current(self) -> str | None:
        """The version the pointer names, None before the first; whether it can be opened is not looked at."""
        pointer = self.folder / POINTER
        with told(f"{self.model}: {POINTER}", "read"):
            try:
                held = taken(pointer, self.model).decode(errors="replace")
            except FileNotFoundError:
                return None
        if not NAME.fullmatch(version := held.removesuffix("\n")):
            raise StorageError(f"{self.model}: {POINTER} is damaged: {shown(repr(held))} names no version")
        return version

    def point(self, version: str, schema: str | None = None) -> None:
        """Make a promoted version the current one, if it can be opened."""
        with self._writing():
            self._point(version, schema)

    def _point(self, version: str, schema: str | None) -> None:
        if not self._sound(version, schema).promoted:
            raise StorageError(
                f"{self.model} {version}: it was not promoted and cannot become the current one"
            )
        draft = self.folder / f"{DRAFT}{POINTER}"
        put(draft, f"{version}\n".encode())
        os.replace(draft, self.folder / POINTER)
        settle(self.folder)

    def rollback(self, schema: str | None = None) -> str:
        """Point to the last promoted version before the current one that can be opened, and name it."""
        with self._writing():
            now = self.current()
            if now is None:
                raise StorageError(f"{self.model}: no version is current, there is nothing to go back from")
            for version in reversed([one.version for one in self._promoted()]):
                if version < now and not self._fault(version, schema):
                    self._point(version, schema)
                    return version
        raise StorageError(f"{self.model}: before {now} there is no promoted version that can be opened")

    def prune(self, keep: int, in_use: Iterable[str] = ()) -> tuple[str, ...]:
        """Remove the oldest versions beyond `keep` and name them; the current one and those `in_use` stay."""
        if keep < 0:
            raise StorageError(f"{self.model}: {keep} versions cannot be kept")
        if not self.versions():
            return ()
        with self._writing():
            spared = {self.current(), *in_use}
            versions = self.versions()
            removed = tuple(v for v in versions[: max(len(versions) - keep, 0)] if v not in spared)
            for version in removed:
                # Gone for every reader at once, before the first of its files is.
                os.replace(self.folder / version, self.folder / f"{GONE}{version}")
            settle(self.folder)
            self._sweep()
        return removed

    def serving(self, at: int, schema: str | None = None) -> Manifest | None:
        """The newest promoted version that may serve a moment `at` ms UTC, None without one.

        One that cannot be opened is skipped; `faults` says why.
        """
        due = [one for one in self._promoted() if one.serves_from <= at]
        newest_first = sorted(due, key=lambda one: (one.serves_from, one.version), reverse=True)
        return next((one for one in newest_first if not self._fault(one.version, schema)), None)

    def _promoted(self) -> list[Manifest]:
        """The promoted versions whose manifest is readable, by name, which is by `data_until`."""
        found = (self._readable(version) for version in self.versions())
        return [manifest for manifest in found if manifest and manifest.promoted]

    def _readable(self, version: str) -> Manifest | None:
        try:
            return self.manifest(version)
        except StorageError:
            return None

    def faults(self, schema: str | None = None) -> Mapping[str, str]:
        """Which versions cannot be opened, and why; "current" stands for the pointer itself."""
        found = {version: self._fault(version, schema) for version in self.versions()}
        # What was pruned meanwhile is no fault.
        found = {name: why for name, why in found.items() if why and os.path.lexists(self.folder / name)}
        try:
            if (now := self.current()) and not os.path.lexists(self.folder / now):
                found[POINTER] = f"it names {now}, which is not there"
        except StorageError as error:
            found[POINTER] = str(error).removeprefix(f"{self.model}: ")
        return found

    def listed(self, schema: str | None = None) -> tuple[Shelved, ...]:
        """Every version as people look at it, the oldest first."""
        faults = self.faults(schema)
        now = None if POINTER in faults else self.current()
        return tuple(
            Shelved(version, self._readable(version), version == now, faults.get(version, ""))
            for version in self.versions()
        )

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """Alone among writers, after what a crash left behind is swept away."""
        if not self.folder.is_dir():
            raise StorageError(f"{self.model}: there is no such model in {self.folder.parent}")
        with told(self.model, "written"), alone(self.folder / LOCK):
            self._sweep()
            yield

    def _sweep(self) -> None:
        for name in os.listdir(self.folder):
            if name.startswith((DRAFT, GONE)):
                path = self.folder / name
                if path.is_dir() and not path.is_symlink():
                    shutil.rmtree(path)
                else:
                    path.unlink()
