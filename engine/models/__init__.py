"""Models that were fitted, registered here by name; and the shelf their versions lie on."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Final, NamedTuple, Protocol

from engine.models.boosted import Boosted
from engine.models.manifest import Manifest
from engine.records import Moment, Prediction
from engine.research.rows import INPUTS_HASH

__all__ = ["MODELS", "Boosted", "Kind", "Manifest", "Model"]


class Model(Protocol):
    """One version, ready to be asked: a batch in, a batch out, in order.

    A moment's prediction is the same to the last bit whoever else is in the batch. `explain` False leaves
    out the contributions and changes nothing else.
    """

    def predict(self, moments: Sequence[Moment], explain: bool = True) -> list[Prediction]: ...


class Kind(NamedTuple):
    """How a version's folder becomes a model, and the hash of the inputs that such a version must read."""

    load: Callable[[Path, Manifest], Model]
    schema: str


MODELS: Final[Mapping[str, Kind]] = MappingProxyType({"boosted": Kind(Boosted.load, INPUTS_HASH)})
"""By name, what makes a model of a version."""
