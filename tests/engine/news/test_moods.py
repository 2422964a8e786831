"""Moods: what counts, how much, and that nothing but the window matters."""

from __future__ import annotations

import pickle
from collections.abc import Iterable, Sequence

import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from engine.news.moods import HOUR, MOST, Kind, Moods
from engine.records import Headline, Mood


def headline(
    n: int,
    time: int,
    tone: float = 0.5,
    *,
    learned: int | None = None,
    weight: float = 1.0,
    kind: Kind = "news",
    assets: tuple[str, ...] = ("BTC",),
) -> Headline:
    heard = time if learned is None else learned
    return Headline(
        f"{n:016x}", f"wire{n}", time, f"title {n}", "", assets, tone, weight, kind=kind, learned=heard
    )


def moods(headlines: Iterable[Headline], asset: str = "BTC", **knobs: float) -> Moods:
    made = Moods(asset, **knobs)
    for one in headlines:
        made.update(one)
    return made


def reference(
    headlines: Sequence[Headline], kind: Kind, asset: str | None, time: int
) -> tuple[float, float, int]:
    """Mean, weight and count by the definition, from all there ever was."""
    rows = [
        (one.weight * 0.5 ** ((time - one.time) / HOUR / 6), one.sentiment)
        for one in headlines
        if one.kind == kind
        and (asset is None or asset in one.assets)
        and one.learned < time
        and time - one.time < 48 * HOUR
    ]
    total = sum(weight for weight, _ in rows)
    return sum(weight * tone for weight, tone in rows) / total if total else 0.0, total, len(rows)


HEADLINES = st.lists(
    st.builds(
        lambda time, late, tone, weight, kind, assets: (time, late, tone, weight, kind, assets),
        st.integers(0, 120 * HOUR),
        st.integers(0, 60 * HOUR),
        st.floats(-1, 1),
        st.floats(0.01, 1),
        st.sampled_from(["news", "social"]),
        st.sampled_from([(), ("BTC",), ("ETH",), ("BTC", "ETH")]),
    ),
    max_size=30,
).map(
    lambda rows: [
        headline(n, time, tone, learned=time + late, weight=weight, kind=kind, assets=assets)
        for n, (time, late, tone, weight, kind, assets) in enumerate(rows)
    ]
)


@examples(max_examples=80, deadline=None)
@given(HEADLINES, st.integers(0, 200 * HOUR))
def test_a_mood_is_the_mean_of_what_was_known_and_young(told: list[Headline], time: int) -> None:
    found = {f"{mood.kind} {mood.scope}": mood for mood in moods(told).at(time)}
    kinds: tuple[Kind, ...] = ("news", "social")
    for kind in kinds:
        for scope, asset in (("asset", "BTC"), ("market", None)):
            mean, total, count = reference(told, kind, asset, time)
            mood = found.get(f"{kind} {scope}")
            if mood is None:
                assert count == 0
            else:
                assert mood.count == count
                assert (mood.sentiment, mood.weight) == pytest.approx((mean, total))


@examples(max_examples=60, deadline=None)
@given(HEADLINES, st.integers(0, 200 * HOUR), st.data())
def test_order_start_and_pickling_change_nothing(
    told: list[Headline], time: int, data: st.DataObject
) -> None:
    expected = moods(told).at(time)
    mixed = data.draw(st.permutations(told))
    late = [one for one in told if time - one.time < 48 * HOUR]

    assert moods(mixed).at(time) == expected
    assert moods(late).at(time) == expected
    assert pickle.loads(pickle.dumps(moods(told))).at(time) == expected


@examples(max_examples=60, deadline=None)
@given(HEADLINES, st.integers(0, 200 * HOUR))
def test_what_is_learned_later_changes_no_mood_of_before(told: list[Headline], time: int) -> None:
    assert moods(told).at(time) == moods(one for one in told if one.learned < time).at(time)


def test_a_headline_counts_after_it_was_learned_and_until_it_is_too_old() -> None:
    told = moods([headline(1, time=HOUR, learned=2 * HOUR)])

    assert told.at(2 * HOUR) == ()
    assert len(told.at(2 * HOUR + 1)) == 2
    assert len(told.at(49 * HOUR - 1)) == 2
    assert told.at(49 * HOUR) == ()


def test_the_weight_halves_with_every_half_life() -> None:
    told = moods([headline(1, time=0, weight=0.8)], half_life_hours=3)

    assert told.at(6 * HOUR)[0].weight == pytest.approx(0.2)


def test_the_strongest_pull_gives_the_title_and_the_newest_its_time() -> None:
    told = [headline(1, 0, -0.9), headline(2, HOUR, 0.2), headline(3, 2 * HOUR, 0.1)]
    mood = moods(told).at(3 * HOUR)[0]

    assert (mood.title, mood.source, mood.newest, mood.count) == ("title 1", "wire1", 2 * HOUR, 3)


def test_the_market_hears_of_every_asset_and_the_asset_of_its_own() -> None:
    told = moods(
        [headline(1, 0, 1.0), headline(2, 0, -1.0, assets=("ETH",)), headline(3, 0, -1.0, assets=())]
    )
    own, market = told.at(HOUR)

    assert (own.scope, own.count, own.sentiment) == ("asset", 1, 1.0)
    assert (market.scope, market.count) == ("market", 3)
    assert market.sentiment == pytest.approx(-1 / 3)


def test_a_story_counts_once_however_often_it_is_heard() -> None:
    told = moods([headline(1, 0), headline(1, 0, learned=HOUR), headline(1, HOUR)])

    assert [mood.count for mood in told.at(2 * HOUR)] == [1, 1]


def test_what_was_old_when_it_was_learned_or_weighs_nothing_is_passed_over() -> None:
    told = moods([headline(1, 0, learned=48 * HOUR), headline(2, 0, weight=0.0)])

    assert told.at(48 * HOUR + 1) == ()
    assert told.at(1) == ()


def test_a_date_ahead_of_the_clock_weighs_as_much_as_now() -> None:
    mood = moods([headline(1, time=HOUR + 600_000, learned=HOUR)]).at(HOUR + 1)[0]

    assert mood.weight == pytest.approx(1.0)
    assert mood.newest == HOUR


def test_the_newest_are_kept_and_memory_is_bounded() -> None:
    told = [headline(n, n * 1000, -1.0 if n < 1000 else 1.0) for n in range(1000 + MOST)]
    full = moods(told)
    mood = full.at(2000 * 1000)[0]

    assert (mood.count, mood.sentiment) == (MOST, 1.0)
    assert len(pickle.dumps(full)) < 200_000


def test_after_a_flood_the_moment_before_it_is_still_answered() -> None:
    before = [headline(n, n) for n in range(MOST)]
    flood = [headline(MOST + n, MOST + n, -1.0) for n in range(MOST)]

    assert moods([*before, *flood]).at(MOST) == moods(before).at(MOST)


def test_none_is_told_of_a_kind_that_is_silent() -> None:
    assert Moods("BTC").at(HOUR) == ()
    assert [mood.kind for mood in moods([headline(1, 0, kind="social")]).at(HOUR)] == ["social", "social"]
    assert all(isinstance(mood, Mood) for mood in moods([headline(1, 0)]).at(HOUR))


@given(HEADLINES, st.lists(st.integers(0, 200 * HOUR), max_size=6))
def test_what_a_mood_is_does_not_depend_on_when_it_was_asked_before(
    told: list[Headline], times: list[int]
) -> None:
    asked = Moods("BTC")
    for one in told:
        asked.update(one)
        for time in times:
            asked.at(time)

    for time in times:
        assert asked.at(time) == moods(told).at(time) == pickle.loads(pickle.dumps(asked)).at(time)
