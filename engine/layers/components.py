"""What metrics say of a component of a layer: how far each moves it, how much it counts, in which words.

What nobody heard, what is not known yet and what is too old moves nothing and covers nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from math import tanh
from typing import Final, NamedTuple

from engine.errors import SettingsError
from engine.layers.ml import on_grid
from engine.readings import freshness
from engine.records import LayerScore, Moment, Reading, Reason
from engine.settings.readers import Reader

FAINT: Final = 0.05
"""Freshness below which a number is as if it were not there."""

SLIGHT: Final = 0.1
"""How far a component must be moved, of 1, to be more than usual."""

NAMED: Final = 3
"""Metrics of a component that its reason names; the others are counted."""


LETTERS: Final = ((1e12, 1e12, "T"), (1e9, 1e9, "B"), (1e6, 1e6, "M"), (1e4, 1e3, "k"))
"""From which number on it is told in which unit, and its letter."""


class Component(NamedTuple):
    """Its points of a layer's 100, and the words for what it says.

    `high` and `low` are of the number that moves it most, above and below its centre; where the numbers of a
    component do not all look the same way (`by_side`), they are of what they say: up and down.
    """

    share: float
    high: str
    low: str
    by_side: bool = False


class Heard(NamedTuple):
    """One metric of a moment that can be heard: `name` is its full one, `fresh` how much it counts, 0..1."""

    name: str
    reading: Reading
    reader: Reader
    fresh: float


class Voice(NamedTuple):
    """What one metric, or several that only mean something together, say: `side` -1..1, down to up.

    `high` says whether the number is above its centre; `text` tells number and age.
    """

    side: float
    fresh: float
    high: bool
    text: Callable[[], str]


Readers = Mapping[str, Reader]
Voices = Callable[[Moment, Sequence[Heard]], Iterable[Voice]]
"""How the metrics of a component are heard at a moment."""


def by_component(
    layer: str, readers: Readers, components: Mapping[str, Component]
) -> dict[str, tuple[tuple[str, Reader], ...]]:
    """The metrics of a layer by component, in the order of both; `SettingsError` where it has none such.

    >>> funding = Reader(layer="onchain", component="funding")
    >>> by_component("onchain", {"binance.funding": funding}, {"mood": Component(1.0, "", "")})
    Traceback (most recent call last):
    engine.errors.SettingsError: metrics.binance.funding: layer onchain has no component 'funding', only mood
    """
    found: dict[str, list[tuple[str, Reader]]] = {component: [] for component in components}
    for name, reader in sorted(readers.items()):
        if reader.layer == layer:
            if reader.component not in found:
                only = ", ".join(components)
                raise SettingsError(
                    f"metrics.{name}: layer {layer} has no component {reader.component!r}, only {only}"
                )
            found[reader.component].append((name, reader))
    return {component: tuple(named) for component, named in found.items()}


def heard(moment: Moment, named: Iterable[tuple[str, Reader]]) -> list[Heard]:
    """Those of a component's metrics that are known and not too old, with how much they count."""
    found = []
    for name, reader in named:
        reading = moment.readings.get(name)
        if reading is not None and reading.value == reading.value:
            fresh = freshness(reading, reader, moment.time)
            if fresh >= FAINT:
                found.append(Heard(name, reading, reader, fresh))
    return found


def plainly(moment: Moment, known: Sequence[Heard]) -> Iterable[Voice]:
    """Each metric for itself: sign * tanh((value - centre) / scale)."""
    return [plain(one, moment.time) for one in known]


def percent(moment: Moment, known: Sequence[Heard]) -> Iterable[Voice]:
    """The same, of rates that people read in percent."""
    return [plain(one, moment.time, rate=True) for one in known]


def plain(one: Heard, time: int, *, rate: bool = False) -> Voice:
    """One metric for itself."""
    reader, value = one.reader, one.reading.value
    side = reader.sign * tanh((value - reader.centre) / reader.scale)
    return Voice(side, one.fresh, value > reader.centre, lambda: told(one, time, rate=rate))


def scored(
    layer: str, moment: Moment, components: Mapping[str, Component], voices: Mapping[str, Sequence[Voice]]
) -> LayerScore:
    """The layer's opinion: the sum of one reason for each component that anybody spoke of.

    A component covers its share as far as its newest number is fresh.
    """
    reasons = []
    total = covered = 0.0
    for name, spoken in voices.items():
        if spoken:
            freshest = max([voice.fresh for voice in spoken])
            reason = said(name, components[name], spoken, freshest)
            reasons.append(reason)
            total += reason.points
            covered += components[name].share * freshest
    return LayerScore(layer, moment.symbol, moment.time, total, min(covered / 100.0, 1.0), tuple(reasons))


def said(name: str, component: Component, voices: Sequence[Voice], freshest: float) -> Reason:
    """What a component comes to: share x freshness of the newest x the voices' mean by freshness.

    So what ages fades, instead of speaking at full voice until it is forgotten.
    """
    total = sum([voice.fresh for voice in voices])
    side = sum([voice.fresh * voice.side for voice in voices]) / total
    points = on_grid(component.share * freshest * side) + 0.0  # -0.0 + 0.0 is 0.0
    first = sorted(voices, key=lambda voice: -abs(voice.fresh * voice.side))
    texts = [voice.text() for voice in first[:NAMED]]
    if len(first) > NAMED:
        texts.append(f"{len(first) - NAMED} more")
    return Reason(name, points, f"{'; '.join(texts)}: {words(component, first[0], side)}")


def words(component: Component, first: Voice, side: float) -> str:
    """What a component says, in words."""
    if abs(side) < SLIGHT:
        return "as usual"
    return component.high if (side > 0 if component.by_side else first.high) else component.low


def told(one: Heard, time: int, *, rate: bool = False) -> str:
    """A metric with its number and age in words.

    >>> reader = Reader(layer="onchain", component="capital", read="change", over=24)
    >>> told(Heard("defillama.tvl", Reading("defillama.tvl", 0, 0, 0.031), reader, 1.0), 18_000_000)
    'defillama.tvl +3.1 % in 24 h, 5 h old'
    """
    number = read(one.reader, one.reading.value, rate=rate)
    return f"{one.name} {number}, {aged(time - one.reading.time)}"


def read(reader: Reader, value: float, *, rate: bool = False) -> str:
    """A number as its reader reads it, in words."""
    match reader.read:
        case "change":
            return f"{100 * value:+.4g} % in {reader.over:g} h"
        case "difference":
            return f"{amount(value, rate=rate, signed=True)} in {reader.over:g} h"
        case "deviation":
            return f"{value:+.1f} deviations from {reader.over:g} h"
        case "sum":
            return f"{amount(value, rate=rate)} in {reader.over:g} h"
    return amount(value, rate=rate)


def amount(value: float, *, rate: bool = False, signed: bool = False) -> str:
    """A number as people read it.

    >>> amount(0.00031, rate=True), amount(1_234_567_890.0), amount(-12.3456, signed=True)
    ('0.031 %', '1.235 B', '-12.35')
    """
    plus = "+" if signed else ""
    if rate:
        return f"{100 * value:{plus}.4g} %"
    for least, unit, letter in LETTERS:
        if abs(value) >= least:
            return f"{value / unit:{plus}.4g} {letter}"
    return f"{value:{plus}.4g}"


def aged(ms: int) -> str:
    """An age in words.

    >>> aged(12 * 60_000), aged(300 * 60_000), aged(6000 * 60_000)
    ('12 min old', '5 h old', '4 d old')
    """
    minutes = max(ms, 0) // 60_000
    if minutes < 120:
        return f"{minutes} min old"
    return f"{minutes // 60} h old" if minutes < 96 * 60 else f"{minutes // 1440} d old"
