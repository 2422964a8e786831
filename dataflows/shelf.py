"""What people do at the model shelf: look at its versions, and go back to an earlier one.

The flow need not run for either.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from engine.errors import StorageError
from engine.models import MODELS
from engine.models.shelf import POINTER, Shelf, Shelved
from engine.settings import Settings, load

Folder = Annotated[Path | None, typer.Option("--shelf", help="Folder of the models; else as configured.")]
Model = Annotated[str, typer.Option("--model", help="Whose versions.")]
To = Annotated[str | None, typer.Option("--to", help="Version to go back to; else the promoted one before.")]
Config = Annotated[Path, typer.Option("--config", help="Configuration file.", envvar="SIGNAL_ENGINE_CONFIG")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document instead of text.")]

DEFAULT: Final = Path("config.yaml")
HEADS: Final = ("", "version", "data until", "serves from", "promoted", "reason")


@dataclass(frozen=True)
class Change:
    """A pointer that was moved; `before` is None where it named no version."""

    model: str
    before: str | None
    current: str

    def text(self) -> str:
        return f"{self.model}: {self.current} is current now, before it was {self.before or 'no version'}"


def shelf(
    folder: Folder = None, model: Model = "boosted", config: Config = DEFAULT, as_json: AsJson = False
) -> None:
    """Show the versions of a model: which one is current, and what is wrong with any."""
    found = standing(folder or configured(config), model)
    typer.echo(json.dumps(document(found)) if as_json else listing(found))


def rollback(
    folder: Folder = None,
    model: Model = "boosted",
    to: To = None,
    config: Config = DEFAULT,
    as_json: AsJson = False,
) -> None:
    """Make an earlier version of a model the current one."""
    change = rolled_back(folder or configured(config), model, to)
    typer.echo(json.dumps(asdict(change)) if as_json else change.text())


def rolled_back(where: Settings | Path, model: str, to: str | None = None) -> Change:
    """Point to the promoted version before the current one, or to `to`, however damaged the pointer is.

    Raises `StorageError` when there is no such version or it cannot be opened; all stays as it was then.
    """
    found = standing(where, model)
    if to is None:
        return Change(model, found.current(), found.rollback(schema(model)))
    before = None if POINTER in found.faults() else found.current()
    found.point(to, schema(model))
    return Change(model, before, to)


def schema(model: str) -> str | None:
    """The hash of what this engine gives the model to read; None for a model it does not know."""
    return MODELS[model].schema if model in MODELS else None


def standing(where: Settings | Path, model: str) -> Shelf:
    """The shelf of a model; raises `StorageError` where nothing of it has ever been put there."""
    folder = where.shelf if isinstance(where, Settings) else where
    found = Shelf(folder, model)
    if not found.folder.is_dir():
        raise StorageError(f"{found.folder}: no version of {model} was ever put here")
    return found


def configured(config: Path) -> Path:
    return load(config).shelf


def listing(found: Shelf) -> str:
    """The versions as people read them, the newest last; * is the current one."""
    versions = found.listed(schema(found.model))
    rows = [HEADS, *map(row, versions)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [str(found.folder), *(aligned(line, widths) for line in rows)]
    if not any(one.current for one in versions):
        why = found.faults().get(POINTER, "the pointer was never set")
        lines.append(printable(f"no version is current: {why}"))
    return "\n".join(lines)


def row(one: Shelved) -> tuple[str, ...]:
    mark = "*" if one.current else ""
    if one.manifest is None:
        return mark, one.version, "", "", "", f"cannot be used: {printable(one.fault)}"
    told = one.manifest
    why = f"cannot be used: {one.fault}" if one.fault else told.reason
    times = (minute(told.data_until), minute(told.serves_from))
    return mark, one.version, *times, "yes" if told.promoted else "no", printable(why)


def document(found: Shelf) -> dict[str, Any]:
    """The same for machines; times in ms UTC, `fault` is that of the pointer."""
    versions = found.listed(schema(found.model))
    return {
        "model": found.model,
        "folder": str(found.folder),
        "current": next((one.version for one in versions if one.current), None),
        "fault": found.faults().get(POINTER, ""),
        "versions": [entry(one) for one in versions],
    }


def entry(one: Shelved) -> dict[str, Any]:
    told = one.manifest
    return {
        "version": one.version,
        "current": one.current,
        "data_until": told.data_until if told else None,
        "serves_from": told.serves_from if told else None,
        "promoted": told.promoted if told else None,
        "reason": told.reason if told else "",
        "fault": one.fault,
    }


def aligned(line: tuple[str, ...], widths: list[int]) -> str:
    return "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()


def minute(time: int) -> str:
    """
    >>> minute(1_700_006_400_000)
    '2023-11-15 00:00'
    """
    return f"{datetime.fromtimestamp(time / 1000, UTC):%Y-%m-%d %H:%M}"


def printable(text: str) -> str:
    """Without what would move a terminal's cursor: a manifest may come from anywhere."""
    return "".join(sign if sign.isprintable() else "?" for sign in text)
