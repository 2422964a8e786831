"""The shelf: which version is current, which one serves a moment, which ones go."""

from __future__ import annotations

import shutil
import stat
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.errors import StorageError
from engine.models.manifest import Facts
from engine.models.shelf import POINTER, Shelf
from engine.models.version import MANIFEST
from tests.engine.models.shelves import (
    HOUR,
    MIDNIGHT,
    SCHEMA,
    after,
    flip,
    hidden,
    three,
    two,
)


class TestPointer:
    def test_it_names_what_it_was_pointed_to(self, shelf: Shelf) -> None:
        assert shelf.current() is None
        first, _, last = three(shelf)
        assert shelf.current() == last

        shelf.point(first)

        assert shelf.current() == Shelf(shelf.folder.parent, "boosted").current() == first
        assert stat.S_ISREG((shelf.folder / POINTER).lstat().st_mode)
        assert (shelf.folder / POINTER).read_text() == f"{first}\n"
        assert hidden(shelf) == set()

    @pytest.mark.parametrize(
        ("held", "words"),
        [
            (b"", "'' names no version"),
            (b"20231115T0000Z-0", "'20231115T0000Z-0' names no version"),
            (b"../../sizer/x\n", "'../../sizer/x.n' names no version"),
            (b"20231115T0000Z-00000000\n\n", "names no version"),
            (b"\xff\0\x1b[2J", "names no version"),
            (b"x" * 5000, "xxx.. names no version"),
        ],
    )
    def test_a_damaged_one_says_so_and_nothing_is_pruned_by_it(
        self, shelf: Shelf, held: bytes, words: str
    ) -> None:
        names = three(shelf)
        (shelf.folder / POINTER).write_bytes(held)

        for act in (shelf.current, shelf.rollback, lambda: shelf.prune(0)):
            with pytest.raises(StorageError, match=f"^boosted: current is damaged: .*{words}") as told:
                act()
            assert str(told.value).isprintable()
        assert shelf.versions() == tuple(names)
        assert shelf.faults().keys() == {POINTER}
        assert not any(one.current for one in shelf.listed())

        shelf.point(names[0])
        assert shelf.current() == names[0]

    def test_a_link_or_a_folder_is_no_pointer(self, shelf: Shelf) -> None:
        names = three(shelf)
        pointer = shelf.folder / POINTER
        pointer.unlink()
        pointer.symlink_to(names[0])
        with pytest.raises(StorageError, match="current is not a plain file"):
            shelf.current()

        shelf.point(names[1])
        assert shelf.current() == names[1]

        pointer.unlink()
        pointer.mkdir()
        with pytest.raises(StorageError, match="current is not a plain file"):
            shelf.current()

    def test_it_is_not_moved_to_what_was_not_promoted(self, shelf: Shelf) -> None:
        *_, last = three(shelf)
        worse = shelf.add(two, after(96, promoted=False)).version

        with pytest.raises(StorageError, match=f"boosted {worse}: it was not promoted"):
            shelf.point(worse)
        assert shelf.current() == last

    def test_it_is_not_moved_to_other_features(self, shelf: Shelf) -> None:
        first, *_, last = three(shelf)

        with pytest.raises(StorageError, match="its features are of schema"):
            shelf.point(first, "ffff")
        assert shelf.current() == last

    def test_a_model_nobody_trained_has_none(self, shelf: Shelf) -> None:
        for act in (lambda: shelf.point("20231115T0000Z-00000000"), shelf.rollback):
            with pytest.raises(StorageError, match="boosted: there is no such model in "):
                act()
        assert (shelf.prune(0), shelf.listed(), shelf.serving(1 << 60)) == ((), (), None)
        assert not shelf.folder.exists()


class TestRollback:
    def test_it_goes_back_one_by_one_and_then_says_that_there_is_none(self, shelf: Shelf) -> None:
        first, second, _ = three(shelf)

        assert (shelf.rollback(), shelf.current()) == (second, second)
        assert (shelf.rollback(), shelf.current()) == (first, first)
        with pytest.raises(StorageError, match=f"boosted: before {first} there is no promoted version"):
            shelf.rollback()
        assert shelf.current() == first

    def test_it_passes_over_what_was_not_promoted_is_damaged_or_knows_other_features(
        self, shelf: Shelf
    ) -> None:
        good = shelf.add(two, after(0)).version
        shelf.add(two, after(24, schema="ffff"))
        damaged = shelf.add(two, after(48)).version
        shelf.add(two, after(72, promoted=False))
        shelf.point(shelf.add(two, after(96)).version)
        shelf.add(two, after(120))
        flip(shelf.folder / damaged / "majors.side.json")

        assert shelf.rollback(SCHEMA) == good

    def test_it_leaves_a_version_that_is_damaged_or_gone(self, shelf: Shelf) -> None:
        first, second, last = three(shelf)
        shutil.rmtree(shelf.folder / last)
        assert shelf.rollback() == second

        flip(shelf.folder / second / MANIFEST)
        assert shelf.rollback() == first

    def test_without_a_current_version_there_is_nothing_to_go_back_from(self, shelf: Shelf) -> None:
        shelf.add(two, after(0))

        with pytest.raises(StorageError, match="no version is current"):
            shelf.rollback()


class TestPrune:
    def test_the_oldest_beyond_the_number_kept_go(self, shelf: Shelf) -> None:
        names = three(shelf)

        assert shelf.prune(3) == ()
        assert shelf.prune(2) == (names[0],)
        assert shelf.versions() == tuple(names[1:])
        assert hidden(shelf) == set()
        with pytest.raises(StorageError, match="there is no such version"):
            shelf.opened(names[0], SCHEMA)

    def test_the_current_one_and_those_in_use_stay_however_old(self, shelf: Shelf) -> None:
        names = [shelf.add(two, after(24 * day)).version for day in range(5)]
        shelf.point(names[0])

        assert shelf.prune(1, in_use=[names[2]]) == (names[1], names[3])
        assert shelf.versions() == (names[0], names[2], names[4])
        assert shelf.prune(0) == (names[2], names[4])

    def test_what_is_damaged_goes_like_any_other(self, shelf: Shelf, tmp_path: Path) -> None:
        names = three(shelf)
        shutil.rmtree(shelf.folder / names[0])
        (shelf.folder / names[0]).symlink_to(tmp_path)
        (tmp_path / "mine").write_text("")
        flip(shelf.folder / names[1] / MANIFEST)

        assert shelf.prune(1) == (names[0], names[1])
        assert (tmp_path / "mine").exists()

    def test_less_than_none_cannot_be_kept(self, shelf: Shelf) -> None:
        with pytest.raises(StorageError, match="-1 versions cannot be kept"):
            shelf.prune(-1)

    def test_one_that_was_pruned_can_be_added_and_pruned_again(self, shelf: Shelf) -> None:
        three(shelf)
        for _ in range(2):
            again = shelf.add(two, after(0)).version
            assert shelf.prune(2) == (again,)


class TestServing:
    @given(
        versions=st.lists(
            st.tuples(st.integers(0, 30), st.integers(1, 8), st.integers(0, 8), st.booleans()), max_size=4
        ),
        planted=st.tuples(st.integers(0, 30), st.integers(1, 8), st.integers(0, 8), st.booleans()),
        at=st.integers(-2, 50),
    )
    @settings(max_examples=60, deadline=None)
    def test_it_is_the_newest_that_no_moment_can_object_to(
        self, versions: list[tuple[int, int, int, bool]], planted: tuple[int, int, int, bool], at: int
    ) -> None:
        def facts(hours: int, horizon: int, embargo: int, promoted: bool) -> Facts:
            return after(hours, horizon=horizon, embargo=embargo, promoted=promoted)

        with TemporaryDirectory() as folder:
            shelf = Shelf(Path(folder), "boosted")
            made = [shelf.add(two, facts(*one)) for one in versions]
            time = MIDNIGHT + at * HOUR
            fit = [one for one in made if one.promoted and one.serves_from <= time]
            expected = max(fit, key=lambda one: (one.serves_from, one.data_until, one.version), default=None)
            assert shelf.serving(time) == expected

            later = shelf.add(two, facts(*planted))
            if not later.promoted or later.serves_from > time:
                assert shelf.serving(time) == expected

    def test_the_newest_is_the_one_that_could_serve_last(self, shelf: Shelf) -> None:
        long = shelf.add(two, after(0, horizon=8))
        short = shelf.add(two, after(2, horizon=1))

        assert short.serves_from < long.serves_from
        assert shelf.serving(1 << 60) == long
        assert shelf.serving(short.serves_from) == short

    def test_not_a_millisecond_too_early(self, shelf: Shelf) -> None:
        made = shelf.add(two, after(0))

        assert shelf.serving(made.serves_from - 1) is None
        assert shelf.serving(made.serves_from) == made

    def test_a_planted_version_of_later_data_changes_nothing_before_it_may_serve(self, shelf: Shelf) -> None:
        names = three(shelf)
        times = range(MIDNIGHT, MIDNIGHT + 100 * HOUR, HOUR)
        before = [shelf.serving(time) for time in times]

        shelf.add(two, after(100))
        shelf.point(shelf.versions()[-1])
        broken = shelf.folder / f"20240101T0000Z{names[0][14:]}"
        shutil.copytree(shelf.folder / names[0], broken)
        (shelf.folder / "20250101T0000Z-00000000").write_text("")

        assert [shelf.serving(time) for time in times] == before
        assert {one.version for one in before if one} == set(names)

    def test_what_cannot_be_opened_is_passed_over_and_told(self, shelf: Shelf) -> None:
        first, second, third = three(shelf)
        flip(shelf.folder / third / MANIFEST)
        (shelf.folder / second / "novelty.parquet").unlink()
        other = shelf.add(two, after(96, schema="ffff")).version

        found = shelf.serving(1 << 60, SCHEMA)
        assert found is not None
        assert found.version == first
        faults = shelf.faults(SCHEMA)
        assert faults.keys() == {second, third, other}
        assert faults[second] == "novelty.parquet is missing"
        assert faults[other] == f"its features are of schema ffff, not {SCHEMA}"


class TestListed:
    def test_what_is_pruned_while_it_is_looked_at_is_no_fault(
        self, shelf: Shelf, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        names = tuple(three(shelf))
        shelf.prune(2)
        monkeypatch.setattr(shelf, "versions", lambda: names)

        assert shelf.faults() == {}

    def test_every_version_has_its_row(self, shelf: Shelf) -> None:
        good = shelf.add(two, after(0))
        worse = shelf.add(two, after(24, promoted=False, reason="worse than before"))
        damaged = shelf.add(two, after(48))
        unreadable = shelf.add(two, after(72))
        shelf.point(good.version)
        flip(shelf.folder / damaged.version / "majors.side.json")
        (shelf.folder / unreadable.version / MANIFEST).write_text("")

        rows = shelf.listed()

        assert [row.version for row in rows] == list(shelf.versions())
        assert [row.manifest for row in rows] == [good, worse, damaged, None]
        assert [row.current for row in rows] == [True, False, False, False]
        assert [bool(row.fault) for row in rows] == [False, False, True, True]
        assert "majors.side.json is damaged" in rows[2].fault

    def test_a_pointer_to_nothing_is_told(self, shelf: Shelf) -> None:
        *_, last = three(shelf)
        shutil.rmtree(shelf.folder / last)

        assert shelf.faults() == {POINTER: f"it names {last}, which is not there"}
        assert not any(row.current for row in shelf.listed())
