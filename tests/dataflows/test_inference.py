"""The thread in which a model is asked: what travels together, and what never reaches the flow."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path

import pytest

from dataflows.connectors import inference
from dataflows.connectors.inference import Inference, Shelved, Unshelved
from engine.errors import StorageError
from engine.models import Kind, Model
from engine.models.manifest import Facts, Manifest
from engine.models.shelf import Shelf
from engine.records import Moment, Prediction
from tests.engine.models.asking import ACTIVE, FIVE, HOUR, NINE, Simple, Traitor, moment

PATIENCE = 30.0


def ask(asked: Inference, moments: Sequence[Moment]) -> list[Prediction]:
    futures = [asked.submit(held) for held in moments]
    return [future.result(PATIENCE) for future in futures]


def crowd(count: int) -> list[Moment]:
    return [moment(NINE, f"COIN{at}USDT", close=50.0 + at / 8) for at in range(count)]


class Shop:
    """Opens versions, and remembers which, how often and in which thread."""

    def __init__(self, make: Callable[[str], Model] = Simple, broken: Sequence[str] = ()) -> None:
        self.make = make
        self.broken = set(broken)
        self.opened: list[str] = []
        self.threads: set[str] = set()

    def __call__(self, version: str) -> Model:
        self.opened.append(version)
        self.threads.add(threading.current_thread().name)
        if version in self.broken:
            raise StorageError(f"boosted {version}: majors.json was changed")
        return self.make(version)


def of_version(held: Moment, version: str) -> Moment:
    return replace(held, activations={"boosted": replace(ACTIVE, version=version)})


def test_every_moment_has_its_own_answer_in_order() -> None:
    moments = crowd(17)

    assert ask(Inference("boosted", Shop()), moments) == Simple().predict(moments)


def test_what_comes_together_is_asked_together() -> None:
    made = Simple()
    ask(Inference("boosted", lambda version: made, linger=0.5), crowd(17))

    assert made.batches == [17]


@pytest.mark.parametrize("linger", [0.0, 0.002, 0.03])
def test_an_answer_does_not_depend_on_who_else_was_asked(linger: float) -> None:
    """A model whose answers do is betrayed by this."""
    moments = crowd(17)

    def alone_and_together(make: Callable[[str], Model]) -> tuple[list[Prediction], list[Prediction]]:
        alone = Inference("boosted", make, linger=linger)
        return [ask(alone, [held])[0] for held in moments], ask(
            Inference("boosted", make, linger=0.3), moments
        )

    honest, traitor = alone_and_together(Simple), alone_and_together(Traitor)
    assert honest[0] == honest[1]
    assert traitor[0] != traitor[1]


def test_versions_are_asked_apart_and_opened_once_in_the_thread() -> None:
    shop = Shop()
    moments = [of_version(held, f"v{at % 2}") for at, held in enumerate(crowd(8))]
    asked = Inference("boosted", shop)

    said = [*ask(asked, moments), *ask(asked, moments)]
    assert [one.version for one in said] == ["v0", "v1"] * 8
    assert sorted(shop.opened) == ["v0", "v1"]
    assert shop.threads == {"inference boosted"}


def test_only_the_last_few_versions_stay_open() -> None:
    shop = Shop()
    asked = Inference("boosted", shop, kept=2)
    for version in ("v1", "v2", "v1", "v3", "v1", "v2"):
        ask(asked, [of_version(moment(), version)])

    assert shop.opened == ["v1", "v2", "v3", "v2"]


def test_a_version_is_opened_before_it_is_asked() -> None:
    shop = Shop()
    asked = Inference("boosted", shop)
    for at in range(3):
        asked.foresee(of_version(moment(NINE + at * FIVE), "v2"))
    ask(asked, [of_version(moment(), "v1")])

    assert sorted(shop.opened) == ["v1", "v2"]
    asked.foresee(moment(activation=None))
    assert ask(asked, [of_version(moment(), "v2")])[0].version == "v2"
    assert len(shop.opened) == 2


def test_a_version_that_cannot_be_opened_is_a_fault_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    shop = Shop(broken=["v9"])
    asked = Inference("boosted", shop)
    held = of_version(moment(), "v9")
    with caplog.at_level(logging.ERROR):
        said = [*ask(asked, [held, held]), *ask(asked, [held])]

    assert {one.fault for one in said} == {"version v9 cannot be used: majors.json was changed"}
    assert {(one.p_up, one.p3, one.version, one.time) for one in said} == {(None, None, "v9", NINE)}
    assert [record.getMessage() for record in caplog.records] == [
        "model boosted: version v9 cannot be used: majors.json was changed"
    ]
    assert shop.opened == ["v9"]


def test_a_version_that_could_not_be_opened_is_tried_again_later(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inference, "RETRY", 0.0)
    shop = Shop(broken=["v1"])
    asked = Inference("boosted", shop)

    assert ask(asked, [moment()])[0].fault
    shop.broken.clear()
    assert not ask(asked, [moment()])[0].fault


class Fragile(Simple):
    """Fails for one symbol, whoever else is asked."""

    def predict(self, moments: Sequence[Moment], explain: bool = True) -> list[Prediction]:
        if any(held.symbol == "COIN3USDT" for held in moments):
            raise RuntimeError("no such leaf\nin tree 7")
        return super().predict(moments, explain)


def test_one_bad_moment_silences_nobody_else(caplog: pytest.LogCaptureFixture) -> None:
    moments = crowd(6)
    asked = Inference("boosted", Fragile, linger=0.3)
    with caplog.at_level(logging.ERROR):
        said = [*ask(asked, moments), *ask(asked, moments)]

    faults = [one.fault for one in said]
    assert faults[3] == faults[9] == "version v1 cannot be used: RuntimeError: no such leaf"
    assert [fault for fault in faults if fault] == [faults[3]] * 2
    assert said[:3] == Simple().predict(moments[:3])
    assert len(caplog.records) == 1


class Short(Simple):
    def predict(self, moments: Sequence[Moment], explain: bool = True) -> list[Prediction]:
        return super().predict(moments, explain)[1:]


class Swapped(Simple):
    def predict(self, moments: Sequence[Moment], explain: bool = True) -> list[Prediction]:
        return [replace(one, symbol="OTHER") for one in super().predict(moments, explain)]


class Absurd(Simple):
    def predict(self, moments: Sequence[Moment], explain: bool = True) -> list[Prediction]:
        return [replace(one, p_up=float("nan")) for one in super().predict(moments, explain)]


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (Short, "ValueError: 1 moments were asked about, and others were answered"),
        (Swapped, "ValueError: 1 moments were asked about, and others were answered"),
        (Absurd, "BTCUSDT model boosted at 1709629200000 answered p_up nan"),
    ],
)
def test_answers_that_are_none_are_faults(make: Callable[[str], Model], reason: str) -> None:
    [said] = ask(Inference("boosted", make), [moment()])

    assert said.p_up is None
    assert said.fault.startswith(f"version v1 cannot be used: {reason}")


@pytest.mark.parametrize("explain", [True, False])
def test_contributions_come_only_where_they_are_wanted(explain: bool) -> None:
    [said] = ask(Inference("boosted", Simple, explain=explain), [moment()])

    assert bool(said.contributions) is explain


def test_asking_never_waits() -> None:
    gate = threading.Event()

    class Slow(Simple):
        def predict(self, moments: Sequence[Moment], explain: bool = True) -> list[Prediction]:
            gate.wait(PATIENCE)
            return super().predict(moments, explain)

    asked = Inference("boosted", Slow)
    futures = [asked.submit(held) for held in crowd(3)]

    assert not any(future.done() for future in futures)
    gate.set()
    assert all(future.result(PATIENCE).p_up for future in futures)


def test_without_a_shelf_the_answer_is_there_at_once_and_says_so() -> None:
    nobody = Unshelved("boosted")
    nobody.foresee(moment())
    answer: Future[Prediction] = nobody.submit(moment())

    assert answer.done()
    assert answer.result().fault == "version v1 cannot be used: there is no shelf"


class TestShelved:
    """With real versions in a real folder."""

    @pytest.fixture
    def kinds(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def load(folder: Path, manifest: Manifest) -> Model:
            assert (folder / "model.json").read_text() == "{}"
            return Simple(manifest.version)

        monkeypatch.setattr(inference, "MODELS", {"boosted": Kind(load, Facts.of().schema)})

    @staticmethod
    def added(folder: Path, hour: int = 0) -> str:
        def write(draft: Path) -> None:
            (draft / "model.json").write_text("{}")

        facts = Facts.of(Facts.of().data_until + hour * HOUR)
        return Shelf(folder, "boosted").add(write, facts).version

    @pytest.mark.usefixtures("kinds")
    def test_versions_come_from_the_shelf(self, tmp_path: Path) -> None:
        versions = [self.added(tmp_path, hour) for hour in range(2)]
        asked = Shelved(tmp_path)("boosted")

        said = ask(asked, [of_version(moment(), version) for version in versions])
        assert [(one.version, one.fault) for one in said] == [(version, "") for version in versions]

    @pytest.mark.usefixtures("kinds")
    def test_a_damaged_version_is_not_used_and_the_folder_is_not_told(self, tmp_path: Path) -> None:
        version = self.added(tmp_path)
        (tmp_path / "boosted" / version / "model.json").write_text("[]")
        missing = "20240101T0000Z-00000000"

        said = ask(Shelved(tmp_path)("boosted"), [of_version(moment(), name) for name in (version, missing)])
        assert all(one.p_up is None and one.fault.startswith("version 20") for one in said)
        assert "model.json" in said[0].fault
        assert not any(str(tmp_path) in one.fault for one in said)

    @pytest.mark.usefixtures("kinds")
    def test_a_version_of_other_features_is_not_used(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        version = self.added(tmp_path)
        kind = Kind(lambda folder, manifest: Simple(), "ffffffffffffffff")
        monkeypatch.setattr(inference, "MODELS", {"boosted": kind})

        [said] = ask(Shelved(tmp_path)("boosted"), [of_version(moment(), version)])
        assert "schema" in said.fault

    def test_a_model_nobody_knows_is_a_fault(self, tmp_path: Path) -> None:
        held = replace(moment(), activations={"oracle": replace(ACTIVE, model="oracle")})

        [said] = ask(Shelved(tmp_path)("oracle"), [held])
        assert "no model 'oracle' is known here" in said.fault

    def test_a_process_has_one_thread_for_each_folder_model_and_wish(self, tmp_path: Path) -> None:
        one = Shelved(tmp_path)("boosted")

        assert Shelved(tmp_path)("boosted") is one
        assert Shelved(tmp_path / ".." / tmp_path.name)("boosted") is one
        assert Shelved(tmp_path, explain=False)("boosted") is not one
        assert Shelved(tmp_path)("transformer") is not one
        assert Shelved(tmp_path / "other")("boosted") is not one

    def test_the_thread_ends_with_the_process(self, tmp_path: Path) -> None:
        Shelved(tmp_path)("boosted")

        threads = [one for one in threading.enumerate() if one.name.startswith("inference")]
        assert threads
        assert all(one.daemon for one in threads)
