"""Every error the engine raises on purpose; each says what was wrong, where, and what was found.

EngineError
├── SettingsError        config.yaml or the environment holds something that cannot be used
├── CorruptRecord        market data that cannot be true; it is refused where it is made
├── UnknownSymbol        a symbol that no configuration or exchange knows
├── SourceError          something outside did not answer as it must (exchange, provider, Redis)
│   ├── RateLimited      the exchange asks to wait (429, 418); `retry_after` says how long
│   ├── Refused          an answer that asking again will not change (401, 403, 404, 451 ...)
│   ├── NotServed        this one thing is not to be had there; the rest of the source is well
│   └── Unreadable       an answer that is not what was asked for: no JSON, other keys, half of it
└── StorageError         a file, database or folder of ours cannot be read or written
"""


class EngineError(Exception):
    """The root: catch this to catch everything the engine raises on purpose."""


class SettingsError(EngineError):
    """A setting is unknown, of the wrong type or out of range; the message names its key path."""


class CorruptRecord(EngineError, ValueError):
    """Market data that cannot be true: not finite, negative, off the grid, high below low."""


class UnknownSymbol(EngineError, LookupError):
    """A symbol that is neither configured nor listed."""


class SourceError(EngineError):
    """Something outside did not answer as it must."""


class RateLimited(SourceError):
    """The exchange asks to wait.

    `retry_after` is in seconds; `banned` tells a 418 from a 429.
    """

    def __init__(self, message: str, retry_after: float, *, banned: bool = False) -> None:
        super().__init__(message)
        self.retry_after = retry_after
        self.banned = banned


class Refused(SourceError):
    """An answer that asking again will not change."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


class NotServed(SourceError):
    """This one thing is not to be had from a source, which is well otherwise."""


class Unreadable(SourceError):
    """An answer that is not what was asked for."""


class StorageError(EngineError):
    """A file, database or folder of ours cannot be read or written."""
