"""config.yaml and the environment into Settings; the one place in the engine that reads a file.

Whatever is wrong is told in one error, a line each, with the path, what was found and what is allowed.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from engine.errors import SettingsError
from engine.settings.blocks import Settings
from engine.settings.secrets import NOT_SHOWN, holds_password, without_credentials
from engine.settings.tree import Place, Tree, from_yaml, kind, overlay, prune

SECRET: Final[tuple[Place, ...]] = (("redis", "url"), ("api", "keys"))
"""Places whose value is never shown."""

PLAINER: Final = {
    "model_type": "must be a block of keys",
    "dict_type": "must be a block of keys",
    "mapping_type": "must be a block of keys",
    "tuple_type": "must be a list",
}


def load(path: Path | str = "config.yaml", environ: Mapping[str, str] | None = None) -> Settings:
    """The settings in the file at `path`, with `environ` (the process's own by default) laid over them.

    SIGNAL_ENGINE_A__B sets a.b. Raises `SettingsError` with everything that is wrong, one line each.
    """
    try:
        tree = from_yaml(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError(f"{path}: cannot be read: {error.strerror}") from None
    except (UnicodeDecodeError, SettingsError) as error:
        raise SettingsError(f"{path}: {error}") from None
    refuse_secrets(tree)
    overlay(tree, os.environ if environ is None else environ, Settings)
    prune(tree, Settings)
    settings = validated(tree)
    if settings is None or tree.faults:
        raise SettingsError(f"{path}: {listed(list(tree.faults.values()))}")
    return settings


def listed(lines: list[str]) -> str:
    """One problem in a line; more of them a line each, under their number."""
    return lines[0] if len(lines) == 1 else "\n  ".join([f"{len(lines)} problems", *lines])


def refuse_secrets(tree: Tree) -> None:
    """Note every secret in the file: whoever may read the file could use it."""
    url = tree.at(("redis", "url"))
    if isinstance(url, str) and holds_password(url):
        tree.fault(
            ("redis", "url"), "holds a password: give it in the environment as SIGNAL_ENGINE_REDIS__URL"
        )
    if tree.at(("api", "keys")) is not None:
        tree.fault(("api", "keys"), "come from the environment only, as SIGNAL_ENGINE_API__KEYS")


def validated(tree: Tree) -> Settings | None:
    """The settings a tree makes, or None with every reason noted in its faults.

    When a block is wrong, the rules between the other blocks are still asked.
    """
    broken = blocks(tree.faults)
    try:
        return Settings.model_validate(tree.values, context={"broken": broken})
    except ValidationError as error:
        note(tree, error)
    if blocks(tree.faults) == broken:
        return None
    broken = blocks(tree.faults)
    sound = {key: value for key, value in tree.values.items() if key not in broken}
    try:
        Settings.model_validate(sound, context={"broken": broken})
    except ValidationError as error:
        note(tree, error)
    return None


def blocks(places: Iterable[Place]) -> frozenset[str]:
    return frozenset(str(place[0]) for place in places)


def note(tree: Tree, error: ValidationError) -> None:
    for detail in error.errors(include_url=False):
        if detail["loc"]:
            tree.fault(tuple(key for key in detail["loc"] if key != "[key]"), told(detail))
            continue
        for line in str(detail["ctx"]["error"]).splitlines():
            place, _, text = line.partition(": ")
            tree.fault(tuple(place.split(".")), text)


def told(detail: ErrorDetails) -> str:
    """One validation error in words: what is allowed, and what was found unless it is a secret."""
    if detail["type"] == "value_error":
        return str(detail["ctx"]["error"])
    if detail["type"] == "missing":
        return "is missing"
    allowed = PLAINER.get(detail["type"]) or re.sub(r"^\w+ should", "must", detail["msg"])
    if detail["loc"][:2] in SECRET:
        return f"{allowed}; {NOT_SHOWN}"
    found = detail["input"]
    if found is None or isinstance(found, list | dict):
        return f"{allowed}; was {kind(found)}"
    return f"{allowed}; was {without_credentials(repr(found))[:80]}"
