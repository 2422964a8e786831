"""The on-chain layer: positions beside the price, forced orders beside the turnover, each with its reason."""

from __future__ import annotations

from math import exp, inf, log, nan, sqrt, tanh
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.layers import Onchain
from engine.layers.onchain import COMPONENTS
from engine.layers.positions import BOUNCE, CLEAR, CLOSING, SQUEEZE, spans
from engine.records import INTERVALS, LayerScore, Moment
from engine.settings.readers import Reader
from tests.engine.layers.neutral import NOON, calm, hearing, total

RISE = {"return_24": 0.03, "volatility_24": 0.004}
FALL = {"return_24": -0.03, "volatility_24": 0.004}
STILL = {"return_24": 0.0, "volatility_24": 0.004}


def onchain(component: str, **how: Any) -> Onchain:
    return Onchain({"binance.number": Reader(layer="onchain", component=component, **how)})


CONTRACTS = onchain("open_interest", read="change", over=24, scale=0.05)
IN_USD = Onchain(
    {
        "binance.open_interest_usd": Reader(
            layer="onchain", component="open_interest", read="change", over=24, scale=0.05
        )
    }
)
FORCED = Onchain(
    {
        "binance.long_usd": Reader(
            layer="onchain", component="liquidations", read="sum", over=1, scale=0.05, sign=1
        ),
        "binance.short_usd": Reader(
            layer="onchain", component="liquidations", read="sum", over=1, scale=0.05, sign=-1
        ),
    }
)
SHARE = COMPONENTS["open_interest"].share


def test_funding_is_told_in_percent_and_who_pays() -> None:
    layer = onchain("funding", centre=0.0001, scale=0.0004, sign=-1, half_life=8)
    [high] = layer(hearing({"binance.number": 0.00091}, age=0.2)).reasons
    [low] = layer(hearing({"binance.number": -0.0002}, age=3)).reasons

    assert (high.points < 0, high.text) == (
        True,
        "binance.number 0.091 %, 12 min old: longs pay more than usual",
    )
    assert (low.points > 0, low.text) == (True, "binance.number -0.02 %, 3 h old: longs pay less than usual")


@pytest.mark.parametrize(
    ("change", "price", "sign", "text"),
    [
        (0.08, RISE, 1, "+8 % in 24 h, opened into a rise of +3 %, 0 min old: positions speak for a rise"),
        (0.08, FALL, -1, "+8 % in 24 h, opened into a fall of -3 %, 0 min old: positions speak for a fall"),
        (-0.08, RISE, -1, "-8 % in 24 h, closed into a rise of +3 %, 0 min old: positions speak for a fall"),
        (-0.08, FALL, 1, "-8 % in 24 h, closed into a fall of -3 %, 0 min old: positions speak for a rise"),
    ],
)
def test_opened_positions_confirm_a_move_and_closed_ones_weaken_it(
    change: float, price: dict[str, float], sign: int, text: str
) -> None:
    score = CONTRACTS(hearing({"binance.number": change}, higher=price))

    [reason] = score.reasons
    assert reason.text == f"binance.number {text}"
    weight = 1.0 if change > 0 else CLOSING
    clear = tanh(0.03 / (0.004 * sqrt(24)) / CLEAR)
    assert score.score == pytest.approx(sign * SHARE * weight * clear * tanh(1.6), abs=1e-4)


def test_open_interest_that_only_followed_the_price_opened_nothing() -> None:
    """The contracts stayed as many: in USD they are worth what the price says."""
    followed = IN_USD(hearing({"binance.open_interest_usd": exp(0.03) - 1}, higher=RISE))
    opened = IN_USD(hearing({"binance.open_interest_usd": exp(0.03) * 1.08 - 1}, higher=RISE))

    assert followed.score == pytest.approx(0.0, abs=1e-4)
    assert opened.score == pytest.approx(
        CONTRACTS(hearing({"binance.number": 0.08}, higher=RISE)).score, abs=1e-4
    )


def test_without_a_move_open_interest_says_nothing_and_without_knowing_it_covers_nothing() -> None:
    still = CONTRACTS(hearing({"binance.number": 0.08}, higher=STILL))
    unknown = CONTRACTS(hearing({"binance.number": 0.08}, higher={"return_24": nan, "return_6": nan}))

    assert (still.score, still.coverage) == (0.0, SHARE / 100)
    assert (unknown.score, unknown.coverage, unknown.reasons) == (0.0, 0.0, ())


def test_an_interval_that_stands_still_tells_no_move() -> None:
    moment = hearing({"binance.number": 0.08}, higher=RISE)
    late = Moment(
        moment.symbol, moment.interval, NOON + 5 * INTERVALS["4h"], moment.listing, moment.features,
        readings=moment.readings,
    )  # fmt: skip

    assert CONTRACTS(moment).coverage > 0
    assert CONTRACTS(late).coverage == 0.0


def test_a_level_of_the_open_interest_component_needs_no_price() -> None:
    layer = onchain("open_interest", centre=0.2, scale=0.05, sign=-1)

    assert layer(hearing({"binance.number": 0.4})).score < -0.9 * SHARE


@pytest.mark.parametrize("over", [1, 4, 8, 12, 24, 48])
def test_the_return_beside_open_interest_is_of_a_like_span(over: int) -> None:
    found = spans(over)

    assert found
    lengths = [INTERVALS[interval] * span / 3_600_000 for interval, span in found]
    assert lengths == sorted(lengths, key=lambda hours: (round(abs(log(hours / over)), 9), 0))
    assert all(over / 1.5 <= hours * 1.000001 and hours <= 1.5 * over * 1.000001 for hours in lengths)


def flushed(longs: float, shorts: float) -> LayerScore:
    # Candles of the calm market trade 1 coin of 100 each.
    return FORCED(hearing({"binance.long_usd": longs, "binance.short_usd": shorts}))


def test_forced_longs_speak_softly_for_a_bounce_and_forced_shorts_more_softly_against_it() -> None:
    up, down, none = flushed(50.0, 0.0), flushed(0.0, 50.0), flushed(25.0, 25.0)
    share = COMPONENTS["liquidations"].share

    assert up.score == pytest.approx(share * BOUNCE, abs=1e-3)
    assert down.score == pytest.approx(-share * SQUEEZE, abs=1e-3)
    assert none.score == 0.0
    assert up.reasons[0].text == (
        "binance.long_usd 50, binance.short_usd 0 in 1 h, 50 % of turnover, 0 min old: longs were forced out"
    )


def test_a_few_forced_orders_are_nothing_and_more_of_them_are_more() -> None:
    scores = [flushed(usd, 0.0).score for usd in (0.0, 0.1, 1.0, 5.0, 20.0)]

    assert scores == sorted(scores)
    assert scores[0] == 0.0
    assert scores[1] < 0.15
    assert flushed(0.0, 0.0).coverage == COMPONENTS["liquidations"].share / 100


def test_one_side_alone_is_a_side() -> None:
    assert (
        FORCED(hearing({"binance.long_usd": 50.0})).score
        > 0
        > FORCED(hearing({"binance.short_usd": 50.0})).score
    )


NAMES = {
    "a.funding": Reader(layer="onchain", component="funding", scale=0.0004, sign=-1),
    "a.oi_usd": Reader(layer="onchain", component="open_interest", read="change", scale=0.05),
    "a.long": Reader(layer="onchain", component="liquidations", read="sum", over=1, scale=0.05),
    "a.short": Reader(layer="onchain", component="liquidations", read="sum", over=1, scale=0.05, sign=-1),
    "a.tvl": Reader(layer="onchain", component="capital", read="change", scale=0.1),
}
numbers = st.floats(allow_nan=False, allow_infinity=False) | st.sampled_from([inf, nan, -1.0, 0.0])


@given(st.dictionaries(st.sampled_from(sorted(NAMES)), numbers), st.floats(-0.5, 0.5), st.floats(0.0, 0.1))
def test_a_score_is_the_sum_of_its_reasons_whatever_was_heard(
    values: dict[str, float], move: float, deviation: float
) -> None:
    moment = hearing(values, higher={"return_24": move, "volatility_24": deviation})
    score = Onchain(NAMES)(moment)

    assert score.score == total(score)
    assert all(abs(reason.points) <= COMPONENTS[reason.component].share for reason in score.reasons)
    assert 0.0 <= score.coverage <= 1.0
    assert all("nan" not in reason.text for reason in score.reasons)


def test_prices_have_no_unit_here() -> None:
    moment = hearing({"binance.number": 0.08}, higher=RISE)
    cheap = hearing({"binance.number": 0.08}, higher=RISE | {"atr_14": 1e-9, "sma_50": 1e-5})

    assert CONTRACTS(moment) == CONTRACTS(cheap)
    assert CONTRACTS(moment).score != 0.0


def test_it_reads_nothing_but_what_is_mapped() -> None:
    assert Onchain({})(calm()).coverage == 0.0
