"""The watch over published probabilities: when it speaks, when it does not, and what it is held beside."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.research import Array
from engine.research.drift import Alarm, Closes, Trail, Watch

ROOT = Path(__file__).parents[3]
YEAR = 8760
HORIZON = 12
SHARES = np.linspace(0.01, 0.99, 981)
QUANTILES = np.array([NormalDist().inv_cdf(share) for share in SHARES])


def market(seed: int, hours: int, symbols: int = 6) -> tuple[Array, Array]:
    """Calibrated hourly probabilities near a half, and outcomes over the next 12 hours: overlapping, and
    correlated at 0.64 between symbols; both (hours, symbols).
    """
    rng = np.random.default_rng(seed)
    common, own = rng.standard_normal((hours + HORIZON, 1)), rng.standard_normal((hours + HORIZON, symbols))
    walk = np.cumsum(0.8 * common + 0.6 * own, axis=0)
    move = (walk[HORIZON:] - walk[:-HORIZON]) / np.sqrt(HORIZON)
    lean = np.repeat(rng.standard_normal((hours // 24 + 1, 1)), 24, axis=0)[:hours]
    p = np.clip(0.5 + 0.025 * (0.95 * lean + 0.3 * rng.standard_normal((hours, symbols))), 0.02, 0.98)
    return p, (move + np.interp(p, SHARES, QUANTILES) > 0).astype(np.float64)


def scores(p: Array, y: Array) -> list[float]:
    return [float(score) for score in ((p - y) ** 2).mean(axis=1)]


def watched(values: list[float], watch: Watch | None = None, version: str = "v1") -> list[Alarm]:
    """What the watch asked a retraining for."""
    watch = watch or Watch()
    asked = [watch.update(hour, value, version) for hour, value in enumerate(values)]
    return [alarm for alarm in asked if alarm is not None]


def test_a_model_that_stays_as_it_was_is_left_alone() -> None:
    watches = [Watch() for _ in range(5)]
    for seed, watch in enumerate(watches):
        watched(scores(*market(seed, 2 * YEAR)), watch)

    # 0.16 a year are expected, so 1.6 in these ten years; six or more come in less than 1 % of all worlds.
    assert sum(watch.found.count for watch in watches) < 6


@pytest.mark.parametrize(
    ("wrong", "days"),
    [
        pytest.param(lambda p: np.clip(0.5 + 6 * (p - 0.5), 0.02, 0.98), 120, id="far too sure"),
        pytest.param(lambda p: np.full_like(p, 0.62), 120, id="stuck"),
    ],
)
def test_a_model_that_breaks_is_found(wrong: type[np.ndarray], days: int) -> None:
    found = []
    for seed in range(5):
        p, y = market(100 + seed, YEAR)
        broken = p.copy()
        broken[YEAR // 2 :] = wrong(p[YEAR // 2 :])
        found += [alarm for alarm in watched(scores(broken, y)) if alarm.time >= YEAR // 2][:1]

    assert len(found) >= 4
    assert sorted(alarm.time for alarm in found)[2] < YEAR // 2 + 24 * days


def test_the_means_of_an_alarm_are_those_of_the_two_parts_of_its_window() -> None:
    rng = np.random.default_rng(3)
    values = [float(value) for value in np.concatenate([rng.uniform(0, 0.5, 400), rng.uniform(0.3, 0.8, 60)])]
    watch = Watch()
    for hour, value in enumerate(values):
        watch.update(hour, value, "v1")
        if watch.found.count:
            break
    kept = watch.told()["window"]
    alarm = watch.found.alarms[0]
    seen = values[: hour + 1]

    assert 400 <= alarm.time == hour < 460
    assert alarm.before == pytest.approx(np.mean(seen[:-kept]))
    assert alarm.after == pytest.approx(np.mean(seen[-kept:]))
    assert alarm.usual == pytest.approx(np.mean(seen))


def test_a_score_that_falls_alarms_and_asks_for_nothing() -> None:
    watch = Watch()

    assert watched([0.4] * 500 + [0.2] * 200, watch) == []
    assert watch.found.count >= 1
    assert watch.found.worse == 0


def test_a_version_is_asked_for_once_and_the_next_one_again() -> None:
    watch = Watch()
    once = watched([0.1] * 300 + [0.4] * 300 + [0.9] * 300, watch)
    again = watched([0.1] * 300 + [0.9] * 300, watch, "v2")

    assert [alarm.version for alarm in once + again] == ["v1", "v2"]
    assert watch.found.worse >= 3
    assert watch.told()["asked"] == ["v1", "v2"]


def test_the_control_alarms_whatever_the_numbers_are_and_about_as_often_as_it_is_told() -> None:
    rng = np.random.default_rng(8)
    calm, wild = Watch(seed=4, every=200, spread=20), Watch(seed=4, every=200, spread=20)
    watched([0.25] * 20_000, calm)
    watched([float(value) for value in rng.uniform(0, 1, 20_000)], wild)
    times = [alarm.time for alarm in calm.chance.alarms]

    assert times == [alarm.time for alarm in wild.chance.alarms]
    assert 80 <= calm.chance.count <= 130
    assert calm.found.count == 0
    assert times != [alarm.time for alarm in controlled(seed=5)]


def controlled(seed: int) -> list[Alarm]:
    watch = Watch(seed=seed, every=200, spread=20)
    watched([0.25] * 20_000, watch)
    return list(watch.chance.alarms)


def test_an_alarm_lasted_if_what_came_behind_it_was_worse_than_usual() -> None:
    trail = Trail(follow=2)
    for after, later in ((0.4, (0.5, 0.2)), (0.4, (0.3, 0.2)), (0.1, (0.9, 0.9)), (0.4, (0.9,))):
        trail.add(Alarm(1, "v1", before=0.2, after=after, usual=0.3))
        for value in later:
            trail.see(value)
    told = trail.told()

    assert [told[name] for name in ("count", "worse", "followed", "lasted")] == [4, 3, 2, 1]
    assert [alarm["later"] for alarm in told["alarms"]] == [0.35, 0.25, 0.9, None]


def test_alarms_are_all_counted_and_the_newest_kept() -> None:
    trail = Trail(kept=3)
    for time in range(10):
        trail.add(Alarm(time, "v1", 0.2, 0.3, 0.25))

    assert trail.count == 10
    assert [alarm.time for alarm in trail.alarms] == [7, 8, 9]


def settled(closes: Closes, time: int, score: float | None) -> list[tuple[int, float]]:
    return list(closes.settle(time, score))


def test_a_close_waits_for_all_its_symbols_and_the_next_for_it() -> None:
    closes = Closes()
    for time in (1, 1, 2):
        closes.expect(time, time + 12)

    assert settled(closes, 1, 0.2) == []
    assert settled(closes, 2, 0.7) == []
    assert settled(closes, 1, 0.4) == [(1, pytest.approx(0.3)), (2, 0.7)]


def test_what_is_never_judged_delays_a_close_and_counts_for_nothing() -> None:
    closes = Closes()
    for time in (1, 1, 2):
        closes.expect(time, time + 12)

    assert settled(closes, 1, 0.2) == []
    assert settled(closes, 1, None) == [(1, 0.2)]
    assert settled(closes, 2, None) == []
    assert settled(closes, 2, 0.5) == []
    assert closes.late == 1


def test_a_symbol_that_left_is_waited_for_two_horizons() -> None:
    closes = Closes()
    for time in (1, 1, 25, 26):
        closes.expect(time, time + 12)

    assert settled(closes, 1, 0.2) == []
    assert settled(closes, 25, 0.3) == []
    assert settled(closes, 26, 0.4) == [(1, 0.2), (25, 0.3), (26, 0.4)]
    assert settled(closes, 1, 0.9) == []
    assert closes.late == 1


@settings(max_examples=60)
@given(st.data())
def test_closes_come_in_order_and_once_with_the_mean_of_what_was_judged(data: st.DataObject) -> None:
    sizes = data.draw(st.lists(st.integers(1, 4), min_size=1, max_size=12))
    said = [time for time, size in enumerate(sizes, 1) for _ in range(size)]
    # Each symbol judges in time order, but symbols may be some closes apart.
    order = sorted(
        range(len(said)), key=lambda place: (said[place] + data.draw(st.integers(0, 5)), said[place])
    )
    values = data.draw(st.lists(st.floats(0, 1), min_size=len(said), max_size=len(said)))
    closes = Closes()
    for time in said:
        closes.expect(time, time + 12)
    told = [pair for place in order for pair in closes.settle(said[place], values[place])]
    means = [
        float(np.mean([values[place] for place in range(len(said)) if said[place] == time]))
        for time in range(1, len(sizes) + 1)
    ]

    assert [time for time, _ in told] == list(range(1, len(sizes) + 1))
    assert [mean for _, mean in told] == pytest.approx(means)
    assert closes.late == 0


@pytest.mark.parametrize("module", ["dataflows.signals", "dataflows.cli", "api.server"])
def test_neither_the_flow_nor_the_commands_nor_the_api_pay_for_river(module: str) -> None:
    asked = f"import sys, {module}; print('river' in sys.modules, 'engine.research.drift' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", asked], cwd=ROOT, capture_output=True, text=True, timeout=100, check=True
    )

    assert done.stdout.split() == ["False", "False"]


def test_the_drift_watch_does_pay_for_it() -> None:
    assert "river" in sys.modules
