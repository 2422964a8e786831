"""The README cannot drift: what it names exists, and what exists is named."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from api.server import create_app
from dataflows.cli import app
from engine.features import SCHEMA
from engine.layers import LAYERS
from engine.settings import load

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


def test_every_endpoint_has_its_row() -> None:
    paths = set(create_app(load(ROOT / "config.yaml", {})).openapi()["paths"]) | {"/ws/signals"}

    assert [path for path in sorted(paths) if f"`{path}`" not in README] == []


def test_every_command_is_shown() -> None:
    commands = {
        command.name or command.callback.__name__ for command in app.registered_commands if command.callback
    }

    assert [command for command in sorted(commands) if command not in README] == []


def test_every_file_it_points_at_is_there() -> None:
    links = re.findall(r"\]\(([^)#:]+)\)", README)

    assert len(links) > 5
    assert [link for link in links if not (ROOT / link).exists()] == []


def test_every_target_of_make_it_names_exists() -> None:
    targets = re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)

    assert {"demo", "test"} <= set(re.findall(r"(?:`|^)make ([a-z]+)", README, re.MULTILINE)) <= set(targets)


def test_the_numbers_of_the_code_are_those_it_tells() -> None:
    config = yaml.safe_load((ROOT / "config.yaml").read_text())

    assert f"{len(SCHEMA.names)} columns" in README
    assert all(layer in README for layer in LAYERS)
    assert f"port {config['api']['port']}" in README
    assert f"{config['gather']['catch_up']} s" in README


@pytest.mark.parametrize("name", sorted({"SIGNAL_ENGINE_REDIS__URL", "SIGNAL_ENGINE_API__KEYS"}))
def test_every_secret_is_explained(name: str) -> None:
    assert name in README
