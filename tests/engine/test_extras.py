"""Optional inputs of the models: what is known of them at a close."""

from __future__ import annotations

import pickle
from math import isnan

from engine.extras import EXTRAS, FAMILIES, METRICS, MOODS, NOTHING, Extras
from engine.records import Headline, Metric
from engine.research.rows import FAMILIES as ALL_FAMILIES
from engine.research.rows import INPUTS

HOUR = 3_600_000
NOON = 1_700_049_600_000


def told(name: str, value: float, at: int, asset: str = "BTC", learned: int | None = None) -> Metric:
    return Metric(name, asset, at, value, at if learned is None else learned)


def value(extras: Extras, name: str, time: int) -> float:
    return extras.at(time)[EXTRAS.index(name)]


def test_one_metric_may_be_read_in_two_ways() -> None:
    extras = Extras("BTC")
    for hours in range(0, 33, 8):
        extras.update(told("binance.funding", 0.0001 * hours, NOON + hours * HOUR))
    close = NOON + 33 * HOUR

    assert value(extras, "funding", close) == 0.0032
    assert abs(value(extras, "funding_change", close) - 0.0024) < 1e-12


def test_a_number_too_old_to_tell_of_now_is_not_known() -> None:
    extras = Extras("BTC")
    extras.update(told("binance.taker_ratio", 1.2, NOON))

    assert value(extras, "taker_ratio", NOON + 2 * HOUR) == 1.2
    assert isnan(value(extras, "taker_ratio", NOON + 2 * HOUR + 1))


def test_what_is_learned_at_a_close_counts_for_the_next_one() -> None:
    extras = Extras("BTC")
    extras.update(told("alternative_me.fear_greed", 20.0, NOON, asset="", learned=NOON + HOUR))

    assert isnan(value(extras, "fear_greed", NOON + HOUR))
    assert value(extras, "fear_greed", NOON + HOUR + 1) == 20.0


def test_headlines_move_the_mood_of_their_asset_and_of_the_market() -> None:
    extras = Extras("ETH")
    for number, (assets, feeling) in enumerate(((("ETH",), 0.8), (("BTC",), -0.4))):
        story = Headline(f"{number:016x}", "wire", NOON, "", "", assets, feeling, 1.0, learned=NOON)
        extras.update(story)
    own, market = value(extras, "own_mood", NOON + HOUR), value(extras, "market_mood", NOON + HOUR)

    assert 0.3 < own < 0.4
    assert 0.0 < market < 0.2


def test_nothing_heard_is_nothing_known() -> None:
    extras = Extras("BTC")
    extras.update(told("somebody.else", 1.0, NOON))

    assert extras.at(NOON + HOUR) is NOTHING
    assert all(isnan(known) for known in NOTHING)


def test_it_goes_on_after_pickling() -> None:
    extras = Extras("BTC")
    extras.update(told("binance.funding", 0.0001, NOON))
    moved = pickle.loads(pickle.dumps(extras))
    for one in (extras, moved):
        one.update(told("binance.funding", 0.0003, NOON + 8 * HOUR))

    assert repr(moved.at(NOON + 9 * HOUR)) == repr(extras.at(NOON + 9 * HOUR))


def test_every_input_has_a_family() -> None:
    assert (*METRICS, *MOODS) == EXTRAS
    assert set(FAMILIES) == set(EXTRAS)
    assert set(ALL_FAMILIES) == {*INPUTS, *EXTRAS}
    assert {ALL_FAMILIES[name] for name in ("rsi_14", "beta", "fear_greed")} == {
        "momentum",
        "market",
        "sentiment",
    }
