"""What metrics come to in a layer: their side, how they fade, what is said of them and of what is missing."""

from __future__ import annotations

from math import inf, nan, tanh

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.errors import SettingsError
from engine.layers import LAYERS, Onchain, Sentiment, absences
from engine.layers.components import Heard, aged, amount, told
from engine.layers.onchain import COMPONENTS
from engine.layers.sentiment import COMPONENTS as SENTIMENT
from engine.records import Reading
from engine.settings.readers import Read, Reader
from tests.engine.layers.neutral import NOON, calm, hearing

NUPL = Reader(layer="onchain", component="valuation", centre=0.4, scale=0.3, sign=-1, half_life=48)
MVRV = Reader(layer="onchain", component="valuation", centre=1.8, scale=1.0, sign=-1, half_life=24)
FLOWS = Reader(layer="onchain", component="flows", scale=2.0, half_life=12)
READERS = {"glassnode.nupl": NUPL, "santiment.mvrv": MVRV, "cryptoquant.netflow": FLOWS}
SHARE = COMPONENTS["valuation"].share

onchain = Onchain(READERS)


def test_the_shares_of_each_layer_sum_to_a_hundred() -> None:
    for components in (COMPONENTS, SENTIMENT):
        assert sum(component.share for component in components.values()) == 100.0


@pytest.mark.parametrize("value", [-0.5, 0.1, 0.4, 0.75, 3.0])
def test_a_metric_moves_its_component_by_its_share_of_the_formula(value: float) -> None:
    score = onchain(hearing({"glassnode.nupl": value}))

    assert score.score == pytest.approx(-SHARE * tanh((value - 0.4) / 0.3), abs=1e-4)
    assert score.coverage == pytest.approx(SHARE / 100)


def test_it_fades_with_its_age_and_covers_as_much_less() -> None:
    new, old = (onchain(hearing({"glassnode.nupl": 0.9}, age=hours)) for hours in (0.0, 48.0))

    assert old.score == pytest.approx(new.score / 2, abs=1e-4)
    assert old.coverage == new.coverage / 2


@given(st.floats(0.0, 300.0), st.floats(-2.0, 2.0))
def test_a_minute_never_changes_much(hours: float, value: float) -> None:
    """Nothing speaks at full voice until it falls silent at once."""
    before, after = (onchain(hearing({"glassnode.nupl": value}, age=hours + late)) for late in (0, 1 / 60))

    assert abs(after.score - before.score) <= SHARE * 0.051
    assert abs(after.coverage - before.coverage) <= SHARE * 0.051


@pytest.mark.parametrize(
    ("values", "age"),
    [
        ({}, 0.0),
        ({"glassnode.nupl": nan}, 0.0),
        ({"glassnode.nupl": 0.9}, 48.0 * 4.4),
        ({"nobody.knows": 0.9}, 0.0),
    ],
    ids=["not heard", "not known yet", "too old", "no reader"],
)
def test_what_is_not_there_moves_nothing_and_covers_nothing(values: dict[str, float], age: float) -> None:
    score = onchain(hearing(values, age=age))

    assert (score.score, score.coverage, score.reasons) == (0.0, 0.0, ())


def test_metrics_of_one_component_are_weighed_by_their_freshness() -> None:
    values = {"glassnode.nupl": 0.9, "santiment.mvrv": 1.0}
    score = onchain(hearing(values, age={"glassnode.nupl": 48.0, "santiment.mvrv": 0.0}))
    sides = -tanh(0.5 / 0.3), -tanh(-0.8)

    assert score.score == pytest.approx(SHARE * (0.5 * sides[0] + sides[1]) / 1.5, abs=1e-4)
    assert score.coverage == pytest.approx(SHARE / 100)


def test_a_reason_names_what_moved_it_most_first_with_number_and_age() -> None:
    values = {"glassnode.nupl": 0.9, "santiment.mvrv": 2.0}
    [reason] = onchain(hearing(values, age={"glassnode.nupl": 30.0, "santiment.mvrv": 0.2})).reasons

    assert reason.component == "valuation"
    assert reason.text == "glassnode.nupl 0.9, 30 h old; santiment.mvrv 2, 12 min old: dear"


def test_a_reason_names_three_metrics_and_counts_the_others() -> None:
    readers = {f"source.m{n}": FLOWS for n in range(6)}
    [reason] = Onchain(readers)(hearing({name: float(n) for n, name in enumerate(readers)})).reasons

    assert reason.text.startswith(
        "source.m5 5, 0 min old; source.m4 4, 0 min old; source.m3 3, 0 min old; 3 more:"
    )


def test_what_is_as_usual_is_told_as_such_and_still_covers() -> None:
    score = onchain(hearing({"glassnode.nupl": 0.4}))

    assert [(reason.points, reason.text) for reason in score.reasons] == [
        (0.0, "glassnode.nupl 0.4, 0 min old: as usual")
    ]
    assert score.coverage > 0


@pytest.mark.parametrize(("layer", "component"), [("onchain", "fundng"), ("sentiment", "funding")])
def test_a_component_that_no_layer_has_is_refused_by_name(layer: str, component: str) -> None:
    readers = {"a.b": Reader(layer=layer, component=component)}  # type: ignore[arg-type]

    with pytest.raises(SettingsError, match=rf"metrics\.a\.b: layer {layer} has no component '{component}'"):
        LAYERS[layer]("5m", readers)


def test_each_layer_leaves_the_metrics_of_others_alone() -> None:
    readers = {"a.b": Reader(layer="sentiment", component="social")}
    moment = hearing({"a.b": 5.0})

    assert Onchain(readers)(moment).coverage == 0.0
    assert Sentiment(readers)(moment).coverage > 0.0


def test_the_registry_hands_the_readers_to_those_that_read() -> None:
    moment = hearing({"glassnode.nupl": 0.9})
    covered = {name for name, make in LAYERS.items() if make("5m", READERS)(moment).coverage}
    without = {name for name, make in LAYERS.items() if make("5m")(moment).coverage}

    assert covered - without == {"onchain"}


@pytest.mark.parametrize(
    ("read", "value", "text"),
    [
        ("level", 1234.5, "a.b 1234, 3 h old"),
        ("change", 0.031, "a.b +3.1 % in 24 h, 3 h old"),
        ("difference", -2_500_000.0, "a.b -2.5 M in 24 h, 3 h old"),
        ("sum", 45_678.0, "a.b 45.68 k in 24 h, 3 h old"),
        ("deviation", -2.34, "a.b -2.3 deviations from 24 h, 3 h old"),
    ],
)
def test_a_number_is_told_as_it_is_read(read: Read, value: float, text: str) -> None:
    one = Heard(
        "a.b", Reading("a.b", 0, 0, value), Reader(layer="onchain", component="flows", read=read), 1.0
    )

    assert told(one, 3 * 3_600_000) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0, "0"), (-1e13, "-10 T"), (2.5e9, "2.5 B"), (9999.0, "9999"), (1e-7, "1e-07"), (inf, "inf T")],
)
def test_numbers_of_any_size_can_be_read(value: float, text: str) -> None:
    assert amount(value) == text


@pytest.mark.parametrize(
    ("minutes", "text"), [(-5, "0 min old"), (119, "119 min old"), (120, "2 h old"), (5760, "4 d old")]
)
def test_ages_are_told_in_the_unit_people_would_use(minutes: int, text: str) -> None:
    assert aged(minutes * 60_000) == text


ANY = st.dictionaries(st.sampled_from(sorted(READERS)), st.floats(allow_nan=True, allow_infinity=True))


@given(ANY, st.floats(-10.0, 1e6))
def test_a_score_is_the_sum_of_its_reasons_whatever_was_heard(values: dict[str, float], age: float) -> None:
    moment = hearing(values, age=age)
    score = onchain(moment)

    assert score.score == sum(reason.points for reason in score.reasons)
    assert -100 <= score.score <= 100
    assert 0 <= score.coverage <= 1
    assert len({reason.component for reason in score.reasons}) == len(score.reasons)
    assert all("nan" not in reason.text for reason in score.reasons)
    assert onchain(moment) == score


def test_a_layer_says_what_it_was_made_without_in_the_order_of_its_components() -> None:
    moment = hearing({"glassnode.nupl": 0.9, "cryptoquant.netflow": 0.0})
    scores = {"onchain": onchain(moment), "technical": LAYERS["technical"]("5m")(moment)}

    assert absences(moment, scores, READERS) == (
        "onchain without funding, open_interest, crowding, liquidations, capital, mood, network",
    )


def test_a_layer_that_heard_everything_or_nothing_is_not_told_as_lacking_some() -> None:
    """The composer names one that is silent."""
    whole = {f"s.{name}": Reader(layer="onchain", component=name) for name in COMPONENTS}
    moment = hearing(dict.fromkeys(whole, 1.0), higher={"return_24": 0.01, "volatility_24": 0.01})
    scores = {"onchain": Onchain(whole)(moment), "sentiment": Sentiment(whole)(moment)}

    assert scores["onchain"].coverage == 1.0
    assert absences(moment, scores, whole) == ()
    assert absences(calm(), {"onchain": onchain(calm())}, READERS) == ()


def test_stale_metrics_are_told_by_source_with_their_ages() -> None:
    ages = {"cryptoquant.netflow": 30.0, "glassnode.nupl": 97.0, "santiment.mvrv": 47.0}
    moment = hearing(dict.fromkeys(ages, 1.0), age=ages)

    assert absences(moment, {}, READERS) == (
        "cryptoquant stale: netflow 30 h old",
        "glassnode stale: nupl 97 h old",
    )


def test_the_oldest_metrics_of_a_source_are_named_and_the_others_counted() -> None:
    readers = {f"source.m{n}": FLOWS for n in range(5)}
    ages = {name: 30.0 + n for n, name in enumerate(readers)}

    assert absences(hearing(dict.fromkeys(ages, 1.0), age=ages), {}, readers) == (
        "source stale: m4 34 h old, m3 33 h old, m2 32 h old, 2 more",
    )


def test_what_is_only_unknown_or_has_no_reader_any_more_is_not_stale() -> None:
    moment = hearing({"glassnode.nupl": nan, "nobody.knows": 1.0}, age={"nobody.knows": 1e6})

    assert absences(moment, {}, READERS) == ()
    assert moment.time == NOON
