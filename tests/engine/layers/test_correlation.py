"""The correlation layer: what moves it, in which direction, and that every point has its reason."""

from __future__ import annotations

from math import nan

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.layers import Correlation
from tests.engine.layers.neutral import NOON, calm, frame, total, unknown_frame

SHARES = {"beta": 25.0, "lead": 10.0, "sector": 25.0, "divergence": 25.0, "decorrelation": 15.0}
LOOSE = {"btc_correlation": -0.2, "btc_correlation_before": -0.2}
NONE = {"btc_correlation": 0.0, "btc_correlation_before": 0.0}

correlation = Correlation()


def test_a_quiet_market_has_no_opinion_and_is_fully_covered() -> None:
    score = correlation(calm())

    assert (score.layer, score.symbol, score.time) == ("correlation", "SOLUSDT", NOON)
    assert (score.score, score.coverage, score.reasons) == (0.0, 1.0, ())


@pytest.mark.parametrize(
    ("component", "changed", "sign", "text"),
    [
        ("beta", {"btc_return": 0.004, "beta": 1.5}, 1, "BTC +0.40% x beta 1.50, correlation 0.80"),
        ("beta", {"btc_return": -0.004, "beta": 1.5}, -1, "BTC -0.40% x beta 1.50"),
        ("beta", {"btc_return": 0.004, "beta": -0.5} | LOOSE, -1, "x beta -0.50, correlation -0.20"),
        (
            "lead",
            {"btc_return": 0.01, "lead": 0.4} | NONE,
            1,
            "BTC +1.00%, leading by a candle with correlation 0.40",
        ),
        ("sector", {"sector_return": 0.005}, 1, "sector +0.50% x beta 1.00, correlation 0.80"),
        ("sector", {"sector_return": -0.005}, -1, "sector -0.50%"),
        ("divergence", {"spread_z": 2.5}, -1, "spread +2.5 deviations from its mean"),
        ("divergence", {"spread_z": -2.5}, 1, "spread -2.5 deviations from its mean"),
        ("decorrelation", {"spread_z": 1.0, "btc_correlation": 0.3}, 1, "before 0.80, spread +1.0"),
        ("decorrelation", {"spread_z": -1.0, "btc_correlation": 0.3}, -1, "correlation 0.30, before 0.80"),
        ("decorrelation", {"spread_z": 1.0, "btc_correlation_before": 0.3}, -1, "before 0.30"),
    ],
)
def test_each_finding_moves_the_score_its_way_and_says_so(
    component: str, changed: dict[str, float], sign: int, text: str
) -> None:
    score = correlation(calm(market=frame(**changed)))

    [reason] = score.reasons
    assert (reason.component, reason.points * sign > 0) == (component, True)
    assert text in reason.text
    assert score.score == reason.points


def test_a_move_of_btc_pulls_less_where_the_symbol_moves_more_by_itself() -> None:
    moved = frame(btc_return=0.004)
    calm_one, wild_one = (
        correlation(calm({"atr_ratio": unit}, market=moved)).score for unit in (0.002, 0.02)
    )

    assert 0 < wild_one < calm_one


def test_a_move_of_btc_pulls_as_far_as_they_correlate() -> None:
    points = [
        correlation(calm(market=frame(btc_return=0.004, btc_correlation=r, btc_correlation_before=r))).score
        for r in (0.25, 0.5, 1.0)
    ]

    assert points == pytest.approx([points[2] / 4, points[2] / 2, points[2]])


def test_a_spread_within_one_deviation_is_no_divergence() -> None:
    assert correlation(calm(market=frame(spread_z=0.99))).score == 0.0


def test_a_spread_to_something_it_does_not_correlate_with_means_nothing() -> None:
    assert correlation(calm(market=frame(spread_z=3.0, **LOOSE))).score == 0.0


def test_btc_is_pulled_by_the_market_and_not_by_itself() -> None:
    own = frame(btc_return=-0.01, market_return=0.004)

    [reason] = correlation(calm(asset="BTC", market=own)).reasons

    assert reason.points > 0
    assert reason.text == "market +0.40% x beta 1.00, correlation 0.80"


def test_without_a_frame_it_has_nothing_to_say() -> None:
    score = correlation(calm(market=None))

    assert (score.score, score.coverage, score.reasons) == (0.0, 0.0, ())


def test_a_frame_that_knows_nothing_yet_is_no_frame() -> None:
    score = correlation(calm(market=unknown_frame()))

    assert (score.score, score.coverage, score.reasons) == (0.0, 0.0, ())


@pytest.mark.parametrize("unit", [nan, 0.0])
def test_without_a_range_to_measure_in_only_the_spread_speaks(unit: float) -> None:
    score = correlation(calm({"atr_ratio": unit}, market=frame(btc_return=0.01, spread_z=3.0)))

    assert score.coverage == 0.4
    assert [reason.component for reason in score.reasons] == ["divergence"]


@pytest.mark.parametrize(
    ("missing", "coverage"),
    [
        ("btc_return", 0.65),
        ("beta", 0.65),
        ("btc_correlation", 0.35),
        ("btc_correlation_before", 0.85),
        ("sector_return", 0.75),
        ("sector_beta", 0.75),
        ("sector_correlation", 0.75),
        ("spread_z", 0.6),
        ("lead", 0.9),
    ],
)
def test_what_is_missing_lowers_the_coverage_by_its_share_and_moves_nothing(
    missing: str, coverage: float
) -> None:
    score = correlation(calm(market=frame(**{missing: nan})))

    assert score.coverage == pytest.approx(coverage)
    assert score.score == 0.0


returns = st.floats(-0.2, 0.2) | st.just(nan)
correlations = st.floats(-1.0, 1.0) | st.just(nan)
betas = st.floats(-5.0, 5.0) | st.just(nan)
frames = st.builds(
    frame,
    btc_return=returns,
    sector_return=returns,
    market_return=returns,
    beta=betas,
    sector_beta=betas,
    btc_correlation=correlations,
    btc_correlation_before=correlations,
    sector_correlation=correlations,
    lead=correlations,
    spread_z=st.floats(-9.0, 9.0) | st.just(nan),
)


@given(frames, st.floats(0.0, 0.1) | st.just(nan), st.sampled_from(["SOL", "BTC"]))
@settings(max_examples=200, deadline=None)
def test_a_score_is_the_sum_of_its_reasons_whatever_the_market(
    market: object, unit: float, asset: str
) -> None:
    moment = calm({"atr_ratio": unit}, asset=asset, market=market)  # type: ignore[arg-type]

    score = correlation(moment)

    assert score.score == total(score)
    assert -100.0 <= score.score <= 100.0
    assert 0.0 <= score.coverage <= 1.0
    assert all(-share <= total(score, component) <= share for component, share in SHARES.items())
    assert all(reason.text and "nan" not in reason.text for reason in score.reasons)
    assert correlation(moment) == score


def test_prices_have_no_unit_here() -> None:
    """Everything read is a return, a slope, a correlation or a share of the price."""
    moved = frame(btc_return=0.004, sector_return=-0.002, spread_z=2.0, lead=0.2)

    plain = correlation(calm({"atr_14": 0.5}, market=moved))
    scaled = correlation(calm({"atr_14": 0.5e6}, market=moved))

    assert scaled == plain
    assert plain.score != 0.0
