"""The shelf among other processes: kill -9 at any touch of the disk, writers at once, readers meanwhile."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from engine.models.shelf import Shelf
from tests.engine.models.shelves import (
    ROOT,
    after,
    hidden,
    text,
    two,
)

CRASHES = """
import os, shutil, signal, sys
from itertools import count
from pathlib import Path
from engine.models.manifest import Facts
from engine.models.shelf import Shelf

act, folder = sys.argv[1], Path(sys.argv[2])
CHANGES = {"open", "os.mkdir", "os.remove", "os.rename", "os.rmdir"}
TOUCHES = {*CHANGES, "fcntl.flock", "os.listdir", "os.scandir"}
DAY = 86_400_000

def write(draft):
    (draft / "a.json").write_text("[1, 2, 3]")
    (draft / "b.json").write_text("[4, 5, 6]")

def facts(day):
    return Facts.of(Facts.of().data_until + day * DAY)

def prepared(shelf):
    names = [shelf.add(write, facts(day)).version for day in range(3)]
    shelf.point(names[1])
    if act == "mend":
        (shelf.folder / names[2] / "a.json").write_text("[1, 2")
    return names

def acted(shelf, names):
    match act:
        case "add": shelf.add(write, facts(3))
        case "mend": shelf.add(write, facts(2))
        case "point": shelf.point(names[2])
        case "rollback": shelf.rollback()
        case "prune": shelf.prune(1)

armed, left = False, 0

def hook(event, arguments):
    global left
    if armed and event in TOUCHES:
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

sys.addaudithook(hook)
template = Shelf(folder / "template", "boosted")
names = prepared(template)
for nth in count(1):
    shutil.copytree(folder / "template", folder / str(nth))
    child = os.fork()
    if child == 0:
        left, armed = nth, True
        acted(Shelf(folder / str(nth), "boosted"), names)
        os._exit(0)
    if os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) != -signal.SIGKILL:
        break
print(nth)
"""


@pytest.mark.parametrize(
    ("act", "least", "pointers"),
    [("add", 15, {1}), ("mend", 20, {1}), ("point", 6, {1, 2}), ("rollback", 10, {1, 0}), ("prune", 8, {1})],
)
def test_kill_9_at_any_touch_of_the_disk_leaves_whole_versions(
    tmp_path: Path, act: str, least: int, pointers: set[int]
) -> None:
    done = subprocess.run(
        [sys.executable, "-c", CRASHES, act, tmp_path],
        cwd=ROOT, capture_output=True, text=True, timeout=100, check=True,
    )  # fmt: skip
    kills = int(done.stdout) - 1
    names = Shelf(tmp_path / "template", "boosted").versions()
    seen = set()

    assert kills >= least
    for nth in range(1, kills + 2):
        shelf = Shelf(tmp_path / str(nth), "boosted")
        seen.add((shelf.versions(), shelf.current()))
        # The one that was damaged before may still be there; nothing else may be.
        assert set(shelf.faults()) <= ({names[2]} if act == "mend" else set())
        assert shelf.current() in {names[place] for place in pointers}
        shelf.point(names[1])
        assert hidden(shelf) == set()
        assert Shelf(tmp_path / str(nth), "boosted").add(text("[]"), after(2400)).version in shelf.versions()
    assert len(seen) >= 2 or act == "mend"


WRITER = """
import os, sys
from pathlib import Path
from engine.models.manifest import Facts
from engine.models.shelf import Shelf

folder, begin, end = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
shelf = Shelf(folder, "boosted")
log = os.open(folder / "log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)

def write(draft):
    os.write(log, b"in %d\\n" % os.getpid())
    for name in ("a.json", "b.json"):
        (draft / name).write_text("[1, 2, 3]")
    os.write(log, b"out %d\\n" % os.getpid())

for hour in range(begin, end):
    shelf.point(shelf.add(write, Facts.of(Facts.of().data_until + hour * 3_600_000)).version)
"""


def test_two_writers_wait_for_each_other(tmp_path: Path) -> None:
    commands = [[sys.executable, "-c", WRITER, str(tmp_path), *span] for span in (("0", "30"), ("20", "50"))]
    writers = [subprocess.Popen(command, cwd=ROOT) for command in commands]
    codes = [writer.wait(100) for writer in writers]

    shelf = Shelf(tmp_path, "boosted")
    assert codes == [0, 0]
    assert len(shelf.versions()) == 50
    assert shelf.faults() == {}
    assert shelf.current() in shelf.versions()
    assert hidden(shelf) == set()
    lines = [line.split() for line in (tmp_path / "log").read_text().splitlines()]
    assert [word for word, _ in lines] == ["in", "out"] * 60
    assert [pid for _, pid in lines[::2]] == [pid for _, pid in lines[1::2]]


READER = """
import json, sys
from collections import Counter
from pathlib import Path
from engine.errors import StorageError
from engine.models.manifest import Facts
from engine.models.shelf import Shelf

shelf, stop = Shelf(Path(sys.argv[1]), "boosted"), Path(sys.argv[1], "stop")
seen = Counter()
print("ready", flush=True)
while not stop.exists():
    for version in shelf.versions():
        try:
            shelf.opened(version, Facts.of().schema)
        except StorageError as error:
            seen["damaged" if "damaged" in str(error) or "changed" in str(error) else "gone"] += 1
        else:
            seen["opened"] += 1
    if now := shelf.current():
        try:
            shelf.opened(now, Facts.of().schema)
        except StorageError:
            assert shelf.current() != now  # it was pruned after another one became current
        else:
            seen["current"] += 1
    seen["serving"] += shelf.serving(1 << 60) is not None
    seen["faults"] += len([fault for fault in shelf.faults().values() if "damaged" in fault])
print(json.dumps(seen))
"""


def test_readers_never_see_half_a_version_while_another_process_writes(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path, "boosted")
    large = json.dumps(list(range(20_000)))
    names = [shelf.add(text(large), after(hour)).version for hour in range(6)]
    shelf.point(names[-1])
    command = [sys.executable, "-c", READER, str(tmp_path)]
    readers = [subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    try:
        assert [reader.stdout and reader.stdout.readline() for reader in readers] == ["ready\n"] * 2
        for hour in range(6, 150):
            shelf.point(shelf.add(text(large), after(hour)).version)
            shelf.prune(4)
    finally:
        (tmp_path / "stop").write_text("")
        seen = [json.loads(reader.communicate(timeout=60)[0]) for reader in readers]

    assert [reader.returncode for reader in readers] == [0, 0]
    for one in seen:
        assert one["opened"] > 20
        assert one["current"] > 5
        assert one["serving"] > 5
        assert one.get("damaged", 0) == one["faults"] == 0


def test_threads_of_one_process_wait_for_each_other_too(tmp_path: Path) -> None:
    inside: list[int] = []
    most: list[int] = []

    def write(folder: Path) -> None:
        inside.append(1)
        most.append(len(inside))
        two(folder)
        inside.pop()

    def work(begin: int) -> None:
        shelf = Shelf(tmp_path, "boosted")
        for hour in range(begin, begin + 10):
            shelf.add(write, after(hour))

    threads = [threading.Thread(target=work, args=(10 * number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)

    assert max(most) == 1
    assert len(Shelf(tmp_path, "boosted").versions()) == 30
