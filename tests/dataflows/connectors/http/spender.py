"""A process that spends from a budget and says each time it was allowed to, until it is killed."""

from __future__ import annotations

import sys
from pathlib import Path

from dataflows.connectors.http.budget import Budget

if __name__ == "__main__":
    budget = Budget(Path(sys.argv[1]), per_month=int(sys.argv[2]), unix=lambda: float(sys.argv[3]))
    while budget.take(1.0) == 0:
        sys.stdout.write("1\n")
        sys.stdout.flush()
