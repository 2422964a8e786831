"""The manifest: what it says comes back, what cannot be true is refused by its name."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import fields, replace
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.errors import StorageError
from engine.models.manifest import Facts, Manifest, named
from tests.engine.models.shelves import (
    HOUR,
    MIDNIGHT,
    after,
)

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
FACTS = st.builds(
    Facts.of,
    st.integers(200, 400_000).map(lambda hours: hours * HOUR),
    horizon=st.integers(1, 12),
    embargo=st.integers(0, 50),
    metrics=st.dictionaries(st.text(), JSON, max_size=4),
    parameters=st.dictionaries(st.text(), JSON, max_size=4),
    libraries=st.dictionaries(st.text(), st.text(), max_size=2),
    seed=st.integers(),
    promoted=st.booleans(),
    reason=st.text(),
)


class TestFacts:
    def test_a_version_serves_once_its_last_label_and_the_embargo_are_over(self) -> None:
        assert after(0, horizon=12, embargo=1).serves_from == MIDNIGHT + 13 * HOUR
        assert after(0, horizon=3, embargo=0).serves_from == MIDNIGHT + 3 * HOUR
        quarter = after(0, interval="15m", horizon=12, embargo=2)
        assert quarter.serves_from == MIDNIGHT + 14 * 900_000

    @pytest.mark.parametrize(
        ("change", "words"),
        [
            ({"interval": "7m"}, "interval 7m is not one of 1m, 5m"),
            ({"horizon": 0}, "horizon was 0"),
            ({"embargo": -1}, "embargo was -1"),
            ({"trials": -1}, "trials was -1"),
            ({"data_from": 0}, "data_from was 0"),
            ({"data_from": MIDNIGHT + HOUR}, "no 1h close since data_from"),
            ({"data_until": MIDNIGHT + 1}, "no 1h close since"),
            ({"until": MIDNIGHT + 12 * HOUR - 1}, "before the last label was known"),
            ({"until": 1 << 62}, "after the year 9999"),
            ({"seed": 1.5}, "seed was 1.5: it must be int"),
            ({"seed": True}, "seed was True: it must be int"),
            ({"promoted": 1}, "promoted was 1: it must be bool"),
            ({"reason": None}, "reason was None: it must be str"),
            ({"metrics": [1]}, r"metrics was \[1\]: it must be Mapping"),
            ({"libraries": {"xgboost": 3}}, r"it must be Mapping\[str, str\]"),
            ({"metrics": {"auc": float("nan")}}, "metrics.auc was nan"),
            ({"parameters": {"eta": [1.0, float("inf")]}}, r"parameters.eta\[1\] was inf"),
            ({"metrics": {"seen": {1, 2}}}, r"metrics.seen was \{1, 2\}"),
            ({"metrics": {"folds": {1: 0.5}}}, r"metrics.folds was \{1: 0.5\}"),
        ],
    )
    def test_what_cannot_be_true_is_refused_by_its_name(self, change: Mapping[str, Any], words: str) -> None:
        with pytest.raises(StorageError, match=words):
            replace(after(0), **change)

    def test_what_the_caller_changes_later_changes_nothing(self) -> None:
        metrics = {"auc": [0.5]}
        facts = after(0, metrics=metrics)
        metrics["auc"].append(0.9)

        assert facts.metrics == {"auc": [0.5]}


class TestManifest:
    @given(facts=FACTS, name=st.text())
    def test_it_comes_back_from_its_text(self, facts: Facts, name: str) -> None:
        manifest = Manifest.made(facts, {name: "0a" * 32})
        back = Manifest.read(manifest.text())

        assert back == manifest
        assert back.text() == manifest.text()
        assert named(back, back.files) == manifest.version

    @given(facts=FACTS, files=st.dictionaries(st.text(), st.sampled_from(["00" * 32, "11" * 32]), min_size=2))
    def test_a_name_knows_no_order(self, facts: Facts, files: dict[str, str]) -> None:
        turned = dict(reversed(list(files.items())))
        facts_turned = replace(facts, metrics=dict(reversed(list(facts.metrics.items()))))

        assert named(facts_turned, turned) == named(facts, files)

    @pytest.mark.parametrize("field", [field.name for field in fields(Facts)])
    def test_every_fact_is_in_the_name(self, field: str) -> None:
        facts = replace(after(0), until=MIDNIGHT + 20 * HOUR)
        old = getattr(facts, field)
        others: dict[str, Any] = {
            "interval": "15m",
            "data_until": MIDNIGHT - HOUR,
            "promoted": False,
            "metrics": {"a": "b"},
            "parameters": {"a": "b"},
            "libraries": {"a": "b"},
        }
        other = others.get(field, old + 1 if isinstance(old, int) else f"{old}x")

        assert named(replace(facts, **{field: other}), {}) != named(facts, {})

    def test_every_file_is_in_the_name(self) -> None:
        names = {
            named(after(0), files)
            for files in (
                {},
                {"a": "00" * 32},
                {"b": "00" * 32},
                {"a": "11" * 32},
                {"a": "0" * 64, "b": "0" * 64},
            )
        }

        assert len(names) == 5

    @given(st.integers(1, 253_402_300_799_999 // 60_000 - 200).map(lambda minutes: minutes * 60_000))
    def test_a_name_begins_with_the_minute_the_data_end(self, time: int) -> None:
        facts = replace(after(0), interval="1m", data_from=1, data_until=time, until=time + 12 * 60_000)

        until = datetime.strptime(named(facts, {})[:14], "%Y%m%dT%H%MZ").replace(tzinfo=UTC)
        assert until.timestamp() * 1000 == time

    @pytest.mark.parametrize(
        ("spoil", "words"),
        [
            (lambda told: told.pop("seed"), "lacks seed; unknown in it: nothing"),
            (lambda told: told.update(frob=1), "lacks nothing; unknown in it: frob"),
            (lambda told: (told.pop("reason"), told.pop("files"), told.update(b=1, a=2)),
             "lacks files, reason; unknown in it: a, b"),
            (lambda told: told.update(data_until="5"), "data_until was 5: it must be int"),
            (lambda told: told["metrics"].update(auc=float("nan")), "metrics.auc was nan"),
            (lambda told: told["metrics"].update(auc=-float("inf")), "metrics.auc was -inf"),
            (lambda told: told["files"].update({"b.json": "../etc"}), r"files.b.json was ../etc: no sha256"),
            (lambda told: told["files"].update({"b.json": 5}), "files was .* must be Mapping"),
            (lambda told: told.update(files=[]), r"files was \[\]: it must be Mapping"),
        ],
    )  # fmt: skip
    def test_a_wrong_one_is_refused_by_what_is_wrong(self, spoil: Callable[[Any], Any], words: str) -> None:
        told = json.loads(Manifest.made(after(0), {"a.json": "00" * 32}).text())
        spoil(told)

        with pytest.raises(StorageError, match=words):
            Manifest.read(json.dumps(told).encode())

    @pytest.mark.parametrize(
        ("written", "words"),
        [
            (b"", "not readable JSON"),
            (b"[]", r"\[\] instead of a JSON object"),
            (b"\xff\xfe\x00", "not readable JSON"),
            (b"[" * 100_000, "not readable JSON"),
            (b'{"a": {"b": 1, "b": 2}}', "a key stands there twice, among b, b"),
            (b'{"seed": ' + b"9" * 10_000 + b"}", "not readable JSON"),
        ],
        ids=["nothing", "a list", "no text", "a deep hole", "twice", "endless"],
    )
    def test_what_is_no_manifest_is_refused(self, written: bytes, words: str) -> None:
        with pytest.raises(StorageError, match=words):
            Manifest.read(written)

    def test_a_number_too_great_for_a_float_is_refused(self) -> None:
        written = Manifest.made(after(0, metrics={"auc": 0.5}), {}).text().replace(b"0.5", b"1e999")

        with pytest.raises(StorageError, match=r"metrics\.auc was inf"):
            Manifest.read(written)
