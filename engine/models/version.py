"""The folder of one version of a model: how it is filled, and what must be true before anybody reads it.

Its name is that of the version; in it lie manifest.json and the files that this promises, and nothing else.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Final

from engine.errors import StorageError
from engine.models.disk import digest, put, settle, taken, told
from engine.models.manifest import Facts, Manifest, named, shown

Write = Callable[[Path], None]

SUFFIXES: Final = frozenset({".json", ".parquet", ".safetensors"})
"""What a version may consist of: numbers and text; nothing that runs when it is read, no pickle above all."""

MANIFEST: Final = "manifest.json"
NAME: Final = re.compile(r"[0-9]{8}T[0-9]{4}Z-[0-9a-f]{8}")
FILE: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


def fill(draft: Path, write: Write, facts: Facts) -> Manifest:
    """Let `write` write into an empty folder; add the manifest, and have the disk keep it all.

    Raises `StorageError` for what may not lie in a version, breaks off or is a `ValueError` of `write`.
    """
    where = facts.model
    try:
        write(draft)
    except ValueError as error:
        raise StorageError(f"{where}: cannot be written: {str(error).partition(chr(10))[0]}") from error
    names = contents(draft, where)
    if not names or MANIFEST in names:
        raise StorageError(f"{where}: at least one file must be written, and no {MANIFEST}")
    for name in names:
        whole(draft / name, where)
        settle(draft / name)
    manifest = Manifest.made(facts, {name: digest(draft / name) for name in names})
    put(draft / MANIFEST, manifest.text())
    settle(draft)
    return manifest


def described(folder: Path, model: str) -> Manifest:
    """What a version says of itself, found to fit its name; its files are not looked at."""
    where = f"{model} {folder.name}"
    with told(where, "read"):
        if not os.path.lexists(folder):
            raise StorageError(f"{where}: there is no such version in {folder.parent}")
        if folder.is_symlink() or not folder.is_dir():
            raise StorageError(f"{where}: it is a link or a file; a version is a folder of its own")
        text = taken(folder / MANIFEST, where)
    try:
        manifest = Manifest.read(text)
    except StorageError as error:
        raise StorageError(f"{where}: {error}") from error
    if manifest.model != model:
        raise StorageError(f"{where}: it is a version of {shown(manifest.model)}, not of {model}")
    if {folder.name, manifest.version} != {true := named(manifest, manifest.files)}:
        raise StorageError(f"{where}: the manifest was changed: it is that of {true} now")
    return manifest


def sound(folder: Path, model: str, schema: str | None = None) -> Manifest:
    """The manifest of a version whose every byte is as promised; of features of `schema`, None = of any.

    Raises `StorageError` with the reason why it is not to be used.
    """
    manifest = described(folder, model)
    where = f"{model} {folder.name}"
    if schema not in (None, manifest.schema):
        raise StorageError(f"{where}: its features are of schema {shown(manifest.schema)}, not {schema}")
    with told(where, "read"):
        found = contents(folder, where) - {MANIFEST}
        if missing := sorted(manifest.files.keys() - found):
            raise StorageError(f"{where}: {shown(', '.join(missing))} is missing")
        if extra := sorted(found - manifest.files.keys()):
            raise StorageError(f"{where}: {shown(', '.join(extra))} is not in the manifest")
        for name, promised in sorted(manifest.files.items()):
            if (has := digest(folder / name)) != promised:
                raise StorageError(
                    f"{where}: {name} is damaged: sha256 {promised[:8]}.. was promised, {has[:8]}.. found"
                )
    return manifest


def contents(folder: Path, where: str) -> set[str]:
    """The names in a version's folder; raises `StorageError` for what may not lie in one."""
    names = set()
    with os.scandir(folder) as entries:
        for entry in entries:
            if not entry.is_file(follow_symlinks=False):
                raise StorageError(f"{where}: {shown(entry.name)} is a link or a folder, not a plain file")
            if not FILE.fullmatch(entry.name) or Path(entry.name).suffix not in SUFFIXES:
                allowed = ", ".join(sorted(SUFFIXES))
                raise StorageError(
                    f"{where}: {shown(entry.name)} may not lie in a version: only {allowed} may"
                )
            names.add(entry.name)
    return names


def whole(path: Path, where: str) -> None:
    """Refuse a JSON file that breaks off: on a full disk XGBoost loses a file's end without a word."""
    if path.suffix == ".json":
        try:
            json.loads(taken(path, where))
        except (ValueError, RecursionError) as error:
            raise StorageError(f"{where}: {path.name} was not written whole: {error}") from error
