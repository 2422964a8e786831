"""What published probabilities were worth: figures worked by hand, and a second formula for the rest."""

from __future__ import annotations

from math import log

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.research import metrics
from engine.research.judged import Judged, Tally
from engine.research.significance import DAY

HOUR = 3_600_000


def rng() -> np.random.Generator:
    return np.random.default_rng(7)


def tally(rows: list[Judged], window: int = 2000) -> Tally:
    made = Tally(window)
    for row in rows:
        made.add(row)
    return made


def test_figures_worked_by_hand() -> None:
    rows = [
        Judged(1 * HOUR, 0.7, up=True, stated=0.7, hit=True, covered=True, novel=False),
        Judged(2 * HOUR, 0.6, up=False, covered=True, novel=False),
        Judged(3 * HOUR, 0.2, up=False, stated=0.8, hit=True, covered=False, novel=True),
        Judged(4 * HOUR, 0.7, up=False, stated=0.6, hit=False),
    ]
    told = tally(rows).total(rng())

    assert (told["n"], told["directional"], told["days"]) == (4, 3, 1)
    assert (told["from"], told["until"]) == (0, DAY)
    assert told["base_rate"] == 0.25
    assert told["brier"] == pytest.approx((0.09 + 0.36 + 0.04 + 0.49) / 4)
    assert told["brier_base"] == 0.1875
    assert told["brier_skill"] == pytest.approx(1 - 0.245 / 0.1875)
    assert told["log_loss"] == pytest.approx(-(log(0.7) + log(0.4) + log(0.8) + log(0.3)) / 4)
    assert told["log_loss_base"] == pytest.approx(-(0.25 * log(0.25) + 0.75 * log(0.75)))
    # Fifteen bins: 0.2 stands in [3/15, 4/15), 0.6 in [9/15, 10/15), both 0.7 in [10/15, 11/15).
    assert told["ece"] == pytest.approx((0.2 + 0.6 + abs(1.4 - 1)) / 4)
    assert told["stated"] == pytest.approx(0.7)
    assert told["hit_rate"] == pytest.approx(2 / 3)
    assert told["overstated"] == pytest.approx(0.7 - 2 / 3)
    assert told["coverage"] == pytest.approx(2 / 3)
    assert told["novel"] == pytest.approx(1 / 3)
    assert told["brier_ci"] is None


@settings(max_examples=40)
@given(st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1, max_size=60))
def test_figures_are_those_of_the_metrics(said: list[tuple[float, bool]]) -> None:
    told = tally([Judged(HOUR * place, p, up) for place, (p, up) in enumerate(said)]).total(rng())
    p, y = np.array([p for p, _ in said]), np.array([float(up) for _, up in said])

    assert told["brier"] == pytest.approx(metrics.brier(p, y))
    assert told["log_loss"] == pytest.approx(metrics.log_loss(p, y))
    assert told["ece"] == pytest.approx(metrics.ece(p, y))
    if 0 < y.mean() < 1:
        assert told["brier_skill"] == pytest.approx(metrics.brier_skill(p, y, float(y.mean())))
    else:
        assert told["brier_skill"] is None


def test_what_was_never_said_is_not_made_up() -> None:
    told = tally([Judged(HOUR, 0.5, up=True)]).total(rng())

    names = ("stated", "hit_rate", "overstated", "coverage", "novel", "brier_skill")
    assert [told[name] for name in names] == [None] * 6
    assert Tally().total(rng()) == Tally().recent(rng()) == {"n": 0}


def test_recent_forgets_and_total_does_not() -> None:
    rows = [Judged(HOUR * hour, 0.9, up=hour >= 50) for hour in range(100)]
    made = tally(rows, window=50)

    assert made.recent(rng())["base_rate"] == 1.0
    assert made.recent(rng())["n"] == 50
    assert made.total(rng())["base_rate"] == 0.5
    assert made.total(rng())["n"] == 100


def test_a_close_at_midnight_belongs_to_the_day_it_ends() -> None:
    assert tally([Judged(DAY, 0.5, up=True), Judged(HOUR, 0.5, up=True)]).total(rng())["days"] == 1
    assert tally([Judged(DAY, 0.5, up=True), Judged(DAY + 1, 0.5, up=True)]).total(rng())["days"] == 2


def test_intervals_take_a_day_as_one_observation() -> None:
    # Every hour of a day has the same outcome: 60 tries, not 1440.
    ups = np.random.default_rng(5).random(60) < 0.5
    rows = [
        Judged(DAY * day + HOUR * hour, 0.5, bool(ups[day])) for day in range(60) for hour in range(1, 25)
    ]
    low, high = tally(rows).total(rng())["base_rate_ci"]

    assert low < ups.mean() < high
    assert 0.5 < (high - low) / (2 * 1.96 * (0.25 / 60) ** 0.5) < 1.4


def test_intervals_keep_neighbouring_days_together() -> None:
    # Three days in a row come out alike, as overlapping horizons make them: 100 tries, not 300.
    ups = np.repeat(np.random.default_rng(6).random(100) < 0.5, 3)
    low, high = tally([Judged(DAY * day + HOUR, 0.5, bool(up)) for day, up in enumerate(ups)]).total(rng())[
        "base_rate_ci"
    ]

    assert (high - low) / (2 * 1.96 * (0.25 / 300) ** 0.5) > 1.3


def test_an_interval_holds_the_truth_about_as_often_as_it_says() -> None:
    held = 0
    for seed in range(100):
        draw = np.random.default_rng(seed)
        p = draw.uniform(0.3, 0.7, (90, 8))
        ups = draw.random((90, 8)) < p
        rows = [
            Judged(DAY * day + HOUR * (hour + 1), float(p[day, hour]), bool(ups[day, hour]))
            for day in range(90)
            for hour in range(8)
        ]
        low, high = tally(rows).total(np.random.default_rng(seed))["brier_ci"]
        held += low < 0.25 - 0.16 / 12 < high  # E p (1 - p) of a uniform p

    assert 84 <= held <= 99


def test_days_without_rows_are_days_all_the_same() -> None:
    told = tally([Judged(DAY * day + HOUR, 0.5, day % 4 == 0) for day in range(0, 60, 2)]).total(rng())

    assert told["days"] == 30
    assert told["base_rate_ci"][0] < 0.5 < told["base_rate_ci"][1]


def test_the_same_generator_gives_the_same_intervals() -> None:
    rows = [Judged(HOUR * hour, 0.4 + 0.2 * (hour % 3 == 0), hour % 2 == 0) for hour in range(600)]

    assert tally(rows).total(rng()) == tally(rows).total(rng())
    assert tally(rows).total(rng())["brier_ci"] == tally(rows).recent(rng())["brier_ci"]
