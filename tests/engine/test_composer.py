from __future__ import annotations

import pickle
from dataclasses import replace
from hashlib import sha256
from math import inf, nan
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from engine.composer import RANGES, WEIGHTS, Composer, stillness, uncalibrated
from engine.errors import CorruptRecord, SettingsError
from engine.records import LayerScore, Moment, Prediction, Signal
from tests.engine.builders import NOON, STEP, moment, score, scores

points = st.floats(-100, 100)
shares = st.floats(0, 1)
conditions = st.sampled_from(["trending", "ranging", "mixed"])
gaps = st.floats(-12, 12) | st.just(nan)


def compose(
    said: dict[str, LayerScore],
    held: Moment | None = None,
    composer: Composer | None = None,
    condition: str = "mixed",
    view: Prediction | None = None,
) -> Signal:
    predictions = {} if view is None else {"boosted": view}
    return (composer or Composer()).compose(
        held or moment(), said, condition, "replay", {"spot:5m": NOON}, predictions
    )


class TestWeights:
    def test_effective_weight_is_raw_times_coverage_over_those_who_speak(self) -> None:
        said = {"technical": score("technical", 40, 1.0), "correlation": score("correlation", -20, 0.5)}
        signal = compose(said, condition="trending")

        technical, correlation = signal.layers["technical"], signal.layers["correlation"]
        assert (technical.weight_raw, correlation.weight_raw) == (45, 10)
        assert (technical.weight, correlation.weight) == pytest.approx((45 / 50, 5 / 50))
        assert signal.score == pytest.approx(0.9 * 40 - 0.1 * 20)

    @given(said=st.tuples(points, shares, points, shares), condition=conditions)
    def test_weights_sum_to_one_or_nobody_speaks(
        self, said: tuple[float, float, float, float], condition: str
    ) -> None:
        first, covered, second, also = said
        signal = compose(
            {
                "technical": score("technical", first, covered),
                "correlation": score("correlation", second, also),
            },
            condition=condition,
        )
        total = sum(vote.weight for vote in signal.layers.values())

        assert total == (pytest.approx(1) if covered or also else 0)
        assert -100 <= signal.score <= 100
        for layer, vote in signal.layers.items():
            least, most = RANGES[layer]
            assert least <= vote.weight_raw <= most
            assert vote.weight_raw == WEIGHTS[layer][condition]

    def test_a_vote_repeats_the_score_and_the_reasons_of_its_layer(self) -> None:
        said = scores(40)

        vote = compose(said).layers["technical"]

        assert (vote.score, vote.coverage, vote.reasons) == (40, 1.0, said["technical"].reasons)

    def test_votes_stand_in_the_order_of_the_settings_whoever_answered_first(self) -> None:
        said = scores(40, 20)
        backwards = dict(reversed(said.items()))

        assert list(compose(backwards).layers) == ["technical", "correlation"]
        assert compose(backwards) == compose(said)

    def test_a_layer_that_is_configured_but_never_answers_is_named(self) -> None:
        signal = compose(scores(40))

        assert "correlation" not in signal.layers
        assert signal.layers["technical"].weight == 1.0
        assert signal.degraded == ("uncalibrated", "layer correlation silent", "layer ml silent")

    def test_a_layer_without_coverage_keeps_its_vote_at_no_weight_and_is_named(self) -> None:
        signal = compose({**scores(40), "correlation": score("correlation", 0, 0.0)})

        assert signal.layers["correlation"].weight == 0.0
        assert "layer correlation silent" in signal.degraded

    def test_a_new_layer_needs_only_a_weight(self) -> None:
        weights = {**WEIGHTS, "onchain": dict.fromkeys(("trending", "ranging", "mixed"), 20.0)}
        said = {**scores(40, 20), "onchain": score("onchain", 80)}

        assert compose(said, composer=Composer(weights=weights)).layers["onchain"].weight == pytest.approx(
            20 / (20 + 37 + 12)
        )

    def test_a_layer_without_a_weight_is_refused(self) -> None:
        with pytest.raises(SettingsError, match="no weights for onchain, only for technical, correlation"):
            compose({**scores(40), "onchain": score("onchain", 10)})

    def test_an_unknown_condition_is_refused(self) -> None:
        with pytest.raises(SettingsError, match="no condition 'sideways', only trending, ranging, mixed"):
            compose(scores(40), condition="sideways")

    def test_a_raw_weight_outside_the_specification_is_refused(self) -> None:
        with pytest.raises(SettingsError, match=r"layers\.technical\.mixed: 46 is not within 30\.\.45"):
            Composer(weights={"technical": {"mixed": 46}})

    def test_a_layer_that_leaves_out_a_condition_is_refused(self) -> None:
        with pytest.raises(SettingsError, match="correlation: no weight for condition 'ranging'"):
            Composer(weights={"technical": {"mixed": 37, "ranging": 30}, "correlation": {"mixed": 12}})

    @pytest.mark.parametrize(
        ("value", "coverage"), [(nan, 1.0), (100.1, 1.0), (-inf, 1.0), (10, 1.1), (10, nan)]
    )
    def test_a_score_out_of_bounds_is_refused_by_name(self, value: float, coverage: float) -> None:
        with pytest.raises(CorruptRecord, match=f"BTCUSDT layer technical at {NOON}: score was {value}"):
            compose({"technical": score("technical", value, coverage)})


class TestDirection:
    @pytest.mark.parametrize(
        ("value", "direction"),
        [
            (25, "LONG"),
            (24.9999, "NEUTRAL"),
            (0, "NEUTRAL"),
            (-24.9999, "NEUTRAL"),
            (-25, "SHORT"),
            (100, "LONG"),
        ],
    )
    def test_the_bound_on_the_score_is_absolute(self, value: float, direction: str) -> None:
        assert compose(scores(value)).direction == direction

    def test_nobody_speaking_is_neutral_and_knows_nothing(self) -> None:
        for said in ({}, {"technical": score("technical", 0, 0.0)}):
            signal = compose(said)

            assert (signal.direction, signal.confidence, signal.score) == ("NEUTRAL", 50.0, 0.0)
            assert {"layer technical silent", "layer correlation silent"} <= set(signal.degraded)

    def test_a_silent_layer_does_not_move_the_direction(self) -> None:
        assert compose({**scores(30), "correlation": score("correlation", -100, 0.0)}).direction == "LONG"

    @pytest.mark.parametrize("atr", [nan, 0.0])
    def test_without_atr_there_are_no_levels_and_so_no_side(self, atr: float) -> None:
        signal = compose(scores(90), moment(atr=atr))

        assert (signal.direction, signal.stop_loss, signal.take_profit) == ("NEUTRAL", None, None)
        assert signal.confidence == 50.0
        assert "no atr" in signal.degraded

    def test_a_target_that_does_not_pay_the_costs_is_no_trade(self) -> None:
        quiet, loud = moment(100.0, atr=0.06), moment(100.0, atr=0.07)

        assert compose(scores(90), quiet).direction == "NEUTRAL"
        assert "target within costs" in compose(scores(90), quiet).degraded
        assert compose(scores(90), loud).direction == "LONG"

    def test_a_stop_that_no_price_can_reach_is_no_trade(self) -> None:
        signal = compose(scores(-90), moment(100.0, atr=60.0))

        assert signal.direction == "NEUTRAL"
        assert "no levels" in signal.degraded

    def test_neutral_has_an_entry_and_no_trade(self) -> None:
        signal = compose(scores(5))

        assert signal.entry == 100.0
        assert (signal.stop_loss, signal.take_profit, signal.risk_reward) == (None, None, None)
        assert signal.position_size == 0.0

    def test_a_score_of_minus_nothing_is_nothing(self) -> None:
        assert str(compose(scores(-0.00001)).score) == "0.0"


class TestConfidence:
    @given(
        first=st.tuples(shares, shares, shares),
        second=st.tuples(shares, shares, shares),
        most=st.floats(50, 100),
    )
    def test_it_grows_with_each_part_and_never_leaves_its_bounds(
        self, first: tuple[float, float, float], second: tuple[float, float, float], most: float
    ) -> None:
        a, b, c = (min(pair) for pair in zip(first, second, strict=True))
        d, e, f = (max(pair) for pair in zip(first, second, strict=True))

        assert 50 <= uncalibrated(a, b, c, most) <= uncalibrated(d, e, f, most) <= most + 1e-4

    @given(value=points, other=points, covered=st.floats(0.01, 1), also=shares)
    def test_no_signal_shouts(self, value: float, other: float, covered: float, also: float) -> None:
        signal = compose(
            {
                "technical": score("technical", value, covered),
                "correlation": score("correlation", other, also),
            }
        )

        assert 50 <= signal.confidence <= 56
        assert "uncalibrated" in signal.degraded
        assert (signal.p_up, signal.p3) == (None, None)

    @given(weak=st.floats(25, 100), strong=st.floats(25, 100), side=st.sampled_from([1, -1]))
    def test_a_stronger_score_is_never_less_sure(self, weak: float, strong: float, side: int) -> None:
        weak, strong = sorted((weak, strong))

        assert compose(scores(side * weak)).confidence <= compose(scores(side * strong)).confidence

    @given(thin=st.floats(0.01, 1), full=st.floats(0.01, 1), value=points)
    def test_more_coverage_is_never_less_sure(self, thin: float, full: float, value: float) -> None:
        thin, full = sorted((thin, full))

        assert (
            compose(scores(value, coverage=thin)).confidence
            <= compose(scores(value, coverage=full)).confidence
        )

    @pytest.mark.parametrize("value", [50, -50, 5])
    def test_half_the_coverage_is_half_of_what_is_above_knowing_nothing(self, value: float) -> None:
        half, full = compose(scores(value, coverage=0.5)), compose(scores(value))

        assert half.confidence - 50 == pytest.approx((full.confidence - 50) / 2, abs=1e-3)
        assert full.confidence > 50

    @given(value=points, other=points)
    def test_up_and_down_are_treated_alike(self, value: float, other: float) -> None:
        up, down = compose(scores(value, other)), compose(scores(-value, -other))

        assert (up.confidence, up.position_size) == (down.confidence, down.position_size)
        assert up.score == -down.score
        assert {up.direction, down.direction} in ({"LONG", "SHORT"}, {"NEUTRAL"})

    @given(against=st.floats(-60, -0.01), beside=st.floats(0.01, 60))
    def test_at_the_same_score_agreement_is_surer_than_a_quarrel(self, against: float, beside: float) -> None:
        target = 30.0
        raw = {layer: WEIGHTS[layer]["mixed"] for layer in ("technical", "correlation")}
        technical, correlation = (raw[layer] / sum(raw.values()) for layer in raw)

        def at(second: float) -> Signal:
            return compose(scores((target - correlation * second) / technical, second))

        quarrel, agreement = at(against), at(beside)
        assume(quarrel.score == agreement.score)

        assert quarrel.direction == agreement.direction == "LONG"
        assert quarrel.confidence < agreement.confidence

    def test_neutral_is_surer_near_zero_in_a_calm_market_and_with_agreement(self) -> None:
        near, far = compose(scores(0, 0)), compose(scores(20, 20))
        calm, wild = compose(scores(0, 0), moment(atr=0.1)), compose(scores(0, 0), moment(atr=5))
        agreed, torn = compose(scores(0, 0)), compose(scores(10, -30.8333))

        assert near.confidence > far.confidence
        assert calm.confidence > wild.confidence >= 50
        assert torn.score == pytest.approx(0, abs=1e-3)
        assert agreed.confidence > torn.confidence

    def test_the_cap_moves_with_its_knob(self) -> None:
        assert compose(scores(100, 100), composer=Composer(most=55)).confidence == 55.0
        assert compose(scores(100, 100)).confidence == 56.0

    def test_stillness_falls_with_volatility_and_time_and_rises_with_the_threshold(self) -> None:
        assert stillness(0.001, 12, 0.005) > stillness(0.002, 12, 0.005) > stillness(0.002, 24, 0.005)
        assert stillness(0.002, 12, 0.008) > stillness(0.002, 12, 0.005)

    def test_the_layer_that_needs_the_model_is_not_missed_where_there_is_none(self) -> None:
        """An uncalibrated confidence is what the layers that can speak without one make it."""
        without = {layer: weights for layer, weights in WEIGHTS.items() if layer != "ml"}
        said = {**scores(60, 20), "ml": score("ml", 0, 0.0)}

        assert (
            compose(said).confidence == compose(scores(60, 20), composer=Composer(weights=without)).confidence
        )
        assert compose(scores(100, 100)).confidence == 56.0


def prediction(p_up: float | None = 0.56, **changed: Any) -> Prediction:
    """What a model of skill says that knows its market; half of the moves are none."""
    chance = 0.5 if p_up is None else p_up
    made = Prediction(
        "BTCUSDT",
        NOON,
        "boosted",
        NOON,
        "v1",
        p_up,
        ((1 - chance) / 2, 0.5, chance / 2),
        skill=True,
        expected_move=0.02,
        novelty=0.5,
    )
    return replace(made, **changed)


SILENT = prediction(None, p3=None, expected_move=None, novelty=None, skill=False, fault="no version")
QUIET = scores(0, 0)
chances = st.floats(0, 1)


def thirds(down: float, neutral: float, up: float) -> tuple[float, float, float]:
    whole = down + neutral + up
    return down / whole, neutral / whole, up / whole


views = st.builds(
    prediction,
    chances,
    p3=st.builds(thirds, *[st.floats(0.01, 1)] * 3),
    skill=st.booleans(),
    expected_move=st.floats(0, 0.2) | st.none(),
    novelty=st.floats(0, 5) | st.none(),
)


class TestCalibrated:
    """The rule where a calibrated model has spoken."""

    def test_the_side_is_that_of_the_probability(self) -> None:
        assert compose(QUIET, view=prediction(0.56)).direction == "LONG"
        assert compose(QUIET, view=prediction(0.44)).direction == "SHORT"
        assert compose(QUIET, view=prediction(0.5)).direction == "NEUTRAL"

    def test_it_needs_no_score_beyond_the_bound(self) -> None:
        assert compose(scores(90, 90), view=prediction(0.5)).direction == "NEUTRAL"
        assert compose(scores(-24.9, -24.9), view=prediction(0.56)).direction == "LONG"

    @pytest.mark.parametrize(("against", "direction"), [(24.9999, "SHORT"), (25.0, "NEUTRAL")])
    def test_layers_that_contradict_forbid_the_side(self, against: float, direction: str) -> None:
        signal = compose(scores(against, against), view=prediction(0.44))

        assert signal.direction == direction
        assert compose(scores(-against, -against), view=prediction(0.44)).direction == "SHORT"

    @pytest.mark.parametrize(
        ("p_up", "move", "direction"),
        [
            (0.75, 0.0028, "NEUTRAL"),  # half of 0.28 % is what a round trip costs
            (0.75, 0.0029, "LONG"),
            (0.25, 0.0028, "NEUTRAL"),
            (0.25, 0.0029, "SHORT"),
            (0.53, 0.02, "NEUTRAL"),
            (0.54, 0.02, "LONG"),
            (0.99, 0.0, "NEUTRAL"),
            (0.99, None, "NEUTRAL"),
        ],
    )
    def test_an_edge_within_costs_is_no_trade(self, p_up: float, move: float | None, direction: str) -> None:
        assert compose(QUIET, view=prediction(p_up, expected_move=move)).direction == direction

    @pytest.mark.parametrize(
        ("p_up", "direction"), [(0.539, "NEUTRAL"), (0.54, "LONG"), (0.461, "NEUTRAL"), (0.46, "SHORT")]
    )
    def test_a_call_that_is_not_sure_enough_is_none_whatever_it_might_gain(
        self, p_up: float, direction: str
    ) -> None:
        assert compose(QUIET, view=prediction(p_up, expected_move=0.2)).direction == direction
        assert (
            compose(QUIET, view=prediction(p_up, expected_move=0.2), composer=Composer(least=60)).direction
            == "NEUTRAL"
        )

    def test_its_stop_is_as_far_out_as_prices_wander_over_the_horizon(self) -> None:
        ruled, learnt = compose(scores(90, 90)), compose(QUIET, view=prediction(0.56))
        distances = [signal.entry - (signal.stop_loss or nan) for signal in (ruled, learnt)]

        assert distances[1] == pytest.approx(12**0.5 * distances[0], rel=0.01)

    def test_costs_move_with_their_knob(self) -> None:
        view = prediction(0.54)

        assert compose(QUIET, view=view, composer=Composer(costs=0.0017)).direction == "NEUTRAL"
        assert compose(QUIET, view=view, composer=Composer(costs=0.0015)).direction == "LONG"

    @pytest.mark.parametrize(
        ("held", "fault"),
        [
            (moment(atr=nan), "no atr"),
            (moment(100.0, atr=90.0), "no levels"),
            (moment(100.0, atr=0.015), "target within costs"),
        ],
        ids=["no atr", "no levels", "target within costs"],
    )
    def test_without_levels_there_is_no_side(self, held: Moment, fault: str) -> None:
        signal = compose(QUIET, held, view=prediction(0.44))

        assert (signal.direction, signal.stop_loss, signal.position_size) == ("NEUTRAL", None, 0.0)
        assert signal.confidence == 50.0
        assert fault in signal.degraded

    def test_without_skill_it_is_neutral_and_says_so_and_tells_its_numbers_all_the_same(self) -> None:
        signal = compose(scores(90, 90), view=prediction(0.9, skill=False))

        assert signal.direction == "NEUTRAL"
        assert "model boosted: no skill" in signal.degraded
        assert (signal.p_up, signal.p3) == (0.9, prediction(0.9).p3)
        assert signal.confidence == 50.0

    def test_a_calibrated_signal_is_not_called_uncalibrated(self) -> None:
        signal = compose({**QUIET, "ml": score("ml", 54)}, view=prediction())

        assert signal.degraded == ()
        assert (signal.p_up, signal.p3) == (0.56, prediction().p3)

    def test_without_a_prediction_it_is_as_ever_and_says_why(self) -> None:
        with_fault, alone = compose(scores(50, 20), view=SILENT), compose(scores(50, 20))

        assert with_fault.degraded == ("uncalibrated", "model boosted: no version", "layer ml silent")
        assert replace(with_fault, degraded=()) == replace(alone, degraded=())
        assert (with_fault.p_up, with_fault.p3) == (None, None)

    def test_a_market_it_does_not_know_is_named(self) -> None:
        signal = compose(QUIET, view=prediction(novelty=1.8))

        assert "model boosted: novel market, 1.8 times the usual distance" in signal.degraded
        assert compose(QUIET, view=prediction(novelty=1.0)).degraded == ("layer ml silent",)

    def test_another_models_prediction_decides_nothing_and_its_fault_is_told(self) -> None:
        other = replace(SILENT, model="transformer", fault="no torch here")
        signal = Composer().compose(
            moment(), QUIET, "mixed", "replay", {}, {"boosted": prediction(), "transformer": other}
        )

        assert signal.direction == "LONG"
        assert signal.degraded == ("model transformer: no torch here", "layer ml silent")

    def test_what_the_signal_tells_of_its_models_is_passed_on(self) -> None:
        told = {"boosted": {"p_up": 0.56}}
        signal = Composer().compose(moment(), QUIET, "mixed", "replay", {}, {"boosted": prediction()}, told)

        assert signal.models == told
        assert compose(QUIET).models == {}

    def test_numbers_that_no_model_can_mean_are_refused(self) -> None:
        with pytest.raises(CorruptRecord, match=f"BTCUSDT model boosted at {NOON} answered p_up 1.5"):
            compose(QUIET, view=prediction(1.5, p3=(0.2, 0.5, 0.3)))

    def test_the_position_is_full_from_the_cap_on(self) -> None:
        near = moment(atr=0.05)
        sizes = [compose(QUIET, near, view=prediction(p)).position_size for p in (0.54, 0.56, 0.9)]

        assert sizes == pytest.approx([4 / 6, 1.0, 1.0], abs=1e-3)

    @given(view=views, value=points, other=points, atr=st.floats(0.01, 5))
    def test_confidence_is_the_calibrated_probability_of_what_is_said_to_the_bit(
        self, view: Prediction, value: float, other: float, atr: float
    ) -> None:
        signal = compose(scores(value, other), moment(atr=atr), view=view)
        p_up, p3 = view.p_up or 0.0, view.p3 or (0.0, 0.0, 0.0)

        stated = {"LONG": p_up, "SHORT": 1 - p_up, "NEUTRAL": p3[1]}
        assert signal.confidence == 100 * stated[signal.direction]
        assert signal.direction == "NEUTRAL" or signal.confidence > 50
        assert "uncalibrated" not in signal.degraded

    @given(view=views, value=points, other=points, atr=st.floats(0.01, 5))
    def test_a_side_pays_its_costs_has_skill_levels_and_nobody_against_it(
        self, view: Prediction, value: float, other: float, atr: float
    ) -> None:
        signal = compose(scores(value, other), moment(atr=atr), view=view)
        edge = abs(2 * (view.p_up or 0.0) - 1) * (view.expected_move or 0.0)
        side = {"LONG": 1, "SHORT": -1, "NEUTRAL": 0}[signal.direction]

        if side:
            assert edge > 0.0014
            assert view.skill
            assert side * signal.score > -25
            assert signal.stop_loss is not None
            assert signal.take_profit is not None
            assert side * (signal.take_profit / signal.entry - 1) > 0.0014
            assert side * ((view.p_up or 0.0) - 0.5) > 0
            assert signal.confidence >= 54
        elif not set(signal.degraded) & {"no levels", "target within costs"}:
            wanted = 1 if (view.p_up or 0.0) > 0.5 else -1
            sure = 100 * max(view.p_up or 0.0, 1 - (view.p_up or 0.0)) >= 54
            assert edge <= 0.0014 or not view.skill or not sure or wanted * signal.score <= -25

    @given(view=views, value=points, other=points)
    def test_the_model_moves_the_score_only_through_its_layer(
        self, view: Prediction, value: float, other: float
    ) -> None:
        with_view, alone = compose(scores(value, other), view=view), compose(scores(value, other))

        assert (with_view.score, with_view.layers) == (alone.score, alone.layers)
        assert with_view.id == alone.id

    @given(view=views, share=st.floats(1e-4, 0.2))
    def test_a_stop_never_costs_more_than_the_budget(self, view: Prediction, share: float) -> None:
        signal = compose(QUIET, moment(100.0, atr=100 * share), view=view)

        assert 0 <= signal.position_size <= 1
        if signal.stop_loss is not None:
            assert signal.position_size * abs(signal.stop_loss / signal.entry - 1) <= 0.01 + 1e-12


class TestLevels:
    def test_the_stop_stands_beyond_the_level_behind_and_the_target_at_the_level_ahead(self) -> None:
        signal = compose(scores(50), moment(100.0, atr=1.0, support=98.0, resistance=105.0))

        assert (signal.stop_loss, signal.take_profit) == (97.75, 105.0)
        assert signal.risk_reward == pytest.approx(5 / 2.25, abs=1e-4)

    def test_a_short_mirrors_a_long(self) -> None:
        signal = compose(scores(-50), moment(100.0, atr=1.0, support=95.0, resistance=102.0))

        assert (signal.stop_loss, signal.take_profit) == (102.25, 95.0)

    def test_a_level_behind_within_the_noise_leaves_one_atr_and_a_far_one_three(self) -> None:
        assert compose(scores(50), moment(atr=1.0, support=99.9)).stop_loss == 99.0
        assert compose(scores(50), moment(atr=1.0, support=80.0)).stop_loss == 97.0

    def test_without_structure_the_stop_is_one_and_a_half_atr_and_the_target_the_least_worth_it(self) -> None:
        signal = compose(scores(50), moment(100.0, atr=1.0))

        assert (signal.stop_loss, signal.take_profit, signal.risk_reward) == (98.5, 102.25, 1.5)

    def test_a_level_on_the_wrong_side_counts_as_none(self) -> None:
        plain = compose(scores(50), moment(100.0, atr=1.0))
        broken = compose(scores(50), moment(100.0, atr=1.0, support=101.0, resistance=99.0))

        assert (broken.stop_loss, broken.take_profit) == (plain.stop_loss, plain.take_profit)

    def test_prices_move_outward_to_the_grid(self) -> None:
        long = compose(scores(50), moment(100.0, atr=0.77, step=0.1))
        short = compose(scores(-50), moment(100.0, atr=0.77, step=0.1))

        assert (long.stop_loss, long.take_profit) == (98.8, 101.8)
        assert (short.stop_loss, short.take_profit) == (101.2, 98.2)


class TestSize:
    @given(value=points, share=st.floats(1e-4, 0.2), step=st.sampled_from([0.0, 0.01, 1.0]))
    def test_a_stop_never_costs_more_than_the_budget(self, value: float, share: float, step: float) -> None:
        signal = compose(scores(value), moment(100.0, atr=100 * share, step=step))

        assert 0 <= signal.position_size <= 1
        if signal.stop_loss is not None:
            assert signal.position_size * abs(signal.stop_loss / signal.entry - 1) <= 0.01 + 1e-12
        else:
            assert signal.position_size == 0

    def test_it_is_the_belief_where_the_stop_is_near_and_shrinks_with_its_distance(self) -> None:
        near, far = compose(scores(50, 50), moment(atr=0.2)), compose(scores(50, 50), moment(atr=4.0))

        assert near.position_size == 0.5
        assert far.position_size == pytest.approx(0.5 * 0.01 / 0.06, abs=1e-4)


class TestSignal:
    def test_times_follow_from_the_close(self) -> None:
        signal = compose(scores(50), composer=Composer("5m", horizon=12, grace=10_000))

        assert (signal.time, signal.symbol, signal.interval) == (NOON, "BTCUSDT", "5m")
        assert signal.horizon_end == NOON + 12 * STEP
        assert signal.valid_until == NOON + STEP + 10_000

    def test_its_id_names_symbol_interval_close_and_settings(self) -> None:
        signal = compose(scores(50), composer=Composer(config_hash="abc"))
        expected = sha256(f"BTCUSDT|5m|{NOON}|abc".encode()).hexdigest()[:24]

        assert signal.id == expected
        assert compose(scores(-50), composer=Composer(config_hash="abc")).id == expected
        assert compose(scores(50), composer=Composer(config_hash="abd")).id != expected
        assert compose(scores(50), moment(time=NOON + STEP), Composer(config_hash="abc")).id != expected

    def test_what_the_moment_lacked_comes_first_in_degraded(self) -> None:
        signal = compose(scores(50), moment(degraded=("4h short",)))

        assert signal.degraded == ("4h short", "uncalibrated", "layer correlation silent", "layer ml silent")

    def test_feed_and_sources_are_passed_on(self) -> None:
        signal = compose(scores(50))

        assert (signal.feed, signal.sources) == ("replay", {"spot:5m": NOON})

    def test_the_same_moment_gives_the_same_signal_in_another_process(self) -> None:
        composer = Composer(config_hash="abc")
        copied: Composer = pickle.loads(pickle.dumps(composer))
        held = moment(support=98.0, step=0.01)

        signal = compose(scores(50, 20), held, composer)

        assert compose(scores(50, 20), held, copied) == signal
        assert pickle.loads(pickle.dumps(signal)) == signal

    @given(value=points, other=points, power=st.integers(-20, 20), share=st.floats(1e-4, 0.05), behind=gaps)
    def test_a_price_in_another_unit_changes_prices_only(
        self, value: float, other: float, power: int, share: float, behind: float
    ) -> None:
        def at(unit: float) -> Signal:
            atr = 100 * share
            held = moment(100 * unit, atr=atr * unit, support=(100 - behind * atr) * unit, step=0.0)
            return compose(scores(value, other), held)

        unit = 2.0**power
        one, scaled = at(1.0), at(unit)

        levels = ("entry", "stop_loss", "take_profit")
        assert replace(scaled, **{name: getattr(one, name) for name in levels}) == one
        for name in levels:
            was, now = getattr(one, name), getattr(scaled, name)
            assert now == (None if was is None else was * unit)

    @pytest.mark.parametrize("unit", [1e-6, 0.001, 10.0, 1000.0])
    def test_on_the_grid_too(self, unit: float) -> None:
        def at(unit: float) -> Signal:
            return compose(
                scores(60, 30), moment(64.13 * unit, atr=0.7 * unit, support=63.2 * unit, step=0.01 * unit)
            )

        one, scaled = at(1.0), at(unit)

        assert (scaled.direction, scaled.confidence, scaled.score) == (
            one.direction,
            one.confidence,
            one.score,
        )
        assert scaled.position_size == pytest.approx(one.position_size, abs=2e-4)
        assert scaled.risk_reward == pytest.approx(one.risk_reward, abs=0.02)

    def test_an_unknown_segment_is_refused(self) -> None:
        with pytest.raises(SettingsError, match="no threshold for 'stocks', only for majors, alts, memes"):
            compose(scores(5), moment(segment="stocks"))
        assert Composer().threshold("memes") == 0.015
