"""YAML text and environment variables as one plain tree of settings, each value knowing where it came from.

Only shape is judged here (what can be read, which keys exist); what a value may be is for the models.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Final, Literal, get_args, get_origin

import yaml
from pydantic import BaseModel, SecretStr

from engine.errors import SettingsError
from engine.settings.secrets import ApiKeys

PREFIX: Final = "SIGNAL_ENGINE_"
LOCATION: Final = "SIGNAL_ENGINE_CONFIG"
"""Where config.yaml is: read by those who call `load`, no setting itself."""

Place = tuple[str | int, ...]


@dataclass(slots=True)
class Tree:
    """What was read: `values` nested by key; by path, the variable that set it and what is wrong."""

    values: dict[str, Any] = field(default_factory=dict)
    origins: dict[Place, str] = field(default_factory=dict)
    faults: dict[Place, str] = field(default_factory=dict)

    def fault(self, path: Place, text: str) -> None:
        """Note what is wrong at `path`, with the variable that set it; the first word on a path stands."""
        names = [self.origins[path[:end]] for end in range(1, len(path) + 1) if path[:end] in self.origins]
        self.faults.setdefault(path, f"{dotted(path)}{f' ({names[-1]})' if names else ''}: {text}")

    def at(self, path: Place) -> Any:
        """The value at `path`, None where there is none."""
        found: Any = self.values
        for key in path:
            found = found.get(key) if isinstance(found, Mapping) else None
        return found


def dotted(path: Place) -> str:
    """A path as people write it.

    >>> dotted(("symbols", "majors", 0))
    'symbols.majors[0]'
    """
    return "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in path).lstrip(".")


def from_yaml(text: str) -> Tree:
    """The tree a YAML text holds.

    A key given twice is a fault. Raises `SettingsError` when the text is no YAML or no mapping.
    """
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
        values = yaml.safe_load(text)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f" in line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise SettingsError(f"not YAML{where}: {error.problem or error.context}") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise SettingsError(f"not YAML: {str(error).splitlines()[0]}") from None
    if not isinstance(values, dict):
        raise SettingsError(f"must be a mapping of keys to values; was {kind(values)}")
    tree = Tree(values)
    for path, line in repeated(root, ()):
        tree.fault(path, f"is given twice, the second time in line {line}")
    return tree


def repeated(node: yaml.Node | None, path: Place) -> Iterator[tuple[Place, int]]:
    """(path, line) of each key that its mapping already has; YAML itself lets the last one win."""
    if not isinstance(node, yaml.MappingNode):
        return
    seen: set[str] = set()
    for key, value in node.value:
        name = str(key.value)
        if name in seen:
            yield (*path, name), key.start_mark.line + 1
        seen.add(name)
        yield from repeated(value, (*path, name))


def overlay(tree: Tree, environ: Mapping[str, str], shape: type[BaseModel]) -> None:
    """Lay the variables that begin with `PREFIX` over the tree; an empty one counts as not set."""
    for name in sorted(name for name in environ if name.startswith(PREFIX) and name != LOCATION):
        path: Place = tuple(name[len(PREFIX) :].lower().split("__"))
        under = follow(shape, path)
        if under is None or is_block(under):
            near = get_close_matches(name, list(variables(shape)), n=1)
            tree.fault((name,), f"no setting has this name{hint(near)}")
        elif environ[name]:
            place(tree, path, environ[name], under, name)


def place(tree: Tree, path: Place, text: str, shape: Any, name: str) -> None:
    tree.origins[path] = name
    try:
        value = value_of(text, shape)
    except (yaml.YAMLError, ValueError):
        tree.fault(path, "cannot be read as a YAML value")
        return
    level = tree.values
    for key in path[:-1]:
        below = level.setdefault(str(key), {})
        if not isinstance(below, dict):
            return  # the block itself is wrong in the file, and is named for that
        level = below
    level[str(path[-1])] = value


def value_of(text: str, shape: Any) -> Any:
    """Text as it is where text is wanted, else as YAML; commas make a list where one is wanted.

    >>> value_of("2", str), value_of("2", int), value_of("1m,5m", tuple[str, ...])
    ('2', 2, ['1m', '5m'])
    """
    value = None if text == "null" else text if wants_text(shape) else yaml.safe_load(text)
    if get_origin(shape) is tuple and isinstance(value, str):
        return [item.strip() for item in value.split(",")]
    return value


def wants_text(shape: Any) -> bool:
    if get_origin(shape) is Literal:
        return isinstance(get_args(shape)[0], str)
    return shape in (str, Path, SecretStr, ApiKeys) or any(wants_text(bare(part)) for part in union_of(shape))


def union_of(shape: Any) -> tuple[Any, ...]:
    """The parts of `X | None`; nothing for any other type."""
    parts = get_args(shape)
    return tuple(part for part in parts if part is not type(None)) if type(None) in parts else ()


def prune(tree: Tree, shape: type[BaseModel]) -> None:
    """Take out of the tree what no setting is called, and note it with the nearest name there is."""
    tree.values = known(tree, tree.values, shape, ())


def known(tree: Tree, values: Mapping[Any, Any], shape: Any, path: Place) -> dict[str, Any]:
    kept: dict[str, Any] = {}
    for key, value in values.items():
        here = (*path, str(key))
        under = below(shape, key)
        if under is None:
            near = get_close_matches(str(key), list(keys(shape)), n=1)
            tree.fault(here, f"unknown key{hint(near)}")
        elif isinstance(value, Mapping) and (is_block(under) or is_mapping(under)):
            kept[key] = known(tree, value, under, here)
        else:
            kept[key] = value
            edges(tree, value, here)
    return kept


def edges(tree: Tree, value: Any, path: Place) -> None:
    """Text that begins or ends with a space was meant without it, and would match nothing."""
    if isinstance(value, list):
        for index, item in enumerate(value):
            edges(tree, item, (*path, index))
    elif isinstance(value, str) and value != value.strip():
        tree.fault(path, "begins or ends with a space")


def hint(near: list[str]) -> str:
    return f"; did you mean {near[0]!r}?" if near else ""


def is_block(shape: Any) -> bool:
    return isinstance(shape, type) and issubclass(shape, BaseModel)


def is_mapping(shape: Any) -> bool:
    return get_origin(shape) is Mapping


def bare(shape: Any) -> Any:
    """A type without its checks."""
    return get_args(shape)[0] if get_origin(shape) is Annotated else shape


def keys(shape: Any) -> dict[str, Any]:
    """The keys of a block and the type under each; empty for anything that is no block."""
    if not is_block(shape):
        return {}
    return {info.alias or name: bare(info.annotation) for name, info in shape.model_fields.items()}


def below(shape: Any, key: object) -> Any:
    """The type under one key of a block or mapping; None when there is no such key."""
    if not isinstance(key, str):
        return None
    return bare(get_args(shape)[1] if is_mapping(shape) else keys(shape).get(key))


def follow(shape: Any, path: Place) -> Any:
    for key in path:
        shape = below(shape, key)
    return shape


def variables(shape: Any, so_far: str = PREFIX) -> Iterator[str]:
    """The name of every variable that may set something."""
    for key, under in keys(shape).items():
        name = so_far + key.upper()
        if is_block(under):
            yield from variables(under, name + "__")
        else:
            yield name


def kind(value: object) -> str:
    """What a value is, in words, without showing it.

    >>> kind(None), kind([]), kind({}), kind("x")
    ('nothing', 'a list', 'a block of keys', 'text')
    """
    names = {type(None): "nothing", list: "a list", dict: "a block of keys", str: "text"}
    return names.get(type(value), type(value).__name__)
