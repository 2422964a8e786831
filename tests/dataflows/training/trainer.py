"""A trainer that is none: `python -m tests.dataflows.training.trainer FOLDER UNTIL SHELF PROFILE`.

It notes each run in FOLDER/runs, then does what FOLDER/orders.json says:
{"sleep": 2, "fail": "why", "die": true}.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path

from engine.models.manifest import Facts
from engine.models.shelf import Shelf
from engine.records import INTERVALS

SEGMENTS = {"majors": {"skill": True, "auc": 0.53, "auc_ci": [0.51, 0.55], "reliability": [[10, 0.5, 0.6]]}}


def write(folder: Path) -> None:
    (folder / "model.json").write_text("{}")


def main(folder: Path, until: int, shelf: Path, profile: str) -> None:
    orders = json.loads((folder / "orders.json").read_text()) if (folder / "orders.json").exists() else {}
    with (folder / "runs").open("a") as runs:
        runs.write(json.dumps({"pid": os.getpid(), "until": until, "profile": profile}) + "\n")
    print(json.dumps({"stage": "folds", "progress": 0.45}), flush=True)  # noqa: T201
    time.sleep(orders.get("sleep", 0))
    if orders.get("die"):
        os.kill(os.getpid(), signal.SIGKILL)
    if "fail" in orders:
        sys.exit(f"signal-engine: {orders['fail']}")
    step = INTERVALS["1h"]
    data_until = until // step * step - 12 * step
    facts = Facts.of(data_until, until=until, metrics={"segments": SEGMENTS})
    made = Shelf(shelf, "boosted")
    manifest = made.add(write, facts)
    made.point(manifest.version)
    told = {"version": manifest.version, "promoted": True, "reason": "the first", "seconds": 0.1}
    print(json.dumps({**told, "metrics": {}}))  # noqa: T201


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]), sys.argv[4])
