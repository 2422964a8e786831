"""What the training process says of itself and of the models, and what of it is worth a remark.

Nothing is made up where it never ran, and a status that makes no sense fails no endpoint.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from pydantic import ValidationError

from api.facts import iso, number, part, word
from api.models import ModelsStatus

LATEST: Final = 253_402_300_800_000
"""The year 10000 in ms."""

NOBODY: Final = "no training process writes a status to this Redis"


def training(said: Mapping[str, Any]) -> ModelsStatus:
    """The status in its shape; `said` is what Redis holds, empty where nobody writes one.

    >>> training({}).state, training({"state": 7}).reason
    ('none', 'the status of training cannot be read: state')
    """
    if not said:
        return ModelsStatus(state="none", reason=f"{NOBODY}; signals come from layers without models")
    try:
        return ModelsStatus.model_validate(said)
    except ValidationError as error:
        place = ".".join(str(key) for key in error.errors(include_url=False)[0]["loc"])
        return ModelsStatus(state="none", reason=f"the status of training cannot be read: {place}")


def remarks(said: Mapping[str, Any]) -> Iterator[str]:
    """What people should know of the models: none there, too old, or a training that failed.

    >>> list(remarks({"state": "failed", "reason": "WIFUSDT has 120 candles", "models": {}}))
    ['models: the last training failed: WIFUSDT has 120 candles', 'models: none speaks yet']
    """
    if not said:
        yield f"models: {NOBODY}"
        return
    if word(said, "state") == "failed":
        yield f"models: the last training failed: {word(said, 'reason')}"
    found = part(said, "models")
    if not found:
        yield "models: none speaks yet"
    for name in found:
        yield from remark(name, part(found, name))


def remark(name: str, model: Mapping[str, Any]) -> Iterator[str]:
    """Why a model's current version says nothing."""
    if model.get("expired") is True:
        yield f"model {name}: version {model.get('version')} is too old to be used"
    elif model.get("speaks") is False and 0 < (begins := number(model, "serves_from") or 0) < LATEST:
        yield f"model {name}: version {model.get('version')} speaks from {iso(int(begins))} on"
