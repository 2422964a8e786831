"""Which code made a version."""

from __future__ import annotations

import os
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path


def revision() -> str:
    """The commit of a checkout, with "+" where it was changed; else the installed version, "" without one."""
    here = Path(__file__).resolve().parents[2]
    if not (here / ".git").exists():
        return installed()
    # It only looks: the index stays as it is, and no variable leads to another repository.
    quiet = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    quiet["GIT_OPTIONAL_LOCKS"] = "0"
    try:
        asked = ["git", "-C", str(here), "describe", "--always", "--dirty=+", "--abbrev=12", "--exclude=*"]
        return subprocess.run(
            asked, env=quiet, capture_output=True, text=True, timeout=10, check=True
        ).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return installed()


def installed() -> str:
    try:
        return version("signal-engine")
    except PackageNotFoundError:
        return ""
