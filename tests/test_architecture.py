"""The house: one-way doors, an engine without clock and chance, rooms whose lists are complete.

Each rule is also shown something that breaks it, so that it cannot fall asleep.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib import import_module
from inspect import getmembers, isclass
from pathlib import Path
from pkgutil import iter_modules
from types import ModuleType
from typing import Final

import pytest

import engine.indicators
import engine.layers
from engine.indicators import standard
from engine.layers import LAYERS

ROOT: Final = Path(__file__).parents[1]
ROOMS: Final = ("engine", "dataflows", "api")

AMBIENT: Final = frozenset(
    {
        "date.today", "datetime.now", "datetime.today", "datetime.utcnow", "os.getpid", "os.urandom",
        "time.monotonic", "time.monotonic_ns", "time.perf_counter", "time.perf_counter_ns", "time.sleep",
        "time.time", "time.time_ns", "uuid.uuid1", "uuid.uuid4",
    }
)  # fmt: skip
"""What answers differently each time it is asked."""

AMBIENT_MODULES: Final = frozenset({"random", "secrets", "time", "uuid"})
PURE_NUMPY: Final = frozenset({"Generator", "PCG64", "Philox", "SeedSequence", "default_rng"})
READERS: Final = frozenset({"open", "read_bytes", "read_text", "environ", "getenv"})
VAGUE: Final = ("Base", "Handler", "Helper", "Helpers", "Manager", "Mixin", "Service", "Util", "Utils")

Finder = Callable[[ast.AST], Iterator[str]]


def sources(*rooms: str) -> list[Path]:
    return sorted(path for room in rooms for path in (ROOT / room).rglob("*.py"))


def found(find: Finder, paths: list[Path]) -> list[str]:
    """What `find` has to say, as file:line: text."""
    return [
        f"{path.relative_to(ROOT)}:{line}"
        for path in paths
        for line in find(ast.parse(path.read_text(encoding="utf-8")))
    ]


def name_of(node: ast.AST) -> str:
    """The dotted name of an attribute or name, "" for anything else."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        return f"{name_of(node.value)}.{node.attr}"
    return ""


def ambient(tree: ast.AST) -> Iterator[str]:
    """Clocks and randomness of its own."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute | ast.Name):
            parts = name_of(node).split(".")
            chance = parts[:2] in (["np", "random"], ["numpy", "random"]) and not {*parts[2:3]} <= PURE_NUMPY
            if chance or ".".join(parts[-2:]) in AMBIENT:
                yield f"{node.lineno}: {'.'.join(parts)}"
        elif isinstance(node, ast.Call) and name_of(node.func).endswith("default_rng"):
            if not (node.args or node.keywords):
                yield f"{node.lineno}: default_rng without a seed"
        else:
            yield from ambient_imports(node)


def ambient_imports(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.Import):
        yield from (f"{node.lineno}: {alias.name}" for alias in node.names if alias.name in AMBIENT_MODULES)
    if isinstance(node, ast.ImportFrom) and node.level == 0:
        names = {alias.name for alias in node.names}
        if node.module in AMBIENT_MODULES or (node.module == "numpy.random" and not names <= PURE_NUMPY):
            yield f"{node.lineno}: {node.module}"


def reading(tree: ast.AST) -> Iterator[str]:
    """Files and environment variables."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and node.attr in READERS - {"open"}:
            yield f"{node.lineno}: {node.attr}"
        if isinstance(node, ast.Call) and (name_of(node.func) in READERS or opens_a_path(node.func)):
            yield f"{node.lineno}: {name_of(node.func)}()"


def opens_a_path(called: ast.AST) -> bool:
    """Whether it is the `open` of a path: a ledger opens positions, and a candle's `open` is a number."""
    if not isinstance(called, ast.Attribute) or called.attr != "open":
        return False
    owner = called.value.func if isinstance(called.value, ast.Call) else called.value
    return name_of(owner).lower().rpartition(".")[2] in {"codecs", "file", "gzip", "io", "os", "path"}


def hidden_imports(tree: ast.AST) -> Iterator[str]:
    """Imports inside functions."""
    for function in ast.walk(tree):
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
            for node in ast.walk(function):
                if isinstance(node, ast.Import | ast.ImportFrom):
                    yield f"{node.lineno}: in {function.name}"


def vague_classes(tree: ast.AST) -> Iterator[str]:
    """Classes whose name says nothing of what they are."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef) and node.name.endswith(VAGUE):
            yield f"{node.lineno}: {node.name}"


def without_words(tree: ast.AST) -> Iterator[str]:
    """Modules that do not say what they are and which rule they keep."""
    assert isinstance(tree, ast.Module)
    if tree.body and not ast.get_docstring(tree):
        yield "1: no docstring"


@pytest.mark.parametrize(
    ("find", "paths"),
    [
        pytest.param(ambient, sources("engine"), id="the engine asks no clock and rolls no dice"),
        pytest.param(
            reading,
            [
                path
                for path in sources("engine")
                if path.parent.name not in ("settings", "news") and path.name not in ("disk.py", "segment.py")
            ],
            id="in the engine only settings, versions and word lists read files, nothing the environment",
        ),
        pytest.param(hidden_imports, sources(*ROOMS), id="imports stand at the top"),
        pytest.param(vague_classes, sources(*ROOMS), id="a class is named for what it is"),
        pytest.param(without_words, sources(*ROOMS), id="a file opens with what it is"),
    ],
)
def test_the_house_keeps_its_rules(find: Finder, paths: list[Path]) -> None:
    assert paths
    assert found(find, paths) == []


@pytest.mark.parametrize(
    ("find", "text"),
    [
        (ambient, "import time"),
        (ambient, "import random"),
        (ambient, "from random import random"),
        (ambient, "from time import monotonic"),
        (ambient, "from datetime import datetime\nx = datetime.now()"),
        (ambient, "import datetime\nx = datetime.datetime.utcnow()"),
        (ambient, "clock = datetime.now"),
        (ambient, "x = np.random.normal()"),
        (ambient, "np.random.seed(1)"),
        (ambient, "from numpy.random import normal"),
        (ambient, "rng = np.random.default_rng()"),
        (ambient, "x = uuid.uuid4()"),
        (reading, "x = open('f')"),
        (reading, "x = Path('f').read_text()"),
        (reading, "x = path.open()"),
        (reading, "x = Path('f').open()"),
        (reading, "x = os.environ['A']"),
        (reading, "x = os.getenv('A')"),
        (hidden_imports, "def f():\n    import json"),
        (hidden_imports, "class A:\n    async def f(self):\n        from json import loads"),
        (vague_classes, "class FeedManager: ..."),
        (vague_classes, "class CandleHelper: ..."),
        (without_words, "x = 1"),
    ],
)
def test_each_rule_sees_what_breaks_it(find: Finder, text: str) -> None:
    assert list(find(ast.parse(text)))


@pytest.mark.parametrize(
    ("find", "text"),
    [
        (ambient, "def f(rng: np.random.Generator) -> None:\n    rng.random()"),
        (ambient, "rng = np.random.default_rng(7)"),
        (ambient, "def f(candle):\n    return candle.time"),
        (ambient, "x = datetime.fromisoformat('2024-01-01').timestamp()"),
        (ambient, "from engine.settings.secrets import ApiKeys"),
        (reading, "x = candle.open + open_"),
        (reading, "self.ledger.open(signal, 0.5)"),
        (hidden_imports, "import json\ndef f(): ..."),
        (without_words, ""),
    ],
)
def test_no_rule_sees_what_is_not_there(find: Finder, text: str) -> None:
    assert list(find(ast.parse(text))) == []


def test_the_doors_are_one_way() -> None:
    lint = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run(
        [lint, "--no-cache", "--config", ROOT / "pyproject.toml"],
        cwd=ROOT, capture_output=True, text=True, timeout=100, check=False,
    )  # fmt: skip

    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 broken" in done.stdout


def test_no_file_hides_behind_an_underscore() -> None:
    allowed = {"__init__.py", "__main__.py"}

    assert [path for path in sources(*ROOMS) if path.name.startswith("_") and path.name not in allowed] == []


def test_every_folder_of_code_is_a_package() -> None:
    assert {path.parent for path in sources(*ROOMS) if not (path.parent / "__init__.py").exists()} == set()


def classes_of(room: ModuleType, method: str) -> set[type]:
    """The classes with `method` that the files of a room define, its protocols left out."""
    modules = [import_module(f"{room.__name__}.{info.name}") for info in iter_modules(room.__path__)]
    return {
        kind
        for module in modules
        for _, kind in getmembers(module, isclass)
        if kind.__module__ == module.__name__
        and any(method in vars(base) for base in kind.__mro__)
        and not getattr(kind, "_is_protocol", False)
    }


def test_every_indicator_there_is_stands_in_the_standard_set() -> None:
    defined = classes_of(engine.indicators, "step")

    assert {type(indicator) for indicator in standard()} == defined
    assert {kind.__name__ for kind in defined} <= set(engine.indicators.__all__)


def test_every_layer_there_is_stands_in_the_registry() -> None:
    made = {name: make("5m") for name, make in LAYERS.items()}

    assert {type(layer) for layer in made.values()} == classes_of(engine.layers, "__call__")
    assert {type(layer).__name__ for layer in made.values()} <= set(engine.layers.__all__)
    assert {name: getattr(layer, "name", None) for name, layer in made.items()} == {
        name: name for name in LAYERS
    }


@pytest.mark.parametrize("room", [engine.indicators, engine.layers], ids=lambda room: room.__name__)
def test_a_room_exports_what_it_lists(room: ModuleType) -> None:
    assert [name for name in room.__all__ if not hasattr(room, name)] == []
