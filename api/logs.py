"""Where the relay's log goes and how a line looks.

No line holds a key: addresses lose what looks like one on the way.
"""

from __future__ import annotations

import logging
import re
from typing import Any, Final

import orjson

SECRET: Final = re.compile(r"([?&][^=&\s]*(?:key|token|secret|auth|passw)[^=&\s]*=)[^&\s\"]+", re.IGNORECASE)


def redact(record: logging.LogRecord) -> bool:
    """A log filter that lets every line pass, without what looks like a secret in an address."""
    record.msg = without_secrets(record.msg)
    if isinstance(record.args, tuple):
        record.args = tuple(without_secrets(part) for part in record.args)
    return True


def without_secrets(part: Any) -> Any:
    """
    >>> without_secrets("/ws/signals?api_key=abc&symbols=BTCUSDT")
    '/ws/signals?api_key=***&symbols=BTCUSDT'
    """
    return SECRET.sub(r"\1***", part) if isinstance(part, str) else part


class JsonLines:
    """A log formatter: one JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        line = {"time": record.created, "level": record.levelname, "logger": record.name}
        line["event"] = record.getMessage()
        if record.exc_info:
            line["exception"] = logging.Formatter().formatException(record.exc_info)
        return orjson.dumps(line).decode()


def log_config(level: str, json_lines: bool) -> dict[str, Any]:
    """Everything to standard error; addresses lose what looks like a secret on the way."""
    plain = {"format": "%(asctime)s %(levelname)-7s %(name)s: %(message)s"}
    handler = {"class": "logging.StreamHandler", "formatter": "line", "filters": ["redact"]}
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "filters": {"redact": {"()": lambda: redact}},
        "formatters": {"line": {"()": JsonLines} if json_lines else plain},
        "handlers": {"stderr": {**handler, "stream": "ext://sys.stderr"}},
        "root": {"level": level, "handlers": ["stderr"]},
    }
