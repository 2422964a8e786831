"""Which code made a version."""

from __future__ import annotations

import subprocess
from importlib.metadata import version
from pathlib import Path


def revision() -> str:
    """The commit of a checkout, with "+" where it was changed; else the installed version."""
    here = Path(__file__).resolve().parents[2]
    if not (here / ".git").exists():
        return version("signal-engine")
    try:
        asked = ["git", "-C", str(here), "describe", "--always", "--dirty=+", "--abbrev=12", "--exclude=*"]
        return subprocess.run(asked, capture_output=True, text=True, timeout=10, check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return version("signal-engine")
