"""Settings: every mistake named with its path, nothing secret shown, file and code of one mind."""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, SecretStr, ValidationError

from engine.errors import SettingsError, UnknownSymbol
from engine.records import INTERVALS
from engine.settings import Settings, load
from engine.settings.blocks import Api, Binance, Decide, Gather, Layers
from engine.settings.tree import PREFIX, keys, variables

SHIPPED = Path(__file__).parents[2] / "config.yaml"
SECRET = "correct-horse"

KEYS = st.sampled_from(["symbols", "decide", "api", "redis", "url", "keys", "majors"]) | st.text(max_size=3)
ANYTHING: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=8,
)

Write = Callable[[str], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Write a config.yaml and answer its path."""

    def written(text: str) -> Path:
        path = tmp_path / "config.yaml"
        path.write_text(text, encoding="utf-8")
        return path

    return written


def problems(path: Path, environ: Mapping[str, str] | None = None) -> list[str]:
    """The lines of the error that loading `path` raises, without the file's name."""
    with pytest.raises(SettingsError) as caught:
        load(path, environ or {})
    text = str(caught.value).removeprefix(f"{path}: ")
    first, *rest = text.splitlines()
    return [line.strip() for line in rest] if rest else [first]


def leaves(tree: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    if isinstance(tree, Mapping):
        for key, value in tree.items():
            yield from leaves(value, (*path, key))
    else:
        yield path


def leaf_settings(shape: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    for key, under in keys(shape).items():
        if isinstance(under, type) and issubclass(under, BaseModel):
            yield from leaf_settings(under, (*path, key))
        else:
            yield (*path, key)


def without_tables(settings: Settings) -> Settings:
    """The settings without what only the shipped file holds: how metrics are read, where news come from."""
    news = settings.news.model_copy(update={"feeds": {}})
    return settings.model_copy(update={"metrics": {}, "news": news})


class TestTheShippedFile:
    def test_it_holds_exactly_the_defaults(self) -> None:
        assert without_tables(load(SHIPPED, {})) == Settings()

    def test_it_names_every_setting_but_the_secret_ones(self) -> None:
        shown = set(leaves(yaml.safe_load(SHIPPED.read_text())))
        missing = {
            path for path in leaf_settings(Settings) if not any(leaf[: len(path)] == path for leaf in shown)
        }

        # What few providers need is not repeated for each of them.
        often = {"enabled", "base_url", "every", "per_minute"}
        assert {path for path in missing if path[0] != "providers" or path[-1] in often} == {("api", "keys")}

    def test_it_holds_what_the_specification_says(self) -> None:
        settings = load(SHIPPED, {})

        assert settings.symbols == {
            "majors": ("BTCUSDT", "ETHUSDT", "BNBUSDT"),
            "alts": (
                "SOLUSDT", "AVAXUSDT", "LINKUSDT", "DOTUSDT", "POLUSDT", "NEARUSDT", "ARBUSDT", "OPUSDT",
            ),
            "memes": ("PEPEUSDT", "DOGEUSDT", "SHIBUSDT", "FLOKIUSDT", "BONKUSDT", "WIFUSDT"),
        }  # fmt: skip
        assert settings.thresholds == {"majors": 0.005, "alts": 0.008, "memes": 0.015}
        assert settings.binance.intervals == ("1m", "5m", "15m", "1h", "4h")
        assert (settings.decide.interval, settings.decide.horizon, settings.decide.minimum) == ("5m", 12, 500)
        assert (settings.api.host, settings.api.port) == ("127.0.0.1", 8300)

    def test_every_line_with_a_number_says_its_unit_or_meaning(self) -> None:
        lines = SHIPPED.read_text().splitlines()
        bare = [line for line in lines if line.partition(":")[2].strip().isdigit() and "#" not in line]

        assert bare == []


class TestMistakes:
    @pytest.mark.parametrize(
        ("text", "line"),
        [
            ("decide: {intervl: 5m}", "decide.intervl: unknown key; did you mean 'interval'?"),
            ("decid: {}", "decid: unknown key; did you mean 'decide'?"),
            ("binance: {backoff: {frist: 1}}", "binance.backoff.frist: unknown key; did you mean 'first'?"),
            ("1: 2", "1: unknown key"),
            ("on: 2", "True: unknown key"),
            ("decide: {horizon: soon}", "decide.horizon: must be a valid integer; was 'soon'"),
            ("decide: {horizon: true}", "decide.horizon: must be a valid integer; was True"),
            ("decide: {horizon: 1.5}", "decide.horizon: must be a valid integer; was 1.5"),
            ("decide: {horizon: '12'}", "decide.horizon: must be a valid integer; was '12'"),
            ("decide: {interval: 7m}", "decide.interval: must be one of 1m, 5m, 15m, 1h, 4h; was '7m'"),
            ("gather: {grace: 2.9}", "gather.grace: must be greater than or equal to 3; was 2.9"),
            ("gather: {grace: .nan}", "gather.grace: must be a finite number; was nan"),
            ("gather: {grace: .inf}", "gather.grace: must be a finite number; was inf"),
            ("market: coinm", "market: must be 'spot' or 'um'; was 'coinm'"),
            ("api: {port: 70000}", "api.port: must be less than or equal to 65535; was 70000"),
            ("logging:", "logging: must be a block of keys; was nothing"),
            ("logging: [a]", "logging: must be a block of keys; was a list"),
            ("symbols: [BTCUSDT]", "symbols: must be a block of keys; was a list"),
            ("symbols: {majors: BTCUSDT}", "symbols.majors: must be a list; was 'BTCUSDT'"),
            (
                "binance: {intervals: []}",
                "binance.intervals: must have at least 1 item after validation, not 0; was a list",
            ),
            ("binance: {silent_after: 0}", "binance.silent_after: must be greater than 0; was 0"),
            ("binance: {rotate_after: 86400}", "binance.rotate_after: must be less than 86400; was 86400"),
            (
                "binance: {budget_share: 1.1}",
                "binance.budget_share: must be less than or equal to 1; was 1.1",
            ),
            ("redis: {prefix: 'a b'}", "redis.prefix: must match pattern '^\\S*$'; was 'a b'"),
            ("api: {origins: ['*']}", "api.origins[0]: must be https://host or http://host; was '*'"),
            (
                "api: {origins: ['https://a.b/c']}",
                "api.origins[0]: must end after the host; was 'https://a.b/c'",
            ),
        ],
    )
    def test_a_mistake_names_its_path_what_was_found_and_what_is_allowed(
        self, write: Write, text: str, line: str
    ) -> None:
        assert problems(write(text)) == [line]

    def test_a_misspelt_key_that_is_needed_is_told_as_both(self, write: Write) -> None:
        assert problems(write("segments: {majors: {treshold: 1}}")) == [
            "segments.majors.treshold: unknown key; did you mean 'threshold'?",
            "segments.majors.threshold: is missing",
        ]

    def test_all_mistakes_are_told_at_once_a_line_each(self, write: Write) -> None:
        path = write("decide: {horizn: 1, minimum: 0}\ngather: {grace: 1}\nsymbols: {other: [XUSDT]}\n")

        with pytest.raises(SettingsError) as caught:
            load(path, {"SIGNAL_ENGINE_API__PROT": "1"})

        assert str(caught.value).splitlines() == [
            f"{path}: 5 problems",
            "  SIGNAL_ENGINE_API__PROT: no setting has this name; did you mean 'SIGNAL_ENGINE_API__PORT'?",
            "  decide.horizn: unknown key; did you mean 'horizon'?",
            "  decide.minimum: must be greater than or equal to 1; was 0",
            "  gather.grace: must be greater than or equal to 3; was 1",
            "  segments.other.threshold: missing, and symbols.other needs it",
        ]

    def test_a_key_given_twice_is_refused_wherever_it_is(self, write: Write) -> None:
        text = "api:\n  port: 1\n  host: localhost\n  port: 2\nmarket: spot\nmarket: um\n"

        assert problems(write(text)) == [
            "api.port: is given twice, the second time in line 4",
            "market: is given twice, the second time in line 6",
        ]

    @pytest.mark.parametrize(
        ("text", "told"),
        [
            ("", "must be a mapping of keys to values; was nothing"),
            ("- a\n- b", "must be a mapping of keys to values; was a list"),
            ("just text", "must be a mapping of keys to values; was text"),
            ("a: [1, 2", "not YAML in line 1, column 9: expected ',' or ']', but got '<stream end>'"),
            ("a: b: c", "not YAML in line 1, column 5: mapping values are not allowed here"),
            (
                "a: !!python/object:os.system x",
                "not YAML in line 1, column 4: could not determine a constructor",
            ),
            ("a: \x00", "not YAML: unacceptable character #x0000"),
            ("a: 2024-13-45", "not YAML: month must be in 1..12"),
        ],
    )
    def test_a_file_that_holds_no_settings_says_why(self, write: Write, text: str, told: str) -> None:
        (line,) = problems(write(text))

        assert line.startswith(told)

    def test_a_missing_file_a_folder_and_bytes_are_named(self, tmp_path: Path) -> None:
        (tmp_path / "bytes.yaml").write_bytes(b"\xff\xfe\xfa")

        assert problems(tmp_path / "none.yaml") == ["cannot be read: No such file or directory"]
        assert problems(tmp_path) == ["cannot be read: Is a directory"]
        assert "can't decode byte 0xff" in problems(tmp_path / "bytes.yaml")[0]

    @given(tree=ANYTHING)
    def test_whatever_is_in_the_file_it_loads_or_is_a_settings_error(
        self, tmp_path_factory: pytest.TempPathFactory, tree: Any
    ) -> None:
        path = tmp_path_factory.mktemp("any") / "config.yaml"
        path.write_text(yaml.safe_dump(tree, allow_unicode=True), encoding="utf-8")

        with suppress(SettingsError):
            assert isinstance(load(path, {}), Settings)


class TestSymbols:
    @pytest.mark.parametrize(
        ("given", "told"),
        [
            ("'BTCUSDT '", "symbols.majors[0]: begins or ends with a space"),
            ("'BTC USDT'", "symbols.majors[0]: 'BTC USDT' is not a symbol; did you mean 'BTCUSDT'?"),
            ("btcusdt", "symbols.majors[0]: 'btcusdt' is not a symbol; did you mean 'BTCUSDT'?"),
            ("USDT", "symbols.majors[0]: 'USDT' is not a symbol; it must be a USDT pair such as BTCUSDT"),
            (
                "BTCUSDC",
                "symbols.majors[0]: 'BTCUSDC' is not a symbol; it must be a USDT pair such as BTCUSDT",
            ),
            ("1000", "symbols.majors[0]: must be a valid string; was 1000"),
        ],
    )
    def test_a_symbol_that_would_match_nothing_is_refused(self, write: Write, given: str, told: str) -> None:
        assert problems(write(f"symbols: {{majors: [{given}]}}")) == [told]

    def test_matic_is_understood_as_pol_and_stays_an_alias(self, write: Write) -> None:
        settings = load(write("symbols: {alts: [MATICUSDT]}"), {})

        assert settings.all_symbols == ("POLUSDT",)
        assert settings.aliases == {"MATICUSDT": "POLUSDT"}
        assert settings.config_hash == load(write("symbols: {alts: [POLUSDT]}"), {}).config_hash

    def test_both_names_of_one_asset_are_one_too_many(self, write: Write) -> None:
        text = "symbols: {alts: [MATICUSDT], memes: [DOGEUSDT, POLUSDT]}"

        assert problems(write(text)) == ["symbols.memes: POLUSDT is already in alts (formerly MATICUSDT)"]

    def test_at_least_one_symbol_is_needed(self, write: Write) -> None:
        assert problems(write("symbols: {alts: []}")) == ["symbols: must hold at least one symbol; was empty"]

    def test_symbols_come_in_an_order_no_file_can_change(self, write: Write) -> None:
        one = load(write("symbols: {alts: [SOLUSDT, OPUSDT], majors: [BTCUSDT]}"), {})
        other = load(write("symbols: {majors: [BTCUSDT], alts: [OPUSDT, SOLUSDT]}"), {})

        assert one.all_symbols == other.all_symbols == ("BTCUSDT", "OPUSDT", "SOLUSDT")

    def test_each_symbol_knows_its_segment_and_threshold(self) -> None:
        settings = Settings()

        assert [settings.segment_of(s) for s in ("BTCUSDT", "OPUSDT", "WIFUSDT")] == [
            "majors",
            "alts",
            "memes",
        ]
        assert settings.threshold_of("WIFUSDT") == 0.015
        with pytest.raises(UnknownSymbol, match="BTCUSD is not configured; near: BTCUSDT"):
            settings.segment_of("BTCUSD")


class TestAgreement:
    @pytest.mark.parametrize(
        ("text", "line"),
        [
            ("decide: {warm_up: 400}", "decide: minimum must not be above warm_up 400; was 500"),
            (
                "binance: {backoff: {first: 9, most: 3}}",
                "binance.backoff: most must not be below first 9; was 3",
            ),
            ("symbols: {defi: [UNIUSDT]}", "segments.defi.threshold: missing, and symbols.defi needs it"),
            (
                "{decide: {interval: 4h}, binance: {intervals: [5m, 1m]}}",
                "decide.interval: must be in binance.intervals (1m, 5m); was '4h'",
            ),
            (
                "layers: {technical: {mixed: 46}}",
                "layers.technical.mixed: must be less than or equal to 45; was 46",
            ),
            (
                "layers: {technical: {mixed: 29}}",
                "layers.technical.mixed: must be greater than or equal to 30; was 29",
            ),
            (
                "layers: {correlation: {mixed: 16}}",
                "layers.correlation.mixed: must be less than or equal to 15; was 16",
            ),
            (
                "layers: {correlation: {mixed: 9}}",
                "layers.correlation.mixed: must be greater than or equal to 10; was 9",
            ),
        ],
    )
    def test_settings_that_contradict_each_other_are_refused(
        self, write: Write, text: str, line: str
    ) -> None:
        assert problems(write(text)) == [line]

    @pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.4", "example.org"])
    def test_a_public_address_without_keys_must_be_meant(self, write: Write, host: str) -> None:
        path = write(f"api: {{host: '{host}'}}")

        assert problems(path)[0].startswith(f"api: host {host} can be reached from outside without a key")
        assert load(path, {"SIGNAL_ENGINE_API__KEYS": SECRET}).api.host == host
        assert load(path, {"SIGNAL_ENGINE_API__ALLOW_PUBLIC": "true"}).api.host == host

    @pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "::1", "localhost"])
    def test_loopback_needs_no_key(self, write: Write, host: str) -> None:
        assert load(write(f"api: {{host: '{host}'}}"), {}).api.host == host

    def test_a_rule_between_sound_blocks_is_told_beside_a_broken_one(self, write: Write) -> None:
        text = "{symbols: {defi: [UNIUSDT]}, decide: {interval: 4h, horizon: 0}, binance: {intervals: [1m]}}"

        assert problems(write(text)) == [
            "decide.horizon: must be greater than or equal to 1; was 0",
            "segments.defi.threshold: missing, and symbols.defi needs it",
        ]

    def test_built_in_code_they_hold_too(self) -> None:
        with pytest.raises(ValidationError, match=r"must be in binance\.intervals"):
            Settings(decide=Decide(interval="4h"), binance=Binance(intervals=("1m",)))
        with pytest.raises(ValidationError, match="can be reached from outside"):
            Api(host="0.0.0.0")

    def test_the_intervals_read_are_the_decisions_own_and_higher_shortest_first(self, write: Write) -> None:
        settings = load(write("{decide: {interval: 15m}, binance: {intervals: [4h, 15m, 1m]}}"), {})

        assert settings.read_intervals == ("15m", "4h")
        assert settings.binance.intervals == ("1m", "15m", "4h")

    @given(interval=st.sampled_from(tuple(INTERVALS)))
    def test_no_interval_below_the_decision_is_read(self, interval: str) -> None:
        read = Settings(decide=Decide(interval=interval)).read_intervals

        assert read[0] == interval
        assert list(read) == sorted(read, key=INTERVALS.__getitem__)


class TestEnvironment:
    def test_a_variable_overrides_the_file_with_the_type_the_setting_has(self, write: Write) -> None:
        settings = load(
            write("{api: {port: 1}, decide: {interval: 1h}}"),
            {
                "SIGNAL_ENGINE_API__PORT": "2",
                "SIGNAL_ENGINE_GATHER__GRACE": "4.5",
                "SIGNAL_ENGINE_STORAGE__RECOVERY": "false",
                "SIGNAL_ENGINE_STORAGE__FOLDER": "7",
                "SIGNAL_ENGINE_REDIS__PREFIX": "2:",
                "SIGNAL_ENGINE_LOGGING__JSON": "true",
                "SIGNAL_ENGINE_BINANCE__BACKOFF__FIRST": "1",
                "HOME": "elsewhere",
            },
        )

        assert (settings.api.port, settings.gather.grace, settings.storage.recovery) == (2, 4.5, False)
        assert (settings.storage.folder, settings.redis.prefix) == (Path("7"), "2:")
        assert settings.logging.json_lines
        assert settings.binance.backoff.first == 1
        assert settings.decide.interval == "1h"

    @pytest.mark.parametrize("text", ["[1m, 1h]", "1m,1h", "1m, 1h"])
    def test_a_list_is_yaml_or_commas(self, text: str) -> None:
        environ = {"SIGNAL_ENGINE_BINANCE__INTERVALS": text, "SIGNAL_ENGINE_DECIDE__INTERVAL": "1m"}

        assert load(SHIPPED, environ).binance.intervals == ("1m", "1h")

    def test_a_segment_can_be_replaced_emptied_or_added(self) -> None:
        settings = load(
            SHIPPED,
            {
                "SIGNAL_ENGINE_SYMBOLS__MAJORS": "BTCUSDT",
                "SIGNAL_ENGINE_SYMBOLS__MEMES": "[]",
                "SIGNAL_ENGINE_SYMBOLS__DEFI": "UNIUSDT,AAVEUSDT",
                "SIGNAL_ENGINE_SEGMENTS__DEFI__THRESHOLD": "1",
            },
        )

        assert settings.symbols["majors"] == ("BTCUSDT",)
        assert settings.symbols["memes"] == ()
        assert settings.threshold_of("AAVEUSDT") == 0.01

    def test_all_symbols_can_be_given_at_once(self) -> None:
        settings = load(SHIPPED, {"SIGNAL_ENGINE_SYMBOLS": "{majors: [BTCUSDT]}"})

        assert settings.all_symbols == ("BTCUSDT",)

    @pytest.mark.parametrize(
        ("name", "near"),
        [
            ("SIGNAL_ENGINE_DECIDE_INTERVAL", "SIGNAL_ENGINE_DECIDE__INTERVAL"),
            ("SIGNAL_ENGINE_DECIDE__INTERVL", "SIGNAL_ENGINE_DECIDE__INTERVAL"),
            ("SIGNAL_ENGINE_API__PORT__X", "SIGNAL_ENGINE_API__PORT"),
            ("SIGNAL_ENGINE_SEGMENTS__MAJORS__LIMIT", "SIGNAL_ENGINE_SEGMENTS"),
            ("SIGNAL_ENGINE_STORAGE", "SIGNAL_ENGINE_STORAGE__FOLDER"),
        ],
    )
    def test_an_unknown_variable_of_ours_is_refused_with_the_nearest(self, name: str, near: str) -> None:
        assert problems(SHIPPED, {name: "1"}) == [f"{name}: no setting has this name; did you mean {near!r}?"]

    def test_the_location_of_the_file_is_no_setting(self) -> None:
        assert load(SHIPPED, {"SIGNAL_ENGINE_CONFIG": "elsewhere.yaml"}) == load(SHIPPED, {})

    def test_an_empty_variable_counts_as_not_set(self) -> None:
        empty = {"SIGNAL_ENGINE_API__PORT": "", "SIGNAL_ENGINE_API__KEYS": ""}

        assert load(SHIPPED, empty) == load(SHIPPED, {})

    def test_a_wrong_value_names_the_variable_it_came_from(self) -> None:
        environ = {"SIGNAL_ENGINE_API__PORT": "http", "SIGNAL_ENGINE_SYMBOLS__MEMES": "doge"}

        assert problems(SHIPPED, environ) == [
            "symbols.memes[0] (SIGNAL_ENGINE_SYMBOLS__MEMES): 'doge' is not a symbol; "
            "it must be a USDT pair such as BTCUSDT",
            "api.port (SIGNAL_ENGINE_API__PORT): must be a valid integer; was 'http'",
        ]

    def test_a_value_that_is_no_yaml_is_refused(self) -> None:
        assert problems(SHIPPED, {"SIGNAL_ENGINE_API__PORT": "[1"}) == [
            "api.port (SIGNAL_ENGINE_API__PORT): cannot be read as a YAML value"
        ]

    def test_the_process_environment_is_the_default(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("SIGNAL_ENGINE_API__PORT", "8301")

        assert load(SHIPPED).api.port == 8301

    def test_every_setting_has_a_variable(self) -> None:
        names = {PREFIX + "__".join(path).upper() for path in leaf_settings(Settings)}

        assert set(variables(Settings)) == names

    def test_a_variable_under_a_broken_block_adds_nothing_to_what_the_file_says(self, write: Write) -> None:
        told = problems(write("api: 3"), {"SIGNAL_ENGINE_API__PORT": "1"})

        assert told == ["api: must be a block of keys; was 3"]


class TestSecrets:
    @pytest.mark.parametrize(
        "url", [f"redis://:{SECRET}@host/0", f"redis://host?password={SECRET}", f"rediss://me:{SECRET}@host"]
    )
    def test_a_redis_password_in_the_file_is_refused_unseen(self, write: Write, url: str) -> None:
        (line,) = problems(write(f"redis: {{url: '{url}'}}"))

        assert line == "redis.url: holds a password: give it in the environment as SIGNAL_ENGINE_REDIS__URL"

    def test_api_keys_in_the_file_are_refused_unseen(self, write: Write) -> None:
        (line,) = problems(write(f"api: {{keys: [{SECRET}]}}"))

        assert line == "api.keys: come from the environment only, as SIGNAL_ENGINE_API__KEYS"

    def test_a_url_without_a_password_may_stand_in_the_file(self, write: Write) -> None:
        url = load(write("redis: {url: 'redis://127.0.0.1:6379/0'}"), {}).redis.url

        assert url == SecretStr("redis://127.0.0.1:6379/0")

    @pytest.mark.parametrize(
        ("text", "environ"),
        [
            (f"redis: {{password: {SECRET}}}", {}),
            (f"redis: 'redis://:{SECRET}@h'", {}),
            (f"redis: {{prefix: ' redis://:{SECRET}@h '}}", {}),
            (f"redis: {{log_length: 'redis://:{SECRET}@h'}}", {}),
            (f"redis: {{url: [{SECRET}]}}", {}),
            (f"redis: {{url: '{SECRET}'}}", {}),
            (f"redis: {{url: ' {SECRET}'}}", {}),
            (f"api: {{key: {SECRET}}}", {}),
            (f"api: {{keys: {{a: {SECRET}}}}}", {}),
            (f"binance: {{spot: {{rest: 'https://me:{SECRET}@h'}}}}", {}),
            (f"binance: {{spot: {{rest: 'ftp://me:{SECRET}@h'}}}}", {}),
            ("market: spot", {"SIGNAL_ENGINE_REDIS__URL": f"http://:{SECRET}@h"}),
            ("market: spot", {"SIGNAL_ENGINE_REDIS__URL": f"redis://:pass {SECRET}@h"}),
            ("market: spot", {"SIGNAL_ENGINE_API__KEY": SECRET}),
            ("market: spot", {"SIGNAL_ENGINE_API__KEYS": f" {SECRET} "}),
            (
                "market: x",
                {"SIGNAL_ENGINE_API__KEYS": SECRET, "SIGNAL_ENGINE_REDIS__URL": f"redis://:{SECRET}@h"},
            ),
        ],
    )
    def test_no_error_shows_a_secret(self, write: Write, text: str, environ: dict[str, str]) -> None:
        with pytest.raises(SettingsError) as caught:
            load(write(text), environ)

        assert SECRET not in str(caught.value)
        assert caught.value.__cause__ is None
        assert caught.value.__suppress_context__ or caught.value.__context__ is None

    def test_nothing_shows_or_dumps_a_secret(self) -> None:
        settings = load(
            SHIPPED, {"SIGNAL_ENGINE_API__KEYS": SECRET, "SIGNAL_ENGINE_REDIS__URL": f"redis://:{SECRET}@h"}
        )
        shown = [repr(settings), str(settings), str(settings.model_dump()), settings.model_dump_json(),
                 repr(settings.api.keys), repr(settings.api), repr(settings.redis)]  # fmt: skip

        assert not [text for text in shown if SECRET in text]
        assert "keys" not in settings.model_dump()["api"]
        assert settings.redis.url is not None
        assert settings.redis.url.get_secret_value() == f"redis://:{SECRET}@h"

    def test_only_the_hashes_of_keys_are_kept(self) -> None:
        settings = load(SHIPPED, {"SIGNAL_ENGINE_API__KEYS": f"{SECRET},other , {SECRET},"})

        assert SECRET.encode() not in pickle.dumps(settings)
        assert len(settings.api.keys) == 2
        assert [settings.api.keys.accept(key) for key in (SECRET, "other", "", "other ", "wrong")] == [
            True, True, False, False, False,
        ]  # fmt: skip

    def test_without_keys_nothing_is_accepted(self) -> None:
        assert not Settings().api.keys
        assert not Settings().api.keys.accept("")

    @pytest.mark.parametrize("key", ["schlüssel", os.fsdecode(b"\xff\xfe")])
    def test_keys_may_hold_any_character(self, key: str) -> None:
        assert load(SHIPPED, {"SIGNAL_ENGINE_API__KEYS": key}).api.keys.accept(key)


class TestConfigHash:
    def test_it_does_not_change_by_itself(self) -> None:
        assert Settings().config_hash == "7f8e10f114583a86"

    def test_neither_the_order_of_keys_nor_where_they_came_from_matters(self, write: Write) -> None:
        one = load(write("{market: um, decide: {horizon: 6, interval: 1h}, gather: {grace: 5}}"), {})
        other = load(write("{gather: {grace: 5.0}, decide: {interval: 1h, horizon: 6}, market: um}"), {})
        third = load(
            write("{}"),
            {
                "SIGNAL_ENGINE_MARKET": "um",
                "SIGNAL_ENGINE_DECIDE__INTERVAL": "1h",
                "SIGNAL_ENGINE_DECIDE__HORIZON": "6",
            },
        )

        assert one.config_hash == other.config_hash == third.config_hash != Settings().config_hash

    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("REDIS__URL", "redis://elsewhere"),
            ("REDIS__PREFIX", "second:"),
            ("REDIS__LOG_LENGTH", "5"),
            ("STORAGE__FOLDER", "/elsewhere"),
            ("STORAGE__SNAPSHOT_EVERY", "1"),
            ("API__PORT", "1"),
            ("API__KEYS", "a,b"),
            ("LOGGING__LEVEL", "DEBUG"),
            ("BINANCE__SPOT__REST", "http://127.0.0.1:1"),
            ("BINANCE__UM__STREAM", "ws://127.0.0.1:1"),
            ("PROVIDERS__GLASSNODE__BASE_URL", "http://127.0.0.1:1"),
            ("PROVIDERS__THETIE__HOSTS", "{trending: 'http://127.0.0.1:1'}"),
            ("NEWS__CONTACT", "me@example.org"),
        ],
    )
    def test_where_things_run_is_no_part_of_it(self, name: str, value: str) -> None:
        assert load(SHIPPED, {f"SIGNAL_ENGINE_{name}": value}).config_hash == load(SHIPPED, {}).config_hash

    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("SYMBOLS__MAJORS", "[BTCUSDT]"),
            ("SEGMENTS__MAJORS__THRESHOLD", "0.6"),
            ("MARKET", "um"),
            ("DECIDE__HORIZON", "11"),
            ("GATHER__GRACE", "6"),
            ("LAYERS__TECHNICAL__MIXED", "38"),
            ("BINANCE__INTERVALS", "[5m, 1h]"),
            ("PROVIDERS__DEFILLAMA__ENABLED", "false"),
            ("NEWS__HALF_LIFE", "5"),
            ("METRICS__ALTERNATIVE_ME", "{fear_greed: {stored: not believed any more}}"),
            ("MODELS__BOOSTED__CHANCES", "{memes: {volume: 3}}"),
        ],
    )
    def test_what_can_change_a_signal_changes_it(self, name: str, value: str) -> None:
        assert load(SHIPPED, {f"SIGNAL_ENGINE_{name}": value}).config_hash != load(SHIPPED, {}).config_hash


def test_settings_cannot_be_changed() -> None:
    settings = Settings()

    with pytest.raises(ValidationError, match="frozen"):
        settings.market = "um"
    with pytest.raises(ValidationError, match="frozen"):
        settings.decide.horizon = 3


def test_settings_survive_pickling() -> None:
    settings = load(SHIPPED, {"SIGNAL_ENGINE_API__KEYS": SECRET})

    assert pickle.loads(pickle.dumps(settings)) == settings


def test_the_exchange_is_that_of_the_market() -> None:
    assert Settings().exchange.rest == "https://data-api.binance.vision"
    assert Settings(market="um").exchange.stream == "wss://fstream.binance.com/market"


def test_weights_are_by_layer_and_condition() -> None:
    assert Settings().weights["technical"] == {"trending": 45.0, "ranging": 30.0, "mixed": 37.0}
    assert set(Settings().weights) == set(Layers.model_fields)


def test_numbers_are_kept_in_one_type_so_that_five_is_five() -> None:
    assert repr(Gather(grace=5)) == repr(Gather(grace=5.0))
