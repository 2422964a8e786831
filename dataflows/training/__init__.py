"""The slow side, a process of its own: history, fit, gate, shelf; beside a running flow, never in its way."""
