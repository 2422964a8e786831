from __future__ import annotations

import pickle
from math import inf, isnan

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.random import default_rng

from engine.research import Array, Ints
from engine.research.conformal import NAMES, Adaptive, quantile, scores

probabilities = st.tuples(*[st.floats(0.001, 1)] * 3).map(lambda p: tuple(x / sum(p) for x in p))


@given(st.lists(st.floats(0, 1), min_size=1, max_size=200), st.sampled_from([0.05, 0.1, 0.2, 0.5]))
def test_the_quantile_is_the_smallest_that_covers_with_one_more_score_counted_as_a_miss(
    drawn: list[float], alpha: float
) -> None:
    n = len(drawn)
    enough = [q for q in sorted(drawn) if sum(s <= q for s in drawn) >= (n + 1) * (1 - alpha) - 1e-9]

    assert quantile(np.array(drawn), alpha) == (enough[0] if enough else inf)


def test_exchangeable_scores_are_covered_as_often_as_promised() -> None:
    rng = default_rng(1)
    held = []
    for _ in range(4000):
        drawn = rng.random(30)
        held.append(drawn[29] <= quantile(drawn[:29]))

    assert np.mean(held) == pytest.approx(0.9, abs=0.015)  # 27 of 30 places, exactly


def test_a_score_that_is_nan_is_refused() -> None:
    with pytest.raises(ValueError, match="1 of 2 scores"):
        quantile(np.array([0.5, np.nan]))


def outcomes(n: int, seed: int, lean: float = 1.0) -> tuple[Array, Ints]:
    """Probabilities and what came by them; with `lean` below 1 they are surer than they should be."""
    rng = default_rng(seed)
    true = rng.dirichlet([2, 4, 2], n)
    classes = (rng.random(n)[:, None] > true.cumsum(axis=1)).sum(axis=1)
    said = true ** (1 / lean)
    return said / said.sum(axis=1, keepdims=True), np.minimum(classes, 2)


def test_ninety_percent_of_exchangeable_outcomes_are_in_their_sets() -> None:
    p3, classes = outcomes(12_000, seed=2)
    sets = Adaptive(quantile(scores(p3[:2000], classes[:2000])))
    held = []
    for row, label, score in zip(p3[2000:], classes[2000:], scores(p3, classes)[2000:], strict=True):
        held.append(NAMES[label] in sets.members(row))
        sets.resolve(float(score))

    assert np.mean(held) == pytest.approx(0.9, abs=0.01)
    assert abs(sets.offset) < 0.15


def test_coverage_comes_back_when_the_model_grows_too_sure() -> None:
    p3, classes = outcomes(2000, seed=3)
    sets = Adaptive(quantile(scores(p3, classes)))
    still = sets.threshold
    sure, came = outcomes(4000, seed=4, lean=0.35)
    late = []
    for score in scores(sure, came):
        late.append(score <= sets.threshold)
        sets.resolve(float(score))

    assert np.mean(scores(sure, came) <= still) < 0.85
    assert np.mean(late[1000:]) == pytest.approx(0.9, abs=0.015)


@given(
    start=st.floats(0, 1),
    alpha=st.sampled_from([0.05, 0.1, 0.3]),
    gamma=st.sampled_from([0.005, 0.01, 0.05]),
    seed=st.integers(0, 10_000),
    phases=st.lists(st.sampled_from(["spite", "calm", "worst", "any"]), min_size=1, max_size=6),
)
def test_whatever_comes_misses_stay_within_the_bound_of_alpha(
    start: float, alpha: float, gamma: float, seed: int, phases: list[str]
) -> None:
    rng = default_rng(seed)
    sets = Adaptive(start, alpha, gamma)
    misses = count = 0
    for phase in phases:
        for _ in range(150):
            # Spite sees the threshold and puts the score right above it while that can be done.
            score = {"spite": min(max(sets.threshold + 1e-9, 0), 1), "calm": 0.0, "worst": 1.0}.get(
                phase, float(rng.random())
            )
            misses += score > sets.threshold
            count += 1
            sets.resolve(score)

            assert abs(misses / count - alpha) <= (1 + gamma) / (gamma * count) + 1e-9
            assert -gamma - 1e-9 <= sets.threshold <= 1 + gamma + 1e-9


@given(st.lists(st.tuples(probabilities, st.integers(0, 2)), min_size=1, max_size=30), st.floats(0, 1))
def test_a_set_holds_the_likeliest_and_every_class_within_the_threshold(
    drawn: list[tuple[tuple[float, ...], int]], start: float
) -> None:
    sets = Adaptive(start)
    for p3, label in drawn:
        members = sets.members(p3)

        likeliest = NAMES[p3.index(max(p3))]

        assert members == tuple(
            name for name, p in zip(NAMES, p3, strict=True) if name == likeliest or 1 - p <= sets.threshold
        )
        sets.resolve(1 - p3[label])


def test_a_set_is_judged_by_the_threshold_it_was_made_with() -> None:
    late, now = Adaptive(0.5), Adaptive(0.5)
    late.offset = now.offset = 0.3

    late.resolve(0.6, threshold=0.5)
    now.resolve(0.6)

    assert (late.coverage, now.coverage) == (0, 1)
    assert late.offset > 0.3 > now.offset


def test_outcomes_that_are_known_late_lengthen_the_bound_only_by_those_under_way() -> None:
    rng = default_rng(5)
    sets, under_way, misses = Adaptive(0.7), [], 0
    for count in range(1, 3001):
        score = float(rng.beta(5, 2) if count < 1500 else rng.beta(2, 5))
        under_way.append((score, sets.threshold))
        if len(under_way) > 12:
            made, threshold = under_way.pop(0)
            misses += made > threshold
            sets.resolve(made, threshold)

    assert abs(misses / sets.seen - 0.1) <= (1 + 13 * 0.01) / (0.01 * sets.seen)


@given(st.lists(st.booleans(), max_size=60), st.integers(1, 20))
def test_coverage_is_that_of_the_newest_outcomes(hits: list[bool], window: int) -> None:
    sets = Adaptive(0.5, window=window)
    for hit in hits:
        sets.resolve(0.0 if hit else 1.0, threshold=0.5)

    if hits:
        assert sets.coverage == np.mean(hits[-window:])
    else:
        assert isnan(sets.coverage)
    assert sets.seen == len(hits)


def test_a_new_version_brings_its_quantile_and_the_symbol_keeps_its_offset() -> None:
    sets = Adaptive(0.6)
    sets.resolve(0.9)
    offset = sets.offset

    sets.update(0.8)

    assert sets.threshold == 0.8 + offset
    sets.update(inf)
    assert sets.quantile == 1.0
    assert Adaptive(inf).members((0.98, 0.01, 0.01)) == NAMES


def test_state_survives_pickling_small_and_goes_on_the_same() -> None:
    sets = Adaptive(0.7)
    for score in default_rng(6).random(5000):
        sets.resolve(float(score))
    kept = pickle.dumps(sets)
    other = pickle.loads(kept)
    for each in (sets, other):
        each.resolve(0.4)

    assert len(kept) < 300
    assert [getattr(other, name) for name in Adaptive.__slots__] == [
        getattr(sets, name) for name in Adaptive.__slots__
    ]


@pytest.mark.parametrize(
    "wrong", [{"alpha": 0.0}, {"alpha": 1.0}, {"gamma": 0.0}, {"window": 0}, {"quantile": float("nan")}]
)
def test_what_cannot_work_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError):
        Adaptive(**wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize("score", [-0.1, 1.1, float("nan")])
def test_a_score_outside_0_to_1_is_refused(score: float) -> None:
    with pytest.raises(ValueError, match="a score lies in 0 to 1"):
        Adaptive().resolve(score)
