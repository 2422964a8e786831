"""Every metric that a provider promises has a reader or a reason: config.yaml against the promises."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from engine.layers import LAYERS
from engine.providers import PROMISES, Promise
from engine.records import LayerScore
from engine.settings import load
from engine.settings.readers import Reader
from tests.engine.layers.neutral import hearing

READERS = load(Path(__file__).parents[3] / "config.yaml", {}).readers
MAPPED = {name: reader for name, reader in READERS.items() if reader.layer is not None}
STORED = {name: reader.stored for name, reader in READERS.items() if reader.layer is None}

RISING = {f"return_{span}": 0.03 for span in (1, 3, 6, 12, 24)} | {"volatility_24": 0.004}
WORDS = 3


def unmapped(promised: Mapping[str, Promise], readers: Mapping[str, Reader]) -> list[str]:
    return sorted(promised.keys() - readers.keys())


def unpromised(promised: Mapping[str, Promise], readers: Mapping[str, Reader]) -> list[str]:
    return sorted(readers.keys() - promised.keys())


def misread(promised: Mapping[str, Promise], readers: Mapping[str, Reader]) -> list[str]:
    """Mapped metrics whose line says that they are of each asset and are of the market, or the other way."""
    return sorted(
        name
        for name, reader in readers.items()
        if reader.layer is not None and name in promised and reader.of != promised[name].of
    )


def without_reason(stored: Mapping[str, str]) -> list[str]:
    return sorted(name for name, why in stored.items() if len(why.split()) < WORDS)


def said(name: str, reader: Reader, value: float) -> LayerScore:
    """What a reader's layer says in a rising market, hearing this metric and nothing else."""
    assert reader.layer is not None
    layer = LAYERS[reader.layer]("5m", {name: reader})
    return layer(hearing({name: value}, changed=RISING, higher=RISING))


def extremes(reader: Reader) -> tuple[float, float]:
    """A low and a high number as it is read; forced orders are measured in turnover, 100 an hour here."""
    if reader.component == "liquidations" and reader.read == "sum":
        return 0.0, 2 * reader.scale * 100.0 * reader.over
    return reader.centre - 2 * reader.scale, reader.centre + 2 * reader.scale


def check_moves_its_layer(name: str, reader: Reader) -> None:
    """High against low moves the score the way of the sign, and the reason names the metric."""
    low, high = (said(name, reader, value) for value in extremes(reader))

    assert (high.score - low.score) * reader.sign > 0, f"{name}: {low.score} when low, {high.score} when high"
    for score in (low, high):
        [reason] = score.reasons
        assert reason.component == reader.component
        assert name in reason.text
        assert score.coverage > 0


def test_the_providers_promise_and_the_settings_map() -> None:
    """Nothing below is true only because there is nothing."""
    assert PROMISES
    assert MAPPED
    assert STORED


def test_every_promised_metric_has_its_line() -> None:
    assert unmapped(PROMISES, READERS) == []


def test_no_line_is_of_a_metric_that_nobody_promises() -> None:
    assert unpromised(PROMISES, READERS) == []


def test_a_line_says_of_whom_the_metric_is_as_its_promise_does() -> None:
    assert misread(PROMISES, READERS) == []


def test_what_is_only_stored_has_its_reason() -> None:
    assert without_reason(STORED) == []


@pytest.mark.parametrize("name", sorted(MAPPED))
def test_each_mapped_metric_moves_its_layer_the_way_its_line_says(name: str) -> None:
    check_moves_its_layer(name, MAPPED[name])


FUNDING = Reader(layer="onchain", component="funding", centre=0.0001, scale=0.0004, sign=-1)


def test_each_rule_sees_what_breaks_it() -> None:
    promised = {"a.b": Promise("a number"), "a.c": Promise("a number", of="market")}
    readers = {"a.c": FUNDING, "a.d": Reader(stored="no use")}

    assert unmapped(promised, readers) == ["a.b"]
    assert unpromised(promised, readers) == ["a.d"]
    assert misread(promised, readers) == ["a.c"]
    assert without_reason({"a.d": "no use", "a.e": "moves with a.b"}) == ["a.d"]


@pytest.mark.parametrize(
    "reader",
    [
        FUNDING,
        Reader(layer="onchain", component="open_interest", read="change", over=24, scale=0.06),
        Reader(layer="onchain", component="open_interest", read="change", over=1, scale=0.01, sign=-1),
        Reader(layer="onchain", component="liquidations", read="sum", over=1, scale=0.03),
        Reader(layer="onchain", component="liquidations", read="sum", over=4, scale=0.03, sign=-1),
        Reader(layer="sentiment", component="attention", read="deviation", over=48, scale=3),
    ],
    ids=lambda reader: f"{reader.component} {reader.sign:+d} over {reader.over:g}",
)
def test_a_line_of_any_kind_moves_its_layer(reader: Reader) -> None:
    check_moves_its_layer("a.b", reader)


def test_a_line_that_cannot_move_its_layer_is_found() -> None:
    far = Reader(layer="onchain", component="flows", centre=1e20, scale=1.0)

    with pytest.raises(AssertionError, match="when high"):
        check_moves_its_layer("a.b", far)
